// One image, large: what it is called, the code that makes it, and what can be done with it.

/** @param ask of the engine; choose(end, place) sets A or B; cached(index) → pixels of the grid, or undefined */
function makeEnlarged({ ask, choose, cached }) {
  const dialog = $("enlarged"), canvas = $("enlarged-canvas");
  let index = 0, pixels = null;
  const showCode = makeCode((language) => codeFor(language, state.seed, index, labelOf(index), changedValues()));
  canvas.width = WIDTH;
  canvas.height = HEIGHT;

  const name = () => {
    const label = labelOf(index);
    return `Seed ${state.seed}, image ${index}${label === null ? "" : `, class ${className(label)}`}${choicesText()}`;
  };

  async function show(next) {
    index = Math.min(Math.max(next, 0), MAX_INDEX - 1);
    state.open = index;
    rememberSoon();
    $("enlarged-title").textContent = name();
    canvas.setAttribute("aria-label", name());
    $("enlarged-previous").disabled = index === 0;
    showCode();
    pixels = cached(index) || null;
    if (pixels) return paint(canvas, pixels);
    const wanted = index;
    return busy(canvas, ask("single", { seed: state.seed, indexes: [index], labels: [labelOf(index)], ...choices() },
      (start, count, made) => {
        if (wanted !== index) return;
        pixels = made;
        paint(canvas, pixels);
      }));
  }

  function open(at) {
    if (!dialog.open) dialog.showModal();
    show(at).catch(fail);
  }

  const step = (by) => show(index + by).catch(fail);
  $("enlarged-previous").onclick = () => step(-1);
  $("enlarged-next").onclick = () => step(1);
  $("close").onclick = () => dialog.close();
  $("use-a").onclick = () => choose("a", { seed: state.seed, index });
  $("use-b").onclick = () => choose("b", { seed: state.seed, index });
  $("save-image").onclick = () => {
    if (!pixels) return say("The image is not finished.");
    const seeds = { seed: state.seed, first: index, count: 1, label: labelOf(index) ?? undefined };
    const file = `${fileStem()}-seed${state.seed}-${index}.png`;
    return savePng({ pixels, width: WIDTH, height: HEIGHT }, file, name(), seeds).catch(fail);
  };
  $("image-link").onclick = () => copy(`${location.href.split("#")[0]}#${hashText()}`, "Link");
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // the backdrop
  });
  dialog.addEventListener("close", () => {
    state.open = null;
    rememberSoon();
  });
  dialog.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.target.type === "radio" || event.target.id === "code") return;
    event.preventDefault();
    if (index + by >= 0) step(by);
  });
  return { open, close: () => dialog.open && dialog.close() };
}
