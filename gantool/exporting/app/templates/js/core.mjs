// What the Node and the browser generator share: feeds, chunks, checks, the self-test. No dependency.
import { littleEndian } from "./files.mjs";
import { card, fitted } from "./pictures.mjs";

const KEY = "gantool.manifest";
const KINDS = { HWC: "image", TC: "audio", DHWC: "volume" }; // of the axes of a sample
const ASSUMED_RATE = 16_000; // samples a second of sounds whose rate nobody knows
const CHUNK = 64; // samples a call: larger batches leave the cache
const MAX_INDEX = 2 ** 47;

/** The manifest that an ONNX file carries: `metadata_props`, field 14 of its protobuf. */
export function manifestOf(bytes) {
  const text = new TextDecoder();
  try {
    for (const [field, value] of fields(bytes)) {
      if (field !== 14) continue;
      const entry = new Map(fields(value)); // 1: key, 2: value
      if (text.decode(entry.get(1)) === KEY) return JSON.parse(text.decode(entry.get(2)));
    }
  } catch (error) {
    throw new Error(`This is no whole ONNX file (${error.message}).`, { cause: error });
  }
  throw new Error("This ONNX file has no gantool manifest: give the generator.seeded.onnx of an app kit.");
}

/** Samples of a seeded generator: images, sounds or volumes. `ort`: the ONNX Runtime module of the host. */
export class BaseGenerator {
  #ort;
  #session;
  #label;

  /** `options`: session options of ONNX Runtime. */
  static async load(ort, bytes, options) {
    const manifest = manifestOf(bytes); // first: its errors are the clearer ones
    return new this(ort, await ort.InferenceSession.create(bytes, options), manifest);
  }

  constructor(ort, session, manifest) {
    if (manifest.kind !== "onnx-seeded") {
      throw new Error(`This file is of kind ${manifest.kind}: give the generator.seeded.onnx of an app kit.`);
    }
    this.#ort = ort;
    this.#session = session;
    this.#label = manifest.inputs.find((input) => input.distribution === "label");
    this.manifest = manifest;
    const { shape, layout, rate } = manifest.output;
    this.kind = KINDS[layout] ?? "image"; // what it makes: image, audio or volume
    this.shape = this.imageShape = shape;
    this.rate = this.kind === "audio" ? rate || ASSUMED_RATE : 0; // of sounds, samples a second
    this.classes = this.#label?.classes ?? 0;
    // the picture that the generator makes another of; null: it makes images of seeds alone
    this.source = manifest.inputs.find((input) => input.distribution === "data") ?? null;
    this.seeded = manifest.inputs.some((input) => input.distribution === "seed"); // whether it takes noise
    this.values = manifest.inputs.filter((input) => input.distribution === "value");
    const names = manifest.data.class_names;
    const sound = Array.isArray(names) && names.length === this.classes;
    this.classNames = Array.from({ length: this.classes }, (_, i) => String(sound ? names[i] : i));
  }

  /**
   * Samples first … first+count-1 of a seed. Images: `{ data: Uint8Array, shape: [count, height, width, channels] }`;
   * sounds: `{ data: Int16Array, shape: [count, samples, channels] }`, ±32767 for ±1; volumes: `{ data: Uint8Array,
   * shape: [count, depth, height, width, 1] }`, filled from 128 on, from front to back and from top to bottom.
   */
  async sample({ seed = 0, first = 0, count = 1, labels = null, values = {} } = {}) {
    if (this.source) throw new TypeError("This generator takes a picture: call translate(picture).");
    count = whole("count", count, 0, MAX_INDEX);
    const feeds = this.#feeds(seed, first, count, labels, values);
    const size = this.shape.reduce((a, b) => a * b, 1);
    const data = new (this.kind === "audio" ? Int16Array : Uint8Array)(count * size);
    for (let start = 0; start < count; start += CHUNK) {
      const outputs = await this.#session.run(feeds(start, Math.min(CHUNK, count - start)));
      data.set(outputs[this.manifest.output.name].data, start * size);
    }
    return { data, shape: [count, ...this.shape] };
  }

  /**
   * What the generator makes of a picture `{ data, width, height, channels }`: another such. Without `channels` it is
   * RGBA, as a canvas's ImageData. Sides that the network can't take are filled up by the last row and column, and the
   * result is cut. `seed` and `index`: of the noise, where the generator has any.
   */
  async translate(picture, { seed = 0, index = 0, labels = null, values = {} } = {}) {
    if (!this.source) throw new TypeError("This generator takes no picture: call sample().");
    const feeds = this.#feeds(seed, index, 1, labels, values)(0, 1);
    const { picture: { data, width, height, channels }, cut } = fitted(picture, this.manifest);
    feeds[this.source.name] = new this.#ort.Tensor("uint8", Uint8Array.from(data), [1, height, width, channels]);
    const { data: made, dims: [, high, wide, depth] } = (await this.#session.run(feeds))[this.manifest.output.name];
    return cut({ data: made, width: wide, height: high, channels: depth });
  }

  /**
   * Make the samples whose values the exporting machine recorded; an Error when this host makes others.
   * `exact`: byte for byte the same (null where the page is not in a secure context, which has no SHA-256).
   */
  async selfTest() {
    let [exact, images, worst] = [true, 0, 0];
    for (const golden of this.manifest.golden) {
      const data = await this.#golden(golden);
      const channels = this.shape.at(-1);
      images += golden.count;
      const digest = await sha256(this.kind === "audio" ? littleEndian(data) : data);
      exact = digest === null ? null : exact && digest === golden.sha256;
      for (const [number, ...place] of golden.pixels) {
        const values = place.pop();
        const at = place.reduce((place, i, axis) => place * this.shape[axis] + i, number) * channels;
        values.forEach((value, i) => (worst = Math.max(worst, Math.abs(value - data[at + i]))));
      }
    }
    if (!images) throw new Error("This file has no golden samples.");
    const tolerance = this.manifest.tolerance ?? 1;
    if (worst > tolerance) {
      throw new Error(`Samples differ by up to ${worst} levels from the exporting machine's; allowed: ${tolerance}.`);
    }
    return { exact, images, worst };
  }

  /** Give the model's memory back. */
  async close() {
    await this.#session.release();
  }

  async #golden({ seed, first, count }) {
    if (!this.source) return (await this.sample({ seed, first, count })).data;
    const size = this.shape.reduce((a, b) => a * b, 1);
    const data = new Uint8Array(count * size);
    for (let i = 0; i < count; i++) {
      data.set((await this.translate(card(first + i, this.source.shape), { seed, index: first + i })).data, i * size);
    }
    return data;
  }

  /** (start, n) → what the model takes for images first+start … first+start+n-1, but for a picture. */
  #feeds(seed, first, count, labels, values) {
    seed = seedOf(seed);
    first = whole("first", first, 0, MAX_INDEX - count);
    const classOf = this.#classes(labels, first, count);
    const numbers = this.#numbers(values ?? {}, count);
    return (start, n) => {
      const feeds = {};
      if (this.seeded) feeds.seed = this.#int64(1, () => seed);
      if (this.seeded) feeds.index = this.#int64(n, (i) => first + start + i);
      if (this.#label) feeds[this.#label.name] = this.#int64(n, (i) => classOf(start + i));
      for (const [name, of] of numbers) {
        feeds[name] = new this.#ort.Tensor("float32", Float32Array.from({ length: n }, (_, i) => of(start + i)), [n]);
      }
      return feeds;
    };
  }

  #int64(length, value) {
    return new this.#ort.Tensor("int64", BigInt64Array.from({ length }, (_, i) => BigInt(value(i))), [length]);
  }

  /** i → the class of image i; without labels, that of image first+i is its number modulo the classes. */
  #classes(labels, first, count) {
    if (labels === null || labels === undefined) return (i) => (first + i) % this.classes;
    if (["number", "bigint", "string"].includes(typeof labels)) labels = new Array(count).fill(labels);
    if (labels.length !== count) throw new RangeError(`There are ${labels.length} labels for ${count} samples.`);
    const checked = Array.from(labels, (label) => this.classNumber(label));
    return (i) => checked[i];
  }

  /** [name, i → the value of image i] of each value of the generator; its default where none is given. */
  #numbers(given, count) {
    for (const name of Object.keys(given)) {
      if (this.values.some((value) => value.name === name)) continue;
      const known = this.values.map((value) => value.name).join(", ") || "none";
      throw new RangeError(`This generator takes no value '${name}': it has ${known}.`);
    }
    return this.values.map(({ name, default: usual, low, high }) => {
      const number = given[name] ?? usual;
      const each = typeof number === "number" ? new Array(count).fill(number) : Array.from(number);
      if (each.length !== count) throw new RangeError(`There are ${each.length} numbers of ${name} for ${count} samples.`);
      const wrong = each.find((one) => !(one >= low && one <= high));
      if (wrong !== undefined) throw new RangeError(`${name} is ${wrong}: it goes from ${low} to ${high}.`);
      return [name, (i) => each[i]];
    });
  }

  /** The number of a class that is given by its number or its name. */
  classNumber(label) {
    if (!this.#label) throw new TypeError("This generator takes no labels.");
    if (typeof label !== "string") return whole("label", label, 0, this.classes - 1);
    const named = this.classNames.indexOf(label);
    if (named >= 0) return named;
    if (/^\d+$/.test(label)) return whole("label", BigInt(label), 0, this.classes - 1);
    const known = this.classNames.slice(0, 20).join(", ") + (this.classes > 20 ? ", …" : "");
    throw new RangeError(`There is no class '${label}': they are ${known}.`);
  }
}

function seedOf(seed) {
  if (typeof seed === "number") {
    if (!Number.isSafeInteger(seed)) {
      throw new RangeError(`seed ${seed} is no whole number that JavaScript holds exactly: write a BigInt, like 7n.`);
    }
    return BigInt(seed);
  }
  if (typeof seed !== "bigint") throw new TypeError(`seed is ${String(seed)}: give a number or a BigInt.`);
  if (BigInt.asIntN(64, seed) !== seed) {
    throw new RangeError(`seed ${seed} does not fit 64 bits: take one from -(2n ** 63n) to 2n ** 63n - 1n.`);
  }
  return seed;
}

function whole(name, value, least, most) {
  if (typeof value !== "bigint" && !Number.isSafeInteger(value)) {
    throw new RangeError(`${name} is ${String(value)}: not a whole number.`);
  }
  if (value < least || value > most) throw new RangeError(`${name} is ${value}: take one from ${least} to ${most}.`);
  return Number(value);
}

async function sha256(data) {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle) return null;
  const digest = new Uint8Array(await subtle.digest("SHA-256", data));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The length-delimited fields of a protobuf message: [number, bytes]. The others are passed over. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let [value, scale] = [0, 1];
    for (;;) {
      if (at >= bytes.length) throw new RangeError("it ends too early");
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const kind = tag % 8;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === 2) {
      const length = varint();
      if (at + length > bytes.length) throw new RangeError("it ends too early");
      yield [Math.floor(tag / 8), bytes.subarray(at, (at += length))];
    } else throw new RangeError("it is something else");
  }
}
