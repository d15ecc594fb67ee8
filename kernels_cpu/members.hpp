// The lists from the sites' side: what passes over the same lists share, found once for them.
//
// Neighbouring cells have most of their sites in common. So the rows of cells are cut into bands, the
// same ones for any number of threads, a band into tiles, and a tile into patches of LANES cells; a
// tile's sites are numbered, and a patch has members: the sites in its lists, each with the lanes
// that list it. An array [rows, columns, 2 K + 2] of int32 has room for that. For every tile it holds
//
//     the number of its sites, these by rising id, and for every patch the number of its members, and
//     these in the same order: lane bits + (number of the site in the tile << 16)
//
// one after the other, from the place on where the first row of the band begins.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "simd.hpp"

namespace sad {

constexpr int32_t NONE = std::numeric_limits<int32_t>::max();  // no site
constexpr int MOST_SITES = 32;             // in a list
constexpr int BAND = 32, MOST_BANDS = 32;  // rows of cells in a band, at least; bands
constexpr int SIDE = 16;                   // cells of a tile

struct Cells {
  int rows, columns, k, cell;
  int64_t lanes;  // of a block of pictures

  int64_t count() const { return int64_t(rows) * columns; }
  int pixels() const { return cell * cell; }
  int bands() const { return std::min(MOST_BANDS, (rows + BAND - 1) / BAND); }
  int first_row(int band) const { return int64_t(rows) * band / bands(); }

  // Where the members of a band begin.
  int64_t first_member(int band) const { return int64_t(first_row(band)) * columns * (2 * k + 2); }

  // Where the value of a pixel of a cell is, that stands so far within its block.
  int64_t offset(int64_t block, int64_t within, int pixel, int channel, int channels) const {
    return ((block * pixels() + pixel) * channels + channel) * lanes + within;
  }
};

// tile(left, top, the band's end) for all tiles of a band.
template <class Body>
void for_tiles(const Cells& cells, int band, const Body& tile) {
  const int end = cells.first_row(band + 1);
  for (int top = cells.first_row(band); top < end; top += SIDE)
    for (int left = 0; left < cells.columns; left += SIDE) tile(left, top, end);
}

// patch(left, top) for all patches of a tile.
template <class Body>
void for_patches(const Cells& cells, int left, int top, int end, const Body& patch) {
  for (int y = top; y < std::min(top + SIDE, end); y += DOWN)
    for (int x = left; x < std::min(left + SIDE, cells.columns); x += ACROSS) patch(x, y);
}

inline int number_of(uint32_t member) { return member >> 16; }

// Writes the members of a band, from lists [rows, columns, K] of so many sites.
class Grouping {
 public:
  Grouping(const Cells& cells, const int32_t* lists, int64_t sites)
      : cells_(cells), lists_(lists), sites_(sites), number_(sites, -1) {}

  void write_band(int band, int32_t* out) {
    out += cells_.first_member(band);
    for_tiles(cells_, band, [&](int left, int top, int end) {
      tile_.clear();
      members_.clear();
      for_patches(cells_, left, top, end, [&](int x, int y) {
        const size_t at = members_.size();
        members_.push_back(0);
        cells_.k == 8 ? group<8>(x, y, end) : cells_.k == 4 ? group<4>(x, y, end) : group<0>(x, y, end);
        members_[at] = members_.size() - at - 1;
      });
      sort();
      *out++ = tile_.size();
      out = std::copy(tile_.begin(), tile_.end(), out);
      out = std::copy(members_.begin(), members_.end(), out);
    });
  }

 private:
  // The members of a patch, by rising id. A site that becomes one is struck out in all lists, once in
  // each, so that one that stands twice in a list counts twice. K: places, known to the compiler; or 0.
  template <int K>
  void group(int left, int top, int end) {
    const int places = K ? K : cells_.k;
    const Ints none = all(NONE), last = all(int32_t(sites_) - 1);
    Ints ids[padded(K ? K : MOST_SITES)];
    read(left, top, end, ids);
    for (int i = 0; i < places; ++i)  // one that is none counts as the first or the last, as in XLA
      ids[i] = minimum(maximum(ids[i], Ints{}), last);
    while (true) {
      Ints least = ids[0];
      for (int i = 1; i < places; ++i) least = minimum(ids[i], least);
      const int32_t site = least_of(least);
      if (site == NONE) return;
      Ints inside{};
      for (int i = 0; i < places; ++i) {
        const Ints found = (ids[i] == site) & ~inside;
        inside |= found;
        ids[i] = found ? none : ids[i];
      }
      members_.push_back(bits(inside) | number_in_tile(site) << 16);
    }
  }

  int32_t number_in_tile(int32_t site) {
    int32_t& number = number_[site];
    if (uint32_t(number) >= tile_.size() || tile_[number] != site) {
      number = tile_.size();
      tile_.push_back(site);
    }
    return number;
  }

  // Numbers the sites of a tile by their ids, too, so that the colour of a pixel, to the last bit,
  // depends on its own list and on no other.
  void sort() {
    sorted_ = tile_;
    std::sort(sorted_.begin(), sorted_.end());
    for (size_t i = 0; i < sorted_.size(); ++i) number_[sorted_[i]] = i;
    for (size_t at = 0; at < members_.size(); at += 1 + members_[at])
      for (int32_t* member = &members_[at + 1]; member <= &members_[at] + members_[at]; ++member)
        *member = (*member & 0xffff) | number_[tile_[number_of(*member)]] << 16;
    tile_.swap(sorted_);
  }

  // The lists of a patch, place by place; beyond the end those of the nearest cells.
  void read(int left, int top, int end, Ints* to) const {
    const int32_t* last = lists_ + cells_.count() * cells_.k;
    for (int chunk = 0; chunk < cells_.k; chunk += LANES) {
      Floats rows[LANES];
      for (int lane = 0; lane < LANES; ++lane) {
        const int row = std::min(top + lane / ACROSS, end - 1);
        const int column = std::min(left + lane % ACROSS, cells_.columns - 1);
        const int32_t* list = lists_ + (int64_t(row) * cells_.columns + column) * cells_.k + chunk;
        rows[lane] = (Floats)load(list, int(std::min<int64_t>(LANES, last - list)));
      }
      transpose(rows);
      for (int i = 0; i < LANES; ++i) to[chunk + i] = (Ints)rows[i];
    }
  }

  const Cells& cells_;
  const int32_t* lists_;
  const int64_t sites_;
  std::vector<int32_t> number_;          // of each site in the tile that had it last
  std::vector<int32_t> tile_, members_;  // of the present tile
  std::vector<int32_t> sorted_;
};

// The sites of a tile.
struct Tile {
  const int32_t* sites;
  int count;
};

// A vector of cells, DOWN rows of ACROSS of them, fewer at the end of a band, and its members.
class Patch {
 public:
  const int left, top, count;
  const int32_t* members;

  Patch(const Cells& cells, int left, int top, int end, int count, const int32_t* members)
      : left(left),
        top(top),
        count(count),
        members(members),
        cells_(cells),
        columns_(std::min(ACROSS, cells.columns - left)),
        rows_(std::min(DOWN, end - top)) {
    whole_ = columns_ == ACROSS && rows_ == DOWN;
    for (int row = 0; row < rows_; ++row) {
      const uint32_t cell = (top + row) * cells.columns + left;  // 64 bits take longer to divide
      block_[row] = cell / uint32_t(cells.lanes);
      within_[row] = cell % uint32_t(cells.lanes);
      whole_ &= within_[row] + ACROSS <= cells.lanes;
    }
  }

  // What pictures hold there; zero beyond the end.
  Floats read(const float* from, int pixel, int channel, int channels) const {
    if (whole_) {
      Row rows[DOWN];
      for (int row = 0; row < DOWN; ++row)
        std::memcpy(&rows[row], from + offset(row, pixel, channel, channels), sizeof(Row));
      return join(rows);
    }
    Floats value{};
    each(pixel, channel, channels, [&](int lane, int64_t at) { value[lane] = from[at]; });
    return value;
  }
  void write(float* to, Floats value, int pixel, int channel, int channels) const {
    float values[LANES];
    store(values, value);
    if (!whole_)
      return each(pixel, channel, channels, [&](int lane, int64_t at) { to[at] = values[lane]; });
    for (int row = 0; row < DOWN; ++row)
      std::memcpy(to + offset(row, pixel, channel, channels), values + row * ACROSS, sizeof(Row));
  }

 private:
  int64_t offset(int row, int pixel, int channel, int channels) const {
    return cells_.offset(block_[row], within_[row], pixel, channel, channels);
  }

  // visit(lane, place in a picture) for all cells that are there; a row may go on in the next block.
  template <class Visit>
  void each(int pixel, int channel, int channels, const Visit& visit) const {
    for (int row = 0; row < rows_; ++row)
      for (int column = 0; column < columns_; ++column) {
        const int64_t within = within_[row] + column, more = within >= cells_.lanes;
        visit(row * ACROSS + column, cells_.offset(block_[row] + more, within - more * cells_.lanes,
                                                  pixel, channel, channels));
      }
  }

  const Cells& cells_;
  const int columns_, rows_;
  int64_t block_[DOWN], within_[DOWN];
  bool whole_;
};

// Goes to all tiles of a band and all their patches, by their members.
template <class AtTile, class AtPatch, class Leave>
void for_members(const Cells& cells, int band, const int32_t* members, const AtTile& at_tile,
                 const AtPatch& at_patch, const Leave& leave) {
  const int32_t* next = members + cells.first_member(band);
  for_tiles(cells, band, [&](int left, int top, int end) {
    const Tile tile{next + 1, *next};
    next += 1 + tile.count;
    at_tile(tile);
    for_patches(cells, left, top, end, [&](int x, int y) {
      at_patch(tile, Patch(cells, x, y, end, *next, next + 1));
      next += 1 + *next;
    });
    leave(tile);
  });
}

}  // namespace sad
