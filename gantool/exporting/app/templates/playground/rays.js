// Views of volumes by WebGL 2: rays through a 3-D texture, which end where it passes a half, as surfaces in files do.

const SHADER = `#version 300 es
precision highp float;
precision highp sampler3D;
uniform sampler3D field; // with empty voxels around
uniform vec3 box, right, up, near, light; // across, down and back
uniform float radius, side, ambient;
out vec4 colour;
float at(vec3 p) { return texture(field, (p + 1.0) / (box + 2.0)).r; }
void main() {
  vec2 place = (2.0 * gl_FragCoord.xy / side - 1.0) * radius;
  vec3 start = box / 2.0 + place.x * right + place.y * up;
  vec3 one = (start + 1.0) / near, other = (start - box - 1.0) / near; // the walls
  vec3 first = min(one, other), last = max(one, other);
  float t = max(max(first.x, first.y), first.z), end = min(min(last.x, last.y), last.z), hit = t, peak = 0.0;
  for (int i = 0; i < 2048 && t < end; i++, t += 0.5) {
    float value = at(start - t * near);
    if (value > peak) { peak = value; hit = t; }
    if (value > 0.5) break;
  }
  float pixel = 2.0 * radius / side, cover = clamp(1.0 - (0.5 - peak) / pixel, 0.0, 1.0); // soft edges
  float shade = BACKGROUND;
  if (cover > 0.0) {
    for (float way = 0.25; peak > 0.5 && way > 0.01; way *= 0.5) hit += at(start - hit * near) > 0.5 ? -way : way;
    vec3 p = start - hit * near, slope = vec3(0.0);
    for (float far = 0.5; far < 2.0; far += 0.5) {
      vec2 d = vec2(far, 0.0);
      slope += vec3(at(p - d.xyy) - at(p + d.xyy), at(p - d.yxy) - at(p + d.yxy), at(p - d.yyx) - at(p + d.yyx));
    }
    float lit = clamp(dot(slope, light) / max(length(slope), 1e-6), 0.0, 1.0);
    shade = mix(shade, (ambient + (1.0 - ambient) * lit) * (0.85 - 0.15 * hit / radius), cover);
  }
  colour = vec4(vec3(shade), 1.0);
}`;
const CORNERS = `#version 300 es
void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0); }`;

/**
 * @param shape depth, height and width; look: radius of the view, its light in the shade, its background (of 1)
 * @param restored() when the browser gives WebGL back that it had taken
 * @returns draw(voxels, side, {right, up, near, light}) → a canvas to copy at once; null where there is no WebGL 2 now
 */
function makeRays([depth, height, width], { radius, ambient, background }, restored) {
  const canvas = document.createElement("canvas"), padded = new WeakMap();
  const sides = [width + 2, height + 2, depth + 2];
  const gl = canvas.getContext("webgl2", { antialias: false, depth: false, alpha: false });
  let program = null;

  /** All that is lost with the context. */
  function prepare() {
    program = gl.createProgram();
    const shaders = [[gl.VERTEX_SHADER, CORNERS], [gl.FRAGMENT_SHADER, SHADER.replace("BACKGROUND", background.toFixed(6))]];
    for (const [kind, source] of shaders) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return void (program = null);
    gl.useProgram(program);
    gl.bindTexture(gl.TEXTURE_3D, gl.createTexture());
    gl.texStorage3D(gl.TEXTURE_3D, 1, gl.R8, ...sides);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    for (const end of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T, gl.TEXTURE_WRAP_R]) gl.texParameteri(gl.TEXTURE_3D, end, gl.CLAMP_TO_EDGE);
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_3D, filter, gl.LINEAR);
    set("box", [width, height, depth]);
    set("radius", [radius]);
    set("ambient", [ambient]);
  }

  const set = (name, values) => gl[`uniform${values.length}fv`](gl.getUniformLocation(program, name), values);

  function field(voxels) {
    if (!padded.has(voxels)) {
      const out = new Uint8Array(sides[0] * sides[1] * sides[2]);
      for (let row = 0; row < depth * height; row++) {
        const to = ((Math.floor(row / height) + 1) * sides[1] + (row % height) + 1) * sides[0] + 1;
        out.set(voxels.subarray(row * width, (row + 1) * width), to);
      }
      padded.set(voxels, out);
    }
    return padded.get(voxels);
  }

  function draw(voxels, side, view) {
    if (!program || gl.isContextLost()) return null;
    if (canvas.width !== side) canvas.width = canvas.height = side;
    gl.viewport(0, 0, side, side);
    gl.texSubImage3D(gl.TEXTURE_3D, 0, 0, 0, 0, ...sides, gl.RED, gl.UNSIGNED_BYTE, field(voxels));
    set("side", [side]);
    // a ray along a wall would divide by 0
    for (const [name, [back, down, across]] of Object.entries(view)) set(name, [across, down, back].map((part) => part || 1e-6));
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    return canvas;
  }

  if (gl) {
    prepare();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault()); // so that it comes back
    canvas.addEventListener("webglcontextrestored", () => {
      prepare();
      restored();
    });
  }
  return draw;
}
