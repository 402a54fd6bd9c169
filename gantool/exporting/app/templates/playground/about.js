// What the model is, in words and figures, all of it from the manifest.

function showAbout() {
  const { architecture, training, data } = MANIFEST;
  const name = text(architecture.name) || "Generator";
  $("title").textContent = name;
  const parts = [text(MANIFEST.which), text(data.name) && `trained on ${data.name}`, Number.isFinite(training.step) && `step ${thousands(training.step)}`];
  $("subtitle").textContent = parts.filter(Boolean).join(" · ");

  const listed = (value) => Object.entries(value || {}).map(([key, item]) => `${key} ${JSON.stringify(item)}`).join(", ");
  const facts = {
    Architecture: [name, text(architecture.plugin) && `${architecture.plugin} ${text(architecture.plugin_version)}`].filter(Boolean).join(", "),
    Generator: text(MANIFEST.which),
    Configuration: listed(architecture.config),
    Training: [training.run, Number.isFinite(training.step) && `step ${thousands(training.step)}`, Number.isFinite(training.seed) && `seed ${training.seed}`].filter(Boolean).join(", "),
    Data: [text(data.name), Number.isFinite(data.count) && `${thousands(data.count)} samples`].filter(Boolean).join(", "),
    "Licence of the data": MANIFEST.licence,
    Picture: SOURCE && `${SOURCE.shape[0]} × ${SOURCE.shape[1]} pixels, ${SOURCE.shape[2]} ${SOURCE.shape[2] === 1 ? "channel" : "channels"}${SOURCE.multiple ? ", or any other size" : ""}`,
    Image: KIND === "image" && `${HEIGHT} × ${WIDTH} pixels, ${CHANNELS} ${CHANNELS === 1 ? "channel" : "channels"}`,
    Sound: KIND === "audio" && soundText(),
    Volume: KIND === "volume" && `${SHAPE.slice(0, 3).join(" × ")} voxels`,
    Latent: MANIFEST.latents.map((item) => `${item.name} ${item.shape.join(" × ") || 1}`).join(", "),
    Classes: LABEL ? String(LABEL.classes) : "",
    Model: `${DATA.file}, ${bytes(DATA.bytes)}, precision ${text(MANIFEST.precision) || "float32"}`,
    "SHA-256 of its weights": MANIFEST.weights_sha256,
    Seeds: text(MANIFEST.rng),
    Exported: [MANIFEST.created, `gantool ${MANIFEST.gantool}`].filter(Boolean).join(", "),
    "Runs on": "ONNX Runtime Web (WebAssembly, one thread), © Microsoft Corporation, MIT licence. The page asks nothing of any network.",
  };
  for (const [term, value] of Object.entries(facts)) {
    if (value) $("facts").append(make("dt", { text: term }), make("dd", { text: value }));
  }
  if (DATA.licence) {
    $("licence").hidden = false;
    $("licence-text").textContent = DATA.licence;
  }
}

function soundText() {
  const [length, channels] = SHAPE, { rate } = MANIFEST.output;
  const seconds = rate ? `${thousands(rate)} a second (${Number((length / rate).toPrecision(3))} s)` : "at an unknown rate: played at 16,000 a second";
  return `${thousands(length)} samples ${seconds}, ${channels === 1 ? "mono" : "stereo"}`;
}

function showTheme() {
  const button = $("theme"), dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const name = () => { button.textContent = isDark() ? "Light colours" : "Dark colours"; };
  try {
    const kept = localStorage.getItem("gantool-theme");
    if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
  } catch { /* storage may be forbidden: then nothing is kept */ }
  button.onclick = () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    name();
    try {
      localStorage.setItem("gantool-theme", theme);
    } catch { /* as above */ }
  };
  dark.addEventListener("change", name);
  name();
}
