// The exact lists: the K sites of smallest score at every cell's centre, equal scores by id.
//
// As lists/culling.py: a site's score over a box of cells lies between two bounds (bounds.py), and a
// site whose lower bound exceeds the K-th smallest upper one enters no list there. A box hands what
// is left to its quarters, and so on down to tiles. There the sites are taken by rising lower bound,
// and scored at every cell until no list can change any more.
#pragma once

#include "best.hpp"

namespace sad {

constexpr int TILE = 8;         // cells a side
constexpr int GROUPS = 64;      // at least MOST_SITES; see `limit_of`
constexpr float SLACK = 1e-5f;  // relative room for rounding, as in bounds.py

// Sites in their order, field by field, with room for one vector more.
class Sites {
 public:
  Sites() = default;
  explicit Sites(int count)
      : count(count), stride_(padded(count) + LANES), fields_(GEOMETRY * stride_), ids_(count) {}

  // Those of other sites that are numbered so.
  Sites(const Sites& others, const std::vector<int>& chosen) : Sites(chosen.size()) {
    for (int f = 0; f < GEOMETRY; ++f)
      for (int i = 0; i < count; ++i) field(f)[i] = others.field(f)[chosen[i]];
    for (int i = 0; i < count; ++i) ids_[i] = others.ids_[chosen[i]];
  }

  float* field(int f) { return &fields_[f * stride_]; }
  const float* field(int f) const { return &fields_[f * stride_]; }
  int32_t& id(int i) { return ids_[i]; }
  int32_t id(int i) const { return ids_[i]; }

  int count = 0;

 private:
  int64_t stride_ = 0;
  std::vector<float> fields_;
  std::vector<int32_t> ids_;
};

// Cells from (left, top) on, and the sites that may stand in their lists.
struct Box {
  int left, top, width, height;
  Sites sites;
  float limit = INFINITE;    // no score in a list of the box is above
  std::vector<float> least;  // of a tile: below the scores of each of its sites
};

struct Search {
  int rows, columns, k;
  float cell;
  const float* table;   // [7, N]
  int64_t count;        // N
  int32_t* lists;       // [rows, columns, K]

  float center() const { return (cell - 1) / 2; }

  Box whole() const {
    Box box{0, 0, columns, rows, Sites(count), INFINITE, {}};
    for (int f = 0; f < GEOMETRY; ++f)
      std::memcpy(box.sites.field(f), table + f * count, count * sizeof(float));
    for (int64_t i = 0; i < count; ++i) box.sites.id(i) = i;
    return box;
  }

  static bool is_tile(const Box& box) { return box.width <= TILE && box.height <= TILE; }

  // The halves or quarters of a box, each with the sites left for it.
  void split(const Box& box, std::vector<Box>& into) const {
    const int width = half(box.width), height = half(box.height);
    for (int y = 0; y < box.height; y += height)
      for (int x = 0; x < box.width; x += width) {
        into.push_back({box.left + x, box.top + y, std::min(width, box.width - x),
                        std::min(height, box.height - y), {}, box.limit, {}});
        cull(box.sites, into.back());
      }
  }

  void find(const Box& box) const {
    if (is_tile(box)) return find_tile(box);
    std::vector<Box> parts;
    split(box, parts);
    for (const Box& part : parts) find(part);
  }

 private:
  // About half a side, in whole tiles; a tile's side stays whole.
  static int half(int side) {
    return side <= TILE ? side : ((side + 1) / 2 + TILE - 1) / TILE * TILE;
  }

  struct Bounds {
    Floats least, most;
  };

  // Of the scores of the sites from `at` on in a box: middle and half extents in pixels.
  static Bounds bounds(const Sites& sites, int at, float x, float y, float half_x, float half_y) {
    Floats f[GEOMETRY];
    for (int i = 0; i < GEOMETRY; ++i) f[i] = load(sites.field(i) + at);
    const auto squared = [&](Floats dx, Floats dy) {
      const Floats p = f[2] * dx + f[3] * dy, q = (f[2] * dy - f[3] * dx) * f[4];
      return p * p + q * q;
    };
    const Floats dx = x - f[0], dy = y - f[1], middle = root(squared(dx, dy));
    const Floats right = all(half_x), down = all(half_y);
    const Floats reach = root(maximum(squared(right, down), squared(right, -down)));
    const Floats beyond_x = maximum(absolute(dx) - half_x, Floats{});
    const Floats beyond_y = maximum(absolute(dy) - half_y, Floats{});
    const Floats outside = beyond_x * beyond_x + beyond_y * beyond_y;
    const Floats shortest = root((f[2] * f[2] + f[3] * f[3]) * outside) * minimum(f[4], all(1.0f));
    const Floats zero = root(all(SQUARED_DISTANCE_MIN));
    const Floats nearest = maximum(maximum(middle - reach, shortest), zero);
    const Floats farthest = maximum(middle + reach, zero);
    const Floats slack = SLACK * (farthest + absolute(f[6]));
    return {f[5] * (nearest - f[6] - slack), f[5] * (farthest - f[6] + slack)};
  }

  // Leaves in the box those of the sites that may stand in its lists. No member of a list exceeds the
  // K-th smallest upper bound, as K sites are nowhere worse; a limit almost as low is found faster
  // among the smallest bounds of GROUPS groups of sites.
  void cull(const Sites& from, Box& box) const {
    const float half_x = (box.width - 1) * 0.5f * cell, half_y = (box.height - 1) * 0.5f * cell;
    const float x = box.left * cell + center() + half_x, y = box.top * cell + center() + half_y;
    std::vector<float> least(padded(from.count));
    Floats best[GROUPS / LANES];
    for (Floats& group : best) group = all(INFINITE);
    for (int at = 0; at < from.count; at += LANES) {
      Bounds here = bounds(from, at, x, y, half_x, half_y);
      for (int lane = from.count - at; lane < LANES; ++lane)
        here.least[lane] = here.most[lane] = INFINITE;
      Floats& group = best[at / LANES % (GROUPS / LANES)];
      group = minimum(here.most, group);
      store(&least[at], here.least);
    }
    float groups[GROUPS];
    std::memcpy(groups, best, sizeof groups);
    std::nth_element(groups, groups + k - 1, groups + GROUPS);
    box.limit = std::min(box.limit, groups[k - 1]);

    std::vector<int> wanted(from.count);
    int count = 0;
    for (int i = 0; i < from.count; ++i) {  // without a branch
      wanted[count] = i;
      count += least[i] <= box.limit;
    }
    wanted.resize(count);
    if (is_tile(box)) {
      std::sort(wanted.begin(), wanted.end(), [&](int a, int b) { return least[a] < least[b]; });
      for (int i : wanted) box.least.push_back(least[i]);
    }
    box.sites = Sites(from, wanted);
  }

  int64_t place(const Box& box, int x, int y) const {
    return int64_t(box.top + y) * columns + box.left + x;
  }

  void find_tile(const Box& box) const {
    for (int y = 0; y < box.height; ++y)
      for (int x = 0; x < box.width; x += LANES) find_lists(box, x, y);
  }

  // The lists of LANES cells of a tile, in registers or next to them.
  void find_lists(const Box& box, int x, int y) const {
    const Floats px = (count_up() + float(box.left + x)) * cell + center();
    const Floats py = all((box.top + y) * cell + center());
    Best best(k);
    for (int at = 0; at < box.sites.count; ++at) {
      if (!bits(all(box.least[at]) <= best.score[k - 1])) break;
      const auto f = [&](int i) { return all(box.sites.field(i)[at]); };
      best.offer(score_at(f, px - f(0), py - f(1)), all(box.sites.id(at)));
    }
    for (int lane = 0; lane < std::min(LANES, box.width - x); ++lane)
      for (int i = 0; i < k; ++i) lists[place(box, x + lane, y) * k + i] = best.id[i][lane];
  }
};

}  // namespace sad
