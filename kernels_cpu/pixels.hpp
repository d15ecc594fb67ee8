// Cells and their members, and the blend at a pixel of LANES cells at once.
//
// Arrays lie as in the library (model/canvas.py): pictures [blocks, P, C, lanes], P pixels of a cell,
// with zeros beyond the edge; the sites' table [R, N]. The lists are given as members.hpp writes
// them. A vector is a patch of cells: it meets its members one after the other, each with one set of
// fields for all lanes, and the lanes whose lists do not hold the site are masked.
#pragma once

#include <limits>

#include "members.hpp"

namespace sad {

constexpr int GEOMETRY = 7;  // x y fx fy h tau radius, see score.py
constexpr int PHI = 6;
constexpr float SQUARED_DISTANCE_MIN = 1e-8f;
constexpr float INFINITE = std::numeric_limits<float>::infinity();

// d of the formula, from its square.
inline Floats distance(Floats squared) { return root(maximum(squared, all(SQUARED_DISTANCE_MIN))); }
inline float distance(float squared) { return std::sqrt(std::max(squared, SQUARED_DISTANCE_MIN)); }

// Rows of the sites from `first` to `last`, padded to whole vectors, from a table [entries, sites].
inline void make_rows(const float* table, int64_t sites, int entries, int64_t first, int64_t last,
                      float* rows) {
  for (int64_t site = first; site < last; site += LANES) {
    const int some = std::min<int64_t>(LANES, last - site);
    for (int chunk = 0; chunk < entries; chunk += LANES) {
      Floats values[LANES] = {};
      for (int i = 0; i < std::min(LANES, entries - chunk); ++i)
        values[i] = load(table + (chunk + i) * sites + site, some);
      transpose(values);
      for (int lane = 0; lane < some; ++lane)
        store(rows + (site + lane) * padded(entries) + chunk, values[lane]);
    }
  }
}

// The rows of all sites, by `make_rows`.
struct Table {
  const float* rows;
  int64_t sites;
  int width;

  const float* row(int32_t site) const { return rows + int64_t(site) * width; }
};

// So many vectors: an array where the number is known to the compiler, else on the heap.
template <int COUNT>
struct Vectors {
  Floats values[COUNT];
  explicit Vectors(int) {}
  Floats& operator[](int i) { return values[i]; }
  const Floats& operator[](int i) const { return values[i]; }
};
template <>
struct Vectors<0> : std::vector<Floats> {
  using std::vector<Floats>::vector;
};

// One pixel of each cell of a patch, and its members. C channels; 0: told at run time.
template <int C>
class Pixel {
 public:
  Pixel(const Cells& cells, const Table& table, int channels)
      : color(channels),
        cell_(cells.cell),
        channels_(channels),
        table_(table),
        members_(LANES * cells.k) {}

  int channels() const { return C ? C : channels_; }
  int members() const { return count_; }

  void go_to(const Tile& tile, const Patch& patch) {
    count_ = patch.count;
    for (int m = 0; m < count_; ++m) {
      members_[m].number = number_of(patch.members[m]);
      members_[m].fields = table_.row(tile.sites[members_[m].number]);
      members_[m].inside = lanes_of(patch.members[m]);
      members_[m].least = members_[m].inside ? all(-INFINITE) : all(INFINITE);
    }
    corner_x_ = (columns_of_patch() + float(patch.left)) * float(cell_);
    corner_y_ = (rows_of_patch() + float(patch.top)) * float(cell_);
  }

  // The weights of all members and their blend at one pixel of the cells.
  void blend(int pixel) {
    x = corner_x_ + float(pixel % cell_);
    y = corner_y_ + float(pixel / cell_);
    Floats least = all(INFINITE), total{};
    Vectors<C> sum(channels());  // kept in registers, as nothing points to it
    for (int c = 0; c < channels(); ++c) sum[c] = Floats{};
    for (int m = 0; m < count_; ++m) {
      Member& member = members_[m];
      const float* f = member.fields;
      const Floats dx = x - f[0], dy = y - f[1];
      const Floats p = f[2] * dx + f[3] * dy, q = (f[2] * dy - f[3] * dx) * f[4];
      const Floats d = distance(p * p + q * q);
      const Floats score = maximum(member.least, f[5] * (d - f[6]));
      least = minimum(score, least);
      member.p = p;
      member.q = q;
      member.distance = d;
      member.weight = score;
    }
    for (int m = 0; m < count_; ++m) {
      Member& member = members_[m];
      const Floats weight = (Floats)((Ints)exponential(least - member.weight) & member.inside);
      member.weight = weight;
      total += weight;
      for (int c = 0; c < channels(); ++c) sum[c] += weight * own(m)[c];
    }
    scale_ = 1.0f / total;
    for (int c = 0; c < channels(); ++c) color[c] = sum[c] * scale_;
  }

  // Of member m: its number in the tile, its weights, the table's entries, its colours, what was
  // attached.
  int number(int m) const { return members_[m].number; }
  Floats weight(int m) const { return members_[m].weight * scale_; }
  const float* field(int m) const { return members_[m].fields; }
  const float* own(int m) const { return field(m) + GEOMETRY; }
  const float* attached(int m) const { return own(m) + channels(); }

  // The six numbers that span the derivatives of member m's logit.
  void phi(int m, Floats* to) const {
    const Member& member = members_[m];
    const Floats d = member.distance;
    const Floats inverse = d > all(std::sqrt(SQUARED_DISTANCE_MIN)) ? 1.0f / d : Floats{};
    const Floats p = member.p * inverse, q = member.q * inverse;
    to[0] = p;
    to[1] = q;
    to[2] = p * member.q;
    to[3] = p * member.p - q * member.q;
    to[4] = d;
    to[5] = all(1.0f);
  }

  Floats x, y;
  Vectors<C> color;

 private:
  struct Member {
    int number;
    const float* fields;
    Ints inside;   // the lanes that list it
    Floats least;  // the least score it may have: infinite in lanes that do not list it
    Floats p, q, distance, weight;
  };

  const int cell_, channels_;
  const Table table_;
  std::vector<Member> members_;
  int count_ = 0;
  Floats corner_x_{}, corner_y_{}, scale_{};
};

}  // namespace sad
