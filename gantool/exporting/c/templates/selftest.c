/* Whether generator.bin and this build make the samples that gantool exported: `make check`.
   selftest FILE SEED FIRST COUNT writes those samples to standard output, as bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "generator.h"
#include "golden.h"

static generator_level sample[GENERATOR_SIZE];

static int checksum(const char *path) {
    unsigned char *bytes = malloc(GENERATOR_FILE_BYTES);
    FILE *f = fopen(path, "rb");
    const int right = bytes && f && fread(bytes, 1, GENERATOR_FILE_BYTES, f) == GENERATOR_FILE_BYTES &&
                      generator_checksum(bytes) == generator_checksum_of_export();
    if (f) fclose(f);
    free(bytes);
    return right;
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "generator.bin";
    generator g;
    const int error = generator_open(&g, path);
    long worst = 0;
    if (error) return fprintf(stderr, "%s: %s\n", path, generator_error(error)), 1;
    if (argc == 5) {
        const long long seed = atoll(argv[2]), first = atoll(argv[3]), count = atoll(argv[4]);
        for (long long i = first; i < first + count; i++)
            if (generator_sample(&g, seed, (uint64_t)i GOLDEN_ARGUMENTS(i), sample) ||
                fwrite(sample, sizeof *sample, GENERATOR_SIZE, stdout) != GENERATOR_SIZE)
                return 1;
        generator_close(&g);
        return 0;
    }
    if (!checksum(path)) return fprintf(stderr, "%s: not the bytes that were exported\n", path), 1;
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        const golden_value *it = golden + i;
        long off;
        if (!i || it->seed != it[-1].seed || it->index != it[-1].index)
            if (generator_sample(&g, it->seed, it->index GOLDEN_ARGUMENTS(it->index), sample)) return 1;
        off = labs((long)sample[it->place] - it->value);
        if (off > worst) worst = off;
    }
    generator_close(&g);
    printf("%s: %lu golden values, at most %ld levels off (%d are allowed)\n", path,
           (unsigned long)(sizeof golden / sizeof *golden), worst, GOLDEN_TOLERANCE);
    return worst > GOLDEN_TOLERANCE;
}
