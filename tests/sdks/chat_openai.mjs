// The official OpenAI SDK for JavaScript. Prints what it saw as JSON.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.env.PAWL_URL}/v1`, apiKey: process.env.PAWL_KEY, maxRetries: 0 });
const request = {
  model: "assistant",
  messages: [{ role: "user", content: process.env.QUESTION }],
  temperature: 0,
  max_tokens: 8,
};

async function refused(change, asking = client) {
  try {
    await asking.chat.completions.create({ ...request, ...change });
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

const two = await client.chat.completions.create({ ...request, n: 2, temperature: 1, seed: 3, logprobs: true, top_logprobs: 2 });
const stranger = new OpenAI({ baseURL: client.baseURL, apiKey: "somebody", maxRetries: 0 });
const completed = await client.completions.create({ model: "assistant", prompt: "Cook ", max_tokens: 4 });
const schema = {
  type: "object",
  properties: { mood: { enum: ["calm", "loud"] }, sure: { type: "boolean" } },
  required: ["mood", "sure"],
  additionalProperties: false,
};
const bound = await client.chat.completions.create({
  ...request,
  max_tokens: 200,
  response_format: { type: "json_schema", json_schema: { name: "mood", schema, strict: true } },
});

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
    stranger: (await refused({}, stranger)).kind,
    choices: two.choices.map((choice) => choice.index),
    likeliest: two.choices[1].logprobs.content[0].top_logprobs.length,
    bound: Object.keys(JSON.parse(bound.choices[0].message.content)),
    completed: completed.usage.completion_tokens,
  }),
);
