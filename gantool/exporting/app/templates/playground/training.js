// The run: its samples over time, and its curves.

function showTraining() {
  const charts = DATA.curves.map(chart);
  $("curves").append(...charts.map(({ element }) => element));
  $("training").hidden = !charts.length && !DATA.strip.length;
  if (!DATA.strip.length) return;
  $("strip").hidden = false;
  const slider = $("strip-at"), image = $("strip-image");
  slider.max = DATA.strip.length - 1;
  slider.value = slider.max;
  const show = () => {
    const { step, uri, width, height } = DATA.strip[slider.value];
    image.classList.toggle("crisp", width < 400);
    image.src = uri;
    image.width = width;
    image.height = height;
    image.alt = `Grid of samples at training step ${step}`;
    slider.setAttribute("aria-valuetext", `step ${step}`);
    $("strip-step").textContent = thousands(step);
    for (const each of charts) each.mark(step);
  };
  slider.oninput = show;
  show();
}
