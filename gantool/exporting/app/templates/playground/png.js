// PNG files from pixels themselves: a canvas would drop its metadata, and some browsers add noise to what is read back.

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function crc32(data) {
  let c = 0xffffffff;
  for (const byte of data) c = CRC_TABLE[(c ^ byte) & 255] ^ (c >>> 8);
  return ~c >>> 0;
}

function chunk(type, ...parts) {
  const name = new TextEncoder().encode(type);
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const out = new Uint8Array(12 + length);
  const view = new DataView(out.buffer);
  view.setUint32(0, length);
  let at = 4;
  for (const part of [name, ...parts]) {
    out.set(part, at);
    at += part.length;
  }
  view.setUint32(at, crc32(out.subarray(4, at)));
  return out;
}

/** UTF-8 text under a keyword, not compressed. */
function textChunk(keyword, value) {
  const encoder = new TextEncoder();
  return chunk("iTXt", encoder.encode(keyword), new Uint8Array(5), encoder.encode(value));
}

/**
 * Where samples come from, as `gantool generate` writes it: {xmp, software, description, json}; null when the page was
 * made without.
 * @param words which samples; seeds {seed, first, count, label}: what makes them again, where a seed does
 */
function told(words, seeds) {
  if (!DATA.provenance) return null;
  const { xmp, software, model, made } = DATA.provenance;
  const { seed, ...others } = seeds || {};
  const changed = changedValues();
  const values = changed.length ? Object.fromEntries(changed) : undefined;
  const json = JSON.stringify({ ...model, ...others, psi: state.psi === 1 ? undefined : state.psi, values });
  const whole = seeds ? `{"seed": ${seed}, ${json.slice(1)}` : json; // JSON takes a number of any length, JavaScript none
  return { xmp, software, description: `${words}, ${made}`, json: whole };
}

/** That in the chunks of a PNG file. */
function provenance(words, seeds) {
  const said = told(words, seeds);
  if (!said) return [];
  return [
    textChunk("XML:com.adobe.xmp", said.xmp),
    textChunk("Software", said.software),
    textChunk("Description", said.description),
    textChunk("gantool", said.json),
  ];
}

/** {pixels, width, height} → a Blob, with the text chunks `about`. */
async function png({ pixels, width, height, channels = CHANNELS }, about) {
  const row = width * channels;
  const lines = new Uint8Array((row + 1) * height); // every line starts with its filter: 0, none
  for (let y = 0; y < height; y++) lines.set(pixels.subarray(y * row, (y + 1) * row), y * (row + 1) + 1);
  const stream = new Blob([lines]).stream().pipeThrough(new CompressionStream("deflate"));
  const packed = new Uint8Array(await new Response(stream).arrayBuffer());
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, channels === 3 ? 2 : 0, 0, 0, 0], 8);
  const signature = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
  return new Blob([signature, chunk("IHDR", header), ...about, chunk("IDAT", packed), chunk("IEND")], {
    type: "image/png",
  });
}

const savePng = (picture, name, words, seeds) => download(picture, name, provenance(words, seeds));

async function download(picture, name, about = []) {
  saveFile(await png(picture, about), name);
}

function saveFile(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  say(`${name} saved.`);
}
