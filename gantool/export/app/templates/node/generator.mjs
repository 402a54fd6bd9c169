// Images from generator.seeded.onnx in Node: npm i --ignore-scripts onnxruntime-node@1.30.0
import { readFile } from "node:fs/promises";
import ort from "onnxruntime-node";
import { BaseGenerator } from "./core.mjs";

const MODEL = new URL("../generator.seeded.onnx", import.meta.url);

export class Generator extends BaseGenerator {
  /** `path`: of the model, a string or a file URL. `options`: ONNX Runtime's, like { intraOpNumThreads: 2 }. */
  static async open(path = MODEL, options = {}) {
    return this.load(ort, await readFile(path), options);
  }
}
