// One sample, large: what it is called, the code that makes it, and what can be done with it. In a dialog, or of sounds
// in the page.

/**
 * @param ask of the engine; choose(end, place) sets A or B; cached(index) → the sample in the grid, or undefined
 * @param hear(sound, element), of sounds
 */
function makeEnlarged({ ask, choose, cached, hear }) {
  const dialog = $("enlarged"), canvas = $("enlarged-canvas");
  let index = 0, sample = null;
  const showCode = makeCode((language) => codeFor(language, state.seed, index, labelOf(index), changedValues()));
  enlarge(canvas);

  const name = () => {
    const label = labelOf(index);
    return `Seed ${state.seed}, ${NOUN} ${index}${label === null ? "" : `, class ${className(label)}`}${choicesText()}`;
  };

  async function show(next) {
    index = Math.min(Math.max(next, 0), MAX_INDEX - 1);
    state.open = index;
    rememberSoon();
    $("enlarged-title").textContent = name();
    canvas.setAttribute("aria-label", name());
    $("enlarged-previous").disabled = index === 0;
    showCode();
    sample = cached(index) || null;
    if (sample) return paintSample(canvas, sample);
    const wanted = index;
    return busy(canvas, ask("single", { seed: state.seed, indexes: [index], labels: [labelOf(index)], ...choices() },
      (start, count, made) => {
        if (wanted !== index) return;
        sample = made;
        paintSample(canvas, sample);
      }));
  }

  function open(at) {
    if (!hear && !dialog.open) dialog.showModal();
    show(at).catch(fail);
  }

  const step = (by) => show(index + by).catch(fail);
  $("enlarged-previous").onclick = () => step(-1);
  $("enlarged-next").onclick = () => step(1);
  $("close").onclick = () => dialog.close();
  $("use-a").onclick = () => choose("a", { seed: state.seed, index });
  $("use-b").onclick = () => choose("b", { seed: state.seed, index });
  const saving = (save) => () => {
    if (!sample) return say(`The ${NOUN} is not finished.`);
    const seeds = { seed: state.seed, first: index, count: 1, label: labelOf(index) ?? undefined };
    return save(sample, `${fileStem()}-seed${state.seed}-${index}`, name(), seeds).catch(fail);
  };
  $("save-image").onclick = saving(saveSample);
  if (KIND === "volume") $("save-surface").onclick = saving(saveSurface);
  $("close").hidden = Boolean(hear);
  if (hear) $("hear").onclick = () => sample && hear(sample, $("hear"));
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
    if (!by || ["radio", "range"].includes(event.target.type) || event.target.id === "code") return;
    event.preventDefault();
    if (index + by >= 0) step(by);
  });
  return { open, close: () => dialog.open && dialog.close() };
}
