// Interpolation: the samples between A and B, one large and a strip of a few.

/** @param ask of the engine; hear(sound, element), of sounds: Play plays the one that is shown, and nothing moves */
function makeBetween({ ask, hear }) {
  const slider = $("at"), play = $("play"), large = $("canvas-at");
  const ends = { a: $("canvas-a"), b: $("canvas-b") };
  let strip = [], stripMade = [], running = false, again = false, playing = 0, direction = 1, shown = null, heard = false;

  for (const canvas of [large, ends.a, ends.b]) enlarge(canvas);
  $("class-note").hidden = !LABEL;

  const place = (end) => ({ ...state[end], label: labelOf(state[end].index) });
  const job = (at) => ({ a: place("a"), b: place("b"), at, ...choices() });

  function show() {
    slider.value = state.at;
    $("at-value").textContent = state.at.toFixed(2);
    large.setAttribute("aria-label", `${Math.round(state.at * 100)} % of the way from A to B`);
    strip.forEach(({ button, t }) => button.setAttribute("aria-pressed", Math.abs(t - state.at) < 0.005));
    for (const end of ["a", "b"]) {
      const { seed, index } = state[end], of = labelOf(index);
      for (const [field, value] of [["seed", seed], ["index", index]]) {
        const input = $(`${end}-${field}`);
        if (document.activeElement !== input || !input.hasAttribute("aria-invalid")) {
          input.value = value;
          input.removeAttribute("aria-invalid");
        }
      }
      ends[end].setAttribute(
        "aria-label",
        `${end.toUpperCase()}: seed ${seed}, ${NOUN} ${index}${of === null ? "" : `, class ${className(of)}`}`,
      );
    }
    $("row-count").value = state.row;
  }

  /** The large image: one call at a time, and the newest position after it. */
  async function drawAt() {
    show();
    again = true;
    if (running) return;
    running = true;
    try {
      while (again) {
        again = false;
        await busy(large, ask("blend", job([state.at]), (start, count, sample) => {
          shown = sample;
          paintSample(large, sample);
        }));
      }
      if (heard && shown) hear(shown, play);
    } finally {
      running = heard = false;
    }
  }

  function layRow() {
    if (strip.length === state.row) return;
    strip = Array.from({ length: state.row }, (_, i) => {
      const t = i / (state.row - 1), canvas = newCanvas();
      const button = make("button", { type: "button", class: "tile", "aria-label": `${Math.round(t * 100)} % from A to B` }, canvas);
      button.onclick = () => {
        move(t);
        if (hear && stripMade[i]) hear(stripMade[i], button);
      };
      return { t, canvas, button };
    });
    $("row").replaceChildren(...strip.map(({ button }) => button));
  }

  async function draw() {
    layRow();
    show();
    stripMade = [];
    const middle = drawAt();
    const twoEnds = ask("ends", job([0, 1]), (start, count, samples) => {
      for (let i = 0; i < count; i++) paintSample(start + i ? ends.b : ends.a, sampleOf(samples, i));
    });
    const mine = stripMade;
    const row = ask("row", job(strip.map(({ t }) => t)), (start, count, samples) => {
      if (mine !== stripMade) return;
      for (let i = 0; i < count; i++) {
        mine[start + i] = sampleOf(samples, i);
        paintSample(strip[start + i].canvas, mine[start + i]);
      }
    });
    await busy($("row"), Promise.all([middle, twoEnds, row]));
  }

  function move(t) {
    state.at = Math.round(Math.min(1, Math.max(0, t)) * 1000) / 1000;
    rememberSoon();
    drawAt().catch(fail);
  }

  function stop() {
    cancelAnimationFrame(playing);
    playing = 0;
    play.setAttribute("aria-pressed", "false");
    play.textContent = "Play";
  }

  function start() {
    const seconds = matchMedia("(prefers-reduced-motion: reduce)").matches ? 12 : 4; // from A to B
    let last = performance.now();
    const frame = (now) => {
      let t = state.at + (direction * (now - last)) / 1000 / seconds;
      last = now;
      if (t <= 0 || t >= 1) {
        direction = t <= 0 ? 1 : -1;
        t = Math.min(1, Math.max(0, t));
      }
      move(t);
      playing = requestAnimationFrame(frame);
    };
    play.setAttribute("aria-pressed", "true");
    play.textContent = "Pause";
    playing = requestAnimationFrame(frame);
  }

  function choose(end, to) {
    state[end] = to;
    rememberSoon();
    draw().catch(fail);
    say(`${end.toUpperCase()} is ${NOUN} ${to.index} of seed ${to.seed}.`);
  }

  if (hear) play.onclick = () => shown && hear(shown, play);
  else play.onclick = () => (playing ? stop() : start());
  slider.oninput = () => {
    if (!hear) stop();
    move(Number(slider.value));
  };
  slider.onchange = () => {
    if (!hear) return;
    heard = running; // when it is made
    if (!running && shown) hear(shown, play);
  };
  if (hear) play.removeAttribute("aria-pressed");
  for (const count of ROWS) $("row-count").append(make("option", { value: count, text: count }));
  $("row-count").onchange = () => {
    state.row = Number($("row-count").value);
    rememberSoon();
    draw().catch(fail);
  };
  $("swap").onclick = () => {
    [state.a, state.b] = [state.b, state.a];
    rememberSoon();
    draw().catch(fail);
  };
  $("save-row").onclick = () => {
    if (stripMade.filter(Boolean).length !== state.row) return say("The strip is not finished.");
    const [from, to] = [state.a, state.b].map(({ seed, index }) => `${NOUN} ${index} of seed ${seed}`);
    return saveSamples(stripMade, state.row, `${fileStem()}-between`, `From ${from} to ${to}${choicesText()}`).catch(fail);
  };
  for (const end of ["a", "b"]) {
    for (const [field, read] of [["seed", parseSeed], ["index", parseIndex]]) {
      const input = $(`${end}-${field}`);
      input.onchange = () => {
        const value = read(input.value);
        if (value === null) input.setAttribute("aria-invalid", "true");
        else input.removeAttribute("aria-invalid");
        $("ends-wrong").textContent = value === null ? `Seeds are whole numbers of 64 bits; ${NOUN}s run from 0 to 2^47 − 1.` : "";
        if (value !== null) choose(end, { ...state[end], [field]: value });
      };
    }
  }
  return { draw, choose };
}
