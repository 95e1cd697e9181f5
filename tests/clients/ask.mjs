// What other people's clients get: OpenAI's and Anthropic's own, run against the gateway and then against the llama-servers behind
// it (tests/lab/test_openai.sh; same.py compares what they print).
//
//   node ask.mjs MODEL=BASE,KEY-FILE...     for tiny (chat), emb (embeddings) and rr (rerank)
//
// Prints a line of JSON for each case: its name, each answer that came with status, type and text, and what the client made of it.
// All is greedy and nothing of a prompt is kept, so that the same question has one answer only.
import { readFileSync } from 'node:fs'
import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'

const servers = Object.fromEntries(process.argv.slice(2).map((arg) => {
  const [, model, base, file] = /^(\w+)=(.*),(.*)$/.exec(arg)
  return [model, { base, key: readFileSync(file, 'utf8').trim() }]
}))

let answers // of the case that runs: [{status, type, text: a promise}]

async function recording(url, init) {
  const answer = await fetch(url, init)
  const text = answer.clone().text().catch((e) => `cut: ${e.name}`)
  answers.push({ status: answer.status, type: answer.headers.get('content-type'), text })
  return answer
}

function openai(model = 'tiny', apiKey = servers[model].key) {
  return new OpenAI({ baseURL: `${servers[model].base}/v1`, apiKey, maxRetries: 0, fetch: recording })
}

function anthropic(apiKey = servers.tiny.key) {
  return new Anthropic({ baseURL: servers.tiny.base, apiKey, maxRetries: 0, fetch: recording })
}

async function raw(path, init = {}, model = 'tiny') {
  const headers = { authorization: `Bearer ${servers[model].key}`, 'content-type': 'application/json', ...init.headers }
  return (await recording(servers[model].base + path, { method: 'POST', ...init, headers })).status
}

async function collect(stream) {
  const pieces = []
  for await (const piece of await stream) pieces.push(piece)
  return pieces
}

const greedy = { temperature: 0, seed: 7, cache_prompt: false }
const user = (content) => [{ role: 'user', content }]
const question = (more) => ({ model: 'tiny', messages: user('tell me something'), max_tokens: 8, ...greedy, ...more })
const prompt = (more) => ({ model: 'tiny', prompt: 'once upon a time', max_tokens: 8, ...greedy, ...more })
const chat = (more) => openai().chat.completions.create(question(more))
const chatStream = (more) => collect(chat({ stream: true, ...more }))
const complete = (more) => openai().completions.create(prompt(more))
const embed = (more) => openai('emb').embeddings.create({ model: 'emb', input: 'a text', ...more })
const rerank = (more) => openai('rr').post('/rerank', {
  body: { model: 'rr', query: 'what is a caravan', documents: ['a train of camels', 'a fish', 'a song'], ...more },
})
const respond = (more) => openai().responses.create({ model: 'tiny', input: 'tell me', max_output_tokens: 8, ...greedy, ...more })
const message = (more) =>
  anthropic().messages.create({ model: 'tiny', messages: user('tell me something'), max_tokens: 8, ...greedy, ...more })
const schema = { type: 'object', properties: { n: { type: 'integer' }, ok: { type: 'boolean' } }, required: ['n', 'ok'] }
const format = (of) => ({ response_format: { type: 'json_schema', json_schema: { name: 'answer', strict: true, schema: of } } })
const tools = [{ type: 'function', function: { name: 'weather', description: 'of a place', parameters: {
  type: 'object', properties: { place: { type: 'string', enum: ['here', 'there'] } }, required: ['place'],
} } }]
const anthropicTools = [{ name: 'weather', description: 'of a place', input_schema: tools[0].function.parameters }]
const long = 'hello '.repeat(3000)

async function abort() {
  const controller = new AbortController()
  const stream = await openai().chat.completions.create(question({ stream: true, max_tokens: 500 }), { signal: controller.signal })
  let first
  for await (const piece of stream) {
    first ??= piece.choices[0].delta
    controller.abort()
  }
  answers = [] // how much of it came is chance
  return first
}

const cases = {
  'chat': () => chat(),
  'chat, long': () => chat({ max_tokens: 100 }),
  'chat, several messages': () => chat({ messages: [{ role: 'system', content: 'be kind' }, ...user('one'),
    { role: 'assistant', content: 'two' }, ...user('three')] }),
  'chat, parts of content': () => chat({ messages: user([{ type: 'text', text: 'a' }, { type: 'text', text: 'b' }]) }),
  'chat, unicode': () => chat({ messages: user('Zoë \u{1f42b} \u0001 "\\') }),
  'chat, logprobs': () => chat({ logprobs: true, top_logprobs: 3 }),
  'chat, stop': () => chat({ stop: ['a', 'e'], max_tokens: 50 }),
  'chat, two choices': () => chat({ n: 2 }),
  'chat, logit_bias': () => chat({ logit_bias: { 100: 100 } }),
  'chat, penalties': () => chat({ frequency_penalty: 1, presence_penalty: 1, max_tokens: 30 }),
  'chat, timings per token': () => chat({ timings_per_token: true }),
  'chat, grammar': () => chat({ grammar: 'root ::= "yes" | "no"' }),
  'chat, stream': () => chatStream(),
  'chat, stream, long': () => chatStream({ max_tokens: 200 }),
  'chat, stream, usage': () => chatStream({ stream_options: { include_usage: true } }),
  'chat, stream, logprobs': () => chatStream({ logprobs: true, top_logprobs: 2 }),
  'chat, stream, abort': abort,
  'chat, after the abort': () => chat(),
  'chat, json_schema': () => chat({ ...format(schema), max_tokens: 60 }),
  'chat, json_schema, stream': () => chatStream({ ...format(schema), max_tokens: 60 }),
  'chat, json_object': () => chat({ response_format: { type: 'json_object' }, max_tokens: 20 }),
  'chat, a tool': () => chat({ tools, tool_choice: 'required', max_tokens: 120 }),
  'chat, a tool, stream': () => chatStream({ tools, tool_choice: 'required', max_tokens: 120 }),
  'chat, a tool that need not be': () => chat({ tools }),
  'chat, a tool that must not be': () => chat({ tools, tool_choice: 'none' }),
  'chat, the answer of a tool': () => chat({ messages: [...user('weather?'), { role: 'assistant', content: null,
    tool_calls: [{ id: 'c1', type: 'function', function: { name: 'weather', arguments: '{"place":"here"}' } }] },
  { role: 'tool', tool_call_id: 'c1', content: 'rain' }], tools }),
  'completion': () => complete(),
  'completion, several prompts': () => complete({ prompt: ['one', 'two', 'three'] }),
  'completion, logprobs': () => complete({ logprobs: 2 }),
  'completion, stop': () => complete({ stop: 'a', max_tokens: 50 }),
  'completion, stream': () => collect(complete({ stream: true })),
  'completion, stream, usage': () => collect(complete({ stream: true, stream_options: { include_usage: true } })),
  'embedding': () => embed(),
  'embedding, several': () => embed({ input: ['one', 'two', 'three'] }),
  'embedding, floats': () => embed({ encoding_format: 'float' }),
  'embedding, base64': () => embed({ encoding_format: 'base64' }),
  'embedding, tokens': () => embed({ input: [5, 6, 7] }),
  'rerank': () => rerank(),
  'rerank, top_n': () => rerank({ top_n: 1 }),
  'response': () => respond(),
  'response, instructions': () => respond({ instructions: 'be kind', input: [{ role: 'user', content: 'hello' }] }),
  'response, stream': () => collect(respond({ stream: true })),
  'response, input tokens': () => openai().post('/responses/input_tokens', { body: { model: 'tiny', input: 'tell me' } }),
  'error: truncated JSON': () => raw('/v1/chat/completions', { body: '{"model": "tiny", "messages"' }),
  'error: no body': () => raw('/v1/chat/completions', { body: '' }),
  'error: a list': () => raw('/v1/chat/completions', { body: '[]' }),
  'error: no messages': () => openai().chat.completions.create({ model: 'tiny' }),
  'error: messages that are none': () => chat({ messages: 'hello' }),
  'error: no prompt': () => openai().completions.create({ model: 'tiny' }),
  'error: no input': () => openai('emb').embeddings.create({ model: 'emb' }),
  'error: too long a prompt': () => chat({ messages: user(long) }),
  'error: too long a prompt, stream': () => chatStream({ messages: user(long) }),
  'error: a bad schema': () => chat(format({ type: 'nonsense' })),
  'error: a bad schema, stream': () => chatStream(format({ type: 'nonsense' })),
  'error: a bad grammar': () => complete({ grammar: 'root ::= (' }),
  'error: embeddings of a chat model': () => openai().embeddings.create({ model: 'tiny', input: 'a' }),
  'error: rerank by a chat model': () => openai().post('/rerank', { body: { model: 'tiny', query: 'a', documents: ['b'] } }),
  'error: no query': () => rerank({ query: undefined }),
  'error: no key': () => raw('/v1/chat/completions', { body: JSON.stringify(question()), headers: { authorization: '' } }),
  'error: a wrong key': () => openai('tiny', 'wrong').chat.completions.create(question()),
  'error: no such path': () => openai().post('/nothing', { body: question() }),
  'error: a wrong method': () => openai().get('/chat/completions'),
  'error: an unknown model': () => chat({ model: 'nothing' }),
  'message': () => message(),
  'message, system': () => message({ system: 'be kind' }),
  'message, several': () => message({ messages: [...user('one'), { role: 'assistant', content: 'two' }, ...user('three')] }),
  'message, blocks': () => message({ messages: user([{ type: 'text', text: 'a' }, { type: 'text', text: 'b' }]) }),
  'message, unicode': () => message({ messages: user('Zoë \u{1f42b}') }),
  'message, stop_sequences': () => message({ stop_sequences: ['a'], max_tokens: 50 }),
  'message, stream': () => collect(message({ stream: true })),
  'message, stream, long': () => collect(message({ stream: true, max_tokens: 100 })),
  'message, a tool': () => message({ tools: anthropicTools, tool_choice: { type: 'any' }, max_tokens: 120 }),
  'message, a tool, stream': () => collect(message({ tools: anthropicTools, tool_choice: { type: 'any' }, max_tokens: 120, stream: true })),
  'message, by its helper': () => anthropic().messages.stream({ ...question(), seed: undefined }).finalMessage(),
  'message, count_tokens': () => anthropic().messages.countTokens({ model: 'tiny', messages: user('tell me something') }),
  'message, error: no messages': () => anthropic().messages.create({ model: 'tiny', max_tokens: 3 }),
  'message, error: too long': () => message({ messages: user(long) }),
  'message, error: too long, stream': () => collect(message({ messages: user(long), stream: true })),
  'message, error: a wrong key': () => anthropic('wrong').messages.create({ model: 'tiny', messages: user('a'), max_tokens: 3 }),
}

function told(e) {
  return { error: e.constructor.name, status: e.status, message: e.message, type: e.type, code: e.code, param: e.param }
}

for (const [name, run] of Object.entries(cases)) {
  answers = []
  const client = JSON.stringify(await run().catch(told))
  const came = await Promise.all(answers.map(async (a) => ({ ...a, text: await a.text })))
  console.log(JSON.stringify({ name, came, client }))
}
