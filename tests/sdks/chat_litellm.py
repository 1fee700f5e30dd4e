"""litellm, which many gateways are built on. Prints what it saw as JSON."""

import json
import os

import litellm
import openai

ask = {
    "model": "openai/assistant",
    "api_base": f"{os.environ['PAWL_URL']}/v1",
    "api_key": os.environ["PAWL_KEY"],
    "messages": [{"role": "user", "content": os.environ["QUESTION"]}],
    "temperature": 0,
    "max_tokens": 8,
    "num_retries": 0,
}
plain = litellm.completion(**ask)
chunks = list(litellm.completion(**ask, stream=True, stream_options={"include_usage": True}))
completed = litellm.text_completion(
    model="text-completion-openai/assistant",
    api_base=ask["api_base"],
    api_key=ask["api_key"],
    prompt="Cook ",
    max_tokens=4,
)


def refused(**change: object) -> str:
    try:
        litellm.completion(**{**ask, **change})
    except openai.APIError as error:
        return type(error).__name__
    return ""


print(
    json.dumps(
        {
            "plain": plain.choices[0].message.content,
            "version": plain.system_fingerprint,
            "tokens": plain.usage.completion_tokens,
            "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
            "streamed_tokens": chunks[-1].usage.completion_tokens,
            "missing": refused(model="openai/nobody"),
            "wrong": refused(temperature=3),
            "stranger": refused(api_key="somebody"),
            "completed": completed.usage.completion_tokens,
        }
    )
)
