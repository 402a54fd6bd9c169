// Curves of a run as SVG; the page of `gantool watch` has them, too.

const PANEL_NAMES = { loss: "Loss", measure: "Measures", diversity: "Diversity", frechet: "Fréchet distance" };
const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Round numbers between low and high, about `count` of them. */
function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const size = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= raw);
  const first = Math.ceil(low / size - 1e-9);
  return Array.from({ length: Math.floor(high / size + 1e-9) - first + 1 }, (_, i) => Number(((first + i) * size).toPrecision(12)));
}

const brief = (value) => (Math.abs(value) >= 1e4 ? value.toLocaleString("en-GB", { notation: "compact" }) : Number(value.toPrecision(4)).toString());

/** A panel of lines with axes, legend, and a readout for pointer and arrow keys: {element, mark(step)}. */
function chart(panel) {
  const width = 640, height = 230, left = 68, right = 14, top = 10, bottom = 30;
  const steps = [...new Set(panel.lines.flatMap((line) => line.steps))].sort((a, b) => a - b);
  const values = panel.lines.flatMap((line) => line.values);
  let low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
  const margin = (high - low || Math.abs(high) || 1) * 0.06;
  low -= margin;
  high += margin;
  const from = steps[0], to = steps[steps.length - 1];
  const x = (step) => left + ((step - from) / (to - from || 1)) * (width - left - right);
  const y = (value) => top + ((high - value) / (high - low)) * (height - top - bottom);

  const title = PANEL_NAMES[panel.name] || panel.name;
  const root = svg("svg", {
    viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "img",
    "aria-label": `${title} from step ${from} to ${to}. Arrow keys read the values.`,
  });
  for (const value of ticks(low, high, 4)) {
    root.append(svg("line", { class: "rule", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    root.append(svg("text", { class: "tick", x: left - 8, y: y(value) + 4, "text-anchor": "end" }, brief(value)));
  }
  const marks = from === to ? [from] : ticks(from, to, 5);
  for (const step of marks) {
    root.append(svg("text", { class: "tick", x: x(step) > width - 40 ? width - 2 : x(step), y: height - 8, "text-anchor": x(step) > width - 40 ? "end" : "middle" }, brief(step)));
  }
  root.append(svg("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
  const shown = svg("line", { class: "shown", y1: top, y2: height - bottom, visibility: "hidden" });
  const cursor = svg("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" });
  root.append(shown, cursor);
  panel.lines.forEach((line, i) => {
    const points = line.steps.map((step, k) => `${x(step).toFixed(1)},${y(line.values[k]).toFixed(1)}`);
    root.append(
      points.length === 1
        ? svg("circle", { class: `mark line-${i % 8}`, cx: x(line.steps[0]), cy: y(line.values[0]), r: 3 })
        : svg("polyline", { class: `line line-${i % 8}`, points: points.join(" ") }),
    );
  });

  const readings = [];
  const legend = make("ul", { class: "legend" });
  panel.lines.forEach((line, i) => {
    const sample = svg("svg", { class: "swatch", viewBox: "0 0 24 8", "aria-hidden": "true" }, svg("line", { class: `line line-${i % 8}`, x1: 0, x2: 24, y1: 4, y2: 4 }));
    const reading = make("output");
    readings.push(reading);
    legend.append(make("li", {}, sample, make("span", { text: line.name }), reading));
  });
  const at = make("output", { class: "at" });

  let current = steps.length - 1;
  function read(number, aloud) {
    current = Math.min(Math.max(number, 0), steps.length - 1);
    const step = steps[current];
    cursor.setAttribute("x1", x(step));
    cursor.setAttribute("x2", x(step));
    cursor.setAttribute("visibility", "visible");
    at.textContent = `step ${thousands(step)}`;
    const heard = panel.lines.map((line, i) => {
      let k = 0; // the last value up to this step
      while (k + 1 < line.steps.length && line.steps[k + 1] <= step) k++;
      readings[i].textContent = line.steps[k] <= step ? brief(line.values[k]) : "–";
      return `${line.name} ${readings[i].textContent}`;
    });
    if (aloud) say(`Step ${step}: ${heard.join(", ")}`);
  }
  root.addEventListener("pointermove", (event) => {
    const box = root.getBoundingClientRect();
    const step = from + (((event.clientX - box.left) / box.width) * width - left) / (width - left - right) * (to - from);
    let nearest = 0;
    for (let i = 1; i < steps.length; i++) if (Math.abs(steps[i] - step) < Math.abs(steps[nearest] - step)) nearest = i;
    read(nearest, false);
  });
  root.addEventListener("pointerleave", () => cursor.setAttribute("visibility", "hidden"));
  root.addEventListener("focus", () => read(current, false));
  root.addEventListener("blur", () => cursor.setAttribute("visibility", "hidden"));
  root.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -steps.length, End: steps.length };
    if (!(event.key in moves)) return;
    event.preventDefault();
    read(current + moves[event.key], true);
  });
  read(current, false);
  cursor.setAttribute("visibility", "hidden");
  const element = make("figure", { class: "chart" }, make("figcaption", {}, make("h3", { text: title }), at), root, legend);
  return {
    element,
    /** Reads the values at a step, and draws a line there. */
    mark(step) {
      read(steps.filter((each) => each <= step).length - 1, false);
      cursor.setAttribute("visibility", "hidden");
      const inside = step >= from && step <= to;
      shown.setAttribute("visibility", inside ? "visible" : "hidden");
      shown.setAttribute("x1", inside ? x(step) : 0);
      shown.setAttribute("x2", inside ? x(step) : 0);
    },
  };
}
