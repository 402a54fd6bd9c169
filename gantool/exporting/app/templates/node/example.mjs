// A grid of images as a PNG file: node example.mjs --help
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { crc32, deflateSync } from "node:zlib";

const XMP = "%%{xmp}"; // what its pictures say of where they come from; empty: nothing
const MAX_GRID = 10_000; // images in one picture
const HELP = `usage: node example.mjs [options]

  --seed N           any whole number of 64 bits (default 7)
  -n, --count N      how many images, 1 to ${MAX_GRID} (default 16)
  --first N          number of the first image (default 0)
  --label N|NAME     class of all images, of a conditional generator; without it image i has class i mod classes
  --value NAME=X     a value of the generator; may be repeated
  -o, --output FILE  the PNG file to write (default grid.png)
  -h, --help         this text`;
const OPTIONS = {
  seed: { type: "string", default: "7" },
  count: { type: "string", short: "n", default: "16" },
  first: { type: "string", default: "0" },
  label: { type: "string" },
  value: { type: "string", multiple: true, default: [] },
  output: { type: "string", short: "o", default: "grid.png" },
  help: { type: "boolean", short: "h" },
};

/** A wrong command line. */
class UsageError extends Error {}

try {
  await main(parse(process.argv.slice(2)));
} catch (error) {
  const wrong = error instanceof UsageError;
  console.error(`example.mjs: ${error.message.split("\n")[0]}${wrong ? "\nTry: node example.mjs --help" : ""}`);
  process.exitCode = wrong ? 2 : 1;
}

async function main({ seed, first, count, label, value, output, help }) {
  if (help) return console.log(HELP);
  const Generator = await load();
  const generator = await Generator.open();
  const number = label === undefined ? null : generator.classNumber(label);
  const values = Object.fromEntries(value.map(named));
  const images = await generator.sample({ seed, first, count, labels: number, values });
  const made = { seed, first, count, label: number, values: value.length ? values : null };
  await writeFile(output, png(grid(images), about(generator.manifest, made)));
  console.log(`${output}: ${images.shape[0]} images of seed ${seed}`);
}

/** The options, their numbers as BigInt. */
function parse(words) {
  let values;
  try {
    ({ values } = parseArgs({ args: joined(words), options: OPTIONS }));
  } catch (error) {
    throw new UsageError(error.message);
  }
  const [seed, first, count] = ["seed", "first", "count"].map((name) => whole(name, values[name]));
  if (count < 1n || count > MAX_GRID) throw new UsageError(`a picture holds 1 to ${MAX_GRID} images, not ${count}`);
  return { ...values, seed, first, count };
}

/** The words with negative numbers joined to their option: parseArgs takes "--seed=-5" and "-n-5" alone. */
function joined(words) {
  const args = [];
  for (const word of words) {
    const last = args.at(-1);
    if (/^-\d/.test(word) && /^(--\w+|-\w)$/.test(last)) args[args.length - 1] += `${last[1] === "-" ? "=" : ""}${word}`;
    else args.push(word);
  }
  return args;
}

/** [name, number] of a text such as "truncation=0.7". */
function named(text) {
  const at = text.lastIndexOf("=");
  const number = at > 0 && text.slice(at + 1).trim() ? Number(text.slice(at + 1)) : NaN;
  if (Number.isNaN(number)) throw new UsageError(`--value takes NAME=NUMBER, not '${text}'`);
  return [text.slice(0, at), number];
}

function whole(name, text) {
  if (!/^-?\d+$/.test(text)) throw new UsageError(`--${name} takes a whole number, not '${text}'`);
  return BigInt(text);
}

async function load() {
  try {
    return (await import("./generator.mjs")).Generator;
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    throw new Error("onnxruntime-node is not installed: npm i --ignore-scripts", { cause: error });
  }
}

/** Where the images come from, as JSON: the model, and what makes them again. */
function about(manifest, { seed, first, count, label, values }) {
  const { architecture, training, data, licence } = manifest;
  const kept = (values) => Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const known = kept({ name: data.name, fingerprint: data.fingerprint, licence });
  const json = JSON.stringify(Object.fromEntries(kept({
    software: `gantool ${manifest.gantool}`,
    architecture: architecture.name,
    run: training.run,
    step: training.step,
    first: Number(first),
    count: Number(count),
    label,
    values,
    data: known.length ? Object.fromEntries(known) : null,
  })));
  return `{"seed": ${seed}, ${json.slice(1)}`; // JSON takes a number of any length, JavaScript does not
}

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

/** A PNG file that says where it comes from, unless the kit was made without provenance. */
function png({ data, width, height, channels }, about) {
  const texts = XMP ? { "XML:com.adobe.xmp": XMP, gantool: about } : {};
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
