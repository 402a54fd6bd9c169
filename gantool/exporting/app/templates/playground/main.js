// Start: what needs no model first, then the engine, the images, and at last the comparison with the exporting machine.

async function start() {
  showTheme();
  showAbout();
  showTraining();
  checkBrowser();
  const engine = await startEngine({
    latents: MANIFEST.latents.map(({ name, shape }) => ({ name, shape })),
    label: LABEL ? LABEL.name : null,
    source: SOURCE ? SOURCE.name : null,
    output: MANIFEST.output.name,
    truncation: TRUNCATION,
    layers: DATA.layers || [],
  });
  document.documentElement.dataset.engine = engine.place;
  $("loading").hidden = true;

  const ask = async (...job) => {
    const done = await engine.ask(...job);
    if (engine.times.length) $("speed").textContent = `${brief(Number(median(engine.times).toPrecision(2)))} ms ${KIND === "image" ? "an" : "a"} ${NOUN}`;
    return done;
  };
  const shown = makePage(ask);
  const show = () => {
    readHash();
    return shown();
  };
  onHashTyped(() => show().catch(fail));
  await show();
  await selfTest(ask);
}

start().catch((error) => {
  fail(error);
  showVerdict("bad", "Not running");
});
