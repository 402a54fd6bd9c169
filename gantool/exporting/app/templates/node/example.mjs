// A grid of images, or what becomes of a picture, as PNG; sounds as WAV; a volume as binvox or GLB: node example.mjs --help
import { readFile, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { binvox, glb, wav } from "./files.mjs";
import { decode, encode } from "./png.mjs";

const XMP = "%%{xmp}"; // what its files say of where they come from; empty: nothing
// by kind: what a sample is called, how many are in a file, how many at most, and the file
const FORMS = {
  image: { noun: "image", usual: 16n, most: 10_000n, file: "grid.png", key: "XML:com.adobe.xmp", about: "gantool" },
  audio: { noun: "sound", usual: 1n, most: 1000n, file: "sounds.wav", key: "_PMX", about: "gant" },
  volume: { noun: "volume", usual: 1n, most: 1n, file: "volume.binvox" },
};
const HELP = `usage: node example.mjs [options]

  --input FILE       a PNG file, if the generator takes a picture
  --seed N           any whole number of 64 bits (default 7)
  -n, --count N      how many (default 16 images; otherwise 1)
  --first N          number of the first one (default 0)
  --label N|NAME     class of all, of a conditional generator; without it sample i has class i mod classes
  --value NAME=X     a value of the generator; may be repeated
  -o, --output FILE  the file to write (default grid.png, sounds.wav or volume.binvox; volume.glb: its surface)
  -h, --help         this text`;
const OPTIONS = {
  input: { type: "string" },
  seed: { type: "string", default: "7" },
  count: { type: "string", short: "n" },
  first: { type: "string", default: "0" },
  label: { type: "string" },
  value: { type: "string", multiple: true, default: [] },
  output: { type: "string", short: "o" },
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

async function main({ input, seed, first, count, label, value, output, help }) {
  if (help) return console.log(HELP);
  const Generator = await load();
  const generator = await Generator.open();
  const { noun, usual, most, file } = FORMS[generator.kind];
  count ??= input ? 1n : usual;
  output ??= file;
  if (count < 1n || count > most) throw new UsageError(`a file holds 1 to ${most} ${noun}s, not ${count}`);
  const number = label === undefined ? null : generator.classNumber(label);
  const values = Object.fromEntries(value.map(named));
  if (generator.source && !input) throw new Error("This generator takes a picture: --input picture.png");
  const samples = input
    ? await translated(generator, decode(await readFile(input)), { seed, first, count, labels: number, values })
    : await generator.sample({ seed, first, count, labels: number, values });
  const made = { count, label: number, values: value.length ? values : null };
  const told = XMP ? about(generator, seed, first, made) : "";
  await writeFile(output, encoded(generator, samples, told, output));
  console.log(`${output}: ${input ? `made of ${input}` : `${count} ${noun}${count > 1n ? "s" : ""} of seed ${seed}`}`);
}

/** The bytes of a file of the samples' kind. A binvox file has no place for what is `told` of its origin. */
function encoded({ kind, rate, shape }, samples, told, output) {
  if (kind === "volume") return output.endsWith(".glb") ? glb(samples.data, shape, told) : binvox(samples.data, shape);
  const { key, about: other } = FORMS[kind];
  const texts = told ? { [key]: XMP, [other]: told } : {};
  return kind === "audio" ? wav(samples.data, shape[1], rate, texts) : encode(grid(samples), texts);
}

/** What becomes of one picture with the noise of images first … first+count-1, as `sample` gives images. */
async function translated(generator, picture, { first, count, ...options }) {
  const made = [];
  for (let i = 0n; i < count; i++) made.push(await generator.translate(picture, { ...options, index: first + i }));
  const [{ width, height, channels }] = made;
  return { data: Buffer.concat(made.map(({ data }) => data)), shape: [made.length, height, width, channels] };
}

/** The options, their numbers as BigInt. */
function parse(words) {
  let values;
  try {
    ({ values } = parseArgs({ args: joined(words), options: OPTIONS }));
  } catch (error) {
    throw new UsageError(error.message);
  }
  const [seed, first, count] = ["seed", "first", "count"].map((name) => values[name] === undefined ? undefined : whole(name, values[name]));
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
function about({ manifest, seeded }, seed, first, { count, label, values }) {
  const { architecture, training, data, licence } = manifest;
  const kept = (values) => Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const known = kept({ name: data.name, fingerprint: data.fingerprint, licence });
  const json = JSON.stringify(Object.fromEntries(kept({
    software: `gantool ${manifest.gantool}`,
    architecture: architecture.name,
    run: training.run,
    step: training.step,
    first: seeded ? Number(first) : null,
    count: Number(count),
    label,
    values,
    data: known.length ? Object.fromEntries(known) : null,
  })));
  return seeded ? `{"seed": ${seed}, ${json.slice(1)}` : json; // JSON takes a number of any length, JavaScript does not
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
