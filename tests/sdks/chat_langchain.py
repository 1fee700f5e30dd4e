"""LangChain's ChatOpenAI. Prints what it saw as JSON."""

import json
import os

import openai
from langchain_openai import ChatOpenAI

chat = ChatOpenAI(
    model="assistant",
    base_url=f"{os.environ['PAWL_URL']}/v1",
    api_key=os.environ["PAWL_KEY"],
    temperature=0,
    max_tokens=8,
    max_retries=0,
    stream_usage=True,
)
question = os.environ["QUESTION"]
plain = chat.invoke(question)
chunks = list(chat.stream(question))
mood = {
    "title": "mood",
    "type": "object",
    "properties": {"mood": {"enum": ["calm", "loud"]}, "sure": {"type": "boolean"}},
    "required": ["mood", "sure"],
    "additionalProperties": False,
}
bound = ChatOpenAI(model="assistant", base_url=chat.openai_api_base, api_key=os.environ["PAWL_KEY"], temperature=0)
logprobs = chat.bind(logprobs=True).invoke(question).response_metadata["logprobs"]["content"]
batch = chat.batch([question, question])
try:
    chat.invoke(question, model="nobody")
    missing = ""
except openai.NotFoundError as error:
    missing = error.code

print(
    json.dumps(
        {
            "plain": plain.content,
            "version": plain.response_metadata["system_fingerprint"],
            "tokens": plain.usage_metadata["output_tokens"],
            "streamed": "".join(chunk.content for chunk in chunks),
            "streamed_tokens": sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata),
            "batch": [each.content for each in batch],
            "bound": bound.with_structured_output(mood, method="json_schema", strict=True).invoke(question),
            "logprobs": len(logprobs),
            "missing": missing,
        }
    )
)
