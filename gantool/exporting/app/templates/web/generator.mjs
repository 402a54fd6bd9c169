// Images, sounds or volumes from generator.seeded.onnx in a browser, in a page or a module worker, on ONNX Runtime's WebAssembly build.
import * as ort from "./ort/ort.wasm.bundle.min.mjs";
import { BaseGenerator } from "./core.mjs";
import { audioBuffer, wav } from "./files.mjs";

ort.env.wasm.numThreads = 1; // threads need a page that is cross-origin isolated (COOP and COEP)
ort.env.wasm.wasmPaths = { wasm: new URL("./ort/ort-wasm-simd-threaded.wasm", import.meta.url).href };
const MODEL = new URL("../generator.seeded.onnx", import.meta.url);

/** What `sample` gives of images: `data`, `shape`, and any of the images as the canvas takes it. */
export class Images {
  constructor({ data, shape }) {
    this.data = data;
    this.shape = shape;
  }

  /** Image i as RGBA, for `context.putImageData`. */
  toImageData(i = 0) {
    const [count, height, width, channels] = this.shape;
    if (!Number.isInteger(i) || i < 0 || i >= count) throw new RangeError(`There is no image ${i} among ${count}.`);
    const rgba = new Uint8ClampedArray(height * width * 4);
    const start = i * height * width * channels;
    for (let pixel = 0; pixel < height * width; pixel++) {
      const at = start + pixel * channels;
      for (let channel = 0; channel < 3; channel++) rgba[pixel * 4 + channel] = this.data[at + (channel % channels)];
      rgba[pixel * 4 + 3] = 255;
    }
    return new ImageData(rgba, width, height);
  }
}

/** What `sample` gives of sounds: `data`, `shape`, and any of the sounds to play or to save. */
export class Sounds {
  constructor({ data, shape }, rate) {
    this.data = data;
    this.shape = shape;
    this.rate = rate;
  }

  /** Sound i for `source.buffer` of an AudioBufferSourceNode: its numbers are those of `data` / 32767. */
  toAudioBuffer(i = 0) {
    return audioBuffer(this.#sound(i), this.shape[2], this.rate);
  }

  /** Sound i as the bytes of a WAV file. */
  toWav(i = 0) {
    return wav(this.#sound(i), this.shape[2], this.rate);
  }

  #sound(i) {
    const [count, samples, channels] = this.shape;
    if (!Number.isInteger(i) || i < 0 || i >= count) throw new RangeError(`There is no sound ${i} among ${count}.`);
    return this.data.subarray(i * samples * channels, (i + 1) * samples * channels);
  }
}

export class Generator extends BaseGenerator {
  /** `url`: of the model. `options`: session options of ONNX Runtime. */
  static async open(url = MODEL, options = {}) {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url} can't be loaded: ${response.status} ${response.statusText}`);
    return this.load(ort, new Uint8Array(await response.arrayBuffer()), options);
  }

  async sample(options) {
    const made = await super.sample(options);
    if (this.kind === "audio") return new Sounds(made, this.rate);
    return this.kind === "image" ? new Images(made) : made;
  }

  async translate(picture, options) {
    const made = await super.translate(picture, options);
    const images = new Images({ data: made.data, shape: [1, made.height, made.width, made.channels] });
    return { ...made, toImageData: () => images.toImageData() };
  }
}
