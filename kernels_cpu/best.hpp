// The best K of the sites offered to LANES cells, by rising score, equal scores by id.
#pragma once

#include "pixels.hpp"

namespace sad {

// tau (d - r/S) of sites with the fields f(0), f(1), ... at an offset from them.
template <class Fields, class Number>
Number score_at(const Fields& f, Number dx, Number dy) {
  const Number p = f(2) * dx + f(3) * dy, q = (f(2) * dy - f(3) * dx) * f(4);
  return f(5) * (distance(p * p + q * q) - f(6));
}

// K: places, known to the compiler; or 0.
template <int K>
struct Best {
  int k;
  Floats score[K ? K : MOST_SITES];
  Ints id[K ? K : MOST_SITES];

  explicit Best(int k) : k(k) {
    for (int i = 0; i < places(); ++i) score[i] = all(INFINITE), id[i] = all(NONE);
  }

  int places() const { return K ? K : k; }
  Floats last() const { return score[places() - 1]; }

  // Puts sites in their places; the last of each list drops. No place waits for another one.
  void offer(Floats new_score, Ints new_id) {
    if (!bits(new_score <= last())) return;
    const auto goes_before = [&](int i) {
      return (new_score < score[i]) | ((new_score == score[i]) & (new_id < id[i]));
    };
    Ints before = goes_before(places() - 1);
    for (int i = places() - 1; i > 0; --i) {
      const Ints before_above = goes_before(i - 1);
      score[i] = minimum(maximum(score[i - 1], new_score), score[i]);
      id[i] = before_above ? id[i - 1] : before ? new_id : id[i];
      before = before_above;
    }
    score[0] = minimum(new_score, score[0]);
    id[0] = before ? new_id : id[0];
  }

  // The same for sites that may be there already.
  void offer_once(Floats new_score, Ints new_id) {
    Ints there = id[0] == new_id;
    for (int i = 1; i < places(); ++i) there |= id[i] == new_id;
    offer(there ? all(INFINITE) : new_score, there ? all(NONE) : new_id);
  }
};

// The merge of lists: of `offered` ids for each of `lanes` cells, [offered, lanes], the best K,
// [K, lanes]. `rows` are the sites' fields, padded(GEOMETRY) for each of `sites` sites; `place` is
// where scores are taken, [2, lanes].
inline void merge(const float* rows, int64_t sites, const int32_t* ids, const float* place,
                  int offered, int64_t lanes, int k, int64_t first, int64_t last, int32_t* out) {
  for (int64_t at = first; at < last; at += LANES) {
    const Floats x = load(place + at), y = load(place + lanes + at);
    Best<0> best(k);
    for (int m = 0; m < offered; ++m) {
      const Ints id = load(ids + m * lanes + at);
      Floats fields[padded(GEOMETRY)];
      for (int chunk = 0; chunk < padded(GEOMETRY); chunk += LANES) {
        for (int lane = 0; lane < LANES; ++lane) {
          const int64_t site = std::clamp<int64_t>(id[lane], 0, sites - 1);
          fields[chunk + lane] = load(rows + site * padded(GEOMETRY) + chunk);
        }
        transpose(fields + chunk);
      }
      const auto f = [&](int i) { return fields[i]; };
      best.offer_once(score_at(f, x - fields[0], y - fields[1]), id);
    }
    for (int i = 0; i < k; ++i) store(out + i * lanes + at, best.id[i]);
  }
}

}  // namespace sad
