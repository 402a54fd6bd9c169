// usage: node example.mjs [--seed 7] [-n 16] [--first 0] [--label N] [-o grid.png]
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { crc32, deflateSync } from "node:zlib";
import { Generator } from "./generator.mjs";

const XMP = "%%{xmp}"; // what its pictures say of where they come from; empty: nothing

const { values: given } = parseArgs({
  options: {
    seed: { type: "string", default: "7" },
    count: { type: "string", short: "n", default: "16" },
    first: { type: "string", default: "0" },
    label: { type: "string" },
    output: { type: "string", short: "o", default: "grid.png" },
  },
});
const generator = await Generator.open();
const images = await generator.sample({
  seed: BigInt(given.seed),
  first: BigInt(given.first),
  count: BigInt(given.count),
  labels: given.label === undefined ? null : BigInt(given.label),
});
await writeFile(given.output, png(grid(images)));
console.log(`${given.output}: ${images.shape[0]} images of seed ${given.seed}`);

/** Images side by side, as square as it goes → { data, width, height, channels }. */
function grid({ data, shape: [count, height, width, channels] }) {
  const columns = Math.max(1, Math.ceil(Math.sqrt(count)));
  const line = columns * width * channels; // bytes of one row of pixels
  const sheet = new Uint8Array(Math.max(1, Math.ceil(count / columns)) * height * line);
  for (let i = 0; i < count; i++) {
    for (let y = 0; y < height; y++) {
      const from = (i * height + y) * width * channels;
      const to = (Math.floor(i / columns) * height + y) * line + (i % columns) * width * channels;
      sheet.set(data.subarray(from, from + width * channels), to);
    }
  }
  return { data: sheet, width: columns * width, height: sheet.length / line, channels };
}

/** A PNG file, with XMP. */
function png({ data, width, height, channels }) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, channels === 1 ? 0 : 2], 8); // bits a channel; grey or RGB
  const line = width * channels;
  const rows = Buffer.alloc(height * (line + 1)); // each row starts with its filter: none
  for (let y = 0; y < height; y++) rows.set(data.subarray(y * line, (y + 1) * line), y * (line + 1) + 1);
  return Buffer.concat([
    Buffer.from("\x89PNG\r\n\x1a\n", "latin1"),
    chunk("IHDR", header),
    ...(XMP ? [chunk("iTXt", Buffer.from(`XML:com.adobe.xmp\0\0\0\0\0${XMP}`))] : []),
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
