/* The model in a page: a Web Worker that loads the graphs of tada.display.live and makes clips with them.

   Messages in: {id, kind: "load", from}, {id, kind: "make", request}. Messages out: {id, progress}, {id, done} or
   {id, error}. The last request wins: one that is being made stops where the next arrives. */
import * as ort from "./ort.wasm.bundle.min.mjs";
import { lufs, picture, power, resample, sound, tokenise } from "./tools.mjs";

const GZIP = [0x1f, 0x8b];
let model = null; // {about, sessions, texts, noise, vectors}
let latest = 0;

/** A file, unpacked where it is packed: some servers do it on the way. */
async function fetched(url, tell = () => {}) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`the server answered ${answer.status} for ${url}`);
  const parts = [], reader = answer.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    tell(part.value.length);
  }
  const whole = new Blob(parts);
  const start = new Uint8Array(await whole.slice(0, 2).arrayBuffer());
  if (!GZIP.every((byte, n) => start[n] === byte)) return whole.arrayBuffer();
  return new Response(whole.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** A file of which every other byte comes first: numbers of two bytes pack better so. */
function joined(buffer) {
  const split = new Uint8Array(buffer), whole = new Uint8Array(split.length), half = (split.length + 1) >> 1;
  for (let n = 0; n < split.length; n++) whole[n] = split[(n >> 1) + (n & 1) * half];
  return whole;
}

const floats = async (url) => new Float32Array(await fetched(url));

async function load(from, tell) {
  const about = JSON.parse(new TextDecoder().decode(await fetched(`${from}live.json`)));
  const own = new URL("ort-wasm-simd-threaded.wasm.gz", import.meta.url).href;
  const files = { wasm: own, ...Object.fromEntries(Object.entries(about.files).map(([name, file]) => [name, `${from}${file}`])) };
  let bytes = 0;
  const got = (some) => tell({ bytes: (bytes += some), of: about.bytes, doing: "loading" });
  const contents = await Promise.all(Object.values(files).map((url) => fetched(url, got)));
  const { wasm, ...split } = Object.fromEntries(Object.keys(files).map((name, n) => [name, contents[n]]));
  const { noise, ...graphs } = Object.fromEntries(Object.entries(split).map(([name, buffer]) => [name, joined(buffer)]));
  Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary: wasm });
  ort.env.logLevel = "error";
  const sessions = {};
  for (const [name, graph] of Object.entries(graphs))
    sessions[name] = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
  about.tokenizer.pieces = new Map(about.tokenizer.pieces.map(([piece, score], id) => [piece, [id, score]]));
  model = { about, sessions, noise: new Float32Array(noise.buffer), texts: new Map(), vectors: new Map(), from };
  return {};
}

const tensor = (values, ...shape) => new ort.Tensor("float32", values, shape);

/** Keys, values and used places of a prompt, at every layer. */
async function read(prompt) {
  const { about, sessions, texts } = model;
  if (!texts.has(prompt)) {
    const { ids } = tokenise(prompt, about.tokenizer);
    if (ids.length > about.tokens) throw new Error(`the prompt has ${ids.length} tokens, at most ${about.tokens} are read`);
    const [padded, mask] = [new BigInt64Array(about.tokens), new BigInt64Array(about.tokens)];
    padded.set(ids.map(BigInt));
    mask.fill(1n, 0, ids.length);
    const feeds = { ids: new ort.Tensor("int64", padded, [1, about.tokens]), mask: new ort.Tensor("int64", mask, [1, about.tokens]) };
    texts.set(prompt, await sessions.text.run(feeds));
  }
  return texts.get(prompt);
}

/** What layers read: a prompt, but at `layers` another one. */
async function routed({ prompt, source, layers }) {
  const base = await read(prompt);
  if (source == null) return base;
  const other = await read(source);
  const mixed = ([name, own]) => {
    const values = Float32Array.from(own.data), size = values.length / own.dims[0];
    for (const layer of layers) values.set(other[name].data.subarray(layer * size, (layer + 1) * size), layer * size);
    return [name, new ort.Tensor("float32", values, own.dims)];
  };
  return Object.fromEntries(Object.entries(base).map(mixed));
}

/** The push at each step, `[steps][layers * width]`: vectors times strengths at `layers`, 0 elsewhere. */
async function pushes({ strengths, layers }) {
  const { about, vectors, from } = model, { steps, layers: count, width } = about;
  const push = Array.from({ length: steps }, () => new Float32Array(count * width));
  for (const [concept, alpha] of Object.entries(strengths || {})) {
    const { file, steps: own } = about.concepts.find((one) => one.name === concept);
    if (!vectors.has(file)) vectors.set(file, await floats(`${from}${file}`));
    const values = vectors.get(file);
    push.forEach((at, step) => {
      const start = (step % own) * count * width;
      for (const layer of layers)
        for (let n = layer * width; n < (layer + 1) * width; n++) at[n] += alpha * values[start + n];
    });
  }
  return push;
}

/** What the attribute probe hears: attribute -> [likeliest class, its probability, those of all]; null without a probe. */
async function judge(heard) {
  const { about, sessions } = model;
  if (!sessions.probe) return null;
  const { values, bins, time } = power(heard.subarray(0, Math.round(about.seconds * about.phase_rate)));
  const { heard: { data } } = await sessions.probe.run({ power: tensor(values, bins, time) });
  let first = 0;
  return Object.fromEntries(Object.entries(about.classes).map(([name, classes]) => {
    const own = [...data.subarray(first, (first += classes.length))], most = Math.max(...own);
    return [name, [classes[own.indexOf(most)], most, own]];
  }));
}

async function make(request, tell, stale) {
  const { about, sessions, noise } = model, began = performance.now();
  const [text, push] = [await routed(request), await pushes(request)];
  const size = noise.length / about.seeds.length, place = about.seeds.indexOf(request.seed);
  if (place < 0) throw new Error(`no noise of seed ${request.seed}`);
  const x = noise.slice(place * size, (place + 1) * size);
  for (let step = 0; step < about.steps; step++) {
    if (stale()) return null;
    tell({ step, steps: about.steps, doing: "making" });
    const feeds = { x: tensor(x, ...about.latents), sigma: tensor([about.sigmas[step]], 1), guidance: tensor([about.guidance[step]], 1) };
    feeds.push = tensor(push[step], about.layers, about.width);
    const { velocity } = await sessions.step.run({ ...feeds, ...text });
    const length = Math.fround(about.sigmas[step + 1] - about.sigmas[step]);
    for (let n = 0; n < size; n++) x[n] += length * velocity.data[n];
    await new Promise((rest) => setTimeout(rest)); // so that a newer request is heard
  }
  if (stale()) return null;
  tell({ step: about.steps, steps: about.steps, doing: "making" });
  const { sound: decoded } = await sessions.sound.run({ latents: tensor(x, ...about.latents) });
  const heard = about.phase ? sound(decoded.data, about.phase) : Float32Array.from(decoded.data);
  const audio = resample(heard, about.resample).slice(0, Math.round(about.seconds * about.sample_rate));
  const seconds = (performance.now() - began) / 1000;
  const made = { audio, rate: about.sample_rate, level: lufs(audio, about.sample_rate, about.loudness), seconds };
  return { ...made, picture: picture(heard, about.phase_rate), verdict: await judge(heard) };
}

self.onmessage = async ({ data: { id, kind, from, request } }) => {
  latest = id;
  const tell = (progress) => self.postMessage({ id, progress });
  try {
    const done = kind === "load" ? await load(from, tell) : await make(request, tell, () => id !== latest);
    self.postMessage({ id, done }, done?.audio ? [done.audio.buffer, done.picture.buffer] : []);
  } catch (error) {
    self.postMessage({ id, error: String(error?.message || error) });
  }
};
