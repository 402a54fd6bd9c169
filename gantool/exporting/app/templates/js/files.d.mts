/** The bytes of a WAV file, PCM in 16 bits, of one sound. `texts`: more chunks by their names of four letters. */
export declare function wav(data: Int16Array, channels: number, rate: number, texts?: Record<string, string>): Uint8Array;
/** The bytes of an Int16Array in the order of files, the lower one first. */
export declare function littleEndian(data: Int16Array): Uint8Array;
/** A sound as the Web Audio API plays it: data / 32767. Browsers only. @throws where the browser plays no such rate. */
export declare function audioBuffer(data: Int16Array, channels: number, rate: number): AudioBuffer;
/** The bytes of a binvox file of one volume, [depth, height, width, …]: what has 128 and more is filled. */
export declare function binvox(data: Uint8Array, shape: readonly number[]): Uint8Array;
/** A volume's surface: three numbers a vertex, three vertices a triangle. x to the right, y up, z to the front; the longest side is 1. */
export declare function surface(
  data: Uint8Array,
  shape: readonly number[],
): { positions: Float32Array; normals: Float32Array; triangles: Uint32Array };
/** The bytes of a binary glTF file of that surface. `extras`: JSON that is kept with it. */
export declare function glb(data: Uint8Array, shape: readonly number[], extras?: string): Uint8Array;
