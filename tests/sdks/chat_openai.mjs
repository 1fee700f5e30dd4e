// The official OpenAI SDK for JavaScript. Prints what it saw as JSON.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.env.PAWL_URL}/v1`, apiKey: process.env.PAWL_KEY, maxRetries: 0 });
const request = {
  model: "assistant",
  messages: [{ role: "user", content: process.env.QUESTION }],
  temperature: 0,
  max_tokens: 8,
};

async function refused(change) {
  try {
    await client.chat.completions.create({ ...request, ...change });
  } catch (error) {
    return { kind: error.constructor.name, code: error.code, param: error.param };
  }
  throw new Error(`nothing was thrown for ${JSON.stringify(change)}`);
}

const models = [];
for await (const model of client.models.list()) models.push(model.id);

const plain = await client.chat.completions.create(request);
let streamed = "";
let usage = null;
for await (const chunk of await client.chat.completions.create({
  ...request,
  stream: true,
  stream_options: { include_usage: true },
})) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}

console.log(
  JSON.stringify({
    models,
    plain: plain.choices[0].message.content,
    version: plain.system_fingerprint,
    token: plain.metadata.feedback_token,
    tokens: plain.usage.completion_tokens,
    streamed,
    streamed_tokens: usage.completion_tokens,
    missing: await refused({ model: "nobody" }),
    wrong: await refused({ temperature: 3 }),
  }),
);
