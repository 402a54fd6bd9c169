// Latents of a seed: the random generator squares32-table16/1, the same bits as gantool.runtime. WGSL has no integers of
// 64 bits: here they are vec2u(low, high).
//
// z[j] of image `index` of a seed is table[sampler_place(sampler_key(seed), index, j, size)]; `table` is normals.f32.

fn high_product(a: u32, b: u32) -> u32 {
  let x = (a & 0xffffu) * (b & 0xffffu);
  let y = (a >> 16u) * (b & 0xffffu) + (x >> 16u);
  let z = (a & 0xffffu) * (b >> 16u) + (y & 0xffffu);
  return (a >> 16u) * (b >> 16u) + (y >> 16u) + (z >> 16u);
}

fn times(a: vec2u, b: vec2u) -> vec2u {
  return vec2u(a.x * b.x, high_product(a.x, b.x) + a.x * b.y + a.y * b.x);
}

fn plus(a: vec2u, b: vec2u) -> vec2u {
  let low = a.x + b.x;
  return vec2u(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn three_rounds(y: vec2u, z: vec2u) -> vec2u {
  var x = plus(times(y, y), y).yx; // .yx turns by 32 bits
  x = plus(times(x, x), z).yx;
  return plus(times(x, x), y).yx;
}

// The odd key of a seed.
fn sampler_key(seed: vec2u) -> vec2u {
  let first = vec2u(0x4CE32F6Du, 0xC58EFD15u);
  let y = times(seed, first);
  let z = plus(y, first);
  var x = three_rounds(y, z);
  let t = plus(times(x, x), z);
  x = t.yx;
  let made = plus(t, vec2u(plus(times(x, x), y).y, 0u));
  return vec2u(made.x | 1u, made.y);
}

// The 32 bits of a counter.
fn sampler_bits(key: vec2u, counter: vec2u) -> u32 {
  let y = times(counter, key);
  let z = plus(y, key);
  let x = three_rounds(y, z);
  return plus(times(x, x), z).y;
}

// The place in the table of number j of `size` (1 to 262144) of image `index` (below 2^47).
fn sampler_place(key: vec2u, index: vec2u, j: u32, size: u32) -> u32 {
  let count = (size + 1u) / 2u;
  let start = times(index, vec2u(select(131072u, 65536u, count <= 65536u), 0u));
  let bits = sampler_bits(key, plus(start, vec2u(j % count, 0u)));
  return select(bits & 0xffffu, bits >> 16u, j < count);
}
