// The source: a canvas that is drawn on. It is a list of grounds (white, a picture) and strokes, in parts of its sides:
// each can be taken back, and all drawn again in another size.

const WHITE = { draw: (context) => drawShapes(context, [["box", "#ffffff", -WIDE, -WIDE, 3 * WIDE, 3 * WIDE]]) };
const COLOURS = {
  "#000000": "Black", "#ffffff": "White", "#c1352b": "Red", "#e8a33d": "Orange",
  "#4f9d4f": "Green", "#3b7fc4": "Blue", "#7b4fa3": "Violet", "#8a5a3c": "Brown",
};

/** @param changed() → {picture(), resize(width, height), put(ground), ground()} */
function makeDrawing({ changed }) {
  const canvas = $("source"), context = canvas.getContext("2d", { willReadFrequently: true });
  const below = newCanvas(); // the ground alone, which the eraser brings back
  const pen = { x: 0.5, y: 0.5 };
  let marks = [WHITE], stroke = null, erasing = false;

  const lastGround = () => marks.findLastIndex((mark) => mark.draw);

  function line({ points, size, colour }, from = 0) {
    const { width, height } = canvas;
    context.strokeStyle = colour || context.createPattern(below, "no-repeat");
    context.lineWidth = Math.max(1, size * Math.min(width, height));
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    for (const { x, y } of points.slice(from)) context.lineTo(x * width, y * height);
    const end = points.at(-1);
    context.lineTo(end.x * width + 0.01, end.y * height); // a dot has a length, too
    context.stroke();
  }

  function draw() {
    const start = lastGround();
    [below.width, below.height] = [canvas.width, canvas.height];
    const ground = below.getContext("2d");
    ground.imageSmoothingQuality = "high";
    WHITE.draw(ground);
    marks[start].draw(ground);
    context.drawImage(below, 0, 0);
    marks.slice(start + 1).forEach((mark) => line(mark));
    show();
  }

  function show() {
    $("undo").disabled = marks.length < 2;
    $("again").disabled = marks[lastGround()] === WHITE || lastGround() === marks.length - 1;
    $("eraser").setAttribute("aria-pressed", erasing);
    for (const button of $("colours").children) button.setAttribute("aria-pressed", !erasing && button.value === $("colour").value);
    $("pen").style.setProperty("--x", pen.x);
    $("pen").style.setProperty("--y", pen.y);
  }

  function put(ground) {
    marks.push(ground);
    stroke = null;
    draw();
    changed();
  }

  function begin(point) {
    const size = Number($("brush").value) / Math.min(...SOURCE.shape.slice(0, 2));
    stroke = { points: [point], size, colour: erasing ? null : $("colour").value };
    marks.push(stroke);
    line(stroke);
    show();
    changed();
  }

  function extend(...points) {
    stroke.points.push(...points);
    line(stroke, stroke.points.length - points.length - 1);
    changed();
  }

  function undo() {
    if (marks.length < 2) return;
    marks.pop();
    stroke = null;
    draw();
    changed();
  }

  const at = (event) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    return { x: (event.clientX - left) / width, y: (event.clientY - top) / height };
  };
  canvas.onpointerdown = (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    begin(at(event));
  };
  canvas.onpointermove = (event) => {
    if (!stroke || !canvas.hasPointerCapture(event.pointerId)) return;
    const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    extend(...(events.length ? events : [event]).map(at));
  };
  canvas.onpointerup = canvas.onpointercancel = () => { stroke = null; };

  canvas.onkeydown = (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || !(way || event.key === " ")) return;
    event.preventDefault();
    if (!way || (event.shiftKey && !stroke)) begin({ ...pen });
    if (!way || !event.shiftKey) stroke = null;
    if (!way) return;
    for (const [i, axis] of ["x", "y"].entries()) pen[axis] = Math.min(1, Math.max(0, pen[axis] + way[i] / 32));
    if (stroke) extend({ ...pen });
    show();
  };
  canvas.onkeyup = (event) => { if (event.key === "Shift") stroke = null; };
  addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || event.target.matches("input:not([type=range], [type=radio], [type=color])")) return;
    event.preventDefault();
    undo();
  });

  const choose = (colour) => {
    $("colour").value = colour;
    erasing = false;
    show();
  };
  for (const [colour, name] of Object.entries(COLOURS)) {
    const button = make("button", { type: "button", class: "swatch-button", value: colour, "aria-label": name });
    button.style.setProperty("--colour", colour);
    button.onclick = () => choose(colour);
    $("colours").append(button);
  }
  $("colour").oninput = () => choose($("colour").value);
  $("brush").max = Math.max(4, Math.round(Math.min(...SOURCE.shape.slice(0, 2)) / 4));
  $("brush").value = Math.max(1, Math.round(Math.min(...SOURCE.shape.slice(0, 2)) / 32));
  $("eraser").onclick = () => {
    erasing = !erasing;
    show();
  };
  $("undo").onclick = undo;
  $("white").onclick = () => put(WHITE);
  $("again").onclick = () => put(marks[lastGround()]);
  choose("#000000");

  return {
    put,
    ground: () => marks[lastGround()],
    picture: () => context.getImageData(0, 0, canvas.width, canvas.height),
    resize(width, height) {
      if (canvas.width === width && canvas.height === height) return;
      [canvas.width, canvas.height] = [width, height];
      draw();
    },
  };
}
