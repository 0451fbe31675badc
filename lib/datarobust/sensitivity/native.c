/* The pruned search on processors: which pairs of points may matter, and what they are worth.
 *
 * Every point has its k best neighbours so far and a radius, beyond which no pair can improve it. A pair is left out
 * only where a bound proves that its distance exceeds the radii of both points; every other pair is measured exactly.
 * Neighbours are kept by (key, index), so the result is a function of the data: no order, block, thread or processor
 * changes it. Three sieves, each slower and finer than the one before (codes.py makes the codes and says why they bound):
 *
 *   tile    codes of a few bytes, of ROWS rows by 16 or 64 columns at once. l2: squared distances of 64 signed bytes,
 *           as |a|^2 + |b|^2 - 2ab. linf: the largest difference of `columns` unsigned bytes.
 *   within  one pair, with all its codes.
 *   key     one pair, all numbers: whole numbers for bytes, float64 in one fixed order for float32.
 *
 * Which pairs count is one line, `squared_weight`: those of different labels, or, with `same`, of one label.
 *
 * Tiles are the only code that knows a processor. This file includes itself once for each level, with the compiler
 * allowed the instructions of that level: plain C (which compilers turn into NEON where that is), AVX2, and AVX-512 with
 * VNNI. The dispatch is at the end. Compiled with -ffp-contract=off: a fused multiply-add rounds once where float64
 * rounds twice, and levels would differ.
 */

#ifndef LEVEL

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define X86
#include <immintrin.h>
#endif

#define ROWS 8    /* of a tile: they stay in registers while the columns stream by */
#define STRIP 256 /* columns that share a limit: equal distances help only a lower index, so narrow strips of sorted
                     columns rule out more */
#define FIRST 4   /* points measured for a first neighbour: codes only bound, and a good start saves far more work */
#define PART 16384 /* squared differences of bytes that surely fit a 32-bit sum */
#define NO_INDEX INT64_MAX
#define LOOSE (1.0 + 1e-6) /* widens thresholds by more than float64 arithmetic can err */

/* One search, as native.py lays it out. P positions; a row of `bytes` or `floats` has `width` numbers. */
typedef struct {
    const uint8_t *bytes;   /* (R, width), or NULL */
    const float *floats;    /* (R, width), or NULL */
    const int64_t *place;   /* (P,) row of a position */
    const int64_t *origin;  /* (P,) index in the data set: it decides ties */
    const int64_t *label;   /* (P,) */
    const float *soft;      /* (P, classes) label vectors */
    double *key;            /* (P, k) ascending: squared l2 or linf distances, divided by their label vectors' distance */
    int64_t *neighbour;     /* (P, k) indices, NO_INDEX where none */
    double *radius;         /* (P,) */
    const uint8_t *near;    /* (P, near_width): signed bytes in l2 */
    const uint8_t *packed;  /* l2: (P/16, 16, 16 columns, 4); linf: (P/64, columns, 64 columns) */
    const int32_t *square;  /* (P,) |near|^2, l2 */
    const int8_t *far;      /* (P, far_width): near without its last byte, then further coordinates, l2 */
    const double *rest;     /* (P,) length of what `far` does not see, l2 */
    const double *near_slack; /* (P,) how far `near` may be from the truth, l2 */
    const double *far_slack;  /* (P,) how far `far` and `rest` may be, l2 */
    int64_t width, classes, k, near_width, far_width, columns;
    int64_t linf;   /* the norm */
    int64_t whole;  /* keys are whole numbers: bytes, labelled by classes */
    int64_t margin; /* steps by which codes may be farther apart than their points, linf */
    int64_t same;   /* neighbours are other points of the same label; labels are classes then */
    double widest;  /* the largest distance of label vectors, 1 where labels are classes */
    double near_step, far_step; /* distance that a step of a code stands for */
    double most_slack;          /* near_slack of all but a few wild points */
} Search;

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define AT(name) JOIN(name, LEVEL)

#define LEVEL plain
#include "native.c"
#undef LEVEL

#ifdef X86
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define LEVEL avx2
#define AVX2
#include "native.c"
#undef AVX2
#undef LEVEL
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512vnni")
#endif
#define LEVEL avx512
#define AVX512
#include "native.c"
#undef AVX512
#undef LEVEL
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

/* ------------------------------------------------------------------------------------------------------- dispatch */

int64_t size_of_search(void) { return sizeof(Search); }

/* The best level that this processor has: 0 plain, 1 AVX2, 2 AVX-512 with VNNI. */
int highest_level(void) {
#ifdef X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni"))
        return 2;
    if (__builtin_cpu_supports("avx2"))
        return 1;
#endif
    return 0;
}

/* Compare rows i0..i1 with columns j0..j1 (i0 and j0 multiples of ROWS and 64); where they are one block, each pair
 * once. `both`: the columns' points learn of the rows too. Returns -1 where memory ran out, else 0. */
int match(int level, const Search *s, int64_t i0, int64_t i1, int64_t j0, int64_t j1, int both) {
#ifdef X86
    if (level == 2) return match_avx512(s, i0, i1, j0, j1, both);
    if (level == 1) return match_avx2(s, i0, i1, j0, j1, both);
#endif
    return match_plain(s, i0, i1, j0, j1, both);
}

/* Give the points of a window of n positions, near each other, their first neighbours: of each position below `queries`
 * the k or FIRST points that may be neighbours with the least code distance in the window are measured. The columns are all
 * positions (`both`), or those from `queries` on. Returns -1 where memory ran out, else 0. */
int seed(int level, const Search *s, const int64_t *window, int64_t n, int64_t queries, int both) {
#ifdef X86
    if (level == 2) return seed_avx512(s, window, n, queries, both);
    if (level == 1) return seed_avx2(s, window, n, queries, both);
#endif
    return seed_plain(s, window, n, queries, both);
}

/* How many of the pairs (first, second) each of `n` coordinates tells apart by more than their limits, to `counts`;
 * `levels` (D, samples) bytes. */
void ruled_out(const uint8_t *levels, int64_t samples, const int64_t *coordinates, int64_t n, const int64_t *first,
               const int64_t *second, const int64_t *limits, int64_t pairs, int64_t *counts) {
    for (int64_t c = 0; c < n; c++) {
        const uint8_t *level = levels + coordinates[c] * samples;
        int64_t count = 0;
        for (int64_t q = 0; q < pairs; q++) count += abs((int)level[first[q]] - (int)level[second[q]]) > limits[q];
        counts[c] = count;
    }
}

#else /* ------------------------------------------------------------------------------------- once for each level */

/* What `l2_tile` adds for each row: |row|^2. With AVX-512 also what makes up for its products with columns + 128, as
 * vpdpbusd wants one side unsigned. */
static inline void AT(row_norms)(const int8_t *rows, const int32_t *square, int32_t norms[ROWS]) {
    for (int r = 0; r < ROWS; r++) {
        norms[r] = square[r];
#if defined(AVX512)
        for (int t = 0; t < 64; t++) norms[r] += 256 * rows[64 * r + t];
#else
        (void)rows;
#endif
    }
}

/* Squared distances of ROWS rows of codes and 16 packed columns of them. */
static inline void AT(l2_tile)(const int8_t *rows, const int32_t *row_norm, const uint8_t *packed,
                               const int32_t *square, int32_t values[ROWS][16]) {
#if defined(AVX512)
    __m512i sums[ROWS];
    for (int r = 0; r < ROWS; r++) sums[r] = _mm512_setzero_si512();
    for (int t = 0; t < 16; t++) {
        __m512i column = _mm512_xor_si512(_mm512_loadu_si512(packed + 64 * t), _mm512_set1_epi8(-128));
        for (int r = 0; r < ROWS; r++) {
            int32_t four;
            memcpy(&four, rows + 64 * r + 4 * t, 4);
            sums[r] = _mm512_dpbusd_epi32(sums[r], column, _mm512_set1_epi32(four));
        }
    }
    for (int r = 0; r < ROWS; r++) {
        __m512i both = _mm512_add_epi32(_mm512_loadu_si512(square), _mm512_set1_epi32(row_norm[r]));
        _mm512_storeu_si512(values[r], _mm512_sub_epi32(both, _mm512_slli_epi32(sums[r], 1)));
    }
#elif defined(AVX2)
    for (int half = 0; half < 2; half++) {
        __m256i sums[ROWS];
        for (int r = 0; r < ROWS; r++) sums[r] = _mm256_setzero_si256();
        for (int t = 0; t < 16; t++) { /* |b| * (a with the sign of b): two products of at most 127^2 fit 16 bits */
            __m256i column = _mm256_loadu_si256((const __m256i *)(packed + 64 * t + 32 * half));
            __m256i size = _mm256_abs_epi8(column);
            for (int r = 0; r < ROWS; r++) {
                int32_t four;
                memcpy(&four, rows + 64 * r + 4 * t, 4);
                __m256i two = _mm256_maddubs_epi16(size, _mm256_sign_epi8(_mm256_set1_epi32(four), column));
                sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(two, _mm256_set1_epi16(1)));
            }
        }
        for (int r = 0; r < ROWS; r++) {
            __m256i both = _mm256_loadu_si256((const __m256i *)(square + 8 * half));
            both = _mm256_add_epi32(both, _mm256_set1_epi32(row_norm[r]));
            both = _mm256_sub_epi32(both, _mm256_slli_epi32(sums[r], 1));
            _mm256_storeu_si256((__m256i *)(values[r] + 8 * half), both);
        }
    }
#else
    for (int r = 0; r < ROWS; r++) {
        int32_t sums[16] = {0};
        for (int t = 0; t < 16; t++)
            for (int c = 0; c < 16; c++)
                for (int b = 0; b < 4; b++)
                    sums[c] += (int16_t)rows[64 * r + 4 * t + b] * (int16_t)(int8_t)packed[64 * t + 4 * c + b];
        for (int c = 0; c < 16; c++) values[r][c] = row_norm[r] + square[c] - 2 * sums[c];
    }
#endif
}

/* A bit for each of 16 values that is at most the larger of its column's and the row's limit. */
static inline uint64_t AT(l2_bits)(const int32_t *values, const int32_t *limits, int32_t row_limit) {
#if defined(AVX512)
    __m512i limit = _mm512_max_epi32(_mm512_loadu_si512(limits), _mm512_set1_epi32(row_limit));
    return _mm512_cmple_epi32_mask(_mm512_loadu_si512(values), limit);
#elif defined(AVX2)
    uint64_t bits = 0;
    for (int half = 0; half < 2; half++) {
        __m256i limit = _mm256_loadu_si256((const __m256i *)(limits + 8 * half));
        limit = _mm256_max_epi32(limit, _mm256_set1_epi32(row_limit));
        __m256i over = _mm256_cmpgt_epi32(_mm256_loadu_si256((const __m256i *)(values + 8 * half)), limit);
        bits |= (uint64_t)(~_mm256_movemask_ps(_mm256_castsi256_ps(over)) & 255) << 8 * half;
    }
    return bits;
#else
    uint64_t bits = 0;
    for (int c = 0; c < 16; c++) bits |= (uint64_t)(values[c] <= (limits[c] > row_limit ? limits[c] : row_limit)) << c;
    return bits;
#endif
}

/* Largest differences of ROWS rows of bytes, `stride` apart, and 64 packed columns, over so many coordinates. */
static inline void AT(linf_tile)(const uint8_t *rows, int64_t stride, const uint8_t *packed, int64_t coordinates,
                                 uint8_t values[ROWS][64]) {
#if defined(AVX512)
    __m512i largest[ROWS];
    for (int r = 0; r < ROWS; r++) largest[r] = _mm512_setzero_si512();
    for (int64_t c = 0; c < coordinates; c++) {
        __m512i column = _mm512_loadu_si512(packed + 64 * c);
        for (int r = 0; r < ROWS; r++) {
            __m512i row = _mm512_set1_epi8((char)rows[r * stride + c]);
            __m512i gap = _mm512_or_si512(_mm512_subs_epu8(column, row), _mm512_subs_epu8(row, column));
            largest[r] = _mm512_max_epu8(largest[r], gap);
        }
    }
    for (int r = 0; r < ROWS; r++) _mm512_storeu_si512(values[r], largest[r]);
#elif defined(AVX2)
    for (int half = 0; half < 64; half += 32) {
        __m256i largest[ROWS];
        for (int r = 0; r < ROWS; r++) largest[r] = _mm256_setzero_si256();
        for (int64_t c = 0; c < coordinates; c++) {
            __m256i column = _mm256_loadu_si256((const __m256i *)(packed + 64 * c + half));
            for (int r = 0; r < ROWS; r++) {
                __m256i row = _mm256_set1_epi8((char)rows[r * stride + c]);
                __m256i gap = _mm256_or_si256(_mm256_subs_epu8(column, row), _mm256_subs_epu8(row, column));
                largest[r] = _mm256_max_epu8(largest[r], gap);
            }
        }
        for (int r = 0; r < ROWS; r++) _mm256_storeu_si256((__m256i *)(values[r] + half), largest[r]);
    }
#else
    for (int r = 0; r < ROWS; r++) {
        uint8_t largest[64] = {0};
        for (int64_t c = 0; c < coordinates; c++)
            for (int q = 0; q < 64; q++) {
                uint8_t a = packed[64 * c + q], b = rows[r * stride + c];
                uint8_t gap = a > b ? a - b : b - a;
                largest[q] = gap > largest[q] ? gap : largest[q];
            }
        memcpy(values[r], largest, 64);
    }
#endif
}

/* A bit for each of 64 values that is at most the larger of its column's and the row's limit. */
static inline uint64_t AT(linf_bits)(const uint8_t *values, const uint8_t *limits, uint8_t row_limit) {
#if defined(AVX512)
    __m512i limit = _mm512_max_epu8(_mm512_loadu_si512(limits), _mm512_set1_epi8((char)row_limit));
    return _mm512_cmple_epu8_mask(_mm512_loadu_si512(values), limit);
#elif defined(AVX2)
    uint64_t bits = 0;
    for (int half = 0; half < 64; half += 32) {
        __m256i limit = _mm256_loadu_si256((const __m256i *)(limits + half));
        limit = _mm256_max_epu8(limit, _mm256_set1_epi8((char)row_limit));
        __m256i value = _mm256_loadu_si256((const __m256i *)(values + half));
        uint32_t mask = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_max_epu8(value, limit), limit));
        bits |= (uint64_t)mask << half;
    }
    return bits;
#else
    uint64_t bits = 0;
    for (int q = 0; q < 64; q++) bits |= (uint64_t)(values[q] <= (limits[q] > row_limit ? limits[q] : row_limit)) << q;
    return bits;
#endif
}

/* Largest difference of two rows of bytes, whole lines of 64; 256 as soon as one is above `limit`. */
static inline int AT(largest_gap)(const uint8_t *a, const uint8_t *b, int64_t width, int limit) {
    uint8_t line[64] = {0};
#if defined(AVX512)
    __m512i largest = _mm512_setzero_si512(), most = _mm512_set1_epi8((char)limit);
    for (int64_t start = 0; start < width; start += 64) {
        __m512i x = _mm512_loadu_si512(a + start), y = _mm512_loadu_si512(b + start);
        __m512i gap = _mm512_or_si512(_mm512_subs_epu8(x, y), _mm512_subs_epu8(y, x));
        if (_mm512_cmpgt_epu8_mask(gap, most)) return 256;
        largest = _mm512_max_epu8(largest, gap);
    }
    _mm512_storeu_si512(line, largest);
#elif defined(AVX2)
    __m256i largest = _mm256_setzero_si256(), most = _mm256_set1_epi8((char)limit);
    for (int64_t start = 0; start < width; start += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(a + start));
        __m256i y = _mm256_loadu_si256((const __m256i *)(b + start));
        __m256i gap = _mm256_or_si256(_mm256_subs_epu8(x, y), _mm256_subs_epu8(y, x));
        __m256i over = _mm256_subs_epu8(gap, most);
        if (!_mm256_testz_si256(over, over)) return 256;
        largest = _mm256_max_epu8(largest, gap);
    }
    _mm256_storeu_si256((__m256i *)line, largest);
#else
    for (int64_t start = 0; start < width; start += 64) {
        int over = 0;
        for (int t = 0; t < 64; t++) {
            uint8_t x = a[start + t], y = b[start + t], gap = x > y ? x - y : y - x;
            line[t] = gap > line[t] ? gap : line[t];
            over |= gap > limit;
        }
        if (over) return 256;
    }
#endif
    int result = 0;
    for (int t = 0; t < 64; t++) result = line[t] > result ? line[t] : result;
    return result;
}

/* Squared distance of codes. */
static inline int64_t AT(code_square)(const int8_t *a, const int8_t *b, int64_t width) {
    int32_t total = 0;
    for (int64_t t = 0; t < width; t++) {
        int32_t gap = a[t] - b[t];
        total += gap * gap;
    }
    return total;
}

/* The largest code distance of interest to a position; `other` is the lowest index among the other points. */
static inline int32_t AT(limit_of)(const Search *s, int64_t p, int64_t other) {
    double radius = s->radius[p];
    if (s->linf) {
        double steps = radius * LOOSE / s->near_step;
        int32_t limit = steps < 255.0 ? (int32_t)steps + (int32_t)s->margin : 255;
        if (limit > 255) limit = 255;
        int64_t last = p * s->k + s->k - 1;
        /* An equal distance helps only together with a lower index; on saturated images (digits) ties are the rule. */
        return limit - (limit > 0 && s->whole && s->key[last] <= 255.0 && other >= s->neighbour[last]);
    }
    if (isinf(radius) || s->near_slack[p] > s->most_slack) return INT32_MAX;
    double steps = (radius + 2.0 * s->most_slack) / s->near_step;
    steps = steps * steps * LOOSE + 1.0;
    return steps < 2147483646.0 ? (int32_t)steps : INT32_MAX - 1;
}

/* Whether the finer bound leaves the pair possible; `share` is its label vectors' distance over the widest. */
static inline int AT(within)(const Search *s, int64_t i, int64_t j, double share) {
    double radius = s->radius[i] > s->radius[j] ? s->radius[i] : s->radius[j];
    if (s->linf) {
        double steps = radius * share * LOOSE / s->near_step;
        if (!(steps < 255.0)) return 1;
        int limit = (int)steps + (int)s->margin;
        const uint8_t *near = s->near;
        return AT(largest_gap)(near + i * s->near_width, near + j * s->near_width, s->near_width, limit) <= limit;
    }
    const int8_t *a = s->far + i * s->far_width, *b = s->far + j * s->far_width;
    double reach = radius * share + s->far_slack[i] + s->far_slack[j], rest = s->rest[i] - s->rest[j];
    double bound = rest * rest + s->near_step * s->near_step * (double)AT(code_square)(a, b, 64);
    if (s->far_width > 64)
        bound += s->far_step * s->far_step * (double)AT(code_square)(a + 64, b + 64, s->far_width - 64);
    return !(bound > reach * reach * LOOSE); /* what cannot be compared is measured */
}

/* The exact key of a pair; in linf 256 once it exceeds `bound`. */
static inline double AT(key_of)(const Search *s, int64_t i, int64_t j, double bound) {
    int64_t first = s->place[i] * s->width, second = s->place[j] * s->width;
    if (s->bytes) {
        const uint8_t *a = s->bytes + first, *b = s->bytes + second;
        if (s->linf) return AT(largest_gap)(a, b, s->width, bound < 255.0 ? (int)bound : 255);
        int64_t total = 0;
        for (int64_t start = 0; start < s->width; start += PART) {
            int64_t stop = start + PART < s->width ? start + PART : s->width;
            int32_t part = 0;
            for (int64_t t = start; t < stop; t++) {
                int32_t gap = a[t] - b[t];
                part += gap * gap;
            }
            total += part;
        }
        return (double)total;
    }
    const float *a = s->floats + first, *b = s->floats + second;
    double sums[8] = {0}, total = 0.0; /* a fixed order: eight sums, and then those */
    for (int64_t start = 0; start < s->width; start += 8) /* rows are padded with zeros to whole lines */
        for (int t = 0; t < 8; t++) {
            double gap = (double)a[start + t] - (double)b[start + t];
            if (s->linf) sums[t] = fabs(gap) > sums[t] ? fabs(gap) : sums[t];
            else sums[t] += gap * gap;
        }
    for (int t = 0; t < 8; t++) {
        if (!s->linf) total += sums[t];
        else if (sums[t] > total) total = sums[t];
    }
    return total;
}

/* Squared distance of two label vectors, summed in order; where labels are classes, whether the pair counts. */
static inline double AT(squared_weight)(const Search *s, int64_t i, int64_t j) {
    if (!s->classes) return i != j && (s->label[i] == s->label[j]) == s->same;
    double total = 0.0;
    for (int64_t c = 0; c < s->classes; c++) {
        double gap = (double)s->soft[i * s->classes + c] - (double)s->soft[j * s->classes + c];
        total += gap * gap;
    }
    return total;
}

/* Take a neighbour into the list of position i if it is among the k best by (key, index) and not there yet. */
static inline void AT(offer)(const Search *s, int64_t i, double key, int64_t index) {
    double *keys = s->key + i * s->k;
    int64_t *indices = s->neighbour + i * s->k, last = s->k - 1, at = 0;
    if (key > keys[last] || (key == keys[last] && index >= indices[last])) return;
    while (keys[at] < key || (keys[at] == key && indices[at] < index)) at++;
    if (keys[at] == key && indices[at] == index) return;
    memmove(keys + at + 1, keys + at, (size_t)(last - at) * sizeof *keys);
    memmove(indices + at + 1, indices + at, (size_t)(last - at) * sizeof *indices);
    keys[at] = key;
    indices[at] = index;
    s->radius[i] = (s->linf ? keys[last] : sqrt(keys[last])) * s->widest;
}

/* Bound, measure and offer one pair; whether it came near enough to be offered. */
static inline int AT(measure)(const Search *s, int64_t i, int64_t j, int both) {
    double weight = AT(squared_weight)(s, i, j);
    if (weight == 0.0 || !AT(within)(s, i, j, sqrt(weight) / s->widest)) return 0;
    double bound = s->key[i * s->k + s->k - 1], other = s->key[j * s->k + s->k - 1], key;
    if (both && other > bound) bound = other;
    if (s->classes) {
        key = AT(key_of)(s, i, j, INFINITY);
        key /= s->linf ? sqrt(weight) : weight;
    } else {
        key = AT(key_of)(s, i, j, bound);
    }
    if (key > bound) return 0;
    AT(offer)(s, i, key, s->origin[j]);
    if (both) AT(offer)(s, j, key, s->origin[i]);
    return 1;
}

static inline int64_t AT(lowest_index)(const Search *s, int64_t start, int64_t stop) {
    int64_t lowest = NO_INDEX;
    for (int64_t p = start; p < stop; p++)
        if (s->origin[p] < lowest) lowest = s->origin[p];
    return lowest;
}

static int AT(match)(const Search *s, int64_t i0, int64_t i1, int64_t j0, int64_t j1, int both) {
    int64_t n = (j1 - j0 + 63) / 64 * 64, strips = (j1 - j0 + STRIP - 1) / STRIP;
    /* Limits of the columns: among points of higher index than their last neighbour (tied), and otherwise (open). */
    int32_t *tied = calloc((size_t)n, 4), *open = calloc((size_t)n, 4);
    uint8_t *limits = calloc((size_t)n, 1);
    int64_t *last = malloc((size_t)n * 8), *first = malloc((size_t)strips * 8);
    int failed = !tied || !open || !limits || !last || !first;
    for (int64_t q = 0; !failed && q < j1 - j0; q++) {
        tied[q] = AT(limit_of)(s, j0 + q, NO_INDEX);
        open[q] = AT(limit_of)(s, j0 + q, -1);
        last[q] = s->neighbour[(j0 + q) * s->k + s->k - 1];
    }
    for (int64_t t = 0; !failed && t < strips; t++) {
        int64_t stop = j0 + (t + 1) * STRIP;
        first[t] = AT(lowest_index)(s, j0 + t * STRIP, stop < j1 ? stop : j1);
    }
    for (int64_t i = i0; !failed && i < i1; i += ROWS) {
        int height = (int)(i1 - i < ROWS ? i1 - i : ROWS);
        int64_t row_first = AT(lowest_index)(s, i, i + height);
        int32_t row_norm[ROWS] = {0};
        if (!s->linf) AT(row_norms)((const int8_t *)s->near + 64 * i, s->square + i, row_norm);
        if (s->linf)
            for (int64_t q = 0; q < j1 - j0; q++) limits[q] = (uint8_t)(row_first < last[q] ? open[q] : tied[q]);
        for (int64_t t = i0 == j0 ? (i - j0) / STRIP : 0; t < strips; t++) {
            int64_t start = t * STRIP, width = n - start < STRIP ? n - start : STRIP;
            int32_t row_limits[ROWS] = {0};
            for (int r = 0; r < height; r++) row_limits[r] = AT(limit_of)(s, i + r, first[t]);
            uint64_t words[STRIP / 64][ROWS] = {{0}};
            if (s->linf) {
                for (int64_t q = 0; q < width; q += 64) {
                    uint8_t values[ROWS][64];
                    AT(linf_tile)(s->near + i * s->near_width, s->near_width,
                                  s->packed + (j0 + start + q) * s->columns, s->columns, values);
                    for (int r = 0; r < ROWS; r++)
                        words[q / 64][r] = AT(linf_bits)(values[r], limits + start + q, (uint8_t)row_limits[r]);
                }
            } else {
                for (int64_t q = 0; q < width; q += 16) {
                    int32_t values[ROWS][16];
                    AT(l2_tile)((const int8_t *)s->near + 64 * i, row_norm, s->packed + (j0 + start + q) * 64,
                                s->square + j0 + start + q, values);
                    for (int r = 0; r < ROWS; r++)
                        words[q / 64][r] |= AT(l2_bits)(values[r], open + start + q, row_limits[r]) << q % 64;
                }
            }
            for (int r = 0; r < height; r++)
                for (int64_t g = 0; g < width / 64; g++)
                    for (uint64_t word = words[g][r]; word; word &= word - 1) {
                        int64_t q = start + 64 * g + __builtin_ctzll(word), j = j0 + q;
                        if (j >= j1 || (i0 == j0 && j <= i + r)) continue;
                        if (AT(measure)(s, i + r, j, both) && both) {
                            tied[q] = AT(limit_of)(s, j, NO_INDEX);
                            open[q] = AT(limit_of)(s, j, -1);
                            last[q] = s->neighbour[j * s->k + s->k - 1];
                        }
                    }
        }
    }
    free(tied), free(open), free(limits), free(last), free(first);
    return failed ? -1 : 0;
}

/* The columns with the least values among those that may be neighbours of position p, by their labels; at most `most` of
 * them, to `best`. Returns how many. */
static int64_t AT(least)(const Search *s, const int32_t *values, const int64_t *columns, const int64_t *label, int64_t n,
                         int64_t p, int64_t *best, int64_t most) {
    int64_t count = 0;
    for (int64_t q = 0; q < n; q++) {
        if ((label[q] == s->label[p]) != s->same || columns[q] == p) continue;
        if (count == most && values[q] >= values[best[most - 1]]) continue;
        int64_t t = count < most ? count++ : most - 1;
        for (; t > 0 && values[best[t - 1]] > values[q]; t--) best[t] = best[t - 1];
        best[t] = q;
    }
    return count;
}

static int AT(seed)(const Search *s, const int64_t *window, int64_t count, int64_t queries, int both) {
    int64_t n = 0, most = s->k > FIRST ? s->k : FIRST, padded = (count + 63) / 64 * 64;
    int64_t bytes = s->linf ? s->columns : 64; /* of a packed column */
    int64_t *columns = malloc((size_t)count * 8), *label = malloc((size_t)count * 8), *best = malloc((size_t)most * 8);
    int32_t *values = malloc((size_t)(ROWS * padded) * 4), *square = calloc((size_t)padded, 4);
    uint8_t *packed = calloc((size_t)(padded * bytes), 1), *rows = calloc((size_t)(ROWS * s->near_width), 1);
    int failed = !columns || !label || !best || !values || !square || !packed || !rows;
    for (int64_t w = 0; !failed && w < count; w++) {
        int64_t p = window[w];
        const uint8_t *near = s->near + p * s->near_width;
        if (!both && p < queries) continue;
        columns[n] = p;
        label[n] = s->label[p];
        if (s->linf) {
            for (int64_t c = 0; c < bytes; c++) packed[n / 64 * 64 * bytes + 64 * c + n % 64] = near[c];
        } else {
            square[n] = s->square[p];
            for (int t = 0; t < 16; t++) memcpy(packed + n / 16 * 1024 + 64 * t + n % 16 * 4, near + 4 * t, 4);
        }
        n++;
    }
    for (int64_t w = 0; !failed && n && w < count;) {
        int64_t chosen[ROWS];
        int32_t row_square[ROWS] = {0}, row_norm[ROWS] = {0};
        int height = 0;
        for (; w < count && height < ROWS; w++) {
            if (window[w] >= queries) continue;
            chosen[height] = window[w];
            if (!s->linf) row_square[height] = s->square[window[w]];
            memcpy(rows + height++ * s->near_width, s->near + window[w] * s->near_width, (size_t)s->near_width);
        }
        if (!s->linf) AT(row_norms)((const int8_t *)rows, row_square, row_norm);
        for (int64_t q = 0; q < n; q += s->linf ? 64 : 16) {
            if (s->linf) {
                uint8_t tile[ROWS][64];
                AT(linf_tile)(rows, s->near_width, packed + q * bytes, bytes, tile);
                for (int r = 0; r < height; r++)
                    for (int c = 0; c < 64; c++) values[r * padded + q + c] = tile[r][c];
            } else {
                int32_t tile[ROWS][16];
                AT(l2_tile)((const int8_t *)rows, row_norm, packed + q * 64, square + q, tile);
                for (int r = 0; r < height; r++) memcpy(values + r * padded + q, tile[r], sizeof tile[r]);
            }
        }
        for (int r = 0; r < height; r++) {
            int64_t size = AT(least)(s, values + r * padded, columns, label, n, chosen[r], best, most);
            for (int64_t t = 0; t < size; t++) AT(measure)(s, chosen[r], columns[best[t]], both);
        }
    }
    free(columns), free(label), free(best), free(values), free(square), free(packed), free(rows);
    return failed ? -1 : 0;
}

#endif
