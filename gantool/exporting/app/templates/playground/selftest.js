// The golden samples of the manifest, made here and compared with those of the exporting machine.

async function sha256(data) {
  if (!globalThis.crypto || !crypto.subtle) return null; // pages of insecure origins have none
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Known values of one golden entry: [how many, how many differ, by at most how many levels]. */
function compare(golden, pixels) {
  let known = 0, off = 0, worst = 0;
  for (const [number, ...place] of golden.pixels) {
    const values = place.pop();
    const at = place.reduce((sum, i, axis) => sum * SHAPE[axis] + i, number) * values.length;
    values.forEach((value, channel) => {
      const made = pixels[at + channel];
      const difference = made === undefined ? 255 : Math.abs(made - value);
      known += 1;
      off += difference > 0 ? 1 : 0;
      worst = Math.max(worst, difference);
    });
  }
  return [known, off, worst];
}

function showVerdict(state, words) {
  $("verdict").dataset.state = state;
  $("verdict").textContent = words;
}

async function selfTest(ask) {
  const goldens = MANIFEST.golden;
  if (!goldens.length) return showVerdict("wait", `The file has no golden ${NOUN}s to compare with.`);
  showVerdict("wait", "Comparing with the exporting machine…");
  const compared = KIND === "image" ? "pixels" : `${NOUN}s`;
  let images = 0, exact = 0, unhashed = 0, known = 0, off = 0, worst = 0;
  for (const golden of goldens) {
    const all = newSamples(golden.count * SIZE);
    const indexes = Array.from({ length: golden.count }, (_, i) => golden.first + i);
    const labels = indexes.map((index) => (LABEL ? index % LABEL.classes : null));
    const job = { seed: golden.seed, psi: 1, values: DEFAULT_VALUES, whole: true };
    if (!SOURCE) await ask("test", { ...job, indexes, labels }, (start, count, pixels) => all.set(pixels, start * SIZE));
    for (const [i, index] of SOURCE ? indexes.entries() : []) {
      const picture = card(index, SOURCE.shape);
      await ask("test", { ...job, picture, indexes: [index], labels: [labels[i]] }, (start, count, pixels) => all.set(pixels, i * SIZE));
    }
    const digest = await sha256(KIND === "audio" ? littleEndian(all) : all);
    const [here, differ, levels] = compare(golden, all);
    images += golden.count;
    if (digest === null) unhashed += golden.count;
    else if (digest === golden.sha256) exact += golden.count;
    known += here;
    off += differ;
    worst = Math.max(worst, levels);
  }
  const tolerance = Number.isInteger(MANIFEST.tolerance) ? MANIFEST.tolerance : 1;
  if (exact === images) return showVerdict("exact", `Same ${compared} as the exporting machine: all ${images} golden ${NOUN}s`);
  if (worst > tolerance) {
    return showVerdict("bad", `Other ${compared} than the exporting machine: ${off} of ${known} known values differ, by up to ${worst} levels (allowed: ${tolerance})`);
  }
  if (unhashed && !off) return showVerdict("exact", `Same ${compared} as the exporting machine at all ${known} known values`);
  const levels = `${worst} ${worst === 1 ? "level" : "levels"}`;
  const found = off
    ? `${off} of ${known} compared values differ, by at most ${levels} (allowed: ${tolerance})`
    : `all ${known} compared values are equal, some of the others differ`;
  return showVerdict("near", `Nearly the same ${compared} as the exporting machine: ${found}`);
}
