/* matmul_x86.c - kernels for products on x86: AVX2, and AVX-512 with VNNI. One build has both and runs what the processor has. */
#include "kernels/matmul_kernels.h"
#include "kernels/x86.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#define AVX2   __attribute__((target("avx2,fma,f16c")))
#define VNNI   __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define INLINE static inline __attribute__((always_inline))

enum { GROUP = 8 }; /* rows of a weight that are unpacked together */

/* Where things lie in ggml's blocks, in bytes. */
enum {
    Q4_0_CODES = 2,
    Q4_1_CODES = 4,
    Q5_0_HIGH = 2,
    Q5_0_CODES = 6,
    Q5_1_HIGH = 4,
    Q5_1_CODES = 8,
    Q8_0_CODES = 2,
    K_SCALES = 4, /* of Q4_K and Q5_K: d, dmin, then 12 bytes of 6-bit scales and mins */
    Q4_K_CODES = 16,
    Q5_K_HIGH = 16,
    Q5_K_CODES = 48,
    Q6_K_HIGH = 128,
    Q6_K_SCALES = 192,
    Q6_K_D = 208,
    X8_D = 16,        /* of ggml's repacked blocks: the d of eight rows */
    X8_K_CODES = 128, /* d and dmin of eight rows, then eight times 12 bytes */
};

AVX2 INLINE float half_at(const uint8_t *p) {
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return _cvtsh_ss(half);
}

AVX2 INLINE __m256i load(const void *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}

/* 16 bytes of 4-bit codes: the low ones, then the high ones. */
AVX2 INLINE __m256i nibbles(const uint8_t *p) {
    const __m128i both = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(both, 4), both), _mm256_set1_epi8(15));
}

/* 32 bits as 0 or 16 a byte. */
AVX2 INLINE __m256i fifth_bits(const uint8_t *p) {
    uint32_t bits;
    memcpy(&bits, p, sizeof bits);
    const __m256i byte = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i spread = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), byte), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(spread, bit), _mm256_set1_epi8(16));
}

/* The 32 codes, as unsigned bytes, of the i-th 32 elements of a block. */
AVX2 INLINE __m256i codes(enum ggml_type type, const uint8_t *block, int i) {
    const __m256i low4 = _mm256_set1_epi8(15);
    __m256i low, high;
    switch ((int)type) {
    case GGML_TYPE_Q4_0:
        return nibbles(block + Q4_0_CODES);
    case GGML_TYPE_Q4_1:
        return nibbles(block + Q4_1_CODES);
    case GGML_TYPE_Q5_0:
        return _mm256_or_si256(nibbles(block + Q5_0_CODES), fifth_bits(block + Q5_0_HIGH));
    case GGML_TYPE_Q5_1:
        return _mm256_or_si256(nibbles(block + Q5_1_CODES), fifth_bits(block + Q5_1_HIGH));
    case GGML_TYPE_Q8_0:
        return _mm256_xor_si256(load(block + Q8_0_CODES), _mm256_set1_epi8(-128));
    case GGML_TYPE_Q4_K:
        low = load(block + Q4_K_CODES + 32 * (i / 2));
        return _mm256_and_si256(i & 1 ? _mm256_srli_epi16(low, 4) : low, low4);
    case GGML_TYPE_Q5_K:
        low = load(block + Q5_K_CODES + 32 * (i / 2));
        high = _mm256_and_si256(_mm256_srl_epi16(load(block + Q5_K_HIGH), _mm_cvtsi32_si128(i)), _mm256_set1_epi8(1));
        return _mm256_or_si256(_mm256_and_si256(i & 1 ? _mm256_srli_epi16(low, 4) : low, low4), _mm256_slli_epi16(high, 4));
    default: /* Q6_K: four 32s share 64 low bytes and 32 high ones */
        low = load(block + 64 * (i / 4) + 32 * (i & 1));
        high = _mm256_srl_epi16(load(block + Q6_K_HIGH + 32 * (i / 4)), _mm_cvtsi32_si128(2 * (i & 3)));
        high = _mm256_slli_epi16(_mm256_and_si256(high, _mm256_set1_epi8(3)), 4);
        return _mm256_or_si256(_mm256_and_si256(i & 2 ? _mm256_srli_epi16(low, 4) : low, low4), high);
    }
}

/* Q4_K's and Q5_K's 12 bytes as eight scales, then eight mins. */
AVX2 INLINE void six_bits(const uint8_t *p, uint8_t out[16]) {
    uint32_t in[3];
    memcpy(in, p, sizeof in);
    const uint32_t unpacked[4] = {in[0] & 0x3f3f3f3f, (in[2] & 0x0f0f0f0f) | (in[0] >> 2 & 0x30303030), in[1] & 0x3f3f3f3f,
                                  (in[2] >> 4 & 0x0f0f0f0f) | (in[1] >> 2 & 0x30303030)};
    memcpy(out, unpacked, sizeof unpacked);
}

AVX2 INLINE __m256 floats(const uint8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}

/* Scales and mins of a block to column r of the tile, from unit u on. */
AVX2 INLINE void scales(enum ggml_type type, const uint8_t *block, iflow_tile *tile, int u, int r) {
    const float d = type == GGML_TYPE_Q6_K ? half_at(block + Q6_K_D) : half_at(block);
    uint8_t six[16];
    switch ((int)type) {
    case GGML_TYPE_Q4_0:
    case GGML_TYPE_Q5_0:
    case GGML_TYPE_Q8_0:
        tile->scale[u][r] = d;
        break;
    case GGML_TYPE_Q4_1:
    case GGML_TYPE_Q5_1:
        tile->scale[u][r] = d;
        tile->min[u][r] = -half_at(block + 2);
        break;
    case GGML_TYPE_Q4_K:
    case GGML_TYPE_Q5_K:
        six_bits(block + K_SCALES, six);
        for (int i = 0; i < 8; i++) {
            tile->scale[u + i][r] = d * (float)six[i];
            tile->min[u + i][r] = half_at(block + 2) * (float)six[8 + i];
        }
        break;
    default:
        for (int i = 0; i < 16; i++) {
            tile->scale[u + i][r] = d * (float)(int8_t)block[Q6_K_SCALES + i];
        }
        break;
    }
}

/* Rows of 32 codes to columns r to r + 7 of eight steps of a tile. */
AVX2 INLINE void transpose(const __m256i row[GROUP], uint8_t (*code)[IFLOW_TILE_ROWS][4], int r) {
    __m256i a[GROUP], b[GROUP];
    for (int i = 0; i < GROUP; i += 2) {
        a[i] = _mm256_unpacklo_epi32(row[i], row[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi32(row[i], row[i + 1]);
    }
    for (int i = 0; i < GROUP; i += 4) {
        b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_store_si256((__m256i *)(void *)code[i][r], _mm256_permute2x128_si256(b[i], b[i + 4], 0x20));
        _mm256_store_si256((__m256i *)(void *)code[i + 4][r], _mm256_permute2x128_si256(b[i], b[i + 4], 0x31));
    }
}

/* Eight rows, each `stride` bytes after the last and shorter by `last` rows at the end of the weight. */
AVX2 INLINE void unpack_rows(enum ggml_type type, const uint8_t *row[GROUP], int n_blocks, size_t block_bytes, iflow_tile *tile, int r) {
    const bool super = type == GGML_TYPE_Q4_K || type == GGML_TYPE_Q5_K || type == GGML_TYPE_Q6_K; /* 256 elements a block, not 32 */
    const int n32 = super ? 8 : 1, units = type == GGML_TYPE_Q6_K ? 16 : n32;
    for (int b = 0; b < n_blocks; b++) {
        for (int i = 0; i < GROUP; i++) {
            scales(type, row[i] + (size_t)b * block_bytes, tile, b * units, r + i);
        }
        for (int k = 0; k < n32; k++) {
            __m256i in[GROUP];
            for (int i = 0; i < GROUP; i++) {
                in[i] = codes(type, row[i] + (size_t)b * block_bytes, k);
            }
            transpose(in, tile->code + (b * n32 + k) * 8, r);
        }
    }
}

/* Four elements of each of eight rows that lie as two 32-byte parts of eight elements a row, four rows a part: `odd`, the second four. */
#define QUARTETS(a, b, odd)                                                                                                                \
    _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), (odd) ? 0xdd : 0x88)),  \
                             0xd8)

/* 64 bytes of nibbles, eight a row: the low ones to steps s and s + 1, the high ones to `apart` steps later. */
AVX2 INLINE void unpack_eights(const uint8_t *in, iflow_tile *tile, int s, int apart, int r, __m256i flip) {
    const __m256i low4 = _mm256_set1_epi8(15), a = _mm256_xor_si256(load(in), flip), b = _mm256_xor_si256(load(in + 32), flip);
    const __m256i part[2] = {QUARTETS(a, b, 0), QUARTETS(a, b, 1)};
    for (int i = 0; i < 2; i++) {
        _mm256_store_si256((__m256i *)(void *)tile->code[s + i][r], _mm256_and_si256(part[i], low4));
        _mm256_store_si256((__m256i *)(void *)tile->code[s + i + apart][r], _mm256_and_si256(_mm256_srli_epi16(part[i], 4), low4));
    }
}

AVX2 INLINE __m256 halves(const uint8_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

AVX2 static void unpack_q4_0x8(const uint8_t *block, int n_blocks, size_t block_bytes, iflow_tile *tile, int r) {
    for (int b = 0; b < n_blocks; b++, block += GROUP * block_bytes) {
        _mm256_store_ps(tile->scale[b] + r, halves(block));
        for (int i = 0; i < 2; i++) {
            unpack_eights(block + X8_D + 64 * i, tile, 8 * b + 2 * i, 4, r, _mm256_set1_epi8((char)0x88)); /* ggml stores them signed */
        }
    }
}

AVX2 static void unpack_q4_Kx8(const uint8_t *block, int n_blocks, size_t block_bytes, iflow_tile *tile, int r) {
    for (int b = 0; b < n_blocks; b++, block += GROUP * block_bytes) {
        const __m256 d = halves(block), d_min = halves(block + X8_D);
        for (int i = 0; i < 8; i++) {
            uint8_t six[16];
            six_bits(block + 2 * X8_D + 12 * i, six);
            _mm256_store_ps(tile->scale[8 * b + i] + r, _mm256_mul_ps(d, floats(six)));
            _mm256_store_ps(tile->min[8 * b + i] + r, _mm256_mul_ps(d_min, floats(six + 8)));
        }
        for (int i = 0; i < 16; i++) {
            unpack_eights(block + X8_K_CODES + 64 * i, tile, 64 * b + 16 * (i / 4) + 2 * (i % 4), 8, r, _mm256_setzero_si256());
        }
    }
}

static void describe(enum ggml_type type, iflow_tile *tile) {
    switch ((int)type) {
    case GGML_TYPE_Q4_0:
        tile->element = IFLOW_ELEMENT_OFFSET32;
        tile->code_bits = 4;
        break;
    case GGML_TYPE_Q5_0:
        tile->element = IFLOW_ELEMENT_OFFSET32;
        tile->code_bits = 5;
        break;
    case GGML_TYPE_Q8_0:
        tile->element = IFLOW_ELEMENT_OFFSET32;
        tile->code_bits = 8;
        break;
    case GGML_TYPE_Q6_K:
        tile->element = IFLOW_ELEMENT_OFFSET16;
        tile->code_bits = 6;
        break;
    case GGML_TYPE_Q5_1:
    case GGML_TYPE_Q5_K:
        tile->element = IFLOW_ELEMENT_MIN32;
        tile->code_bits = 5;
        break;
    default:
        tile->element = IFLOW_ELEMENT_MIN32;
        tile->code_bits = 4;
        break;
    }
    tile->offset_bits = tile->code_bits - 1; /* half the range, in all of ggml's types that have no min */
}

AVX2 static void unpack(const struct ggml_tensor *w, iflow_layout layout, int64_t row, int64_t start, int depth, iflow_tile *tile) {
    const size_t block_bytes = ggml_type_size(w->type);
    const int64_t block = start / ggml_blck_size(w->type), n_out = w->ne[1];
    const int n_blocks = depth / (int)ggml_blck_size(w->type);
    describe(w->type, tile);
    for (int r = 0; r < IFLOW_TILE_ROWS; r += GROUP) {
        if (layout == IFLOW_LAYOUT_ROWS8) {
            const int64_t first = row + r < n_out ? row + r : n_out - GROUP;
            const uint8_t *at = (const uint8_t *)w->data + (size_t)first * w->nb[1] + (size_t)block * GROUP * block_bytes;
            (w->type == GGML_TYPE_Q4_0 ? unpack_q4_0x8 : unpack_q4_Kx8)(at, n_blocks, block_bytes, tile, r);
            continue;
        }
        const uint8_t *at[GROUP];
        for (int i = 0; i < GROUP; i++) {
            const int64_t which = row + r + i < n_out ? row + r + i : n_out - 1;
            at[i] = (const uint8_t *)w->data + (size_t)which * w->nb[1] + (size_t)block * block_bytes;
        }
#define ROWS_OF(type)                                                                                                                      \
    case type:                                                                                                                             \
        unpack_rows(type, at, n_blocks, block_bytes, tile, r);                                                                             \
        break
        switch ((int)w->type) {
            ROWS_OF(GGML_TYPE_Q4_0);
            ROWS_OF(GGML_TYPE_Q4_1);
            ROWS_OF(GGML_TYPE_Q5_0);
            ROWS_OF(GGML_TYPE_Q5_1);
            ROWS_OF(GGML_TYPE_Q8_0);
            ROWS_OF(GGML_TYPE_Q4_K);
            ROWS_OF(GGML_TYPE_Q5_K);
            ROWS_OF(GGML_TYPE_Q6_K);
        default:
            break;
        }
    }
}

AVX2 INLINE float largest(__m256 x) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

AVX2 static void quantise(const float *x, size_t stride, int n_in, int n_rows, iflow_block *out) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (int b = 0; b < n_in / IFLOW_BLOCK; b++, out++) {
        if (n_rows < IFLOW_PANEL) {
            memset(out, 0, sizeof *out);
        }
        for (int r = 0; r < n_rows; r++) {
            const float *in = x + (size_t)r * stride + (size_t)b * IFLOW_BLOCK;
            __m256 v[4], size = _mm256_setzero_ps();
            for (int i = 0; i < 4; i++) {
                v[i] = _mm256_loadu_ps(in + 8 * i);
                size = _mm256_max_ps(size, _mm256_andnot_ps(sign, v[i]));
            }
            const float most = largest(size), scale = most / 127.0f;
            const __m256 inverse = _mm256_set1_ps(most > 0 ? 127.0f / most : 0);
            __m256i q[4];
            for (int i = 0; i < 4; i++) {
                q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
            }
            /* The pairs' sums stay apart by halves: 16 bits hold them, and the packing's order by lanes is undone at the end. */
            const __m256i pair[2] = {_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3])};
            const __m256i code = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(pair[0], pair[1]), in_order);
            const __m256i sums =
                _mm256_hadd_epi32(_mm256_madd_epi16(pair[0], _mm256_set1_epi16(1)), _mm256_madd_epi16(pair[1], _mm256_set1_epi16(1)));
            __m128i s = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
            s = _mm_hadd_epi32(s, s);
            const int half[2] = {_mm_cvtsi128_si32(s), _mm_extract_epi32(s, 1)};
            uint8_t bytes[IFLOW_BLOCK];
            _mm256_storeu_si256((__m256i *)(void *)bytes, code);
            for (int i = 0; i < IFLOW_BLOCK / 4; i++) {
                memcpy(out->code[i][r], bytes + (size_t)i * 4, 4);
            }
            out->scale[r] = scale;
            out->minus_codes[0][r] = -half[0];
            out->minus_codes[1][r] = -half[1];
            out->minus_codes[2][r] = -half[0] - half[1];
            out->minus_sum[r] = -scale * (float)(half[0] + half[1]);
        }
    }
}

VNNI INLINE __m512i broadcast(const int8_t p[4]) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
}

/* 32 rows of a weight by six of activations: twelve sums of integers, over 16 or 32 elements, and twelve of floats over all. The integers
 * start at what the offset takes away. */
VNNI INLINE void multiply_as(iflow_element element, const iflow_tile *tile, const iflow_block *block, int n_blocks, float *out,
                             size_t stride, bool first) {
    enum { STEPS = IFLOW_BLOCK / 4 };
    const __m128i offset_bits = _mm_cvtsi32_si128(tile->offset_bits);
    __m512 total[2][IFLOW_PANEL];
    for (int r = 0; r < IFLOW_PANEL; r++) {
        total[0][r] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(out + (size_t)r * stride);
        total[1][r] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(out + (size_t)r * stride + 16);
    }
    const uint8_t(*code)[IFLOW_TILE_ROWS][4] = tile->code;
    for (int b = 0, u = 0; b < n_blocks; b++, block++) {
        for (int half = 0; half < (element == IFLOW_ELEMENT_OFFSET16 ? 2 : 1); half++, u++) {
            __m512i sum[2][IFLOW_PANEL];
            for (int r = 0; r < IFLOW_PANEL; r++) {
                if (element == IFLOW_ELEMENT_MIN32) {
                    sum[0][r] = _mm512_setzero_si512();
                } else {
                    const int32_t codes_here = block->minus_codes[element == IFLOW_ELEMENT_OFFSET16 ? half : 2][r];
                    sum[0][r] = _mm512_sll_epi32(_mm512_set1_epi32(codes_here), offset_bits);
                }
                sum[1][r] = sum[0][r];
            }
            for (int s = 0; s < (element == IFLOW_ELEMENT_OFFSET16 ? STEPS / 2 : STEPS); s++, code++) {
                const __m512i w0 = _mm512_load_si512((*code)[0]), w1 = _mm512_load_si512((*code)[16]);
                for (int r = 0; r < IFLOW_PANEL; r++) {
                    const __m512i x = broadcast(block->code[half * STEPS / 2 + s][r]);
                    sum[0][r] = _mm512_dpbusd_epi32(sum[0][r], w0, x);
                    sum[1][r] = _mm512_dpbusd_epi32(sum[1][r], w1, x);
                }
            }
            const __m512 d0 = _mm512_load_ps(tile->scale[u]), d1 = _mm512_load_ps(tile->scale[u] + 16);
            const __m512 m0 = _mm512_load_ps(tile->min[b]), m1 = _mm512_load_ps(tile->min[b] + 16);
            for (int r = 0; r < IFLOW_PANEL; r++) {
                const __m512 scale = _mm512_set1_ps(block->scale[r]), sum0 = _mm512_cvtepi32_ps(sum[0][r]),
                             sum1 = _mm512_cvtepi32_ps(sum[1][r]);
                total[0][r] = _mm512_fmadd_ps(sum0, _mm512_mul_ps(d0, scale), total[0][r]);
                total[1][r] = _mm512_fmadd_ps(sum1, _mm512_mul_ps(d1, scale), total[1][r]);
                if (element == IFLOW_ELEMENT_MIN32) {
                    const __m512 minus_sum = _mm512_set1_ps(block->minus_sum[r]);
                    total[0][r] = _mm512_fmadd_ps(m0, minus_sum, total[0][r]);
                    total[1][r] = _mm512_fmadd_ps(m1, minus_sum, total[1][r]);
                }
            }
        }
    }
    for (int r = 0; r < IFLOW_PANEL; r++) {
        _mm512_storeu_ps(out + (size_t)r * stride, total[0][r]);
        _mm512_storeu_ps(out + (size_t)r * stride + 16, total[1][r]);
    }
}

VNNI static void multiply_vnni(const iflow_tile *tile, const iflow_block *block, int n_blocks, float *out, size_t stride, bool first) {
    switch (tile->element) {
    case IFLOW_ELEMENT_OFFSET16:
        multiply_as(IFLOW_ELEMENT_OFFSET16, tile, block, n_blocks, out, stride, first);
        break;
    case IFLOW_ELEMENT_OFFSET32:
        multiply_as(IFLOW_ELEMENT_OFFSET32, tile, block, n_blocks, out, stride, first);
        break;
    case IFLOW_ELEMENT_MIN32:
        multiply_as(IFLOW_ELEMENT_MIN32, tile, block, n_blocks, out, stride, first);
        break;
    }
}

/* 16 rows of a weight from `row` on by three of activations from r0 on. Products of pairs are summed in 16 bits for as many steps as
 * cannot overflow them: 2 * 127 * (2^code_bits - 1) * group < 2^15. */
AVX2 INLINE void multiply_part(iflow_element element, int group, const iflow_tile *tile, const iflow_block *block, int n_blocks, float *out,
                               size_t stride, bool first, int row, int r0) {
    enum { ROWS = 3, STEPS = IFLOW_BLOCK / 4 };
    const __m128i offset_bits = _mm_cvtsi32_si128(tile->offset_bits);
    const int steps = element == IFLOW_ELEMENT_OFFSET16 ? STEPS / 2 : STEPS;
    __m256 total[2][ROWS];
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < 2; i++) {
            total[i][r] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(out + (size_t)(r0 + r) * stride + row + 8 * i);
        }
    }
    for (int b = 0, u = 0; b < n_blocks; b++, block++) {
        for (int half = 0; half < STEPS / steps; half++, u++) {
            __m256i sum[2][ROWS];
            for (int r = 0; r < ROWS; r++) {
                const int32_t codes_here = block->minus_codes[element == IFLOW_ELEMENT_OFFSET16 ? half : 2][r0 + r];
                sum[0][r] = sum[1][r] =
                    element == IFLOW_ELEMENT_MIN32 ? _mm256_setzero_si256() : _mm256_sll_epi32(_mm256_set1_epi32(codes_here), offset_bits);
            }
            for (int from = 0; from < steps; from += group) {
                __m256i part[2][ROWS];
                for (int s = from; s < from + group; s++) {
                    const __m256i w0 = load(tile->code[u * steps + s][row]), w1 = load(tile->code[u * steps + s][row + 8]);
                    for (int r = 0; r < ROWS; r++) {
                        int32_t four;
                        memcpy(&four, block->code[half * steps + s][r0 + r], sizeof four);
                        const __m256i x = _mm256_set1_epi32(four), p0 = _mm256_maddubs_epi16(w0, x), p1 = _mm256_maddubs_epi16(w1, x);
                        part[0][r] = s == from ? p0 : _mm256_add_epi16(part[0][r], p0);
                        part[1][r] = s == from ? p1 : _mm256_add_epi16(part[1][r], p1);
                    }
                }
                for (int r = 0; r < ROWS; r++) {
                    sum[0][r] = _mm256_add_epi32(sum[0][r], _mm256_madd_epi16(part[0][r], _mm256_set1_epi16(1)));
                    sum[1][r] = _mm256_add_epi32(sum[1][r], _mm256_madd_epi16(part[1][r], _mm256_set1_epi16(1)));
                }
            }
            for (int i = 0; i < 2; i++) {
                const __m256 d = _mm256_load_ps(tile->scale[u] + row + 8 * i);
                for (int r = 0; r < ROWS; r++) {
                    const __m256 scale = _mm256_mul_ps(d, _mm256_set1_ps(block->scale[r0 + r]));
                    total[i][r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[i][r]), scale, total[i][r]);
                    if (element == IFLOW_ELEMENT_MIN32) {
                        const __m256 min = _mm256_load_ps(tile->min[u] + row + 8 * i);
                        total[i][r] = _mm256_fmadd_ps(min, _mm256_set1_ps(block->minus_sum[r0 + r]), total[i][r]);
                    }
                }
            }
        }
    }
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < 2; i++) {
            _mm256_storeu_ps(out + (size_t)(r0 + r) * stride + row + 8 * i, total[i][r]);
        }
    }
}

AVX2 static void multiply_avx2(const iflow_tile *tile, const iflow_block *block, int n_blocks, float *out, size_t stride, bool first) {
    for (int part = 0; part < 4; part++) {
        const int row = part / 2 * 16, r = part % 2 * 3;
        if (tile->element == IFLOW_ELEMENT_OFFSET16) {
            multiply_part(IFLOW_ELEMENT_OFFSET16, 2, tile, block, n_blocks, out, stride, first, row, r);
        } else if (tile->element == IFLOW_ELEMENT_OFFSET32 && tile->code_bits == 4) {
            multiply_part(IFLOW_ELEMENT_OFFSET32, 8, tile, block, n_blocks, out, stride, first, row, r);
        } else if (tile->element == IFLOW_ELEMENT_OFFSET32) {
            multiply_part(IFLOW_ELEMENT_OFFSET32, 4, tile, block, n_blocks, out, stride, first, row, r);
        } else if (tile->code_bits == 4) {
            multiply_part(IFLOW_ELEMENT_MIN32, 8, tile, block, n_blocks, out, stride, first, row, r);
        } else {
            multiply_part(IFLOW_ELEMENT_MIN32, 4, tile, block, n_blocks, out, stride, first, row, r);
        }
    }
}

const iflow_kernels *iflow_kernels_get(int i) {
    static const iflow_kernels vnni = {"avx512-vnni", 8, quantise, unpack, multiply_vnni},
                               avx2 = {"avx2", 6, quantise, unpack, multiply_avx2};
    if (!iflow_x86_has_avx2()) {
        return NULL;
    }
    if (iflow_x86_has_avx512() && __builtin_cpu_supports("avx512vnni") && i-- == 0) {
        return &vnni;
    }
    return i == 0 ? &avx2 : NULL;
}

#else

const iflow_kernels *iflow_kernels_get(int i) {
    (void)i;
    return NULL;
}

#endif
