// Two-dimensional samples: reals, fakes, what the discriminator makes of the plane, and where it pushes the fakes.

const SIDE = 720, LONGEST = 0.16; // pixels; of an arrow, in units of the plane
let asked = "";

const pairs = (list) => (Array.isArray(list) ? list.filter((p) => Array.isArray(p) && p.length === 2 && p.every(Number.isFinite)) : []);
const quantile = (values, share) => [...values].sort((a, b) => a - b)[Math.floor(share * (values.length - 1))];

async function showPoints(path, step) {
  asked = path;
  let found;
  try {
    found = await (await fetch(path)).json();
  } catch {
    return; // replaced just now: the next event tells
  }
  if (asked !== path) return; // another step was chosen meanwhile
  const extent = Number(found.extent) || 1, reals = pairs(found.reals), fakes = pairs(found.fakes), slopes = pairs(found.slopes);
  const scores = Array.isArray(found.scores) && found.scores.every((row) => Array.isArray(row) && row.every(Number.isFinite)) ? found.scores : [];
  const style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const canvas = $("plane"), context = canvas.getContext("2d");
  canvas.width = canvas.height = SIDE;
  const x = (value) => ((value / extent + 1) / 2) * SIDE, y = (value) => ((1 - value / extent) / 2) * SIDE;
  if (scores.length) drawField(context, scores, [...reals, ...fakes], extent, colour);
  const dots = (points, name, size) => {
    context.fillStyle = colour(name);
    for (const [a, b] of points) {
      context.beginPath();
      context.arc(x(a), y(b), size, 0, 7);
      context.fill();
    }
  };
  dots(reals, "real", 3.5);
  const longest = quantile(slopes.map(([a, b]) => Math.hypot(a, b)), 0.95) || 1;
  context.strokeStyle = colour("ink");
  context.lineWidth = 1.5;
  slopes.slice(0, fakes.length).forEach(([a, b], i) => {
    const scale = Math.min(1, longest / (Math.hypot(a, b) || 1)) * (LONGEST / longest), [left, top] = [x(fakes[i][0]), y(fakes[i][1])];
    const [right, bottom] = [x(fakes[i][0] + a * scale), y(fakes[i][1] + b * scale)];
    const angle = Math.atan2(bottom - top, right - left), head = Math.min(7, Math.hypot(right - left, bottom - top) / 2);
    context.beginPath();
    context.moveTo(left, top);
    context.lineTo(right, bottom);
    for (const side of [-0.5, 0.5]) {
      context.moveTo(right, bottom);
      context.lineTo(right - head * Math.cos(angle + side), bottom - head * Math.sin(angle + side));
    }
    context.stroke();
  });
  dots(fakes, "fake", 3.5);
  canvas.setAttribute("aria-label", `${reals.length} real and ${fakes.length} generated points at step ${step}${scores.length ? ", over the discriminator's scores" : ""}`);
  for (const element of document.querySelectorAll(".of-field")) element.hidden = !scores.length;
}

/** Colours above and below the middle between the typical scores: whatever the loss, a discriminator scores reals higher. */
function drawField(context, scores, points, extent, colour) {
  const rows = scores.length, columns = scores[0].length, cell = (value, count) => Math.min(count - 1, Math.max(0, Math.floor(((value / extent + 1) / 2) * count)));
  const middle = quantile(points.map(([a, b]) => scores[cell(-b, rows)][cell(a, columns)]), 0.5) ?? 0;
  const far = (high) => quantile(scores.flat().map((score) => score - middle).filter((score) => score > 0 === high).map(Math.abs), 0.95) || 1;
  const strongest = { true: far(true), false: far(false) }; // each side has the whole scale: peaks are small beside the slopes around
  const small = document.createElement("canvas"), inside = small.getContext("2d");
  [small.width, small.height] = [columns, rows];
  scores.forEach((row, r) => row.forEach((score, c) => {
    inside.globalAlpha = Math.min(1, Math.abs(score - middle) / strongest[score > middle]) * 0.6;
    inside.fillStyle = colour(score > middle ? "high" : "low");
    inside.fillRect(c, r, 1, 1);
  }));
  context.imageSmoothingEnabled = true;
  context.drawImage(small, 0, 0, SIDE, SIDE);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => run?.samples?.length && show());
