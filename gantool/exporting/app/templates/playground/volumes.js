// How volumes are shown and saved: uint8 depth × height × width, filled from 128 on. All views turn together. On screen
// they are drawn by rays.js; here is what saved pictures have, and browsers without WebGL 2.

const [DEPTH, TALL, WIDE_SIDE] = SHAPE;
const STEP = 0.6; // of a ray, in voxels
const AMBIENT = 0.25, BACKGROUND = 16;
const RADIUS = Math.hypot(DEPTH, TALL, WIDE_SIDE) / 2;
const camera = { turn: 35, tilt: 25, slice: -1 }; // degrees to the right and up; -1: no slice but the whole
const voxelsOf = new WeakMap(), smoothed = new WeakMap();

/** The filled part with soft edges, in a box of two more voxels on each side: its slopes are the normals. */
function smooth(voxels) {
  if (smoothed.has(voxels)) return smoothed.get(voxels);
  const [high, wide] = [TALL + 4, WIDE_SIDE + 4];
  let soft = new Float32Array((DEPTH + 4) * high * wide);
  for (let d = 0, i = 0; d < DEPTH; d++) {
    for (let h = 0; h < TALL; h++) {
      for (let w = 0; w < WIDE_SIDE; w++, i++) if (voxels[i] >= 128) soft[((d + 2) * high + h + 2) * wide + w + 2] = 1;
    }
  }
  for (const stride of [1, wide, high * wide]) {
    const next = new Float32Array(soft.length);
    for (let i = stride; i < soft.length - stride; i++) next[i] = soft[i] + 0.5 * (soft[i - stride] + soft[i + stride]);
    soft = next;
  }
  smoothed.set(voxels, soft);
  return soft;
}

/** The axes right, up and towards the viewer, each along depth, height and width. */
function axes() {
  const [turn, tilt] = [camera.turn, camera.tilt].map((degrees) => (degrees * Math.PI) / 180);
  const [s, c, st, ct] = [Math.sin(turn), Math.cos(turn), Math.sin(tilt), Math.cos(tilt)];
  return [[s, 0, c], [st * c, -ct, -st * s], [-ct * c, -st, ct * s]];
}

/** The same, and where the light comes from. */
function lit() {
  const [right, up, near] = axes();
  const [lx, ly, lz] = [-0.5, 0.75, 0.6].map((part) => part / Math.hypot(0.5, 0.75, 0.6));
  return { right, up, near, light: right.map((part, i) => lx * part + ly * up[i] + lz * near[i]) };
}

/** A view of side × side grey pixels, by parallel rays that end at the first filled voxel. */
function rendered(voxels, side) {
  const { right, up, near, light } = lit();
  const box = [DEPTH, TALL, WIDE_SIDE], soft = smooth(voxels), plane = (TALL + 4) * (WIDE_SIDE + 4);
  const out = new Uint8Array(side * side).fill(BACKGROUND);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const [across, above] = [((x + 0.5) / side * 2 - 1) * RADIUS, (1 - (y + 0.5) / side * 2) * RADIUS];
      let from = -RADIUS, to = RADIUS; // where the ray is in the box, from the viewer on
      const start = box.map((length, i) => {
        const at = length / 2 + across * right[i] + above * up[i];
        if (Math.abs(near[i]) < 1e-9) {
          if (at < 0 || at >= length) to = -Infinity;
        } else {
          const [one, other] = [at / near[i], (at - length) / near[i]];
          from = Math.max(from, Math.min(one, other));
          to = Math.min(to, Math.max(one, other));
        }
        return at;
      });
      for (let t = from + 1e-4; t < to; t += STEP) {
        const d = Math.floor(start[0] - t * near[0]), h = Math.floor(start[1] - t * near[1]), w = Math.floor(start[2] - t * near[2]);
        if (d < 0 || h < 0 || w < 0 || d >= DEPTH || h >= TALL || w >= WIDE_SIDE) continue;
        if (voxels[(d * TALL + h) * WIDE_SIDE + w] < 128) continue;
        const at = ((d + 2) * (TALL + 4) + h + 2) * (WIDE_SIDE + 4) + w + 2;
        const slope = [plane, WIDE_SIDE + 4, 1].map((stride) => soft[at - stride] - soft[at + stride]);
        const steep = Math.hypot(...slope) || 1;
        const bright = Math.min(1, Math.max(0, slope.reduce((sum, part, i) => sum + part * light[i], 0) / steep));
        out[y * side + x] = Math.round(255 * (AMBIENT + (1 - AMBIENT) * bright) * (0.85 - (0.15 * t) / RADIUS));
        break;
      }
    }
  }
  return out;
}

/** The slice `camera.slice` from the front, as large as it goes. */
function sliced(voxels, side) {
  const scale = Math.max(TALL, WIDE_SIDE) / side, start = camera.slice * TALL * WIDE_SIDE;
  const [top, left] = [TALL, WIDE_SIDE].map((length) => (side - length / scale) / 2);
  const out = new Uint8Array(side * side).fill(BACKGROUND);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const [h, w] = [Math.floor((y + 0.5 - top) * scale), Math.floor((x + 0.5 - left) * scale)];
      if (h >= 0 && w >= 0 && h < TALL && w < WIDE_SIDE) out[y * side + x] = voxels[start + h * WIDE_SIDE + w];
    }
  }
  return out;
}

const viewOf = (voxels, side) => (camera.slice < 0 ? rendered : sliced)(voxels, side);

/** On a canvas, whose pixels are then those of the screen; `coarse` times fewer a side while it turns too slowly. */
function paintSample(canvas, voxels, coarse = 1) {
  voxelsOf.set(canvas, voxels);
  const sharp = Math.min(1024, Math.round(canvas.clientWidth * devicePixelRatio)) || canvas.width; // 0: not shown
  const side = Math.max(48, Math.round(sharp / coarse));
  const drawn = camera.slice < 0 ? rays(voxels, side, lit()) : null;
  const own = drawn || camera.slice >= 0 ? side : Math.max(48, Math.round((canvas.closest(".tile") ? 1 : LARGE) * WIDTH / coarse));
  if (canvas.width !== own) canvas.width = canvas.height = own;
  if (drawn) canvas.getContext("2d").drawImage(drawn, 0, 0);
  else paint(canvas, viewOf(voxels, own), own);
}

/** The views as a picture. */
function saveSamples(volumes, columns, stem, words, seeds) {
  return savePng(gridPicture(volumes.map((voxels) => viewOf(voxels, WIDTH)), columns), `${stem}.png`, words, seeds);
}

/** What is filled, as a binvox file, which has no place for where it comes from. */
async function saveSample(voxels, stem) {
  saveFile(new Blob([binvox(voxels, SHAPE)]), `${stem}.binvox`);
}

/** The surface of what is filled, for programs that show 3-D shapes. */
async function saveSurface(voxels, stem, words, seeds) {
  const said = told(words, seeds);
  saveFile(new Blob([glb(voxels, SHAPE, said ? said.json : "")], { type: "model/gltf-binary" }), `${stem}.glb`);
}

/** All views; `turning`: those alone that are seen, `coarse` times less sharp. */
function repaint(turning = false, coarse = 1) {
  for (const canvas of document.querySelectorAll("main canvas")) {
    const { top, bottom } = canvas.getBoundingClientRect();
    if (!voxelsOf.has(canvas) || (turning && (bottom <= 0 || top >= innerHeight))) continue;
    paintSample(canvas, voxelsOf.get(canvas), coarse);
  }
}

const look = { radius: RADIUS, ambient: AMBIENT, background: BACKGROUND / 255 };
const rays = makeRays(SHAPE, look, () => repaint());

/** Dragging and Shift with the arrow keys turn all views, and sliders turn and cut them. */
function makeTurning() {
  const sliders = ["turn", "slice", "slice-large"].map($);
  let drag = null, frame = 0, rest = 0, coarse = 1, moved = false;

  function turn(right, down) {
    camera.turn = Math.round(((camera.turn - right + 540) % 360) - 180);
    camera.tilt = Math.min(90, Math.max(-90, camera.tilt + down));
    show();
  }

  function show() {
    for (const slider of sliders) {
      const name = slider.id.split("-")[0];
      slider.value = camera[name];
      slider.previousElementSibling.lastElementChild.textContent =
        name === "turn" ? `${camera.turn}°` : camera.slice < 0 ? "the whole" : `${camera.slice + 1} of ${DEPTH}`;
    }
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      clearTimeout(rest);
      const began = performance.now();
      repaint(true, coarse);
      const took = performance.now() - began;
      coarse = took > 40 ? Math.min(4, coarse * 1.5) : took < 15 ? Math.max(1, coarse / 1.5) : coarse;
      rest = setTimeout(repaint, 200);
    });
  }

  for (const slider of sliders) {
    if (slider.id !== "turn") slider.max = DEPTH - 1;
    slider.oninput = () => {
      camera[slider.id.split("-")[0]] = Number(slider.value);
      show();
    };
  }
  addEventListener("pointerdown", (event) => {
    moved = false;
    if (event.target.matches("canvas") && !event.button) drag = { x: event.clientX, y: event.clientY };
  });
  addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [right, down] = [event.clientX - drag.x, event.clientY - drag.y];
    if (!moved && Math.hypot(right, down) < 4) return;
    moved = true;
    drag = { x: event.clientX, y: event.clientY };
    turn(right / 2, down / 2);
  });
  addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-5, 0], ArrowRight: [5, 0], ArrowUp: [0, -5], ArrowDown: [0, 5] }[event.key];
    if (!way || !event.shiftKey || event.target.matches?.("input, select")) return;
    event.preventDefault();
    event.stopPropagation(); // without Shift they choose another volume
    turn(...way);
  }, true);
  addEventListener("resize", () => show());
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => { drag = null; });
  addEventListener("click", (event) => {
    if (moved && event.target.closest(".tile")) event.stopPropagation(); // a drag is no click
    moved = false;
  }, true);
  show();
}
