import {
  BaseGenerator, Picture, SampleOptions, Samples, Sounds as SoundData, Source, TranslateOptions, Volumes,
} from "./core.mjs";

export type { Manifest, Picture, SampleOptions, Samples, SelfTest, Source, TranslateOptions, Volumes } from "./core.mjs";

export declare class Images implements Samples {
  private constructor();
  data: Uint8Array;
  shape: [number, number, number, number];
  /** Image i (default 0) as RGBA, for `context.putImageData`. */
  toImageData(i?: number): ImageData;
}

export declare class Sounds implements SoundData {
  private constructor();
  data: Int16Array;
  shape: [number, number, number];
  /** Samples a second. */
  rate: number;
  /** Sound i (default 0) for an AudioBufferSourceNode. */
  toAudioBuffer(i?: number): AudioBuffer;
  /** Sound i (default 0) as the bytes of a WAV file. */
  toWav(i?: number): Uint8Array;
}

export declare class Generator extends BaseGenerator {
  private constructor();
  /**
   * @param url of the model; default: ../generator.seeded.onnx beside this folder
   * @param options session options of onnxruntime-web
   */
  static open(url?: string | URL, options?: Record<string, unknown>): Promise<Generator>;
  /** Images, Sounds or Volumes: see `kind`. */
  sample<Made extends Samples | SoundData | Volumes = Images>(options?: SampleOptions): Promise<Made>;
  translate(picture: Source, options?: TranslateOptions): Promise<Picture & { toImageData(): ImageData }>;
}
