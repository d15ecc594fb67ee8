// The blocks of the curvature, one a site, of LANES sites at once: mapped to tangents, and solved
// with. Both are the same as the functions of these names in gauss_newton.py, their definition.
#pragma once

#include "pixels.hpp"

namespace sad {

// Entries of the sites from `site` on, `some` of them, in an array [entries, sites].
template <class Number>
struct Entries {
  Number* at;
  int64_t sites;
  int some;

  Entries(Number* array, int64_t sites, int64_t site)
      : at(array + site), sites(sites), some(std::min<int64_t>(LANES, sites - site)) {}

  Floats operator[](int i) const { return load(at + i * sites, some); }
  void set(int i, Floats value) const { store(at + i * sites, value, some); }
};
using Read = Entries<const float>;
using Write = Entries<float>;

// geometry -> chain geometry chain', mixed -> chain mixed; of [6, 6] and [6, C] entries.
inline void curvature_in_tangents(Read chain, Read geometry, Read mixed, int channels,
                                  Write new_geometry, Write new_mixed) {
  Floats matrix[PHI][PHI], inner[PHI][PHI], half[PHI][PHI];
  for (int i = 0; i < PHI * PHI; ++i) matrix[i / PHI][i % PHI] = chain[i];
  for (int i = 0; i < PHI * PHI; ++i) inner[i / PHI][i % PHI] = geometry[i];
  for (int i = 0; i < PHI; ++i)
    for (int j = 0; j < PHI; ++j) {
      half[i][j] = Floats{};
      for (int k = 0; k < PHI; ++k) half[i][j] += matrix[i][k] * inner[k][j];
    }
  for (int i = 0; i < PHI; ++i)
    for (int j = 0; j < PHI; ++j) {
      Floats sum{};
      for (int k = 0; k < PHI; ++k) sum += half[i][k] * matrix[j][k];
      new_geometry.set(i * PHI + j, sum);
    }
  for (int c = 0; c < channels; ++c) {
    Floats column[PHI];
    for (int k = 0; k < PHI; ++k) column[k] = mixed[k * channels + c];
    for (int i = 0; i < PHI; ++i) {
      Floats sum{};
      for (int k = 0; k < PHI; ++k) sum += matrix[i][k] * column[k];
      new_mixed.set(i * channels + c, sum);
    }
  }
}

// L L' x = x, for a matrix whose lower triangle becomes L; no pivot is below `least`.
inline void cholesky_solve(Floats (&matrix)[PHI][PHI], Floats (&x)[PHI], float least) {
  Floats inverse[PHI];  // of the diagonal; to divide takes longer than to multiply
  for (int i = 0; i < PHI; ++i)
    for (int j = 0; j <= i; ++j) {
      Floats rest = matrix[i][j];
      for (int k = 0; k < j; ++k) rest -= matrix[i][k] * matrix[j][k];
      if (i == j)
        inverse[i] = 1.0f / root(maximum(rest, all(least)));
      else
        matrix[i][j] = rest * inverse[j];
    }
  for (int i = 0; i < PHI; ++i) {
    for (int k = 0; k < i; ++k) x[i] -= matrix[i][k] * x[k];
    x[i] *= inverse[i];
  }
  for (int i = PHI - 1; i >= 0; --i) {
    for (int k = i + 1; k < PHI; ++k) x[i] -= matrix[k][i] * x[k];
    x[i] *= inverse[i];
  }
}

// (curvature + diag added)^-1 right, of [6 + C] entries, by eliminating the colours.
inline void solve_blocks(Read geometry, Read mixed, Read color, Read added, Read right,
                         int channels, float least_pivot, Write out) {
  Floats scale[PHI], matrix[PHI][PHI], x[PHI];
  for (int i = 0; i < PHI; ++i) {  // to a unit diagonal
    const Floats more = added[i], diagonal = geometry[i * PHI + i];
    scale[i] = 1.0f / root(diagonal + more);
    x[i] = right[i] * scale[i];
    for (int j = 0; j < i; ++j) matrix[i][j] = geometry[i * PHI + j] * scale[i] * scale[j];
    matrix[i][i] = (diagonal + more) * scale[i] * scale[i];
  }
  const Floats own = color[0];
  for (int c = 0; c < channels; ++c) {
    const Floats inverse = 1.0f / (own + added[PHI + c]), here = right[PHI + c];
    Floats scaled[PHI];
    for (int i = 0; i < PHI; ++i) {
      scaled[i] = mixed[i * channels + c] * scale[i];
      const Floats eliminated = scaled[i] * inverse;
      x[i] -= eliminated * here;
      for (int j = 0; j <= i; ++j) matrix[i][j] -= eliminated * scaled[j];
    }
  }
  cholesky_solve(matrix, x, least_pivot);
  for (int i = 0; i < PHI; ++i) out.set(i, x[i] *= scale[i]);
  for (int c = 0; c < channels; ++c) {
    Floats rest = right[PHI + c];
    for (int i = 0; i < PHI; ++i) rest -= mixed[i * channels + c] * x[i];
    out.set(PHI + c, rest / (own + added[PHI + c]));
  }
}

}  // namespace sad
