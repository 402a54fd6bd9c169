// Sounds and volumes as files, and sounds as the Web Audio API takes them. No dependency.

/**
 * The bytes of a WAV file, PCM in 16 bits, of a sound: Int16Array, channels last. `texts`: more chunks by their names of
 * four letters, such as `_PMX` (XMP).
 */
export function wav(data, channels, rate, texts = {}) {
  const encoder = new TextEncoder();
  const format = new DataView(new ArrayBuffer(16));
  [1, channels].forEach((value, i) => format.setUint16(2 * i, value, true)); // 1: PCM
  [rate, 2 * channels * rate].forEach((value, i) => format.setUint32(4 + 4 * i, value, true));
  [2 * channels, 16].forEach((value, i) => format.setUint16(12 + 2 * i, value, true));
  const chunks = [["fmt ", new Uint8Array(format.buffer)]];
  for (const [name, text] of Object.entries(texts)) chunks.push([name, encoder.encode(text)]);
  chunks.push(["data", littleEndian(data)]);
  const out = new Uint8Array(chunks.reduce((sum, [, { length }]) => sum + 8 + length + (length % 2), 12));
  const view = new DataView(out.buffer);
  let at = 0;
  const put = (name, length) => {
    out.set(encoder.encode(name), at);
    view.setUint32(at + 4, length, true);
    at += 8;
  };
  put("RIFF", out.length - 8);
  out.set(encoder.encode("WAVE"), at);
  at += 4;
  for (const [name, bytes] of chunks) {
    put(name, bytes.length);
    out.set(bytes, at);
    at += bytes.length + (bytes.length % 2);
  }
  return out;
}

/** The bytes of an Int16Array as files have them, and as digests are over them. */
export function littleEndian(data) {
  const out = new DataView(new ArrayBuffer(2 * data.length));
  data.forEach((value, i) => out.setInt16(2 * i, value, true));
  return new Uint8Array(out.buffer);
}

/** A sound, Int16Array with its channels last, as the Web Audio API plays it: numbers from -1 to 1, which are data / 32767. */
export function audioBuffer(data, channels, rate) {
  const buffer = new AudioBuffer({ length: data.length / channels, numberOfChannels: channels, sampleRate: rate });
  for (let channel = 0; channel < channels; channel++) {
    const samples = buffer.getChannelData(channel);
    for (let i = 0; i < samples.length; i++) samples[i] = data[i * channels + channel] / 32767;
  }
  return buffer;
}

/** The bytes of a binvox file of a volume: what has 128 and more is filled. https://www.patrickmin.com/binvox/binvox.html */
export function binvox(data, [depth, height, width]) {
  const runs = [];
  let value = -1;
  for (let x = 0; x < width; x++) {
    for (let z = depth - 1; z >= 0; z--) { // to the front
      for (let y = height - 1; y >= 0; y--) { // upwards
        const filled = data[(z * height + y) * width + x] >= 128 ? 1 : 0;
        if (filled !== value || runs.at(-1) === 255) runs.push((value = filled), 0);
        runs[runs.length - 1]++;
      }
    }
  }
  const header = new TextEncoder().encode(`#binvox 1\ndim ${width} ${depth} ${height}\ntranslate 0 0 0\nscale 1\ndata\n`);
  const out = new Uint8Array(header.length + runs.length);
  out.set(header);
  out.set(runs, header.length);
  return out;
}
