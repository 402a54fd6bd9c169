// The units of a generator: tiles that switch them off, or up, and what that does to the samples at once.

const ATLAS = DATA.atlas;
const PAIRS = 8, SOME = 8;
const MAP = 64; // pixels of a map's side
const HEAT = [[8, 8, 32], [140, 41, 129], [251, 136, 97], [252, 253, 191]];

const ORDERS = [
  [KIND === "image" ? "change most pixels" : "change most", (a, b) => b.off.pixels - a.off.pixels],
  ...(ATLAS.classes ? [["change most classes", (a, b) => b.off.classes - a.off.classes || b.off.pixels - a.off.pixels]] : []),
  ["change most when doubled", (a, b) => b.boost.pixels - a.boost.pixels],
  ["by number", (a, b) => a.number - b.number],
];

/** Units from texts such as 0.12,1.3 (layer and number); null for nonsense. */
function parseUnits(text) {
  const units = (text ? text.split(",") : []).map((one) => one.split(".").map(Number));
  const known = ([layer, number]) => ATLAS.layers[layer] && ATLAS.layers[layer].units.some((unit) => unit.number === number);
  return units.every((unit) => unit.length === 2 && known(unit)) ? units.map((unit) => unit.join(".")) : null;
}

Object.assign(state, { units: [], factor: 0, layer: 0, count: PAIRS });
Object.assign(FIELDS, {
  units: [parseUnits, (units) => units.join(",")],
  factor: [(v) => (within(v, 0, 2) ? Number(v) : null), String],
  layer: [(v) => (ATLAS.layers[v] ? Number(v) : null), String],
});
Object.assign(DEFAULTS, { units: [], factor: 0, layer: 0, count: PAIRS });

const levels = (value) => `${value < 9.95 ? value.toFixed(1) : value.toFixed(0)} levels`;
const percent = (share) => `${(100 * share).toFixed(share && share < 0.01 ? 1 : 0)} %`;
const flipText = ({ flips }) => (flips.length ? `${flips[0][0]} → ${flips[0][1]}` : "");

/** A map of whole numbers 0 to 255, height × width in base64, as a canvas in colours. */
function mapCanvas({ height, width, data }) {
  const canvas = make("canvas", { width, height }), out = new ImageData(width, height);
  const values = atob(data);
  for (let i = 0; i < values.length; i++) {
    const at = (values.charCodeAt(i) / 255) * (HEAT.length - 1), from = Math.min(HEAT.length - 2, Math.floor(at));
    for (let c = 0; c < 3; c++) out.data[4 * i + c] = HEAT[from][c] + (HEAT[from + 1][c] - HEAT[from][c]) * (at - from);
    out.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(out, 0, 0);
  return canvas;
}

/** Where it is active, where its ablation changes samples, and the samples that excite it most. */
function drawUnit(canvas, unit, sheet) {
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  const maps = [unit.map, unit.off.where].filter((map) => map.height);
  maps.forEach((map, i) => context.drawImage(mapCanvas(map), i * (MAP + 2), 0, MAP, MAP));
  const { columns, width, height, places } = ATLAS.sheet, half = MAP / 2;
  unit.top.forEach((sample, i) => {
    const place = places[sample], left = maps.length * (MAP + 2);
    const from = [(place % columns) * width, Math.floor(place / columns) * height, width, height];
    context.drawImage(sheet, ...from, left + (i % 2) * half, Math.floor(i / 2) * half, half, half);
  });
}

function makePage(ask) {
  const controls = makeControls(update);
  const shown = new Map(); // canvas → its sample
  const play = KIND === "audio" ? makePlayer() : null;
  const playing = (canvas, row) => make("button", {
    type: "button", class: "tile", "aria-label": row ? "Play it changed" : "Play it", onclick: (event) => shown.has(canvas) && play(shown.get(canvas), event.currentTarget),
  }, canvas);
  const pairs = Array.from({ length: PAIRS }, () => {
    const canvases = [newCanvas(), newCanvas()];
    $("pairs").append(make("div", KIND === "audio" ? { role: "group" } : { role: "img" }, ...(KIND === "audio" ? canvases.map(playing) : canvases)));
    return canvases;
  });
  const sheet = new Image();
  let tiles = [], current = 0, plain = new Map(), plainKey = "";

  const key = (layer, number) => `${layer}.${number}`;
  const nameOf = (unit) => {
    const [layer, number] = unit.split(".");
    return `${ATLAS.layers[layer].name} ${number}`;
  };

  function factors() {
    const made = {};
    for (const unit of state.units) {
      const [layer, number] = unit.split("."), { name } = DATA.layers[layer];
      made[name] = { ...made[name], [number]: state.factor };
    }
    return made;
  }

  async function samples(lane, job, row) {
    const made = new Map();
    await ask(lane, job, (start, count, all) => {
      for (let i = 0; i < count; i++) {
        const sample = sampleOf(all, i), canvas = pairs[start + i][row];
        made.set(start + i, sample);
        shown.set(canvas, sample);
        paintSample(canvas, sample);
      }
    });
    return made;
  }

  async function draw() {
    show();
    const indexes = pairs.map((_, i) => state.first + i);
    const job = { seed: state.seed, indexes, labels: indexes.map(labelOf), ...choices() };
    const wanted = JSON.stringify({ ...job, seed: String(job.seed) });
    await busy($("pairs"), (async () => {
      if (wanted !== plainKey) {
        const made = await samples("ends", job, 0);
        if (made.size < PAIRS) return; // a newer one took its place
        [plain, plainKey] = [made, wanted];
      }
      const changed = await samples("grid", { ...job, factors: factors() }, 1);
      if (changed.size === PAIRS) told(changed);
    })());
  }

  /** In words, how far the samples are from what they were. */
  function told(changed) {
    let sum = 0, worst = 0;
    for (const [i, sample] of changed) {
      const before = plain.get(i);
      for (let k = 0; k < SIZE; k++) {
        const away = Math.abs(sample[k] - before[k]);
        sum += away;
        worst = Math.max(worst, away);
      }
    }
    const unit = KIND === "audio" ? 257 : 1, count = state.units.length;
    const words = count ? `${count} ${count === 1 ? "unit" : "units"} times ${state.factor}: values move by ${levels(sum / (PAIRS * SIZE) / unit)} on average, at most ${Math.round(worst / unit)}.` : "No unit is changed.";
    if ($("moved").textContent !== words) say(words);
    $("moved").textContent = words;
    $("moved").dataset.worst = worst;
  }

  function show() {
    controls.show();
    $("first").value = state.first;
    $("previous").disabled = state.first === 0;
    $("factor").value = state.factor;
    $("factor-value").textContent = state.factor === 0 ? "0 (off)" : String(state.factor);
    $("reset").disabled = !state.units.length;
    pairs.forEach(([canvas], i) => {
      const of = labelOf(state.first + i);
      canvas.closest("#pairs > div").setAttribute("aria-label", `Seed ${state.seed}, ${NOUN} ${state.first + i}${of === null ? "" : `, class ${className(of)}`}: as it is, and changed`);
    });
    $("chips").replaceChildren(...state.units.map((unit) => {
      const button = make("button", { type: "button", text: `${nameOf(unit)} ✕`, "aria-label": `Change ${nameOf(unit)} no more` });
      button.onclick = () => toggle(unit);
      return make("li", {}, button);
    }));
    for (const { button, unit } of tiles) button.setAttribute("aria-pressed", state.units.includes(key(state.layer, unit.number)));
  }

  function update(change) {
    Object.assign(state, change);
    rememberSoon();
    draw().catch(fail);
  }

  function toggle(unit) {
    const off = state.units.includes(unit);
    update({ units: off ? state.units.filter((other) => other !== unit) : [...state.units, unit] });
  }

  function words(unit) {
    const lost = unit.off.classes === null ? "" : `, the class of ${percent(unit.off.classes)} ${flipText(unit.off)}`;
    return `Unit ${unit.number}: off, it changes ${levels(unit.off.pixels)}${lost}; twice, ${levels(unit.boost.pixels)}`;
  }

  /** The tiles of the chosen layer. */
  function lay() {
    const layer = ATLAS.layers[state.layer], order = ORDERS[$("order").value || 0][1];
    $("layer").value = state.layer;
    $("layer-note").textContent = `${layer.units.length} of ${layer.shape[0]} units, ${layer.shape.length > 1 ? `maps of ${layer.shape.slice(1).join(" × ")}` : "without places"}; measured on ${ATLAS.samples} ${NOUN}s of seed ${ATLAS.seed}. Levels: of 0 to 255.`;
    tiles = [...layer.units].sort(order).map((unit, place) => {
      const canvas = make("canvas", { width: (unit.map.height ? 3 : 2) * (MAP + 2) - 2, height: MAP, "aria-hidden": "true" });
      const flips = unit.off.classes === null ? [] : [make("span", { text: `${percent(unit.off.classes)} another class ${flipText(unit.off)}` })];
      const said = [make("span", {}, make("strong", { text: unit.number }), ` off: ${levels(unit.off.pixels)}`), ...flips, make("span", { class: "quiet", text: `twice: ${levels(unit.boost.pixels)}` })];
      const button = make("button", { type: "button", class: "unit", "data-unit": unit.number, "aria-label": words(unit), tabindex: place ? -1 : 0 }, canvas, make("span", {}, ...said));
      button.onclick = () => toggle(key(state.layer, unit.number));
      button.onfocus = () => rove(place);
      drawUnit(canvas, unit, sheet);
      return { button, unit };
    });
    current = 0;
    $("units").replaceChildren(...tiles.map(({ button }) => button));
  }

  /** One tile is in the tab order; arrow keys move it. */
  function rove(place) {
    tiles[current].button.tabIndex = -1;
    tiles[(current = place)].button.tabIndex = 0;
  }

  $("units").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const across = getComputedStyle($("units")).gridTemplateColumns.split(" ").length;
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across, Home: -current, End: tiles.length - 1 - current };
    const to = tiles[current + moves[event.key]];
    if (!(event.key in moves)) return;
    event.preventDefault();
    if (to) to.button.focus();
  });

  ATLAS.layers.forEach(({ name, shape }, value) => $("layer").append(make("option", { value, text: `${name}, ${shape.join(" × ")}` })));
  ORDERS.forEach(([text], value) => $("order").append(make("option", { value, text })));
  const relay = () => {
    lay();
    show();
  };
  $("layer").onchange = () => {
    state.layer = Number($("layer").value);
    rememberSoon();
    relay();
  };
  $("order").onchange = relay;
  $("factor").oninput = () => update({ factor: Number($("factor").value) });
  $("some").textContent = `Change the first ${SOME}`;
  $("some").onclick = () => update({ units: [...new Set([...state.units, ...tiles.slice(0, SOME).map(({ unit }) => key(state.layer, unit.number))])] });
  $("reset").onclick = () => update({ units: [] });
  $("copy-link").onclick = () => copy(`${location.href.split("#")[0]}#${hashText()}`, "Link");
  const readFirst = (value) => {
    const first = parseIndex(value);
    return first === null || first + PAIRS > MAX_INDEX ? null : first;
  };
  const move = (by) => update({ first: Math.min(Math.max(state.first + by * PAIRS, 0), MAX_INDEX - PAIRS) });
  $("first").onchange = () => controls.typed($("first"), readFirst, "first", `The first ${NOUN} is a whole number from 0 to 2^47 − 1.`);
  $("previous").onclick = () => move(-1);
  $("next").onclick = () => move(1);

  return async () => {
    sheet.src = ATLAS.sheet.uri;
    await sheet.decode();
    lay();
    await draw();
  };
}
