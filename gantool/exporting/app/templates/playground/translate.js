// The page of a generator that makes a picture of a picture: the source, and what becomes of it while it is drawn.

const LARGEST_OWN = 1024; // pixels of the longer side of a picture in its own size

/** @param ask of the engine → show(), which shows what the state says */
function makePage(ask) {
  const canvas = $("result"), before = $("before"), stage = $("compared");
  const drawing = makeDrawing({ changed: () => draw().catch(fail) });
  const controls = makeControls(update);
  const showCode = makeCode((language) => translateCode(language, state.seed, labelOf(0), changedValues()));
  let result = null, running = false, wanted = false;

  /** What the size can be: [name, width, height, words]. */
  function sizes() {
    const [height, width] = SOURCE.shape, own = drawing.ground().sides;
    const listed = [["1", width, height, "as trained"]];
    if (SOURCE.multiple) listed.push(["2", 2 * width, 2 * height, "twice that"]);
    if (SOURCE.multiple && own) {
      const scale = Math.min(1, LARGEST_OWN / Math.max(...own));
      listed.push(["own", ...own.map((side) => Math.max(1, Math.round(side * scale))), scale < 1 ? "the picture’s shape" : "the picture’s own"]);
    }
    return listed;
  }

  function show() {
    controls.show();
    showCode();
    const listed = sizes();
    const [name, width, height] = listed.find(([each]) => each === state.size) || listed[0];
    $("sizes").hidden = listed.length < 2;
    $("size").replaceChildren(...listed.map(([value, wide, high, words]) => make("option", { value, text: `${wide} × ${high}, ${words}` })));
    $("size").value = name;
    drawing.resize(width, height);
    $("source-size").textContent = `${width} × ${height}`;
    for (const each of document.querySelectorAll(".stage")) each.style.setProperty("--ratio", width / height);
  }

  /** One call at a time, and the newest picture after it. */
  async function draw() {
    show();
    wanted = true;
    if (running) return;
    running = true;
    try {
      while (wanted) {
        wanted = false;
        await busy(canvas, translated());
      }
    } finally {
      running = false;
    }
  }

  async function translated() {
    const source = drawing.picture(), { picture, cut } = fitted(source, MANIFEST);
    const job = { picture, seed: state.seed, indexes: [0], labels: [labelOf(0)], ...choices() };
    await ask("single", job, (start, count, pixels, [height, width, channels]) => {
      result = cut({ data: pixels, width, height, channels });
      [canvas.width, canvas.height] = [result.width, result.height];
      paint(canvas, result.data, result.width);
      [before.width, before.height] = [source.width, source.height];
      before.getContext("2d").putImageData(source, 0, 0);
      $("result-size").textContent = `${result.width} × ${result.height}`;
    });
  }

  function update(change) {
    Object.assign(state, change);
    rememberSoon();
    draw().catch(fail);
  }

  function compare(percent) {
    $("compare").value = percent;
    stage.style.setProperty("--at", `${$("compare").value}%`);
    stage.toggleAttribute("data-split", $("compare").value !== "0");
  }

  const name = () => `A picture made of another${SEEDED ? `, seed ${state.seed}, image 0` : ""}${choicesText()}`;
  const drag = (event) => {
    const { left, width } = stage.getBoundingClientRect();
    compare(Math.round((100 * (event.clientX - left)) / width));
  };
  stage.onpointerdown = (event) => {
    stage.setPointerCapture(event.pointerId);
    drag(event);
  };
  stage.onpointermove = (event) => stage.hasPointerCapture(event.pointerId) && drag(event);
  $("compare").oninput = () => compare($("compare").value);
  $("size").onchange = () => update({ size: $("size").value });
  $("save-result").onclick = () => {
    if (!result) return say("The result is not finished.");
    const { data: pixels, width, height } = result;
    const seeds = SEEDED ? { seed: state.seed, first: 0, count: 1, label: state.label ?? undefined } : null;
    return savePng({ pixels, width, height }, `${fileStem()}-result.png`, name(), seeds).catch(fail);
  };
  $("save-source").onclick = () => {
    const { data, width, height, channels } = withChannels(drawing.picture(), SOURCE.shape[2]);
    return download({ pixels: data, width, height, channels }, `${fileStem()}-source.png`).catch(fail);
  };
  $("noise").hidden = !SEEDED;
  makeOpening(drawing.put);
  compare(0);
  const grey = SOURCE.shape[2] === 1;
  document.documentElement.toggleAttribute("data-grey", grey);
  drawing.put({ draw: (context) => drawShapes(context, grey ? EXAMPLES.Cat : EXAMPLES.House) });
  return draw;
}
