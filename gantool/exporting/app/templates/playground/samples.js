// The grid of samples and its controls.

/**
 * @param ask of the engine; changed() when the seed, class or ψ did; open(index), choose(end, place)
 * @param keys that press the tiles, or none: then A and B choose the ends
 */
function makeSamples({ ask, changed, open, choose, keys }) {
  const grid = $("grid");
  const controls = makeControls(update);
  let tiles = [], made = new Map(), current = 0;

  function label(index) {
    const of = labelOf(index);
    return `Seed ${state.seed}, ${NOUN} ${index}${of === null ? "" : `, class ${className(of)}`}`;
  }

  function lay() {
    while (tiles.length > state.count) tiles.pop().button.remove();
    while (tiles.length < state.count) {
      const canvas = newCanvas(), caption = make("span", { class: "caption" });
      const button = make("button", { type: "button", class: "tile" }, canvas, caption);
      const number = tiles.length;
      button.onclick = () => open(state.first + number);
      if (keys && keys[number]) {
        button.dataset.key = keys[number];
        button.setAttribute("aria-keyshortcuts", keys[number]);
      }
      button.onfocus = () => rove(number);
      tiles.push({ button, canvas, caption });
      grid.append(button);
    }
    grid.style.setProperty("--columns", Math.ceil(Math.sqrt(state.count)));
    rove(Math.min(current, tiles.length - 1));
  }

  /** One tile is in the tab order; arrow keys move it. */
  function rove(number) {
    current = number;
    tiles.forEach(({ button }, i) => { button.tabIndex = i === number ? 0 : -1; });
  }

  const columns = () => getComputedStyle(grid).gridTemplateColumns.split(" ").length;

  function show() {
    lay();
    controls.show();
    $("first").value = state.first;
    $("count").value = state.count;
    $("previous").disabled = state.first === 0;
    tiles.forEach(({ button, caption }, i) => {
      const index = state.first + i, of = labelOf(index);
      button.setAttribute("aria-label", label(index));
      button.dataset.index = index;
      caption.textContent = of === null ? index : `${index} · ${className(of)}`;
      button.classList.add("waiting");
    });
  }

  async function draw() {
    show();
    const indexes = tiles.map((_, i) => state.first + i);
    const fresh = new Map();
    made = fresh;
    const job = { seed: state.seed, indexes, labels: indexes.map(labelOf), ...choices() };
    await busy(grid, ask("grid", job, (start, count, samples) => {
      if (made !== fresh) return;
      for (let i = 0; i < count; i++) {
        const sample = sampleOf(samples, i), tile = tiles[start + i];
        fresh.set(indexes[start + i], sample);
        paintSample(tile.canvas, sample);
        tile.button.classList.remove("waiting");
      }
    }));
  }

  function update(change) {
    Object.assign(state, change);
    rememberSoon();
    draw().catch(fail);
    changed();
  }

  const readFirst = (value) => {
    const first = parseIndex(value);
    return first === null || first + state.count > MAX_INDEX ? null : first;
  };
  const page = (by) => update({ first: Math.min(Math.max(state.first + by * state.count, 0), MAX_INDEX - state.count) });

  $("first").onchange = () => controls.typed($("first"), readFirst, "first", `${NOUN[0].toUpperCase()}${NOUN.slice(1)}s run from 0 to 2^47 − 1.`);
  $("previous").onclick = () => page(-1);
  $("next").onclick = () => page(1);
  for (const count of COUNTS) $("count").append(make("option", { value: count, text: count }));
  $("count").onchange = () => update({ count: Number($("count").value) });
  $("copy-link").onclick = () => copy(`${location.href.split("#")[0]}#${hashText()}`, "Link");
  $("save-grid").onclick = () => {
    const images = tiles.map((_, i) => made.get(state.first + i));
    if (!images.every(Boolean)) return say("The grid is not finished.");
    const stem = `${fileStem()}-seed${state.seed}-${state.first}-grid`;
    const words = `${NOUN[0].toUpperCase()}${NOUN.slice(1)}s ${state.first} to ${state.first + state.count - 1} of seed ${state.seed}${choicesText()}`;
    const seeds = { seed: state.seed, first: state.first, count: state.count, label: state.label ?? undefined };
    return saveSamples(images, Math.ceil(Math.sqrt(images.length)), stem, words, seeds).catch(fail);
  };

  grid.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const end = { a: "a", b: "b" }[event.key.toLowerCase()];
    if (end && !keys) choose(end, { seed: state.seed, index: state.first + current });
    const moves = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns(),
      Home: -current, End: tiles.length - 1 - current,
    };
    if (event.key === "PageDown" || event.key === "PageUp") {
      event.preventDefault();
      page(event.key === "PageDown" ? 1 : -1);
    }
    if (!(event.key in moves)) return;
    event.preventDefault();
    const to = current + moves[event.key];
    if (to >= 0 && to < tiles.length) tiles[to].button.focus();
  });

  return { draw, cached: (index) => made.get(index) };
}
