export interface SampleOptions {
  /** Which family of samples: a safe integer, or a BigInt from -(2n ** 63n) to 2n ** 63n - 1n. Default 0. */
  seed?: number | bigint;
  /** The first sample, from 0 to 2 ** 47 - 1. Default 0. */
  first?: number | bigint;
  /** How many samples. Default 1. */
  count?: number | bigint;
  /** Of a conditional generator: one class for all, or one each, by number or name. Without: sample i has class i mod classes. */
  labels?: number | bigint | string | ArrayLike<number | bigint | string> | null;
  /** Values of the generator by name: one number for all samples, or one each. Without: their defaults. */
  values?: Record<string, number | ArrayLike<number>> | null;
}

/** Images. */
export interface Samples {
  /** Image after image, row by row, channels last. */
  data: Uint8Array;
  /** [count, height, width, channels] */
  shape: [number, number, number, number];
}

export interface Sounds {
  /** Sound after sound, channels last; ±32767 for ±1. */
  data: Int16Array;
  /** [count, samples, channels] */
  shape: [number, number, number];
}

export interface Volumes {
  /** Volume after volume, from front to back, from top to bottom, row by row; filled from 128 on. */
  data: Uint8Array;
  /** [count, depth, height, width, 1] */
  shape: [number, number, number, number, number];
}

/** Row by row, channels last: 1: grey, 3: RGB. */
export interface Picture {
  data: Uint8Array;
  width: number;
  height: number;
  channels: number;
}

/** A picture, or RGBA as a canvas's ImageData has it. */
export type Source = Picture | { data: Uint8Array | Uint8ClampedArray; width: number; height: number };

export interface TranslateOptions {
  /** Of the noise, where the generator has any: see SampleOptions. Default 0. */
  seed?: number | bigint;
  /** Which noise of that seed. Default 0. */
  index?: number | bigint;
  /** The class, of a conditional generator, by number or name. */
  labels?: number | bigint | string | null;
  /** Values of the generator by name. Without: their defaults. */
  values?: Record<string, number> | null;
}

export interface SelfTest {
  /** Byte for byte what the exporting machine made; null where the host has no SHA-256 (an insecure page). */
  exact: boolean | null;
  /** Samples that were compared. */
  images: number;
  /** The largest difference of a known value, in levels. */
  worst: number;
}

/** What an exported file says about itself; manifest.json holds all of it. */
export interface Manifest {
  schema_version: number;
  kind: string;
  architecture: Record<string, unknown>;
  training: Record<string, unknown>;
  data: Record<string, unknown>;
  output: { name: string; shape: number[]; dtype: string; layout: string; rate?: number };
  licence: string;
  [field: string]: unknown;
}

export declare abstract class BaseGenerator {
  readonly manifest: Manifest;
  /** What it makes: `sample` gives Samples, Sounds or Volumes. */
  readonly kind: "image" | "audio" | "volume";
  /** Of a sample: [height, width, channels], [samples, channels] or [depth, height, width, 1]. */
  readonly shape: number[];
  /** `shape`, of a generator of images. */
  readonly imageShape: [number, number, number];
  /** Samples a second of sounds; 0 of others. */
  readonly rate: number;
  /** 0 when the generator takes no labels. */
  readonly classes: number;
  /** One a class; their numbers where the data named none. */
  readonly classNames: string[];
  /** The picture that it makes another of: [height, width, channels] as trained; sides are multiples of `multiple`, or those, if it is 0. */
  readonly source: { name: string; shape: [number, number, number]; multiple: number } | null;
  /** Whether it takes noise: `seed` and `index`. */
  readonly seeded: boolean;
  /** The values that it takes: numbers by which samples are changed. */
  readonly values: { name: string; default: number; low: number; high: number }[];
  /** @throws RangeError when there is no class of that number or name; TypeError when there are no classes. */
  classNumber(label: number | bigint | string): number;
  /** @throws RangeError for a seed, index, count, label or value that does not exist; TypeError for labels of no use. */
  sample<Made extends Samples | Sounds | Volumes = Samples>(options?: SampleOptions): Promise<Made>;
  /** What it makes of a picture. @throws RangeError for a picture that does not fit; otherwise as `sample`. */
  translate(picture: Source, options?: TranslateOptions): Promise<Picture>;
  /** @throws Error when this host makes other samples than the exporting machine. */
  selfTest(): Promise<SelfTest>;
  /** Give the model's memory back. */
  close(): Promise<void>;
}
