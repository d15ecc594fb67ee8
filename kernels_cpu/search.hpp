// The exact lists: the K sites of smallest score at every cell's centre, equal scores by id.
//
// As lists/culling.py: a site's score over a box of cells lies between two bounds (bounds.py), and a
// site whose lower bound exceeds the K-th smallest upper one enters no list there. A box hands what
// is left to its quarters, and so on down to tiles. There the sites are taken by rising lower bound,
// and scored at every cell until no list can change any more.
#pragma once

#include <memory>

#include "best.hpp"

namespace sad {

constexpr int TILE = 8;         // cells a side
constexpr int GROUPS = 64;      // at least MOST_SITES; see `cull`
constexpr int BUCKETS = 64;     // of bounds
constexpr float SLACK = 1e-5f;  // relative room for rounding, as in bounds.py

// Sites in their order, in rows: the fields, and the id in place of one more.
class Sites {
 public:
  static constexpr int WIDTH = padded(GEOMETRY + 1);
  static_assert(WIDTH == padded(GEOMETRY), "expected rows as make_rows writes them");

  Sites() = default;
  explicit Sites(int count) : count(count), rows_(new float[padded(count) * WIDTH]) {
    std::fill(row(count), row(padded(count)), 0.0f);
  }

  // Those of other sites that are numbered so.
  Sites(const Sites& others, const std::vector<int>& chosen) : Sites(chosen.size()) {
    for (int i = 0; i < count; ++i) std::memcpy(row(i), others.row(chosen[i]), WIDTH * sizeof(float));
  }

  float* row(int i) { return &rows_[i * WIDTH]; }
  const float* row(int i) const { return &rows_[i * WIDTH]; }
  int32_t id(int i) const {
    int32_t id;
    std::memcpy(&id, row(i) + GEOMETRY, sizeof id);
    return id;
  }

  // The fields of LANES sites from `at` on.
  void fields(int at, Floats* to) const {
    for (int chunk = 0; chunk < WIDTH; chunk += LANES) {
      for (int lane = 0; lane < LANES; ++lane) to[chunk + lane] = load(row(at + lane) + chunk);
      transpose(to + chunk);
    }
  }

  int count = 0;

 private:
  std::unique_ptr<float[]> rows_;
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
    make_rows(table, count, GEOMETRY, 0, count, box.sites.row(0));
    for (int32_t i = 0; i < count; ++i) std::memcpy(box.sites.row(i) + GEOMETRY, &i, sizeof i);
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
    Floats f[Sites::WIDTH];
    sites.fields(at, f);
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
      for (int lane = from.count - at; lane < LANES; ++lane) {  // there is no site
        here.least[lane] = std::numeric_limits<float>::quiet_NaN();
        here.most[lane] = INFINITE;
      }
      Floats& group = best[at / LANES % (GROUPS / LANES)];
      group = minimum(here.most, group);
      store(&least[at], here.least);
    }
    float groups[GROUPS];
    std::memcpy(groups, best, sizeof groups);
    std::nth_element(groups, groups + k - 1, groups + GROUPS);
    box.limit = std::min(box.limit, groups[k - 1]);

    std::vector<int> wanted;
    wanted.reserve(from.count);
    for (int at = 0; at < from.count; at += LANES)
      for (uint32_t left = bits(load(&least[at]) <= box.limit); left; left &= left - 1)
        wanted.push_back(at + __builtin_ctz(left));
    if (is_tile(box)) sort(least, wanted, box);
    box.sites = Sites(from, wanted);
  }

  // Orders the sites of a tile by their bounds, near enough: in BUCKETS of equal width. Of each place
  // it notes the least bound from there on.
  static void sort(const std::vector<float>& bounds, std::vector<int>& sites, Box& box) {
    float lowest = box.limit;
    for (int site : sites) lowest = std::min(bounds[site], lowest);
    const float scale = BUCKETS / (box.limit - lowest);
    const auto bucket_of = [&](int site) {
      const float bucket = (bounds[site] - lowest) * scale;
      return bucket > 0 ? int(std::min(bucket, BUCKETS - 1.0f)) : 0;
    };
    int end[BUCKETS] = {};
    for (int site : sites) ++end[bucket_of(site)];
    for (int i = 1; i < BUCKETS; ++i) end[i] += end[i - 1];
    std::vector<int> sorted(sites.size());
    for (int site : sites) sorted[--end[bucket_of(site)]] = site;
    sites.swap(sorted);
    box.least.resize(sites.size());
    float least = INFINITE;
    for (int i = int(sites.size()) - 1; i >= 0; --i)
      box.least[i] = least = std::min(bounds[sites[i]], least);
  }

  int64_t place(const Box& box, int x, int y) const {
    return int64_t(box.top + y) * columns + box.left + x;
  }

  void find_tile(const Box& box) const {
    for (int y = 0; y < box.height; y += DOWN)
      for (int x = 0; x < box.width; x += ACROSS)
        k == 8   ? find_lists<8>(box, x, y)
        : k == 4 ? find_lists<4>(box, x, y)
                 : find_lists<0>(box, x, y);
  }

  // The lists of a patch of a tile. K: as in `Best`.
  template <int K>
  void find_lists(const Box& box, int x, int y) const {
    const Floats px = (columns_of_patch() + float(box.left + x)) * cell + center();
    const Floats py = (rows_of_patch() + float(box.top + y)) * cell + center();
    Best<K> best(k);
    for (int at = 0; at < box.sites.count; at += LANES) {
      if (!bits(all(box.least[at]) <= best.last())) break;
      Floats scores[LANES];  // of so many sites together, as none waits for another one
      for (int i = 0; i < LANES; ++i) {
        const float* f = box.sites.row(at + i);
        scores[i] = score_at([&](int field) { return f[field]; }, px - f[0], py - f[1]);
      }
      for (int i = 0; i < std::min(LANES, box.sites.count - at); ++i)
        best.offer(scores[i], all(box.sites.id(at + i)));
    }
    for (int chunk = 0; chunk < best.places(); chunk += LANES) {
      const int some = std::min(LANES, best.places() - chunk);
      Floats ids[LANES] = {};
      for (int i = 0; i < some; ++i) ids[i] = (Floats)best.id[chunk + i];
      transpose(ids);
      for (int lane = 0; lane < LANES; ++lane) {
        const int column = x + lane % ACROSS, row = y + lane / ACROSS;
        if (column < box.width && row < box.height)
          store(lists + place(box, column, row) * k + chunk, (Ints)ids[lane], some);
      }
    }
  }
};

}  // namespace sad
