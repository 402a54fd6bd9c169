/* Latents of a seed: the random generator squares32-table16/1, the same bits as gantool.runtime. C99, no dependency.

   float table[65536];            read from normals.f32, little-endian
   sampler_normals(table, 7, 0, 100, z);     z of image 0 of seed 7, 100 numbers */
#ifndef GANTOOL_SAMPLER_H
#define GANTOOL_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t sampler_turn(uint64_t x) { return (x >> 32) | (x << 32); }

/* The odd key of a seed. */
static inline uint64_t sampler_key(int64_t seed) {
  const uint64_t first = UINT64_C(0xC58EFD154CE32F6D);
  uint64_t y = (uint64_t)seed * first, z = y + first, x, t;
  x = sampler_turn(y * y + y);
  x = sampler_turn(x * x + z);
  x = sampler_turn(x * x + y);
  t = x * x + z;
  x = sampler_turn(t);
  return (t + ((x * x + y) >> 32)) | 1;
}

/* The 32 bits of a counter. */
static inline uint32_t sampler_bits(uint64_t key, uint64_t counter) {
  uint64_t y = counter * key, z = y + key, x;
  x = sampler_turn(y * y + y);
  x = sampler_turn(x * x + z);
  x = sampler_turn(x * x + y);
  return (uint32_t)((x * x + z) >> 32);
}

/* The `size` normals of image `index` of `seed`; 0 <= index < 2^47, 1 <= size <= 262144. Several latents of a generator
   share them: they are cut in the order of its inputs. */
static inline void sampler_normals(const float *table, int64_t seed, uint64_t index, size_t size, float *out) {
  const size_t count = (size + 1) / 2;
  const uint64_t key = sampler_key(seed), start = index * (count <= 65536 ? 65536 : 131072);
  for (size_t j = 0; j < count; j++) {
    const uint32_t bits = sampler_bits(key, start + j);
    out[j] = table[bits >> 16];
    if (count + j < size) out[count + j] = table[bits & 65535];
  }
}

#endif
