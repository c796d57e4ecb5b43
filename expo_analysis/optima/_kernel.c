/* The three loops of laplacian.py, for problems of up to some hundred vertices. See there for what they compute.

   Arrays are as there: (rows, size), one column a problem, and one row for each pair (i, j), i > j, at i (i - 1) / 2 + j.
   LANES problems are copied side by side, so that each step is one vector instruction for all of them; what is left over,
   or too large to stay in a cache, is done one by one, along rows. No sum is reordered, and no product is contracted into
   a sum, so that every machine has the same bits. */

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#define LANES 8
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__gnu_linux__)
#define VECTORS __attribute__((target_clones("avx2", "default")))
#else
#define VECTORS
#endif
#ifdef _WIN32
#define SHARED __declspec(dllexport)
#else
#define SHARED
#endif
#define START(k) ((k) * ((k) - 1) / 2)

typedef ptrdiff_t count;

/* of ``lanes`` problems into places ``wide`` apart, the rest of which are 0 */
static void gather(count rows, count size, const double *from, count lanes, count wide, double *to) {
    for (count i = 0; i < rows; i++)
        for (count v = 0; v < wide; v++) to[i * wide + v] = v < lanes ? from[i * size + v] : 0;
}

static void scatter(count rows, count size, double *to, count lanes, count wide, const double *from) {
    for (count i = 0; i < rows; i++)
        for (count v = 0; v < lanes; v++) to[i * size + v] = from[i * wide + v];
}

/* w becomes the ratios, row by row from the last one */
VECTORS static void eliminate_lanes(count n, double *w, double *pivots) {
    for (count k = n - 1; k > 0; k--) {
        double *row = w + START(k) * LANES, pivot[LANES] = {0}, ratio[LANES];
        for (count j = 0; j < k; j++)
            for (int v = 0; v < LANES; v++) pivot[v] += row[j * LANES + v];
        for (int v = 0; v < LANES; v++) pivots[k * LANES + v] = pivot[v] = pivot[v] == 0 ? INFINITY : pivot[v];
        for (count i = 0; i < k; i++) {
            double *rest = w + START(i) * LANES;
            for (int v = 0; v < LANES; v++) ratio[v] = row[i * LANES + v] / pivot[v];
            for (count j = 0; j < i; j++)
                for (int v = 0; v < LANES; v++) rest[j * LANES + v] += ratio[v] * row[j * LANES + v];
        }
        for (count i = 0; i < k; i++)
            for (int v = 0; v < LANES; v++) row[i * LANES + v] /= pivot[v];
    }
}

VECTORS static void eliminate_one(count n, double *w, double *pivots) {
    for (count k = n - 1; k > 0; k--) {
        double *row = w + START(k), pivot = 0;
        for (count j = 0; j < k; j++) pivot += row[j];
        pivots[k] = pivot = pivot == 0 ? INFINITY : pivot;
        for (count i = 0; i < k; i++) {
            double *rest = w + START(i), ratio = row[i] / pivot;
            for (count j = 0; j < i; j++) rest[j] += ratio * row[j];
        }
        for (count i = 0; i < k; i++) row[i] /= pivot;
    }
}

/* spread_i = sum_j r_j R_ij over the vertices before k; r is (k,), R of pairs */
VECTORS static void resistances_lanes(count n, const double *restrict ratios, const double *pivots, double *restrict r, double *restrict spread) {
    for (count k = 1; k < n; k++) {
        const double *ratio = ratios + START(k) * LANES;
        double own[LANES] = {0};
        for (count i = 0; i < k * LANES; i++) spread[i] = 0;
        for (count i = 1; i < k; i++) {
            const double *row = r + START(i) * LANES;
            double even[LANES] = {0}, odd[LANES] = {0}, with[LANES];
            for (int v = 0; v < LANES; v++) with[v] = ratio[i * LANES + v];
            count j = 0;
            for (; j + 2 <= i; j += 2) {  /* two sums, as one would wait for itself */
                for (int v = 0; v < LANES; v++) even[v] += row[j * LANES + v] * ratio[j * LANES + v];
                for (int v = 0; v < LANES; v++) odd[v] += row[(j + 1) * LANES + v] * ratio[(j + 1) * LANES + v];
                for (int v = 0; v < 2 * LANES; v++) spread[j * LANES + v] += row[j * LANES + v] * with[v % LANES];
            }
            for (; j < i; j++)
                for (int v = 0; v < LANES; v++) {
                    even[v] += row[j * LANES + v] * ratio[j * LANES + v];
                    spread[j * LANES + v] += row[j * LANES + v] * with[v];
                }
            for (int v = 0; v < LANES; v++) spread[i * LANES + v] += even[v] + odd[v];
        }
        for (count i = 0; i < k; i++)
            for (int v = 0; v < LANES; v++) own[v] += ratio[i * LANES + v] * spread[i * LANES + v];
        for (int v = 0; v < LANES; v++) own[v] = 1 / pivots[k * LANES + v] - own[v] / 2;
        for (count i = 0; i < k; i++)
            for (int v = 0; v < LANES; v++) r[(START(k) + i) * LANES + v] = own[v] + spread[i * LANES + v];
    }
}

VECTORS static void resistances_one(count n, const double *restrict ratios, const double *pivots, double *restrict r, double *restrict spread) {
    for (count k = 1; k < n; k++) {
        const double *ratio = ratios + START(k);
        double own = 0;
        for (count i = 0; i < k; i++) spread[i] = 0;
        for (count i = 1; i < k; i++) {
            const double *row = r + START(i);
            double part[4] = {0}, with = ratio[i];
            count j = 0;
            for (; j + 4 <= i; j += 4)
                for (int v = 0; v < 4; v++) {
                    part[v] += row[j + v] * ratio[j + v];
                    spread[j + v] += row[j + v] * with;
                }
            for (; j < i; j++) {
                part[0] += row[j] * ratio[j];
                spread[j] += row[j] * with;
            }
            spread[i] += (part[0] + part[1]) + (part[2] + part[3]);
        }
        for (count i = 0; i < k; i++) own += ratio[i] * spread[i];
        own = 1 / pivots[k] - own / 2;
        for (count i = 0; i < k; i++) r[START(k) + i] = own + spread[i];
    }
}

/* how many problems go next, and into how many places: of fewer than three, one after the other is faster */
static count next(count left, int together, count *wide) {
    *wide = together && left >= 3 ? LANES : 1;
    return left < *wide ? left : *wide;
}

/* 0, or 1 where there is no memory. together: whether problems are small enough to be copied side by side */
SHARED int eliminate(count n, count size, const double *weights, double *ratios, double *pivots, int together) {
    count pairs = START(n);
    double *w = malloc((pairs + n) * (together ? LANES : 1) * sizeof(double));
    if (!w) return 1;
    for (count b = 0, lanes, wide; b < size; b += lanes) {
        lanes = next(size - b, together, &wide);
        double *pivot = w + pairs * wide;
        gather(pairs, size, weights + b, lanes, wide, w);
        for (count v = 0; v < wide; v++) pivot[v] = 1;
        wide > 1 ? eliminate_lanes(n, w, pivot) : eliminate_one(n, w, pivot);
        scatter(pairs, size, ratios + b, lanes, wide, w);
        scatter(n, size, pivots + b, lanes, wide, pivot);
    }
    free(w);
    return 0;
}

SHARED int resistances(count n, count size, const double *ratios, const double *pivots, double *found, int together) {
    count pairs = START(n);
    double *w = malloc((2 * pairs + 2 * n) * (together ? LANES : 1) * sizeof(double));
    if (!w) return 1;
    for (count b = 0, lanes, wide; b < size; b += lanes) {
        lanes = next(size - b, together, &wide);
        double *r = w + pairs * wide, *pivot = r + pairs * wide, *spread = pivot + n * wide;
        gather(pairs, size, ratios + b, lanes, wide, w);
        gather(n, size, pivots + b, lanes, wide, pivot);
        wide > 1 ? resistances_lanes(n, w, pivot, r, spread) : resistances_one(n, w, pivot, r, spread);
        scatter(pairs, size, found + b, lanes, wide, r);
    }
    free(w);
    return 0;
}

/* x, (n, size), holds the right-hand sides first, and the solutions at the end */
SHARED int solve(count n, count size, const double *ratios, const double *pivots, double *x) {
    for (count k = n - 1; k > 0; k--)
        for (count j = 0; j < k; j++)
            for (count b = 0; b < size; b++) x[j * size + b] += ratios[(START(k) + j) * size + b] * x[k * size + b];
    for (count b = 0; b < size; b++) x[b] = 0;
    for (count i = 0; i < n * size; i++) x[i] /= pivots[i];
    for (count k = 1; k < n; k++)
        for (count j = 0; j < k; j++)
            for (count b = 0; b < size; b++) x[k * size + b] += ratios[(START(k) + j) * size + b] * x[j * size + b];
    return 0;
}

/* A module without any contents, as what walks through packages imports it; kernel.py loads the functions by ctypes. */
#if defined(__has_include)
#if __has_include(<Python.h>)
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernel", "See kernel.py.", 0, 0, 0, 0, 0, 0};
PyMODINIT_FUNC PyInit__kernel(void) { return PyModule_Create(&definition); }
#endif
#endif
