// How sounds are shown, played and saved: int16 samples × channels.

const [LENGTH, TRACKS] = SHAPE;
const RATE = MANIFEST.output.rate || 16_000; // samples a second; 16,000 where nobody knows
const BUFFER_RATE = Math.min(96_000, Math.max(8000, RATE)); // every browser has buffers of these
const WAVE = "#4a86cf"; // seen on light and dark
const buffers = new WeakMap();

/** A sound as the browser plays it, made once: a press of a pad computes nothing. */
function bufferOf(sound) {
  if (!buffers.has(sound)) buffers.set(sound, audioBuffer(sound, TRACKS, BUFFER_RATE));
  return buffers.get(sound);
}

/** The waveform: the range of all channels in each column. */
function paintSample(canvas, sound) {
  bufferOf(sound);
  const context = canvas.getContext("2d"), { width, height } = canvas;
  const row = (value) => ((1 - value / 32767) * (height - 1)) / 2;
  context.clearRect(0, 0, width, height);
  context.fillStyle = WAVE;
  for (let x = 0; x < width; x++) {
    const from = Math.floor((x * LENGTH) / width), to = Math.min(Math.floor(((x + 1) * LENGTH) / width) + 1, LENGTH); // with the next
    let low = 32767, high = -32767;
    for (let i = from * TRACKS; i < to * TRACKS; i++) {
      low = Math.min(low, sound[i]);
      high = Math.max(high, sound[i]);
    }
    context.fillRect(x, row(high), 1, row(low) - row(high) + 1);
  }
}

/** → play(sound, element): at once; the element is marked while it sounds, and plays one sound at a time. */
function makePlayer() {
  const sounding = new Map();
  let context = null;
  addEventListener("click", () => context && context.resume()); // where a touch alone does not allow sound
  return function play(sound, element) {
    try {
      context ??= new AudioContext();
    } catch (error) {
      return say(`This browser plays no sound: ${error.message}`);
    }
    if (context.state === "suspended") context.resume();
    if (sounding.has(element)) sounding.get(element).stop();
    const source = new AudioBufferSourceNode(context, { buffer: bufferOf(sound), playbackRate: RATE / BUFFER_RATE });
    source.connect(context.destination);
    source.onended = () => {
      if (sounding.get(element) !== source) return;
      sounding.delete(element);
      delete element.dataset.sounding;
    };
    source.start();
    sounding.set(element, source);
    element.dataset.sounding = "";
  };
}

/** One sound after the other, as a WAV file. */
function saveSamples(sounds, columns, stem, words, seeds) {
  const all = newSamples(sounds.length * SIZE);
  sounds.forEach((sound, i) => all.set(sound, i * SIZE));
  return saveSample(all, stem, words, seeds);
}

async function saveSample(sound, stem, words, seeds) {
  const said = told(words, seeds);
  const texts = said ? { _PMX: said.xmp, gant: said.json } : {};
  saveFile(new Blob([wav(sound, TRACKS, RATE, texts)], { type: "audio/wav" }), `${stem}.wav`);
}
