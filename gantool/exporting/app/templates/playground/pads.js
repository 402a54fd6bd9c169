// The page of a generator of sounds: a pad each, played by click, touch and keys; one of them large; those between two.

const PAD_KEYS = "1234qwerasdfzxcv";

/** @param ask of the engine → show(), which shows what the state says */
function makePage(ask) {
  const grid = $("grid"), play = makePlayer();
  const between = makeBetween({ ask, hear: play });
  const samples = makeSamples({ ask, changed, open: clicked, keys: PAD_KEYS });
  const selected = makeEnlarged({ ask, choose: between.choose, cached: samples.cached, hear: play });
  let touched = null;

  function press(index) {
    const sound = samples.cached(index);
    if (!sound) return;
    play(sound, grid.children[index - state.first]);
    selected.open(index);
  }

  /** A pointer has pressed the pad already; the keyboard and programs for the blind only click. */
  function clicked(index) {
    if (touched !== index) press(index);
    touched = null;
  }

  function select() {
    const here = state.open !== null && state.open >= state.first && state.open < state.first + state.count;
    selected.open(here ? state.open : state.first);
  }

  function changed() {
    select();
    between.draw().catch(fail);
  }

  grid.addEventListener("pointerdown", (event) => {
    const pad = event.target.closest(".tile");
    if (!pad || event.button) return;
    touched = Number(pad.dataset.index);
    press(touched);
  });
  addEventListener("keydown", (event) => {
    const number = event.key.length === 1 ? PAD_KEYS.indexOf(event.key.toLowerCase()) : -1;
    const typing = event.target.matches?.("input:not([type=range], [type=radio]), select");
    if (number < 0 || number >= state.count || typing || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    press(state.first + number);
  });

  return async function show() {
    const first = Promise.all([samples.draw(), between.draw()]);
    select();
    await first;
  };
}
