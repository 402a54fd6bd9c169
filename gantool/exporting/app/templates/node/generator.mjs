// Images, sounds or volumes from generator.seeded.onnx in Node: npm i --ignore-scripts onnxruntime-node@1.30.0
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import ort from "onnxruntime-node";
import { BaseGenerator } from "./core.mjs";

/** The model beside this file, else the one in the folder above. */
function findModel() {
  const places = ["./", "../"].map((folder) => new URL(folder, import.meta.url));
  const found = places.map((place) => new URL("generator.seeded.onnx", place)).find((url) => existsSync(url));
  if (found) return found;
  const [here, above] = places.map((place) => fileURLToPath(place));
  throw new Error(`There is no generator.seeded.onnx in ${here} nor in ${above}: put it there, or give its path.`);
}

export class Generator extends BaseGenerator {
  /** `path`: of the model, a string or a file URL; default: beside this file, or one folder up. `options`: ONNX Runtime's, like { intraOpNumThreads: 2 }. */
  static async open(path = findModel(), options = {}) {
    return this.load(ort, await readFile(path), options);
  }
}
