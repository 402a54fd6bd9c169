import type { Picture } from "./core.mjs";

/** The picture of a PNG file of 8 bits, not interlaced, as RGBA. @throws Error for another file. */
export declare function decode(file: Buffer): Picture;
/** The PNG file of a picture, grey or RGB. `texts`: by keyword. */
export declare function encode(picture: Picture, texts?: Record<string, string>): Buffer;
