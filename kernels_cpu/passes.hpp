// The passes over a picture: for every site a sum over the pixels in whose lists it stands, and for
// every pixel a sum over its list. Each is the same as the callback of its name in Python, which is
// its definition: least_squares.py, density.py, score.py.
#pragma once

#include <memory>
#include <string_view>

#include "pixels.hpp"

namespace sad {

enum class Loss { squared, huber, cauchy, none };

inline Loss loss_of(std::string_view name) {
  if (name == "squared") return Loss::squared;
  if (name == "huber") return Loss::huber;
  if (name == "cauchy") return Loss::cauchy;
  return Loss::none;
}

// What a pass is told besides arrays; the numbers are constants of the Python modules.
struct Setting {
  Loss loss = Loss::squared;
  float loss_width = 0;        // HUBER_WIDTH
  float alone = 0, hole = 0;   // density.py

  bool robust() const { return loss != Loss::squared; }
};

// What the pixel weighs: the slope of the loss with respect to the squared error.
inline Floats slope(const Setting& setting, Floats squared) {
  const float width = setting.loss_width;
  switch (setting.loss) {
    case Loss::huber:
      return width / root(maximum(squared, all(width * width)));
    case Loss::cauchy:
      return 1.0f / (1.0f + squared / (width * width));
    default:
      return all(1.0f);
  }
}

// The loss itself, of the squared error.
inline Floats robust_loss(const Setting& setting, Floats squared) {
  const float width = setting.loss_width, bound = width * width;
  if (setting.loss == Loss::huber)
    return squared <= bound ? squared : 2 * width * root(squared) - bound;
  Floats loss{};
  for (int i = 0; i < LANES; ++i) loss[i] = bound * std::log1p(squared[i] / bound);
  return loss;
}

// The values of the pictures at one pixel of a patch.
struct Values {
  const float *image, *weight;  // null where the pass has none
  const Patch& patch;
  int pixel, channels;

  Floats at(int channel) const { return patch.read(image, pixel, channel, channels); }
  Floats weighs() const { return patch.read(weight, pixel, 0, 1); }
};

// Error, squared error and effective weight of a pixel, as most passes need them.
template <int C>
struct Compared {
  Vectors<C> error;
  Floats squared, weight, counts;

  explicit Compared(int channels) : error(channels) {}

  void open(const Pixel<C>& pixel, const Values& values, const Setting& setting) {
    squared = Floats{};
    for (int c = 0; c < pixel.channels(); ++c) {
      error[c] = pixel.color[c] - values.at(c);
      squared += error[c] * error[c];
    }
    weight = values.weighs();
    counts = weight * slope(setting, squared);
  }
};

template <int C>
Floats times_contrast(const Pixel<C>& pixel, int m, const Vectors<C>& other) {
  Floats sum{};
  for (int c = 0; c < pixel.channels(); ++c) sum += other[c] * (pixel.own(m)[c] - pixel.color[c]);
  return sum;
}

// Adds what a cotangent of the pixel gives member m, in (phi, colour). Returns the end of that.
template <int C>
[[gnu::always_inline]] inline Floats* pull_back(const Pixel<C>& pixel, int m,
                                                const Vectors<C>& cotangent, const Floats* phi,
                                                Floats* to) {
  const Floats weight = pixel.weight(m), logit = weight * times_contrast(pixel, m, cotangent);
  for (int i = 0; i < PHI; ++i) *to++ += logit * phi[i];
  for (int c = 0; c < pixel.channels(); ++c) *to++ += weight * cotangent[c];
  return to;
}

// ---- sums for the sites: `open` looks at the pixel, `add` adds what member m receives ----

template <int C>
struct PullBack {
  static constexpr int entries(int channels, bool) { return PHI + channels; }
  Vectors<C> cotangent;
  PullBack(const Setting&, int channels) : cotangent(channels) {}

  void open(const Pixel<C>& pixel, const Values& values) {
    for (int c = 0; c < pixel.channels(); ++c) cotangent[c] = values.at(c);
  }
  void add(const Pixel<C>& pixel, int m, Floats* to) const {
    Floats phi[PHI];
    pixel.phi(m, phi);
    pull_back(pixel, m, cotangent, phi, to);
  }
};

template <int C>
struct Gradient {
  static constexpr int entries(int channels, bool robust) { return PHI + channels + 1 + robust; }
  const Setting& setting;
  Compared<C> at;
  Floats measured;  // the loss, where it is not the squared error
  Vectors<C> weighted;
  Gradient(const Setting& setting, int channels)
      : setting(setting), at(channels), weighted(channels) {}

  void open(const Pixel<C>& pixel, const Values& values) {
    at.open(pixel, values, setting);
    if (setting.robust()) measured = robust_loss(setting, at.squared);
    for (int c = 0; c < pixel.channels(); ++c) weighted[c] = at.counts * at.error[c];
  }
  Floats* add(const Pixel<C>& pixel, int m, const Floats* phi, Floats* to) const {
    to = pull_back(pixel, m, weighted, phi, to);
    const Floats share = pixel.weight(m) * at.weight;
    *to++ += share * at.squared;
    if (setting.robust()) *to++ += share * measured;
    return to;
  }
  void add(const Pixel<C>& pixel, int m, Floats* to) const {
    Floats phi[PHI];
    pixel.phi(m, phi);
    add(pixel, m, phi, to);
  }
};

template <int C>
struct Curvature {
  static constexpr int entries(int channels, bool robust) {
    return Gradient<C>::entries(channels, robust) + PHI * (PHI + 1) / 2 + PHI * channels + 1;
  }
  Gradient<C> gradient;
  Curvature(const Setting& setting, int channels) : gradient(setting, channels) {}

  void open(const Pixel<C>& pixel, const Values& values) { gradient.open(pixel, values); }
  void add(const Pixel<C>& pixel, int m, Floats* to) const {
    Floats phi[PHI];
    pixel.phi(m, phi);
    to = gradient.add(pixel, m, phi, to);
    const Floats squared = gradient.at.counts * pixel.weight(m) * pixel.weight(m);
    Floats both{};
    for (int c = 0; c < pixel.channels(); ++c) {
      const Floats contrast = pixel.own(m)[c] - pixel.color[c];
      both += contrast * contrast;
    }
    both *= squared;
    for (int i = 0; i < PHI; ++i) {
      const Floats row = both * phi[i];
      for (int j = i; j < PHI; ++j) *to++ += row * phi[j];
    }
    for (int i = 0; i < PHI; ++i) {
      const Floats row = squared * phi[i];
      for (int c = 0; c < pixel.channels(); ++c)
        *to++ += row * (pixel.own(m)[c] - pixel.color[c]);
    }
    *to += squared;
  }
};

template <int C>
struct Statistics {
  static constexpr int entries(int, bool) { return 8; }
  const Setting& setting;
  Compared<C> at;
  Statistics(const Setting& setting, int channels) : setting(setting), at(channels) {}

  void open(const Pixel<C>& pixel, const Values& values) { at.open(pixel, values, setting); }
  void add(const Pixel<C>& pixel, int m, Floats* to) const {
    const Floats weight = pixel.weight(m);
    const Floats share = weight / maximum(1.0f - weight, all(1 - setting.alone));
    Floats without{};
    for (int c = 0; c < pixel.channels(); ++c) {
      const Floats left = at.error[c] - share * (pixel.own(m)[c] - pixel.color[c]);
      without += left * left;
    }
    const Floats removal = weight > setting.alone ? all(setting.hole) : without - at.squared;
    const Floats mass = at.counts * weight, energy = mass * at.squared;
    const Floats x = pixel.x - pixel.field(m)[0], y = pixel.y - pixel.field(m)[1];
    to[0] += mass;
    to[1] += at.counts * removal;
    to[2] += energy;
    to[3] += energy * x;
    to[4] += energy * y;
    to[5] += energy * x * x;
    to[6] += energy * x * y;
    to[7] += energy * y * y;
  }
};

template <int C>
struct ColorProduct {
  static constexpr int entries(int channels, bool) { return channels; }
  const Setting& setting;
  Compared<C> at;
  Vectors<C> product;
  ColorProduct(const Setting& setting, int channels)
      : setting(setting), at(channels), product(channels) {}

  void open(const Pixel<C>& pixel, const Values& values) {
    at.open(pixel, values, setting);
    for (int c = 0; c < pixel.channels(); ++c) {
      product[c] = Floats{};
      for (int m = 0; m < pixel.members(); ++m) product[c] += pixel.weight(m) * pixel.attached(m)[c];
      product[c] *= at.counts;
    }
  }
  void add(const Pixel<C>& pixel, int m, Floats* to) const {
    for (int c = 0; c < pixel.channels(); ++c) to[c] += pixel.weight(m) * product[c];
  }
};

template <int C>
struct ColorRightSide {
  static constexpr int entries(int channels, bool) { return channels + 1; }
  const Setting& setting;
  Compared<C> at;
  ColorRightSide(const Setting& setting, int channels) : setting(setting), at(channels) {}

  void open(const Pixel<C>& pixel, const Values& values) { at.open(pixel, values, setting); }
  void add(const Pixel<C>& pixel, int m, Floats* to) const {
    const Floats scaled = pixel.weight(m) * at.counts;
    for (int c = 0; c < pixel.channels(); ++c) to[c] -= scaled * at.error[c];
    to[pixel.channels()] += scaled * pixel.weight(m);
  }
};

// ---- pictures: `pixel` writes what a pixel has in so many pictures of C channels ----

template <int C>
struct Blend {
  static constexpr int PICTURES = 1;
  Blend(const Setting&, int) {}
  void pixel(const Pixel<C>& pixel, const Values&, Floats* to) {
    for (int c = 0; c < pixel.channels(); ++c) to[c] = pixel.color[c];
  }
};

// The root of the pixel's weight times the changes of its colour by the steps attached to the sites:
// one step of each site, or two.
template <int C, int STEPS>
struct Changes {
  static constexpr int PICTURES = STEPS;
  const Setting& setting;
  Compared<C> at;
  Changes(const Setting& setting, int channels) : setting(setting), at(channels) {}

  void pixel(const Pixel<C>& pixel, const Values& values, Floats* to) {
    at.open(pixel, values, setting);
    const int channels = pixel.channels();
    Vectors<C * STEPS> sum(channels * STEPS);
    for (int i = 0; i < channels * STEPS; ++i) sum[i] = Floats{};
    for (int m = 0; m < pixel.members(); ++m) {
      Floats phi[PHI];
      pixel.phi(m, phi);
      const float* step = pixel.attached(m);
      for (int s = 0; s < STEPS; ++s, step += PHI + channels) {
        Floats logit{};
        for (int i = 0; i < PHI; ++i) logit += phi[i] * step[i];
        for (int c = 0; c < channels; ++c)
          sum[s * channels + c] +=
              pixel.weight(m) * (logit * (pixel.own(m)[c] - pixel.color[c]) + step[PHI + c]);
      }
    }
    const Floats scale = root(at.counts);
    for (int i = 0; i < channels * STEPS; ++i) to[i] = sum[i] * scale;
  }
};
template <int C>
using ChangeByOne = Changes<C, 1>;
template <int C>
using ChangeByTwo = Changes<C, 2>;

// ---- how a pass goes over a band ----

struct Pictures {
  const int32_t* members;
  const float *image, *weight;
};

// The sums of the sites that a band has met, padded to whole vectors.
class Sums {
 public:
  Sums() = default;
  Sums(int64_t sites, int entries) : width_(padded(entries)), number_(sites, -1) {}

  // Adds the sum of the lanes of each vector to the entry of its number; of padded(entries) vectors.
  void add(int32_t site, const Floats* vectors) {
    if (number_[site] < 0) {
      if (count_ % BLOCK == 0) blocks_.emplace_back(new float[BLOCK * width_]());
      number_[site] = count_++;
    }
    float* sums = row(number_[site]);
    for (int i = 0; i < width_; i += LANES) store(sums + i, load(sums + i) + sums_of(vectors + i));
  }

  // The sums of a site, or null where the band has not met it.
  const float* of(int64_t site) const { return number_[site] < 0 ? nullptr : row(number_[site]); }

 private:
  static constexpr int BLOCK = 256;  // sites

  float* row(int number) const { return &blocks_[number / BLOCK][number % BLOCK * width_]; }

  int width_ = 0, count_ = 0;
  std::vector<int32_t> number_;
  std::vector<std::unique_ptr<float[]>> blocks_;
};

template <int C, template <int> class Pass>
void sum_band(const Cells& cells, const Table& table, const Pictures& pictures,
              const Setting& setting, int channels, int band, Sums& sums) {
  const int entries = Pass<C>::entries(channels, setting.robust()), width = padded(entries);
  Pixel<C> pixel(cells, table, channels);
  Pass<C> pass(setting, channels);
  std::vector<Floats> received;  // by the sites of a tile
  sums = Sums(table.sites, entries);
  const auto at_tile = [&](const Tile& tile) { received.assign(tile.count * width, Floats{}); };
  const auto at_patch = [&](const Tile& tile, const Patch& patch) {
    pixel.go_to(tile, patch);
    for (int i = 0; i < cells.pixels(); ++i) {
      pixel.blend(i);
      pass.open(pixel, {pictures.image, pictures.weight, patch, i, channels});
      for (int m = 0; m < pixel.members(); ++m)
        pass.add(pixel, m, &received[pixel.number(m) * width]);
    }
  };
  const auto leave = [&](const Tile& tile) {
    for (int i = 0; i < tile.count; ++i) sums.add(tile.sites[i], &received[i * width]);
  };
  for_members(cells, band, pictures.members, at_tile, at_patch, leave);
}

template <int C, template <int> class Pass>
void draw_band(const Cells& cells, const Table& table, const Pictures& pictures,
               const Setting& setting, int channels, int band, float* out) {
  Pixel<C> pixel(cells, table, channels);
  Pass<C> pass(setting, channels);
  const int drawn_channels = channels * Pass<C>::PICTURES;
  std::vector<Floats> drawn(drawn_channels);
  const auto at_patch = [&](const Tile& tile, const Patch& patch) {
    pixel.go_to(tile, patch);
    for (int i = 0; i < cells.pixels(); ++i) {
      pixel.blend(i);
      pass.pixel(pixel, {pictures.image, pictures.weight, patch, i, channels}, &drawn[0]);
      for (int c = 0; c < drawn_channels; ++c) patch.write(out, drawn[c], i, c, drawn_channels);
    }
  };
  const auto nothing = [](const Tile&) {};
  for_members(cells, band, pictures.members, nothing, at_patch, nothing);
}

// Writes the zeros behind the last cell of a picture of so many blocks.
inline void pad_picture(const Cells& cells, int channels, int64_t blocks, float* out) {
  for (int64_t cell = cells.count(); cell < blocks * cells.lanes; ++cell)
    for (int i = 0; i < cells.pixels() * channels; ++i)
      out[cells.offset(cell / cells.lanes, cell % cells.lanes, 0, i, channels)] = 0;
}

// Adds up the bands, in their order, for the sites from `first` to `last`: [entries, N].
inline void add_bands(const std::vector<Sums>& bands, int64_t sites, int entries, int64_t first,
                      int64_t last, float* out) {
  const int chunks = padded(entries) / LANES;
  std::vector<Floats> total(chunks * LANES);  // [chunk, lane]
  for (int64_t site = first; site < last; site += LANES) {
    const int some = std::min<int64_t>(LANES, last - site);
    for (Floats& sums : total) sums = Floats{};
    for (int lane = 0; lane < some; ++lane)
      for (const Sums& band : bands)
        if (const float* sums = band.of(site + lane))
          for (int i = 0; i < chunks; ++i) total[i * LANES + lane] += load(sums + i * LANES);
    for (int i = 0; i < chunks; ++i) transpose(&total[i * LANES]);
    for (int64_t i = 0; i < entries; ++i)
      store(out + i * sites + site, total[i], some);
  }
}

}  // namespace sad
