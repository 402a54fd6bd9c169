// What is shown, and its twin in location.hash: a link opens the page on the same images.

const COUNTS = [1, 4, 9, 16, 25, 36, 64, 100];
const ROWS = [5, 7, 9, 13];

const DEFAULT_VALUES = Object.fromEntries(VALUES.map((item) => [item.name, item.default]));

const state = {
  seed: 0n, first: 0, count: 16, psi: 1, values: DEFAULT_VALUES, label: null, // label null: image i has class i mod classes
  a: { seed: 0n, index: 0 }, b: { seed: 0n, index: LABEL ? LABEL.classes : 1 }, at: 0.5, row: 7, open: null, size: "1",
};

/** A seed from text, or null: a whole number of 64 bits with sign. */
function parseSeed(value) {
  if (!/^-?\d{1,20}$/.test(value.trim())) return null;
  const seed = BigInt(value.trim());
  return BigInt.asIntN(SEED_BITS, seed) === seed ? seed : null;
}

/** An index from text, or null. */
function parseIndex(value) {
  const number = Number(value);
  return /^\d{1,15}$/.test(value.trim()) && number < MAX_INDEX ? number : null;
}

function parsePlace(value) {
  const [seed, index] = value.split(":");
  const place = { seed: parseSeed(seed), index: parseIndex(index || "") };
  return place.seed === null || place.index === null ? null : place;
}

const placeText = ({ seed, index }) => `${seed}:${index}`;
const labelOf = (index) => (LABEL ? (state.label === null ? index % LABEL.classes : state.label) : null);
const changedValues = () => VALUES.map(({ name }) => [name, state.values[name]]).filter(([name, number]) => number !== DEFAULT_VALUES[name]);
const choices = () => ({ psi: state.psi, values: state.values });
const choicesText = () => [...(state.psi === 1 ? [] : [["ψ", state.psi]]), ...changedValues()].map(([name, number]) => `, ${name} ${number}`).join("");
const within = (value, low, high) => value !== "" && Number(value) >= low && Number(value) <= high;

/** Numbers of VALUES in their order, from texts with commas between them; null for nonsense. */
function parseValues(text) {
  const numbers = text.split(",");
  const sound = numbers.length === VALUES.length && VALUES.every(({ low, high }, i) => within(numbers[i], low, high));
  return sound ? Object.fromEntries(VALUES.map(({ name }, i) => [name, Number(numbers[i])])) : null;
}

/** A field of the hash: what it is called, how it is read (null: nonsense) and written. */
const FIELDS = {
  seed: [parseSeed, String],
  first: [parseIndex, String],
  count: [(v) => (COUNTS.includes(Number(v)) ? Number(v) : null), String],
  psi: [(v) => (TRUNCATION && within(v, 0, 2) ? Number(v) : null), String],
  values: [parseValues, (values) => VALUES.map(({ name }) => values[name]).join(",")],
  label: [(v) => (LABEL && /^\d+$/.test(v) && Number(v) < LABEL.classes ? Number(v) : null), String],
  a: [parsePlace, placeText],
  b: [parsePlace, placeText],
  at: [(v) => (within(v, 0, 1) ? Number(v) : null), String],
  row: [(v) => (ROWS.includes(Number(v)) ? Number(v) : null), String],
  open: [parseIndex, String],
  size: [(v) => (SOURCE && ["1", "2", "own"].includes(v) ? v : null), String], // of a picture that goes in
};
const DEFAULTS = { ...state };

/** Nonsense in the hash is left out: the state keeps its default. */
function readHash() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  for (const [name, [read]] of Object.entries(FIELDS)) {
    const value = parameters.has(name) ? read(parameters.get(name)) : null;
    state[name] = value === null ? DEFAULTS[name] : value;
  }
}

function hashText() {
  const parameters = new URLSearchParams();
  for (const [name, [, write]] of Object.entries(FIELDS)) {
    const value = state[name];
    if (value === null) continue;
    const shown = write(value);
    if (DEFAULTS[name] === null || shown !== write(DEFAULTS[name])) parameters.set(name, shown);
  }
  return parameters.toString();
}

let hashTimer = 0, hashWritten = location.hash;

/** Not at once: browsers refuse hundreds of changes while a slider is dragged. */
function rememberSoon() {
  clearTimeout(hashTimer);
  hashTimer = setTimeout(() => {
    const hash = hashText();
    hashWritten = hash ? `#${hash}` : "";
    if (location.hash === hashWritten) return;
    try {
      history.replaceState(null, "", `#${hash}`);
    } catch {
      location.hash = hash; // where a file:// page may not replace its state
    }
  }, 150);
}

function onHashTyped(then) {
  addEventListener("hashchange", () => {
    if (location.hash !== hashWritten) then();
  });
}
