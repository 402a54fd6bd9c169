// Shows what /events says of the run. All text goes in by textContent.

const $ = (id) => document.getElementById(id);
const thousands = (value) => Number(value).toLocaleString("en-GB");

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) name === "text" ? (element.textContent = value) : element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function say(text) {
  $("announce").textContent = text;
}

function fail(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

// the token goes from the address into this tab's memory, so that it survives a reload, and no copied address has it
if (location.hash.length > 20) {
  sessionStorage.setItem("token", location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}
const TOKEN = sessionStorage.getItem("token") || "";

async function order(name, button) {
  button.disabled = true;
  fail("");
  try {
    const answer = await fetch(name, { method: "POST", headers: { "X-Gantool-Token": TOKEN } });
    if (!answer.ok) fail((await answer.json()).error);
  } catch {
    fail(GONE);
  }
  button.disabled = false;
}

const GONE = "gantool watch has ended: type it again. The training goes on.";
const WORDS = { running: "Running", interrupted: "Stopped", failed: "Failed", finished: "Finished" };
const STATES = { Running: "exact", Finished: "exact", Failed: "bad", "Killed": "bad" };

function duration(seconds) {
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60);
  return hours ? `${hours} h ${minutes % 60} min` : minutes ? `${minutes} min ${Math.round(seconds % 60)} s` : `${Math.round(seconds)} s`;
}

let run = null, charts = [], following = true, playing = 0, lost = false;

function update(now) {
  const before = run;
  run = now;
  if (now.error) return fail(now.error);
  if (lost || before?.failure !== now.failure) fail(now.failure);
  lost = false;
  const trained = now.holder !== "", killed = now.status === "running" && !trained;
  const word = now.starting && !trained ? "Starting…" : trained && now.stopping ? "Stopping…" : killed ? "Killed" : WORDS[now.status];
  $("status").textContent = word;
  $("status").dataset.state = STATES[word] || "near";
  $("status").title = trained ? `trained by ${now.holder}` : "";
  $("stop").hidden = !trained || now.status !== "running";
  $("stop").disabled = now.stopping !== "";
  $("resume").hidden = trained || now.starting || now.status === "finished";
  $("name").textContent = now.name;
  $("name").title = now.path;
  $("about").textContent = now.about;
  document.title = `${now.status === "running" && trained ? `${Math.round((100 * now.step) / now.steps)} % ` : ""}${now.name}: ${word.toLowerCase()}`;
  $("progress").max = now.steps;
  $("progress").value = now.step;
  const figures = {
    Step: `${thousands(now.step)} of ${thousands(now.steps)}`,
    Speed: now.speed === null ? "–" : `${thousands(Math.round(now.speed))} samples/s`,
    "Time so far": now.seconds === null ? "–" : duration(now.seconds),
    "Time left": now.left === null || !trained ? "–" : `about ${duration(now.left)}`,
  };
  $("figures").replaceChildren(...Object.entries(figures).map(([name, text]) => make("div", {}, make("dt", { text: name }), make("dd", { text }))));
  const warnings = [...now.alarms.map(({ step, text }) => `Step ${thousands(step)}: ${text}`), ...(trained ? [] : now.verdict.map((text) => `At the end: ${text}`))];
  $("warnings").replaceChildren(...warnings.map((text) => make("li", { text })));
  if (JSON.stringify(before && [before.curves, before.samples]) !== JSON.stringify([now.curves, now.samples])) draw();
}

function draw() {
  const focused = [...$("curves").children].findIndex((chart) => chart.contains(document.activeElement));
  charts = run.curves.map(chart);
  $("curves").replaceChildren(...charts.map(({ element }) => element));
  if (focused >= 0) $("curves").children[focused]?.querySelector("svg").focus();
  const any = run.samples.length > 0;
  $("none").hidden = any;
  $("training").hidden = !any && !charts.length;
  $("strip").hidden = !any;
  if (!any) return;
  $("at").max = run.samples.length - 1;
  if (following) $("at").value = $("at").max;
  show();
}

function show() {
  const { step, files } = run.samples[$("at").value];
  const path = `samples/step-${String(step).padStart(8, "0")}`;
  $("step").textContent = thousands(step);
  $("at").setAttribute("aria-valuetext", `step ${step}`);
  const points = files.includes("json");
  $("large").hidden = points || !files.includes("png");
  if (!$("large").hidden) {
    $("grid").src = $("large").href = `${path}.png`;
    $("grid").alt = `Samples at step ${step}`;
  }
  $("points").hidden = !points;
  if (points) showPoints(`${path}.json`, step);
  $("sound").hidden = !files.includes("wav");
  if (files.includes("wav") && $("sound").getAttribute("src") !== `${path}.wav`) $("sound").src = `${path}.wav`;
  for (const each of charts) each.mark(step);
}

function play(on) {
  clearInterval(playing);
  playing = on ? setInterval(() => {
    if (Number($("at").value) >= Number($("at").max)) return play(false);
    $("at").value = Number($("at").value) + 1;
    show();
  }, 250) : 0;
  following = !on && $("at").value === $("at").max;
  $("play").textContent = on ? "Pause" : "Play";
}

$("grid").addEventListener("load", () => $("grid").classList.toggle("crisp", $("grid").naturalWidth < 400));
$("at").addEventListener("input", () => {
  play(false);
  show();
});
$("play").addEventListener("click", () => {
  if (!playing && $("at").value === $("at").max) $("at").value = 0;
  play(!playing);
  show();
});
for (const name of ["stop", "resume"]) $(name).addEventListener("click", () => order(name, $(name)));

const events = new EventSource("events");
events.onmessage = (event) => update(JSON.parse(event.data));
events.onerror = () => {
  lost = true;
  $("status").textContent = "No connection";
  $("status").dataset.state = "bad";
  fail(GONE);
};
