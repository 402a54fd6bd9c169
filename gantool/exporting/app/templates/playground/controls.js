// What is chosen for every image: seed, class, ψ and the generator's values.

/** @param update({field: value, …}) → {show(), typed(input, read, field, advice)} */
function makeControls(update) {
  const sliders = VALUES.map(({ name, low, high }, i) => {
    const shown = make("output", { for: `value-${i}` });
    const slider = make("input", { id: `value-${i}`, type: "range", min: low, max: high, step: "any" });
    slider.oninput = () => update({ values: { ...state.values, [name]: Number(Number(slider.value).toPrecision(4)) } });
    const field = make("div", { class: "field" }, make("label", { for: slider.id }, make("span", { text: name }), shown), slider);
    $("values").append(field);
    return { name, slider, shown };
  });
  const unchosen = SOURCE ? 0 : "all"; // one image has one class

  function show() {
    $("seed").value = state.seed;
    $("psi").value = state.psi;
    $("psi-value").textContent = state.psi.toFixed(2);
    for (const { name, slider, shown } of sliders) {
      slider.value = state.values[name];
      shown.textContent = String(Number(state.values[name].toPrecision(3)));
    }
    $("wrong").textContent = "";
    for (const input of document.querySelectorAll("#controls [aria-invalid]")) input.removeAttribute("aria-invalid");
    for (const radio of document.getElementsByName("label")) radio.checked = radio.value === String(state.label ?? unchosen);
    if ($("class-list")) $("class-list").value = state.label ?? unchosen;
  }

  function typed(input, read, field, advice) {
    const value = read(input.value);
    if (value === null) {
      input.setAttribute("aria-invalid", "true");
      $("wrong").textContent = advice;
    } else if (value !== state[field]) update({ [field]: value });
    else show();
  }

  $("seed").onchange = () => typed($("seed"), parseSeed, "seed", "A seed is a whole number of 64 bits.");
  $("controls").onsubmit = (event) => event.preventDefault();
  $("random").onclick = () => {
    update({ seed: BigInt(crypto.getRandomValues(new Uint32Array(1))[0]) });
    say(`Seed ${state.seed}`);
  };
  $("psi").oninput = () => update({ psi: Number($("psi").value) });
  $("truncation").hidden = !TRUNCATION;
  if (LABEL) {
    $("classes").hidden = false;
    const classes = Array.from({ length: LABEL.classes }, (_, i) => [String(i), className(i)]);
    const choices = SOURCE ? classes : [["all", "All"], ...classes];
    const pick = (value) => update({ label: value === "all" ? null : Number(value) });
    if (choices.length > 41) { // a wall of buttons helps nobody
      const list = make("select", { "aria-label": "Class" });
      for (const [value, title] of choices) list.append(make("option", { value, text: title }));
      list.id = "class-list";
      list.onchange = () => pick(list.value);
      $("class-buttons").append(list);
    } else {
      for (const [value, title] of choices) {
        const radio = make("input", { type: "radio", name: "label", value });
        radio.onchange = () => pick(value);
        $("class-buttons").append(make("label", { class: "choice" }, radio, make("span", { text: title })));
      }
    }
  }
  return { show, typed };
}
