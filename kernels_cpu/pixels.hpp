// Cells and their lists, the sites of a band, and the blend at a pixel of LANES cells at once.
//
// Arrays lie as in the library (model/canvas.py): ids [cells, K], cells row by row; pictures
// [blocks, P, C, lanes], P pixels of a cell, with zeros beyond the edge; the sites' table [R, N].
// The rows of cells are cut into bands, the same ones for any number of threads. A band meets its
// sites one after the other and keeps a record of each: its row of the table, then its sums, both
// padded to whole vectors. So what neighbouring pixels need lies close together, and bands share
// nothing. A vector of cells reads the records in its slots and transposes them.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "simd.hpp"

namespace sad {

constexpr int MOST_SITES = 32;  // in a list
constexpr int GEOMETRY = 7;     // x y fx fy h tau radius, see score.py
constexpr int PHI = 6;
constexpr float SQUARED_DISTANCE_MIN = 1e-8f;
constexpr int BAND = 32, MOST_BANDS = 32;  // rows of cells in a band, at least; bands
constexpr int STRIP = 32;  // cells: a band is gone through in strips, whose sites stay in the cache

struct Cells {
  const int32_t* ids;
  int rows, columns, k, cell;
  int64_t lanes;  // of a block of pictures

  int64_t count() const { return int64_t(rows) * columns; }
  int pixels() const { return cell * cell; }
  int bands() const { return std::min(MOST_BANDS, (rows + BAND - 1) / BAND); }

  // Where the values of channel 0 of a pixel of the cells from `first` on begin.
  int64_t offset(int64_t first, int pixel, int channels) const {
    return (first / lanes * pixels() + pixel) * channels * lanes + first % lanes;
  }

  // body(first cell, its column, its row) for all vectors of cells that begin in the band.
  template <class Body>
  void for_vectors(int band, const Body& body) const {
    const int begin = int64_t(rows) * band / bands(), end = int64_t(rows) * (band + 1) / bands();
    for (int column = 0; column < columns; column += STRIP)
      for (int row = begin; row < end; ++row) {
        const int64_t start = int64_t(row) * columns, from = start + column;
        const int64_t to = from + std::min(STRIP, columns - column);
        for (int64_t first = padded(from); first < to; first += LANES)
          body(first, int(first - start), row);
      }
  }
};

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
};

// The records of the sites that a band has met. A place is where one begins, in vectors.
class Band {
 public:
  Band() = default;
  Band(const Table& table, const Cells& cells, int sums)
      : table_(table),
        stride_((table.width + padded(sums)) / LANES),
        place_(table.sites, -1) {
    const size_t expected = 3 * table.sites / (2 * cells.bands()) + MOST_SITES;
    records_.reserve(std::min<size_t>(expected, table.sites) * stride_ * LANES);
  }

  // The place of a site; an id that is none counts as the first or the last one, as in XLA.
  int32_t place_of(int32_t site) {
    if (uint64_t(site) >= uint64_t(table_.sites)) site = site < 0 ? 0 : table_.sites - 1;
    const int32_t place = place_[site];
    return place < 0 ? meet(site) : place;
  }

  float* records() { return records_.data(); }
  float* sums() { return records_.data() + table_.width; }

  // The sums of a site, or null where the band has not met it.
  const float* sums_of(int64_t site) const {
    const int32_t place = place_[site];
    return place < 0 ? nullptr : &records_[size_t(place) * LANES + table_.width];
  }

 private:
  __attribute__((noinline)) int32_t meet(int32_t site) {
    const size_t place = records_.size() / LANES;
    place_[site] = place;
    records_.resize((place + stride_) * LANES);
    std::memcpy(&records_[place * LANES], table_.rows + int64_t(site) * table_.width,
                table_.width * sizeof(float));
    return place;
  }

  Table table_{};
  int stride_ = 0;
  std::vector<int32_t> place_;
  std::vector<float> records_;
};

// Adds `count` vectors, a multiple of LANES, to the sums at `places`, lane by lane.
inline void add_to_sums(float* sums, const int32_t* places, const Floats* entries, int count) {
  for (int chunk = 0; chunk < count; chunk += LANES) {
    Floats rows[LANES];
    for (int i = 0; i < LANES; ++i) rows[i] = entries[chunk + i];
    transpose(rows);
    for (int lane = 0; lane < LANES; ++lane) {
      float* sum = sums + size_t(uint32_t(places[lane])) * LANES + chunk;
      store(sum, load(sum) + rows[lane]);
    }
  }
}

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

// One pixel of each of LANES cells, and the sites of their lists. C channels; 0: told at run time.
template <int C>
class Pixel {
 public:
  Pixel(const Cells& cells, const Table& table, int channels)
      : color(channels),
        cells_(cells),
        channels_(channels),
        width_(table.width),
        fields_(size_t(cells.k) * width_) {}

  int channels() const { return C ? C : channels_; }
  int k() const { return cells_.k; }

  // Goes to the cells from `first` on, which stands in this column and row; beyond the last cell
  // that one is repeated.
  void go_to(Band& band, int64_t first, int column, int row) {
    const int64_t last = cells_.count() - 1;
    const int slots = cells_.k;
    for (int lane = 0; lane < LANES; ++lane) {
      const int32_t* list = cells_.ids + std::min(first + lane, last) * slots;
      for (int k = 0; k < slots; ++k) places[k][lane] = band.place_of(list[k]);
      corner_x_[lane] = float(column * cells_.cell);
      corner_y_[lane] = float(row * cells_.cell);
      if (++column == cells_.columns) column = 0, ++row;
    }
    const float* records = band.records();
    Floats* to = fields_.data();
    const int width = width_;
    for (int k = 0; k < slots; ++k)
      for (int chunk = 0; chunk < width; chunk += LANES, to += LANES) {
        Floats rows[LANES];
        for (int lane = 0; lane < LANES; ++lane)
          rows[lane] = load(records + size_t(uint32_t(places[k][lane])) * LANES + chunk);
        transpose(rows);
        for (int i = 0; i < LANES; ++i) to[i] = rows[i];
      }
  }

  // The weights of all sites and their blend at one pixel of the cells.
  void blend(int pixel) {
    const int slots = cells_.k, width = width_, count = channels();
    const Floats* f = fields_.data();
    x = corner_x_ + float(pixel % cells_.cell);
    y = corner_y_ + float(pixel / cells_.cell);
    Floats least = all(std::numeric_limits<float>::infinity()), total{};
    for (int k = 0; k < slots; ++k, f += width) {
      const Floats dx = x - f[0], dy = y - f[1];
      const Floats p = f[2] * dx + f[3] * dy, q = (f[2] * dy - f[3] * dx) * f[4];
      p_[k] = p;
      q_[k] = q;
      distance_[k] = distance(p * p + q * q);
      const Floats score = f[5] * (distance_[k] - f[6]);
      weight[k] = score;
      least = minimum(score, least);
    }
    for (int k = 0; k < slots; ++k) total += weight[k] = exponential(least - weight[k]);
    const Floats scale = 1.0f / total;
    for (int c = 0; c < count; ++c) color[c] = Floats{};
    f = fields_.data() + GEOMETRY;
    for (int k = 0; k < slots; ++k, f += width) {
      const Floats share = weight[k] *= scale;
      for (int c = 0; c < count; ++c) color[c] += share * f[c];
    }
  }

  // The table's entries of slot k; its colours; what was attached.
  const Floats* field(int k) const { return &fields_[size_t(k) * width_]; }
  const Floats* own(int k) const { return field(k) + GEOMETRY; }
  const Floats* attached(int k) const { return own(k) + channels(); }

  // The six numbers that span the derivatives of slot k's logit.
  void phi(int k, Floats* to) const {
    const Floats d = distance_[k];
    const Floats inverse = d > all(std::sqrt(SQUARED_DISTANCE_MIN)) ? 1.0f / d : Floats{};
    const Floats p = p_[k] * inverse, q = q_[k] * inverse;
    to[0] = p;
    to[1] = q;
    to[2] = p * q_[k];
    to[3] = p * p_[k] - q * q_[k];
    to[4] = d;
    to[5] = all(1.0f);
  }

  int32_t places[MOST_SITES][LANES];
  Floats x, y, weight[MOST_SITES];
  Vectors<C> color;

 private:
  const Cells& cells_;
  const int channels_, width_;
  std::vector<Floats> fields_;
  Floats corner_x_{}, corner_y_{};
  Floats p_[MOST_SITES], q_[MOST_SITES], distance_[MOST_SITES];
};

}  // namespace sad
