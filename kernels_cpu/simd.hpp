// Vectors of LANES floats by the compiler's own vector extension (gcc, clang), and the few operations
// that it lacks. The width is that of the instruction set for which the file is compiled.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace sad {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));

// The next multiple of LANES.
constexpr int64_t padded(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

inline Floats all(float value) { return value - Floats{}; }
inline Ints all(int32_t value) { return value - Ints{}; }

inline Floats load(const float* from) {
  Floats value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
inline Ints load(const int32_t* from) {
  Ints value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <class Vector, class Number>
void store(Number* to, Vector value) {
  std::memcpy(to, &value, sizeof value);
}

// The same of the first `count` lanes; a copy of fixed length is much faster.
inline Floats load(const float* from, int count) {
  if (count == LANES) return load(from);
  Floats value{};
  std::memcpy(&value, from, count * sizeof(float));
  return value;
}
inline Ints load(const int32_t* from, int count) {
  if (count == LANES) return load(from);
  Ints value{};
  std::memcpy(&value, from, count * sizeof(int32_t));
  return value;
}
template <class Vector, class Number>
void store(Number* to, Vector value, int count) {
  if (count == LANES) return store(to, value);
  std::memcpy(to, &value, count * sizeof(Number));
}

// A vector in rows of four, and back.
constexpr int ACROSS = 4, DOWN = LANES / ACROSS;
typedef float Row __attribute__((vector_size(4 * ACROSS)));

inline Floats join(const Row* row) {
#if defined(__AVX512F__)
  const auto low = __builtin_shufflevector(row[0], row[1], 0, 1, 2, 3, 4, 5, 6, 7);
  const auto high = __builtin_shufflevector(row[2], row[3], 0, 1, 2, 3, 4, 5, 6, 7);
  return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#elif defined(__AVX2__)
  return __builtin_shufflevector(row[0], row[1], 0, 1, 2, 3, 4, 5, 6, 7);
#else
  return row[0];
#endif
}

// Where the lanes lie.
inline Floats columns_of_patch() {
  Floats value;
  for (int lane = 0; lane < LANES; ++lane) value[lane] = float(lane % ACROSS);
  return value;
}
inline Floats rows_of_patch() {
  Floats value;
  for (int lane = 0; lane < LANES; ++lane) value[lane] = float(lane / ACROSS);
  return value;
}

// The compiler's own function of that name for a vector of floats, where it has one.
#if defined(__AVX512F__)
#define SAD_OWN(name) _mm512_##name##_ps
#elif defined(__AVX2__)
#define SAD_OWN(name) _mm256_##name##_ps
#elif defined(__x86_64__)
#define SAD_OWN(name) _mm_##name##_ps
#endif

template <class Vector>
Vector minimum(Vector a, Vector b) {
  return a < b ? a : b;
}
inline Ints maximum(Ints a, Ints b) { return a > b ? a : b; }
inline Floats maximum(Floats a, Floats b) {
#if defined(SAD_OWN)
  return SAD_OWN(max)(a, b);  // gcc compares and chooses where one is constant
#else
  return a > b ? a : b;
#endif
}
inline Floats absolute(Floats a) { return maximum(a, -a); }

inline Floats root(Floats a) {
#if defined(SAD_OWN)
  return SAD_OWN(sqrt)(a);
#elif defined(__aarch64__)
  return vsqrtq_f32(a);
#else
  for (int lane = 0; lane < LANES; ++lane) a[lane] = std::sqrt(a[lane]);
  return a;
#endif
}

// The lanes in which a comparison holds, as bits.
inline uint32_t bits(Ints mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask);
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)mask);
#elif defined(__x86_64__)
  return _mm_movemask_ps((__m128)mask);
#else
  uint32_t found = 0;
  for (int lane = 0; lane < LANES; ++lane) found |= (mask[lane] & 1) << lane;
  return found;
#endif
}

// The other way round: all bits of the lanes whose bit is set.
inline Ints lanes_of(uint32_t bits) {
  Ints bit;
  for (int lane = 0; lane < LANES; ++lane) bit[lane] = 1 << lane;
  return (all(int32_t(bits)) & bit) != 0;
}

// e^x for x <= 0, to about 1e-7 of the value; below e^-86 that. x = n ln 2 + r, a polynomial of r
// (Cephes), and n added to the exponent. Adding 1.5 * 2^23 rounds to the nearest whole number.
inline Floats exponential(Floats x) {
  constexpr float ROUND = 12582912.0f;
  x = maximum(x, all(-86.0f));
  const Floats shifted = x * 1.44269504f + ROUND, n = shifted - ROUND;
  const Floats r = x - n * 0.693359375f - n * -2.12194440e-4f;
  Floats series = r * 1.9875691500e-4f + 1.3981999507e-3f;
  series = series * r + 8.3334519073e-3f;
  series = series * r + 4.1665795894e-2f;
  series = series * r + 1.6666665459e-1f;
  series = series * r + 5.0000001201e-1f;
  series = series * (r * r) + (r + 1.0f);
  return (Floats)((Ints)series + ((Ints)shifted << 23));
}

template <class Index, int... Lane>
Floats shuffle(Floats a, Floats b, Index index, std::integer_sequence<int, Lane...>) {
  return __builtin_shufflevector(a, b, index(Lane)...);
}
// Of the lanes of a (0 to LANES - 1) and of b (from LANES on) those that index(lane) names.
#define SAD_SHUFFLE(a, b, formula) \
  shuffle( \
      a, b, [](int l) constexpr { return formula; }, std::make_integer_sequence<int, LANES>{})

// Exchanges the odd blocks of STEP lanes of a with the even ones of b.
template <int STEP>
void exchange(Floats& a, Floats& b) {
  const Floats low = SAD_SHUFFLE(a, b, (l & STEP) ? LANES + l - STEP : l);
  b = SAD_SHUFFLE(a, b, (l & STEP) ? LANES + l : l + STEP);
  a = low;
}

// Of every four lanes a0 a1 a2 a3 and b0 b1 b2 b3 of two vectors: the first halves of both, and the
// second ones, as a0 b0 a1 b1 and a2 b2 a3 b3 (`take_turns`), or a0 a1 b0 b1 and a2 a3 b2 b3.
struct Halves {
  Floats first, second;
};
inline Halves take_turns(Floats a, Floats b) {
  return {SAD_SHUFFLE(a, b, l / 4 * 4 + l % 4 / 2 + (l & 1) * LANES),
          SAD_SHUFFLE(a, b, l / 4 * 4 + l % 4 / 2 + 2 + (l & 1) * LANES)};
}
inline Halves side_by_side(Floats a, Floats b) {
  return {SAD_SHUFFLE(a, b, l % 4 < 2 ? l : LANES + l - 2),
          SAD_SHUFFLE(a, b, l % 4 < 2 ? l + 2 : LANES + l)};
}

// The smallest lane.
template <int STEP = LANES / 2>
int32_t least_of(Ints a) {
  const Ints other = (Ints)SAD_SHUFFLE((Floats)a, (Floats)a, l ^ STEP);
  if constexpr (STEP == 1)
    return minimum(a, other)[0];
  else
    return least_of<STEP / 2>(minimum(a, other));
}

// LANES rows of LANES floats become columns: in squares of four, then squares change places.
inline void transpose(Floats* row) {
  for (Floats* r = row; r < row + LANES; r += 4) {
    const Halves left = take_turns(r[0], r[1]), right = take_turns(r[2], r[3]);
    const Halves top = side_by_side(left.first, right.first);
    const Halves bottom = side_by_side(left.second, right.second);
    r[0] = top.first, r[1] = top.second, r[2] = bottom.first, r[3] = bottom.second;
  }
  if constexpr (LANES > 4) {
    for (int i = 0; i < LANES; ++i)
      if (!(i & 4)) exchange<4>(row[i], row[i + 4]);
  }
  if constexpr (LANES > 8) {
    for (int i = 0; i < 8; ++i) exchange<8>(row[i], row[i + 8]);
  }
}

// Lane i is the sum of row i of LANES rows: the steps of `transpose`, each followed by a sum of the
// pairs that it has brought together, so that half as many vectors are left.
inline Floats sums_of(const Floats* row) {
  const auto sum = [](Halves of) { return of.first + of.second; };
  Floats square[LANES / 4];
  for (int i = 0; i < LANES / 4; ++i, row += 4)
    square[i] = sum(side_by_side(sum(take_turns(row[0], row[1])), sum(take_turns(row[2], row[3]))));
  if constexpr (LANES > 4) {
    for (int i = 0; i < LANES / 4; i += 2) {
      exchange<4>(square[i], square[i + 1]);
      square[i / 2] = square[i] + square[i + 1];
    }
  }
  if constexpr (LANES > 8) {
    exchange<8>(square[0], square[1]);
    square[0] += square[1];
  }
  return square[0];
}

}  // namespace sad
