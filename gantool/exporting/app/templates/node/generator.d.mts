import { BaseGenerator } from "./core.mjs";

export type {
  Manifest, Picture, SampleOptions, Samples, SelfTest, Sounds, Source, TranslateOptions, Volumes,
} from "./core.mjs";

export declare class Generator extends BaseGenerator {
  private constructor();
  /**
   * @param path of the model; default: generator.seeded.onnx beside this file, or one folder up
   * @param options session options of onnxruntime-node
   */
  static open(path?: string | URL, options?: Record<string, unknown>): Promise<Generator>;
}
