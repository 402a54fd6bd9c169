/* The generator of a folder of C, told as program.py is: program FILE */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "generator.h"

#ifdef GENERATOR_CLASSES
#define LABEL , (int)(index % GENERATOR_CLASSES)
#else
#define LABEL
#endif
#ifdef GENERATOR_VALUES
#define VALUES , NULL
#else
#define VALUES
#endif

static generator_level sample[GENERATOR_SIZE];

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return 1e3 * (double)at.tv_sec + 1e-6 * (double)at.tv_nsec;
}

static int make(generator *g, long long seed, long long first, long long count, FILE *file) {
    for (uint64_t index = (uint64_t)first; index < (uint64_t)(first + count); index++) {
        if (generator_sample(g, seed, index LABEL VALUES, sample)) return 1;
        if (file && fwrite(sample, sizeof sample[0], GENERATOR_SIZE, file) != GENERATOR_SIZE) return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    generator g;
    char line[8192], path[8192];
    long long count, seed, first, batch, runs;
    if (argc != 2 || generator_open(&g, argv[1])) return 2;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "make %lld %lld %lld %[^\n]", &count, &seed, &first, path) == 4) {
            FILE *file = fopen(path, "wb");
            if (!file || make(&g, seed, first, count, file) || fclose(file)) return 1;
            printf("done");
        } else if (sscanf(line, "time %lld %lld", &batch, &runs) == 2) {
            for (long long run = 0; run < runs; run++) {
                const double began = now();
                if (make(&g, 1, run * batch, batch, NULL)) return 1;
                printf("%.6f ", now() - began);
            }
        }
        printf("\n");
        fflush(stdout);
    }
    generator_close(&g);
    return 0;
}
