import { BaseGenerator, Picture, SampleOptions, Samples, Source, TranslateOptions } from "./core.mjs";

export type { Manifest, Picture, SampleOptions, Samples, SelfTest, Source, TranslateOptions } from "./core.mjs";

export declare class Images implements Samples {
  private constructor();
  data: Uint8Array;
  shape: [number, number, number, number];
  /** Image i (default 0) as RGBA, for `context.putImageData`. */
  toImageData(i?: number): ImageData;
}

export declare class Generator extends BaseGenerator {
  private constructor();
  /**
   * @param url of the model; default: ../generator.seeded.onnx beside this folder
   * @param options session options of onnxruntime-web
   */
  static open(url?: string | URL, options?: Record<string, unknown>): Promise<Generator>;
  sample(options?: SampleOptions): Promise<Images>;
  translate(picture: Source, options?: TranslateOptions): Promise<Picture & { toImageData(): ImageData }>;
}
