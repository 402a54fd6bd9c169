// The page of a generator that makes images or volumes of seeds: a grid, one of them large, and those between two.

/** @param ask of the engine → show(), which shows what the state says */
function makePage(ask) {
  const choose = (end, place) => between.choose(end, place);
  const between = makeBetween({ ask });
  const samples = makeSamples({
    ask,
    choose,
    open: (index) => enlarged.open(index),
    changed: () => between.draw().catch(fail),
  });
  const enlarged = makeEnlarged({ ask, choose, cached: samples.cached });
  if (KIND === "volume") makeTurning();

  return async function show() {
    const first = Promise.all([samples.draw(), between.draw()]);
    if (state.open === null) enlarged.close();
    else enlarged.open(state.open);
    await first;
  };
}
