/* attention_x86.c - kernels for attention on x86: AVX2, and AVX-512. One build has both and runs what the processor has. */
#include "kernels/attention_kernels.h"
#include "kernels/x86.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>

#define AVX2   __attribute__((target("avx2,fma,f16c")))
#define AVX512 __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")))
#define INLINE static inline __attribute__((always_inline))

enum { ROWS = IFLOW_QUERY_PANEL, KEYS = IFLOW_KEY_BLOCK };

/* 2^x - 1 over x in [-0.5, 0.5], the last coefficient first: within 2e-9 of 2^x, and exact at 0, where nothing may change. */
static const float exp2_terms[] = {0.000153533606f, 0.00133988750f, 0.00961843692f, 0.0555033237f, 0.240226477f, 0.693147182f};
enum { N_TERMS = sizeof exp2_terms / sizeof *exp2_terms };

AVX2 INLINE __m256 halves(const ggml_fp16_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* Eight rows of eight. */
AVX2 INLINE void transpose(__m256 row[8]) {
    __m256 a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
        b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        row[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        row[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
}

AVX2 static void unpack(const ggml_fp16_t *k, const ggml_fp16_t *v, size_t stride, int n_embd_head, int n, iflow_key_block *block) {
    for (int key = 0; key < KEYS; key += 8) {
        for (int e = 0; e < n_embd_head; e += 8) {
            __m256 row[8];
            for (int i = 0; i < 8; i++) {
                const bool there = key + i < n && block->order[key + i] != INT32_MAX;
                const size_t at = (size_t)(key + i) * stride + (size_t)e;
                row[i] = there ? halves(k + at) : _mm256_setzero_ps();
                _mm256_store_ps(block->v + (key + i) * n_embd_head + e, there ? halves(v + at) : _mm256_setzero_ps());
            }
            transpose(row);
            for (int i = 0; i < 8; i++) {
                _mm256_store_ps(block->k[e + i] + key, row[i]);
            }
        }
    }
}

/* Sixteen halves of a row; zeros where it is not there. A masked load would do, and is slow where the row comes from afar. */
AVX512 INLINE __m256i halves_512(const ggml_fp16_t *p, bool there) {
    return there ? _mm256_loadu_si256((const __m256i *)(const void *)p) : _mm256_setzero_si256();
}

/* Sixteen keys by sixteen elements at a time: the halves are turned within quarters of 128 bits, eight by eight. */
AVX512 static void unpack_512(const ggml_fp16_t *k, const ggml_fp16_t *v, size_t stride, int n_embd_head, int n, iflow_key_block *block) {
    for (int key = 0; key < KEYS; key += 16) {
        const ggml_fp16_t *from_k[16], *from_v[16];
        bool there[16];
        for (int i = 0; i < 16; i++) {
            there[i] = key + i < n && block->order[key + i] != INT32_MAX;
            const size_t at = there[i] ? (size_t)(key + i) * stride : 0;
            from_k[i] = k + at;
            from_v[i] = v + at;
        }
        for (int e = 0; e < n_embd_head; e += 16) {
            __m512i a[8], b[8];
            for (int i = 0; i < 8; i++) {
                const __m256i low = halves_512(from_k[i] + e, there[i]), high = halves_512(from_k[i + 8] + e, there[i + 8]);
                a[i] = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
            }
            for (int i = 0; i < 4; i++) {
                b[2 * i] = _mm512_unpacklo_epi16(a[i], a[i + 4]);
                b[2 * i + 1] = _mm512_unpackhi_epi16(a[i], a[i + 4]);
            }
            for (int i = 0; i < 4; i++) {
                a[2 * i] = _mm512_unpacklo_epi16(b[i], b[i + 4]);
                a[2 * i + 1] = _mm512_unpackhi_epi16(b[i], b[i + 4]);
            }
            for (int i = 0; i < 4; i++) {
                b[2 * i] = _mm512_unpacklo_epi16(a[i], a[i + 4]);
                b[2 * i + 1] = _mm512_unpackhi_epi16(a[i], a[i + 4]);
            }
            for (int i = 0; i < 8; i++) { /* elements e + i and e + i + 8 */
                const __m512i both = _mm512_shuffle_i64x2(b[i], b[i], 0xd8);
                _mm512_store_ps(block->k[e + i] + key, _mm512_cvtph_ps(_mm512_castsi512_si256(both)));
                _mm512_store_ps(block->k[e + i + 8] + key, _mm512_cvtph_ps(_mm512_extracti64x4_epi64(both, 1)));
            }
        }
        for (int i = 0; i < 16; i++) {
            for (int e = 0; e < n_embd_head; e += 16) {
                _mm512_store_ps(block->v + (key + i) * n_embd_head + e, _mm512_cvtph_ps(halves_512(from_v[i] + e, there[i])));
            }
        }
    }
}

/* sum[r] += a[r] times the first `width` vectors of b's columns. b [depth, stride]. */
AVX512 INLINE void product_512(int width, const float *const a[ROWS], const float *b, int stride, int depth, __m512 sum[ROWS][4]) {
    for (int e = 0; e < depth; e++, b += stride) {
        __m512 column[4];
        for (int i = 0; i < width; i++) {
            column[i] = _mm512_loadu_ps(b + 16 * i);
        }
        for (int r = 0; r < ROWS; r++) {
            const __m512 x = _mm512_set1_ps(a[r][e]);
            for (int i = 0; i < width; i++) {
                sum[r][i] = _mm512_fmadd_ps(x, column[i], sum[r][i]);
            }
        }
    }
}

/* x is finite. */
AVX512 INLINE __m512 exp2_512(__m512 x) {
    const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), part = _mm512_sub_ps(x, whole);
    __m512 y = _mm512_set1_ps(exp2_terms[0]);
    for (int i = 1; i < N_TERMS; i++) {
        y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(exp2_terms[i]));
    }
    return _mm512_scalef_ps(_mm512_fmadd_ps(y, part, _mm512_set1_ps(1.0f)), whole);
}

/* The largest of each of six vectors, as the first six elements. */
AVX512 INLINE __m512 largest_512(const __m512 x[ROWS]) {
    __m512 pair[3];
    for (int i = 0; i < 3; i++) {
        const __m512 low = _mm512_shuffle_f32x4(x[2 * i], x[2 * i + 1], 0x44), high = _mm512_shuffle_f32x4(x[2 * i], x[2 * i + 1], 0xee);
        pair[i] = _mm512_max_ps(low, high);
    }
    __m512 four = _mm512_max_ps(_mm512_shuffle_f32x4(pair[0], pair[1], 0x88), _mm512_shuffle_f32x4(pair[0], pair[1], 0xdd));
    __m512 two = _mm512_max_ps(_mm512_shuffle_f32x4(pair[2], pair[2], 0x88), _mm512_shuffle_f32x4(pair[2], pair[2], 0xdd));
    /* Rows 0 to 3, and 4, 5, 4, 5, with four elements each; then two of each row, side by side; then one. */
    __m512 all = _mm512_max_ps(_mm512_shuffle_ps(four, two, 0x44), _mm512_shuffle_ps(four, two, 0xee));
    all = _mm512_max_ps(all, _mm512_permute_ps(all, 0xb1));
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 2, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), all);
}

AVX512 INLINE void attend_512_for(int d, const iflow_key_block *block, float log2_scale, bool masked, iflow_query_panel *panel) {
    const __mmask16 all_rows = (1 << ROWS) - 1;
    _Alignas(64) float weight[ROWS][KEYS], max[16], keep[16];
    const float *const weights[ROWS] = {weight[0], weight[1], weight[2], weight[3], weight[4], weight[5]};
    __m512 sum[ROWS][4], most[ROWS];
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < 4; i++) {
            sum[r][i] = _mm512_setzero_ps();
        }
    }
    product_512(4, panel->q, block->k[0], KEYS, d, sum);
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < 4; i++) {
            if (masked) { /* to far below where max starts, and still finite as an exponent */
                const __m512i order = _mm512_load_si512(block->order + 16 * i);
                const __mmask16 later = _mm512_cmpgt_epi32_mask(order, _mm512_set1_epi32(panel->order[r]));
                const __mmask16 earlier = _mm512_cmplt_epi32_mask(order, _mm512_set1_epi32(panel->first[r]));
                sum[r][i] = _mm512_mask_mov_ps(sum[r][i], later | earlier, _mm512_set1_ps(-1e35f));
            }
            _mm512_store_ps(weight[r] + 16 * i, sum[r][i]);
        }
        most[r] = _mm512_max_ps(_mm512_max_ps(sum[r][0], sum[r][1]), _mm512_max_ps(sum[r][2], sum[r][3]));
    }
    /* What the rows' earlier sums are multiplied by, of all rows at once. */
    const __m512 before = _mm512_maskz_loadu_ps(all_rows, panel->max), now = _mm512_mul_ps(largest_512(most), _mm512_set1_ps(log2_scale));
    const __m512 max_now = _mm512_max_ps(before, now);
    _mm512_mask_storeu_ps(panel->max, all_rows, max_now);
    _mm512_store_ps(max, max_now);
    _mm512_store_ps(keep, exp2_512(_mm512_sub_ps(before, max_now)));
    for (int r = 0; r < ROWS; r++) {
        __m512 total = _mm512_mul_ps(_mm512_load_ps(panel->sum[r]), _mm512_set1_ps(keep[r]));
        for (int i = 0; i < 4; i++) {
            const __m512 x = _mm512_load_ps(weight[r] + 16 * i);
            const __m512 w = exp2_512(_mm512_fmsub_ps(x, _mm512_set1_ps(log2_scale), _mm512_set1_ps(max[r])));
            _mm512_store_ps(weight[r] + 16 * i, w);
            total = _mm512_add_ps(total, w);
        }
        _mm512_store_ps(panel->sum[r], total);
    }
    const int width = d < 64 ? 2 : d % 64 ? 3 : 4;
    for (int at = 0; at < d; at += 16 * width) {
        for (int r = 0; r < ROWS; r++) {
            for (int i = 0; i < width; i++) {
                sum[r][i] = _mm512_mul_ps(_mm512_set1_ps(keep[r]), _mm512_loadu_ps(panel->out[r] + at + 16 * i));
            }
        }
        product_512(width, weights, block->v + at, d, KEYS, sum);
        for (int r = 0; r < ROWS; r++) {
            for (int i = 0; i < width; i++) {
                _mm512_storeu_ps(panel->out[r] + at + 16 * i, sum[r][i]);
            }
        }
    }
}

AVX512 static void attend_512(const iflow_key_block *block, int n_embd_head, float log2_scale, bool masked, iflow_query_panel *panel) {
    if (n_embd_head == 32) {
        attend_512_for(32, block, log2_scale, masked, panel);
    } else if (n_embd_head == 64) {
        attend_512_for(64, block, log2_scale, masked, panel);
    } else if (n_embd_head == 96) {
        attend_512_for(96, block, log2_scale, masked, panel);
    } else if (n_embd_head == 128) {
        attend_512_for(128, block, log2_scale, masked, panel);
    } else {
        attend_512_for(256, block, log2_scale, masked, panel);
    }
}

/* The same with half the width, two vectors at a time. */
AVX2 INLINE void product_256(const float *const a[ROWS], const float *b, int stride, int depth, int at, const float *scale,
                             float *const c[ROWS]) {
    __m256 sum[ROWS][2];
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < 2; i++) {
            sum[r][i] = scale ? _mm256_mul_ps(_mm256_set1_ps(scale[r]), _mm256_loadu_ps(c[r] + at + 8 * i)) : _mm256_setzero_ps();
        }
    }
    b += at;
    for (int e = 0; e < depth; e++, b += stride) {
        const __m256 column0 = _mm256_loadu_ps(b), column1 = _mm256_loadu_ps(b + 8);
        for (int r = 0; r < ROWS; r++) {
            const __m256 x = _mm256_broadcast_ss(a[r] + e);
            sum[r][0] = _mm256_fmadd_ps(x, column0, sum[r][0]);
            sum[r][1] = _mm256_fmadd_ps(x, column1, sum[r][1]);
        }
    }
    for (int r = 0; r < ROWS; r++) {
        _mm256_storeu_ps(c[r] + at, sum[r][0]);
        _mm256_storeu_ps(c[r] + at + 8, sum[r][1]);
    }
}

AVX2 INLINE __m256 exp2_256(__m256 x) {
    const __m256 lowest = _mm256_set1_ps(-126.0f), normal = _mm256_cmp_ps(x, lowest, _CMP_NLT_UQ);
    x = _mm256_max_ps(lowest, x);
    const __m256 whole = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), part = _mm256_sub_ps(x, whole);
    __m256 y = _mm256_set1_ps(exp2_terms[0]);
    for (int i = 1; i < N_TERMS; i++) {
        y = _mm256_fmadd_ps(y, part, _mm256_set1_ps(exp2_terms[i]));
    }
    y = _mm256_fmadd_ps(y, part, _mm256_set1_ps(1.0f));
    const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(whole), _mm256_set1_epi32(127)), 23);
    return _mm256_and_ps(_mm256_mul_ps(y, _mm256_castsi256_ps(power)), normal);
}

AVX2 INLINE float largest(__m256 x) {
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}

AVX2 INLINE float weigh_256(const iflow_key_block *block, float log2_scale, bool masked, iflow_query_panel *panel, int r, float *row) {
    __m256 x[8], most = _mm256_set1_ps(-INFINITY);
    for (int i = 0; i < 8; i++) {
        x[i] = _mm256_load_ps(row + 8 * i);
        if (masked) {
            const __m256i order = _mm256_load_si256((const __m256i *)(const void *)(block->order + 8 * i));
            const __m256i later = _mm256_cmpgt_epi32(order, _mm256_set1_epi32(panel->order[r]));
            const __m256i earlier = _mm256_cmpgt_epi32(_mm256_set1_epi32(panel->first[r]), order);
            const __m256 hidden = _mm256_castsi256_ps(_mm256_or_si256(later, earlier));
            x[i] = _mm256_blendv_ps(x[i], _mm256_set1_ps(-INFINITY), hidden);
        }
        most = _mm256_max_ps(most, x[i]);
    }
    const float before = panel->max[r], here = largest(most) * log2_scale, max = here > before ? here : before;
    const float keep = _mm256_cvtss_f32(exp2_256(_mm256_set1_ps(before - max)));
    panel->max[r] = max;
    __m256 sum[2] = {_mm256_load_ps(panel->sum[r]), _mm256_load_ps(panel->sum[r] + 8)};
    sum[0] = _mm256_mul_ps(sum[0], _mm256_set1_ps(keep));
    sum[1] = _mm256_mul_ps(sum[1], _mm256_set1_ps(keep));
    for (int i = 0; i < 8; i++) {
        x[i] = exp2_256(_mm256_fmsub_ps(x[i], _mm256_set1_ps(log2_scale), _mm256_set1_ps(max)));
        _mm256_store_ps(row + 8 * i, x[i]);
        sum[i & 1] = _mm256_add_ps(sum[i & 1], x[i]);
    }
    _mm256_store_ps(panel->sum[r], sum[0]);
    _mm256_store_ps(panel->sum[r] + 8, sum[1]);
    return keep;
}

AVX2 static void attend_256(const iflow_key_block *block, int n_embd_head, float log2_scale, bool masked, iflow_query_panel *panel) {
    _Alignas(64) float weight[ROWS][KEYS];
    float keep[ROWS], *const rows[ROWS] = {weight[0], weight[1], weight[2], weight[3], weight[4], weight[5]};
    const float *const weights[ROWS] = {weight[0], weight[1], weight[2], weight[3], weight[4], weight[5]};
    for (int at = 0; at < KEYS; at += 16) {
        product_256(panel->q, block->k[0], KEYS, n_embd_head, at, NULL, rows);
    }
    for (int r = 0; r < ROWS; r++) {
        keep[r] = weigh_256(block, log2_scale, masked, panel, r, weight[r]);
    }
    for (int at = 0; at < n_embd_head; at += 16) {
        product_256(weights, block->v, n_embd_head, KEYS, at, keep, panel->out);
    }
}

const iflow_attention_kernels *iflow_attention_kernels_get(int i) {
    static const iflow_attention_kernels avx512 = {"avx512", unpack_512, attend_512}, avx2 = {"avx2", unpack, attend_256};
    if (!iflow_x86_has_avx2()) {
        return NULL;
    }
    if (iflow_x86_has_avx512() && i-- == 0) {
        return &avx512;
    }
    return i == 0 ? &avx2 : NULL;
}

#else

const iflow_attention_kernels *iflow_attention_kernels_get(int i) {
    (void)i;
    return NULL;
}

#endif
