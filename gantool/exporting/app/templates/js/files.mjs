// Sounds and volumes as files, and sounds as the Web Audio API takes them. No dependency.

/**
 * The bytes of a WAV file, PCM in 16 bits, of a sound: Int16Array, channels last. `texts`: more chunks by their names of
 * four letters, such as `_PMX` (XMP).
 */
export function wav(data, channels, rate, texts = {}) {
  const encoder = new TextEncoder();
  const format = new DataView(new ArrayBuffer(16));
  [1, channels].forEach((value, i) => format.setUint16(2 * i, value, true)); // 1: PCM
  [rate, 2 * channels * rate].forEach((value, i) => format.setUint32(4 + 4 * i, value, true));
  [2 * channels, 16].forEach((value, i) => format.setUint16(12 + 2 * i, value, true));
  const chunks = [["fmt ", new Uint8Array(format.buffer)]];
  for (const [name, text] of Object.entries(texts)) chunks.push([name, encoder.encode(text)]);
  chunks.push(["data", littleEndian(data)]);
  const out = new Uint8Array(chunks.reduce((sum, [, { length }]) => sum + 8 + length + (length % 2), 12));
  const view = new DataView(out.buffer);
  let at = 0;
  const put = (name, length) => {
    out.set(encoder.encode(name), at);
    view.setUint32(at + 4, length, true);
    at += 8;
  };
  put("RIFF", out.length - 8);
  out.set(encoder.encode("WAVE"), at);
  at += 4;
  for (const [name, bytes] of chunks) {
    put(name, bytes.length);
    out.set(bytes, at);
    at += bytes.length + (bytes.length % 2);
  }
  return out;
}

/** The bytes of an Int16Array as files have them, and as digests are over them. */
export function littleEndian(data) {
  const out = new DataView(new ArrayBuffer(2 * data.length));
  data.forEach((value, i) => out.setInt16(2 * i, value, true));
  return new Uint8Array(out.buffer);
}

/** A sound, Int16Array with its channels last, as the Web Audio API plays it: numbers from -1 to 1, which are data / 32767. */
export function audioBuffer(data, channels, rate) {
  const buffer = new AudioBuffer({ length: data.length / channels, numberOfChannels: channels, sampleRate: rate });
  for (let channel = 0; channel < channels; channel++) {
    const samples = buffer.getChannelData(channel);
    for (let i = 0; i < samples.length; i++) samples[i] = data[i * channels + channel] / 32767;
  }
  return buffer;
}

/** The bytes of a binvox file of a volume: what has 128 and more is filled. https://www.patrickmin.com/binvox/binvox.html */
export function binvox(data, [depth, height, width]) {
  const runs = [];
  let value = -1;
  for (let x = 0; x < width; x++) {
    for (let z = depth - 1; z >= 0; z--) { // to the front
      for (let y = height - 1; y >= 0; y--) { // upwards
        const filled = data[(z * height + y) * width + x] >= 128 ? 1 : 0;
        if (filled !== value || runs.at(-1) === 255) runs.push((value = filled), 0);
        runs[runs.length - 1]++;
      }
    }
  }
  const header = new TextEncoder().encode(`#binvox 1\ndim ${width} ${depth} ${height}\ntranslate 0 0 0\nscale 1\ndata\n`);
  const out = new Uint8Array(header.length + runs.length);
  out.set(header);
  out.set(runs, header.length);
  return out;
}

/**
 * The surface of a volume, where it passes 127.5, by naive surface nets (Gibson 1998, https://doi.org/10.1007/BFb0056277): a
 * vertex in each cell that it crosses, a square for each edge. `positions` and `normals`: three numbers a vertex, x to
 * the right, y up, z to the front, in a box around the origin whose longest side is 1; `triangles`: three vertices each, anticlockwise from outside.
 */
export function surface(data, [depth, height, width]) {
  const sides = [depth + 2, height + 2, width + 2]; // with empty voxels around: closed where it touches the box
  const strides = [sides[1] * sides[2], sides[2], 1], longest = Math.max(depth, height, width);
  const field = new Float32Array(sides[0] * sides[1] * sides[2]).fill(-127.5);
  for (let d = 0, i = 0; d < depth; d++) {
    for (let h = 0; h < height; h++) {
      for (let w = 0; w < width; w++, i++) field[(d + 1) * strides[0] + (h + 1) * strides[1] + w + 1] = data[i] - 127.5;
    }
  }
  const corners = Array.from({ length: 8 }, (_, i) => [i >> 2, (i >> 1) & 1, i & 1]);
  const edges = corners.flatMap((from, i) => [4, 2, 1].filter((bit) => !(i & bit)).map((bit) => [i, i | bit]));
  const vertexOf = new Int32Array(field.length).fill(-1), positions = [], triangles = [];
  const offsets = corners.map((corner) => corner.reduce((sum, part, axis) => sum + part * strides[axis], 0));
  for (let d = 0; d < sides[0] - 1; d++) {
    for (let h = 0; h < sides[1] - 1; h++) {
      for (let w = 0; w < sides[2] - 1; w++) {
        const at = d * strides[0] + h * strides[1] + w;
        const place = [0, 0, 0];
        let crossed = 0;
        for (const [one, other] of edges) {
          const [a, b] = [field[at + offsets[one]], field[at + offsets[other]]];
          if (a > 0 === b > 0) continue;
          crossed++;
          for (let axis = 0; axis < 3; axis++) place[axis] += corners[one][axis] + (a / (a - b)) * (corners[other][axis] - corners[one][axis]);
        }
        if (!crossed) continue;
        vertexOf[at] = positions.length / 3;
        const [z, y, x] = [d, h, w].map((start, axis) => start + place[axis] / crossed - (sides[axis] - 1) / 2);
        positions.push(x / longest, -y / longest, -z / longest);
      }
    }
  }
  for (let at = 0; at < field.length; at++) {
    for (let axis = 0; axis < 3; axis++) {
      const next = at + strides[axis];
      if (next >= field.length || field[at] > 0 === field[next] > 0) continue;
      const [b, c] = [strides[(axis + 1) % 3], strides[(axis + 2) % 3]];
      const square = [at, at - b, at - b - c, at - c].map((cell) => vertexOf[cell]);
      const [p, q, r, s] = field[at] > 0 ? square.reverse() : square; // the filled side is behind
      triangles.push(p, q, r, p, r, s);
    }
  }
  const normals = new Float32Array(positions.length);
  for (let i = 0; i < triangles.length; i += 3) {
    const [p, q, r] = [0, 1, 2].map((k) => 3 * triangles[i + k]);
    const side = (to) => [0, 1, 2].map((axis) => positions[to + axis] - positions[p + axis]);
    const [u, v] = [side(q), side(r)];
    for (let axis = 0; axis < 3; axis++) {
      const [j, k] = [(axis + 1) % 3, (axis + 2) % 3];
      for (const vertex of [p, q, r]) normals[vertex + axis] += u[j] * v[k] - u[k] * v[j];
    }
  }
  for (let i = 0; i < normals.length; i += 3) {
    const length = Math.hypot(normals[i], normals[i + 1], normals[i + 2]) || 1;
    for (let axis = 0; axis < 3; axis++) normals[i + axis] /= length;
  }
  return { positions: Float32Array.from(positions), normals, triangles: Uint32Array.from(triangles) };
}

/**
 * The bytes of a binary glTF 2.0 file of a volume's surface; an empty scene where nothing is filled. `extras`: JSON that
 * is kept with its mesh. https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
 */
export function glb(data, shape, extras = "") {
  const { positions, normals, triangles } = surface(data, shape);
  const arrays = triangles.length ? [positions, normals, triangles] : [];
  const ends = [0, 1, 2].map((axis) => positions.filter((_, i) => i % 3 === axis));
  const pick = (choose) => ends.map((values) => values.reduce((a, b) => choose(a, b)));
  let total = 0;
  const views = arrays.map((array) => {
    const view = { buffer: 0, byteOffset: total, byteLength: array.byteLength, target: array === triangles ? 34963 : 34962 };
    total += array.byteLength;
    return view;
  });
  const accessors = arrays.map((array, i) => ({
    bufferView: i, componentType: array === triangles ? 5125 : 5126, type: array === triangles ? "SCALAR" : "VEC3",
    count: array === triangles ? array.length : array.length / 3, ...(i ? {} : { min: pick(Math.min), max: pick(Math.max) }),
  }));
  const primitive = { attributes: { POSITION: 0, NORMAL: 1 }, indices: 2, material: 0 };
  const text = JSON.stringify({
    asset: { version: "2.0", generator: "gantool" }, scene: 0, scenes: [arrays.length ? { nodes: [0] } : {}],
    ...(arrays.length && {
      nodes: [{ mesh: 0 }], meshes: [{ primitives: [primitive], ...(extras && { extras: null }) }], accessors, bufferViews: views,
      materials: [{ pbrMetallicRoughness: { metallicFactor: 0, roughnessFactor: 0.8 } }], buffers: [{ byteLength: total }],
    }),
  }).replace('"extras":null', () => `"extras":${extras}`); // whose seed may be larger than a number of JavaScript
  const json = new TextEncoder().encode(text), spaces = (4 - (json.length % 4)) % 4;
  const out = new Uint8Array(20 + json.length + spaces + (total && 8 + total)), view = new DataView(out.buffer);
  const head = [0x46546c67, 2, out.length, json.length + spaces, 0x4e4f534a];
  head.forEach((value, i) => view.setUint32(4 * i, value, true));
  out.fill(32, 20, 20 + json.length + spaces);
  out.set(json, 20);
  if (!total) return out;
  let at = 20 + json.length + spaces;
  [total, 0x004e4942].forEach((value, i) => view.setUint32(at + 4 * i, value, true));
  at += 8;
  arrays.forEach((array) => array.forEach((value) => {
    if (array === triangles) view.setUint32(at, value, true);
    else view.setFloat32(at, value, true);
    at += 4;
  }));
  return out;
}
