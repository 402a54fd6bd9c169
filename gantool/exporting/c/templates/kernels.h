/* What the layers of generator.c are made of. Sizes and steps are in floats. Only generator.c includes it. */
#ifndef KERNELS_H
#define KERNELS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* GCC's and Clang's vectors become whatever the processor has; LANES 1 is plain C for any other compiler. */
#ifndef LANES
#if !defined(__GNUC__)
#define LANES 1
#elif defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#endif
#if LANES == 1
typedef float vec;
#else
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#endif
#if LANES == 16 || defined(__aarch64__)
#define TALL 8 /* rows at once: as many as registers hold */
#else
#define TALL 4
#endif
#define WIDE (LANES == 1 ? 4 : 2 * LANES) /* columns at once */
#define PANEL 4   /* rows that lie side by side in the weights of a product */
#define STRIP 16  /* and in those of a dense layer */
#define DEPTH 256 /* weights of a row at once: the inputs they meet stay in the first cache */
#define SLACK 8   /* floats that may be read or written behind a run: it is copied in eights */
#define LESSER(a, b) ((a) < (b) ? (a) : (b))

/* rows × (channels · taps) weights, times the inputs under each tap at every position of a grid; in groups */
typedef struct {
    size_t groups, rows, channels, taps;
    size_t grid[3];     /* positions: depth, height, width */
    size_t step[3];     /* in the input, from a position to the next */
    size_t channel;     /* in the input, from a channel to the next */
    size_t row, column; /* in the output, from a row to the next, from a position to the next */
} product;

#define TILE(NAME, ROWS, VECS)                                                                        \
    static inline void NAME(float *c, const float *a, size_t panel, const float *b, size_t depth) {   \
        vec sum[ROWS][VECS];                                                                          \
        memset(sum, 0, sizeof sum);                                                                   \
        for (size_t k = 0; k < depth; k++) {                                                          \
            const vec *v = (const vec *)(const void *)(b + k * VECS * LANES);                         \
            for (size_t i = 0; i < ROWS; i++) {                                                       \
                const float f = a[i / PANEL * panel + k * PANEL + i % PANEL];                         \
                for (size_t j = 0; j < VECS; j++) sum[i][j] += f * v[j];                              \
            }                                                                                         \
        }                                                                                             \
        memcpy(c, sum, sizeof sum);                                                                   \
    }
TILE(tall_wide, TALL, (WIDE / LANES))
TILE(tall_narrow, TALL, 1)
TILE(low_wide, PANEL, (WIDE / LANES))
TILE(low_narrow, PANEL, 1)

/* Columns of the inputs under taps `from` … `from + depth` at the positions of the runs, `wide` floats a row. */
static inline void gather(float *to, const float *in, const product *p, const size_t *tap, size_t from, size_t depth,
                          const size_t *base, const size_t *length, size_t runs, size_t wide) {
    size_t channel = from / p->taps, t = from % p->taps;
    for (size_t k = 0; k < depth; k++, to += wide) {
        const float *source = in + channel * p->channel + tap[t];
        float *at = to;
        for (size_t r = 0; r < runs; at += length[r++])
            if (length[r] == 1)
                *at = source[base[r]];
            else
                for (size_t j = 0; j < length[r]; j += SLACK) memcpy(at + j, source + base[r] + j, SLACK * sizeof *at);
        if (++t == p->taps) t = 0, channel++;
    }
}

static inline void multiply(float *restrict out, const float *restrict in, const float *restrict weights,
                            const float *restrict bias, float *restrict scratch, const product *p, const size_t *tap) {
    const size_t inner = p->channels * p->taps, positions = p->grid[0] * p->grid[1] * p->grid[2];
    const size_t panel = PANEL * inner, panels = (p->rows + PANEL - 1) / PANEL;
    for (size_t g = 0; g < p->groups; g++) {
        for (size_t first = 0; first < positions; first += WIDE) {
            const size_t count = LESSER(WIDE, positions - first), wide = count <= LANES ? LANES : WIDE;
            size_t base[WIDE], length[WIDE], runs = 0;
            for (size_t i = 0; i < count;) {
                const size_t x = (first + i) % p->grid[2], row = (first + i) / p->grid[2];
                const size_t at = row / p->grid[1] * p->step[0] + row % p->grid[1] * p->step[1] + x * p->step[2];
                const size_t own = p->step[2] == 1 ? LESSER(p->grid[2] - x, count - i) : 1;
                if (runs && p->step[2] == 1 && base[runs - 1] + length[runs - 1] == at)
                    length[runs - 1] += own;
                else
                    base[runs] = at, length[runs++] = own;
                i += own;
            }
            for (size_t from = 0; from < inner; from += DEPTH) {
                const size_t depth = LESSER(DEPTH, inner - from);
                gather(scratch, in, p, tap, from, depth, base, length, runs, wide);
                for (size_t r = 0; r < p->rows;) {
                    const size_t high = p->rows - r > PANEL ? TALL : PANEL;
                    const float *a = weights + r / PANEL * panel + from * PANEL;
                    float c[TALL * WIDE];
                    if (wide == WIDE && high == TALL)
                        tall_wide(c, a, panel, scratch, depth);
                    else if (wide == WIDE)
                        low_wide(c, a, panel, scratch, depth);
                    else if (high == TALL)
                        tall_narrow(c, a, panel, scratch, depth);
                    else
                        low_narrow(c, a, panel, scratch, depth);
                    for (size_t i = 0; i < high && r + i < p->rows; i++) {
                        float *to = out + (r + i) * p->row + first * p->column;
                        const float start = bias ? bias[r + i] : 0.0f, *own = c + i * wide;
                        if (from)
                            for (size_t j = 0; j < count; j++) to[j * p->column] += own[j];
                        else if (p->column == 1)
                            for (size_t j = 0; j < count; j++) to[j] = own[j] + start;
                        else
                            for (size_t j = 0; j < count; j++) to[j * p->column] = own[j] + start;
                    }
                    r += high;
                }
            }
        }
        in += p->channels * p->channel;
        out += p->rows * p->row;
        weights += panels * panel;
        if (bias) bias += p->rows;
    }
}

/* One row a group and one channel: its taps, one after the other, over the lines of the output. */
static inline void depthwise(float *restrict out, const float *restrict in, const float *restrict weights,
                             const float *restrict bias, const product *p, const size_t *tap) {
    for (size_t g = 0; g < p->groups; g++, in += p->channel, weights += p->taps)
        for (size_t z = 0; z < p->grid[0]; z++)
            for (size_t y = 0; y < p->grid[1]; y++, out += p->grid[2]) {
                for (size_t x = 0; x < p->grid[2]; x++) out[x] = bias ? bias[g] : 0.0f;
                for (size_t t = 0; t < p->taps; t++) {
                    const float *source = in + z * p->step[0] + y * p->step[1] + tap[t], w = weights[t];
                    if (p->step[2] == 1)
                        for (size_t x = 0; x < p->grid[2]; x++) out[x] += w * source[x];
                    else
                        for (size_t x = 0; x < p->grid[2]; x++) out[x] += w * source[x * p->step[2]];
                }
            }
}

/* Where the products of a transposed convolution land: its kernel, and of each axis what it adds up on. */
typedef struct {
    size_t block; /* output channels at once */
    size_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3];
} landing;

/* The input position under which tap `k` reaches output `o` of an axis; none: the input's side. */
static inline size_t reached(const landing *l, int axis, size_t o, size_t k) {
    const size_t at = o + l->pad[axis], before = k * l->dilation[axis];
    if (at < before || (at - before) % l->stride[axis]) return l->in[axis];
    return LESSER((at - before) / l->stride[axis], l->in[axis]);
}

/* `columns` (channels, taps, input positions) added up into one group's `channels` of the output */
static inline void land(float *restrict out, const float *restrict columns, const float *restrict bias,
                        float *restrict line, const landing *l, size_t channels) {
    const size_t stride = l->stride[2], pitch = l->out[2] / stride + 1;
    const size_t taps = l->kernel[0] * l->kernel[1] * l->kernel[2], map = l->in[0] * l->in[1] * l->in[2];
    for (size_t c = 0; c < channels; c++, columns += taps * map)
        for (size_t o = 0; o < l->out[0] * l->out[1]; o++, out += l->out[2]) {
            for (size_t i = 0; i < stride * pitch; i++) line[i] = bias ? bias[c] : 0.0f;
            for (size_t k = 0; k < l->kernel[0] * l->kernel[1]; k++) {
                const size_t z = reached(l, 0, o / l->out[1], k / l->kernel[1]);
                const size_t y = reached(l, 1, o % l->out[1], k % l->kernel[1]);
                if (z == l->in[0] || y == l->in[1]) continue;
                for (size_t t = 0; t < l->kernel[2]; t++) {
                    /* of the outputs phase, phase + stride, … one for each input: in line they lie side by side */
                    const size_t ahead = t * l->dilation[2] + stride * l->pad[2] - l->pad[2]; /* ≥ 0 */
                    const size_t phase = ahead % stride, shift = ahead / stride; /* too far by pad[2] */
                    const size_t places = (l->out[2] + stride - 1 - phase) / stride;
                    const size_t skip = shift < l->pad[2] ? l->pad[2] - shift : 0;
                    const size_t end = LESSER(l->in[2], places + l->pad[2] > shift ? places + l->pad[2] - shift : 0);
                    const float *source = columns + ((k * l->kernel[2] + t) * map + (z * l->in[1] + y) * l->in[2]);
                    float *to = line + phase * pitch + (shift + skip - l->pad[2]);
                    for (size_t i = skip; i < end; i++) to[i - skip] += source[i];
                }
            }
            if (stride == 2 && l->out[2] % 2 == 0)
                for (size_t i = 0; i < l->out[2] / 2; i++) out[2 * i] = line[i], out[2 * i + 1] = line[pitch + i];
            else
                for (size_t s = 0; s < stride; s++)
                    for (size_t i = 0; s + i * stride < l->out[2]; i++) out[s + i * stride] = line[s * pitch + i];
        }
}

/* A transposed convolution: `p` is its product of all taps with the input's channels, one position each. */
static inline void transposed(float *restrict out, const float *restrict in, const float *restrict weights,
                              const float *restrict bias, float *restrict scratch, float *restrict columns,
                              float *restrict line, const product *p, const landing *l) {
    static const size_t none[1] = {0};
    const size_t map = p->grid[0] * p->grid[1] * p->grid[2], side = l->out[0] * l->out[1] * l->out[2];
    const size_t taps = l->kernel[0] * l->kernel[1] * l->kernel[2], all = p->rows / taps;
    for (size_t g = 0; g < p->groups; g++, in += p->channels * map) {
        for (size_t c = 0; c < all; c += l->block) {
            product part = *p;
            part.groups = 1, part.rows = LESSER(l->block, all - c) * taps;
            multiply(columns, in, weights + c * taps * p->channels, NULL, scratch, &part, none);
            land(out, columns, bias, line, l, part.rows / taps);
            out += part.rows / taps * side;
            if (bias) bias += part.rows / taps;
        }
        weights += (p->rows + PANEL - 1) / PANEL * PANEL * p->channels;
    }
}

static inline void dense(float *restrict out, const float *restrict in, const float *restrict weights,
                         const float *restrict bias, size_t rows, size_t depth) {
    for (size_t r = 0; r < rows; r += STRIP) {
        vec even[STRIP / LANES], odd[STRIP / LANES];
        float sum[STRIP];
        size_t k = 0;
        memset(even, 0, sizeof even);
        memset(odd, 0, sizeof odd);
        for (; k + 1 < depth; k += 2, weights += 2 * STRIP) {
            const vec *w = (const vec *)(const void *)weights;
            for (size_t i = 0; i < STRIP / LANES; i++) {
                even[i] += in[k] * w[i];
                odd[i] += in[k + 1] * w[STRIP / LANES + i];
            }
        }
        for (; k < depth; k++, weights += STRIP)
            for (size_t i = 0; i < STRIP / LANES; i++) even[i] += in[k] * ((const vec *)(const void *)weights)[i];
        for (size_t i = 0; i < STRIP / LANES; i++) even[i] += odd[i];
        memcpy(sum, even, sizeof sum);
        for (size_t i = 0; i < STRIP && r + i < rows; i++) out[r + i] = bias ? sum[i] + bias[r + i] : sum[i];
    }
}

/* A copy in another order: along each of `axes`, how far the output and the input go on. */
static inline void rearrange(float *restrict out, const float *restrict in, size_t axes, const size_t *sides,
                             const size_t *to, const size_t *from) {
    if (axes > 1) {
        for (size_t i = 0; i < *sides; i++) rearrange(out + i * *to, in + i * *from, axes - 1, sides + 1, to + 1, from + 1);
        return;
    }
    if (*to == 1 && *from == 1)
        for (size_t i = 0; i < *sides; i++) out[i] = in[i];
    else
        for (size_t i = 0; i < *sides; i++) out[i * *to] = in[i * *from];
}

/* `outer` times: of each of `count` places a run of `inner`; no place (-1) is zeros. */
static inline void pick(float *restrict out, const float *restrict in, size_t outer, size_t outer_step, size_t count,
                        const int32_t *places, size_t inner, size_t inner_step) {
    for (size_t o = 0; o < outer; o++, in += outer_step)
        for (size_t n = 0; n < count; n++)
            for (size_t i = 0; i < inner; i++) *out++ = places[n] < 0 ? 0.0f : in[(size_t)places[n] + i * inner_step];
}

/* Along one axis, each output is a sum of `taps` inputs, each times its share. */
static inline void blend(float *restrict out, const float *restrict in, size_t outer, size_t side, size_t made,
                         size_t inner, size_t taps, const int32_t *places, const float *shares) {
    for (size_t o = 0; o < outer; o++, in += side * inner)
        for (size_t n = 0; n < made; n++, out += inner) {
            for (size_t i = 0; i < inner; i++) out[i] = 0.0f;
            for (size_t t = 0; t < taps; t++) {
                const float *source = in + (size_t)places[n * taps + t] * inner, share = shares[n * taps + t];
                for (size_t i = 0; i < inner; i++) out[i] += share * source[i];
            }
        }
}

/* Sums over the middle axis, times `scale`. */
static inline void reduce(float *restrict out, const float *restrict in, size_t outer, size_t side, size_t inner,
                          float scale) {
    for (size_t o = 0; o < outer; o++, out += inner) {
        for (size_t i = 0; i < inner; i++) out[i] = 0.0f;
        for (size_t n = 0; n < side; n++, in += inner)
            for (size_t i = 0; i < inner; i++) out[i] += in[i];
        for (size_t i = 0; i < inner; i++) out[i] *= scale;
    }
}

/* Within a few units in the last place of tanhf: a quotient of polynomials, which loops have in vectors. */
static inline float fast_tanh(float x) {
    const float v = x < -9.0f ? -9.0f : x > 9.0f ? 9.0f : x, s = v * v;
    float top = -2.76076847742355e-16f * s + 2.00018790482477e-13f;
    float under = 1.19825839466702e-06f * s + 1.18534705686654e-04f;
    top = top * s + -8.60467152213735e-11f;
    top = top * s + 5.12229709037114e-08f;
    top = top * s + 1.48572235717979e-05f;
    top = top * s + 6.37261928875436e-04f;
    top = top * s + 4.89352455891786e-03f;
    under = under * s + 2.26843463243900e-03f;
    under = under * s + 4.89352518554385e-03f;
    return v * top / under;
}

static inline float fast_sigmoid(float x) { return 0.5f + 0.5f * fast_tanh(0.5f * x); }

#endif
