// What the file says of itself, and small helpers of the DOM. Text from outside goes in by textContent alone.

const DATA = JSON.parse(document.getElementById("data").textContent);
const MANIFEST = DATA.manifest;
const SHAPE = MANIFEST.output.shape; // of a sample, channels last
const SIZE = SHAPE.reduce((a, b) => a * b, 1);
const KIND = { TC: "audio", DHWC: "volume" }[MANIFEST.output.layout] || "image";
const NOUN = { image: "image", audio: "sound", volume: "volume" }[KIND];
// of what is drawn: an image itself, the waveform of a sound, a view of a volume
const [HEIGHT, WIDTH, CHANNELS] = { image: SHAPE, audio: [80, 200, 1], volume: [96, 96, 1] }[KIND];
const LARGE = { image: 1, audio: 4, volume: 3 }[KIND]; // times these sides, where one sample is shown alone
const newSamples = (length) => new (KIND === "audio" ? Int16Array : Uint8Array)(length);
const LABEL = MANIFEST.inputs.find((item) => item.distribution === "label") || null;
const SOURCE = MANIFEST.inputs.find((item) => item.distribution === "data") || null; // the picture that it takes
const SEEDED = MANIFEST.inputs.some((item) => item.distribution === "seed"); // whether it takes noise
const TRUNCATION = MANIFEST.truncation; // the latent that ψ scales; "": none, so there is no slider
const VALUES = MANIFEST.inputs.filter((item) => item.distribution === "value"); // a slider each
const MAX_INDEX = 2 ** 47;
const SEED_BITS = 64;

// pixels of small images are shown as they are; large ones would get jagged where they are shown smaller
document.documentElement.dataset.pixels = WIDTH <= 64 ? "crisp" : "smooth";
document.documentElement.dataset.kind = KIND;

const $ = (id) => document.getElementById(id);

/** An element: make("p", {class: "note", text: "…", onclick: …}, child, …). */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function say(text) {
  $("announce").textContent = text;
}

const working = new Map();

/** The element is marked as busy until all that was promised of it is done. */
async function busy(element, promise) {
  working.set(element, (working.get(element) || 0) + 1);
  element.setAttribute("aria-busy", "true");
  try {
    return await promise;
  } finally {
    working.set(element, working.get(element) - 1);
    if (!working.get(element)) element.removeAttribute("aria-busy");
  }
}

function fail(error) {
  const box = $("trouble");
  box.replaceChildren(
    make("strong", { text: error.message || String(error) }),
    make("span", { text: error.advice || "Reload the page; when it stays, export the page again." }),
  );
  box.hidden = false;
  $("loading").hidden = true;
}

const text = (value) => (typeof value === "string" ? value : "");
const thousands = (value) => Number(value).toLocaleString("en-GB");

function bytes(count) {
  return count < 1e6 ? `${(count / 1e3).toFixed(0)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

function className(label) {
  const names = MANIFEST.data.class_names;
  return (Array.isArray(names) && text(names[label])) || String(label);
}

const fileStem = () => (text(MANIFEST.architecture.name) || "generator").replace(/[^A-Za-z0-9._-]+/g, "-").slice(0, 40);

async function copy(value, what) {
  try {
    await navigator.clipboard.writeText(value);
  } catch {
    // a file:// page may have no clipboard; the way before it works everywhere
    const area = make("textarea", { "aria-hidden": "true", class: "offscreen" });
    area.value = value;
    (document.querySelector("dialog[open]") || document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) {
      say("This browser does not let the page copy: select the text by hand.");
      return false;
    }
  }
  say(`${what} copied.`);
  return true;
}
