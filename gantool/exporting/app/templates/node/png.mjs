// PNG files with Node's zlib alone.
import { crc32, deflateSync, inflateSync } from "node:zlib";

const SIGNATURE = Buffer.from("\x89PNG\r\n\x1a\n", "latin1");
const SAMPLES = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }; // by the type of colour: grey, RGB, palette, grey and alpha, RGBA

/** The picture of a PNG file of 8 bits, not interlaced, as RGBA: { data, width, height, channels: 4 }. */
export function decode(file) {
  if (!SIGNATURE.equals(file.subarray(0, 8))) throw new Error("This is no PNG file.");
  const [chunks, packed] = [{}, []];
  for (let at = 8; at + 8 < file.length; ) {
    const [length, type] = [file.readUInt32BE(at), file.toString("latin1", at + 4, at + 8)];
    const body = file.subarray(at + 8, at + 8 + length);
    if (type === "IDAT") packed.push(body);
    else chunks[type] ??= body;
    at += length + 12;
  }
  const [width, height] = [chunks.IHDR.readUInt32BE(0), chunks.IHDR.readUInt32BE(4)];
  const [bits, kind, , , interlaced] = chunks.IHDR.subarray(8);
  if (bits !== 8 || interlaced) throw new Error("This PNG file is interlaced or has not 8 bits a channel: save it otherwise.");
  const samples = SAMPLES[kind];
  const pixels = unfiltered(inflateSync(Buffer.concat(packed)), width * samples, height, samples);
  const { PLTE: palette, tRNS: clear } = chunks;
  const data = new Uint8Array(width * height * 4);
  for (let i = 0; i < width * height; i++) {
    const pixel = pixels.subarray(i * samples, (i + 1) * samples);
    let colour = samples < 3 ? [pixel[0], pixel[0], pixel[0]] : pixel.subarray(0, 3);
    let alpha = samples % 2 ? 255 : pixel[samples - 1];
    if (kind === 3) {
      colour = palette.subarray(pixel[0] * 3, pixel[0] * 3 + 3);
      alpha = clear?.[pixel[0]] ?? 255;
    } else if (clear && pixel.every((value, c) => value === clear[2 * c + 1])) alpha = 0;
    data.set(colour, i * 4);
    data[i * 4 + 3] = alpha;
  }
  return { data, width, height, channels: 4 };
}

/** The rows of a PNG file, each of which starts with its filter, without the filters. */
function unfiltered(rows, line, height, samples) {
  const out = new Uint8Array(line * height);
  for (let y = 0; y < height; y++) {
    const filter = rows[y * (line + 1)];
    for (let x = 0; x < line; x++) {
      const at = y * line + x;
      const left = x < samples ? 0 : out[at - samples];
      const up = y ? out[at - line] : 0;
      const corner = y && x >= samples ? out[at - line - samples] : 0;
      const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
      const paeth = a <= b && a <= c ? left : b <= c ? up : corner;
      out[at] = rows[y * (line + 1) + 1 + x] + [0, left, up, (left + up) >> 1, paeth][filter];
    }
  }
  return out;
}

/** The PNG file of a picture, grey or RGB. `texts`: by keyword. */
export function encode({ data, width, height, channels }, texts = {}) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, channels === 1 ? 0 : 2], 8); // bits a channel; grey or RGB
  const line = width * channels;
  const rows = Buffer.alloc(height * (line + 1)); // each row starts with its filter: none
  for (let y = 0; y < height; y++) rows.set(data.subarray(y * line, (y + 1) * line), y * (line + 1) + 1);
  return Buffer.concat([
    SIGNATURE,
    chunk("IHDR", header),
    ...Object.entries(texts).map(([keyword, text]) => chunk("iTXt", Buffer.from(`${keyword}\0\0\0\0\0${text}`))),
    chunk("IDAT", deflateSync(rows)),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function chunk(type, body) {
  const named = Buffer.concat([Buffer.from(type), body]);
  const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(body.length);
  check.writeUInt32BE(crc32(named));
  return Buffer.concat([length, named, check]);
}
