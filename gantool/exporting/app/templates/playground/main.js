// Start: what needs no model first, then the engine, the images, and at last the comparison with the exporting machine.

async function start() {
  showTheme();
  showAbout();
  showTraining();
  checkBrowser();
  const engine = await startEngine({
    latents: MANIFEST.latents.map(({ name, shape }) => ({ name, shape })),
    label: LABEL ? LABEL.name : null,
    output: MANIFEST.output.name,
    truncation: TRUNCATION,
  });
  document.documentElement.dataset.engine = engine.place;
  $("loading").hidden = true;

  const ask = async (...job) => {
    const done = await engine.ask(...job);
    if (engine.times.length) $("speed").textContent = `${brief(Number(median(engine.times).toPrecision(2)))} ms an image`;
    return done;
  };
  const choose = (end, place) => between.choose(end, place);
  const between = makeBetween({ ask });
  const samples = makeSamples({
    ask,
    choose,
    open: (index) => enlarged.open(index),
    changed: () => between.draw().catch(fail),
  });
  const enlarged = makeEnlarged({ ask, choose, cached: samples.cached });

  async function showAll() {
    readHash();
    const first = Promise.all([samples.draw(), between.draw()]);
    if (state.open === null) enlarged.close();
    else enlarged.open(state.open);
    await first;
  }
  onHashTyped(() => showAll().catch(fail));
  await showAll();
  await selfTest(ask);
}

start().catch((error) => {
  fail(error);
  showVerdict("bad", "Not running");
});
