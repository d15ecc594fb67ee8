// The passes over a picture: for every site a sum over the pixels in whose lists it stands, and for
// every pixel a sum over its list. Each is the same as the callback of its name in Python, which is
// its definition: least_squares.py, density.py, score.py.
#pragma once

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

// The values of the pictures at one pixel of LANES cells.
struct Values {
  const float *image, *weight;
  int64_t lanes;

  Floats at(int channel) const { return load(image + channel * lanes); }
  Floats weighs() const { return load(weight); }
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
Floats times_contrast(const Pixel<C>& pixel, int k, const Vectors<C>& other) {
  Floats sum{};
  for (int c = 0; c < pixel.channels(); ++c) sum += other[c] * (pixel.own(k)[c] - pixel.color[c]);
  return sum;
}

// What a cotangent of the pixel gives slot k, in (phi, colour). Returns the end of what it wrote.
template <int C>
Floats* pull_back(const Pixel<C>& pixel, int k, const Vectors<C>& cotangent, const Floats* phi,
                  Floats* to) {
  const Floats logit = pixel.weight[k] * times_contrast(pixel, k, cotangent);
  for (int i = 0; i < PHI; ++i) *to++ = logit * phi[i];
  for (int c = 0; c < pixel.channels(); ++c) *to++ = pixel.weight[k] * cotangent[c];
  return to;
}

// ---- sums for the sites: `open` looks at the pixel, `slot` writes what slot k receives ----

template <int C>
struct PullBack {
  static constexpr int entries(int channels, bool) { return PHI + channels; }
  Vectors<C> cotangent;
  PullBack(const Setting&, int channels) : cotangent(channels) {}

  void open(const Pixel<C>& pixel, const Values& values) {
    for (int c = 0; c < pixel.channels(); ++c) cotangent[c] = values.at(c);
  }
  void slot(const Pixel<C>& pixel, int k, Floats* to) const {
    Floats phi[PHI];
    pixel.phi(k, phi);
    pull_back(pixel, k, cotangent, phi, to);
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
  Floats* slot(const Pixel<C>& pixel, int k, const Floats* phi, Floats* to) const {
    to = pull_back(pixel, k, weighted, phi, to);
    const Floats share = pixel.weight[k] * at.weight;
    *to++ = share * at.squared;
    if (setting.robust()) *to++ = share * measured;
    return to;
  }
  void slot(const Pixel<C>& pixel, int k, Floats* to) const {
    Floats phi[PHI];
    pixel.phi(k, phi);
    slot(pixel, k, phi, to);
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
  void slot(const Pixel<C>& pixel, int k, Floats* to) const {
    Floats phi[PHI];
    pixel.phi(k, phi);
    to = gradient.slot(pixel, k, phi, to);
    const Floats squared = gradient.at.counts * pixel.weight[k] * pixel.weight[k];
    Floats both{};
    for (int c = 0; c < pixel.channels(); ++c) {
      const Floats contrast = pixel.own(k)[c] - pixel.color[c];
      both += contrast * contrast;
    }
    both *= squared;
    for (int i = 0; i < PHI; ++i)
      for (int j = i; j < PHI; ++j) *to++ = both * phi[i] * phi[j];
    for (int i = 0; i < PHI; ++i)
      for (int c = 0; c < pixel.channels(); ++c)
        *to++ = squared * (pixel.own(k)[c] - pixel.color[c]) * phi[i];
    *to = squared;
  }
};

template <int C>
struct Statistics {
  static constexpr int entries(int, bool) { return 8; }
  const Setting& setting;
  Compared<C> at;
  Statistics(const Setting& setting, int channels) : setting(setting), at(channels) {}

  void open(const Pixel<C>& pixel, const Values& values) { at.open(pixel, values, setting); }
  void slot(const Pixel<C>& pixel, int k, Floats* to) const {
    const Floats weight = pixel.weight[k];
    const Floats share = weight / maximum(1.0f - weight, all(1 - setting.alone));
    Floats without{};
    for (int c = 0; c < pixel.channels(); ++c) {
      const Floats left = at.error[c] - share * (pixel.own(k)[c] - pixel.color[c]);
      without += left * left;
    }
    const Floats removal = weight > setting.alone ? all(setting.hole) : without - at.squared;
    const Floats mass = at.counts * weight, energy = mass * at.squared;
    const Floats x = pixel.x - pixel.field(k)[0], y = pixel.y - pixel.field(k)[1];
    to[0] = mass;
    to[1] = at.counts * removal;
    to[2] = energy;
    to[3] = energy * x;
    to[4] = energy * y;
    to[5] = energy * x * x;
    to[6] = energy * x * y;
    to[7] = energy * y * y;
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
      for (int k = 0; k < pixel.k(); ++k) product[c] += pixel.weight[k] * pixel.attached(k)[c];
      product[c] *= at.counts;
    }
  }
  void slot(const Pixel<C>& pixel, int k, Floats* to) const {
    for (int c = 0; c < pixel.channels(); ++c) to[c] = pixel.weight[k] * product[c];
  }
};

template <int C>
struct ColorRightSide {
  static constexpr int entries(int channels, bool) { return channels + 1; }
  const Setting& setting;
  Compared<C> at;
  ColorRightSide(const Setting& setting, int channels) : setting(setting), at(channels) {}

  void open(const Pixel<C>& pixel, const Values& values) { at.open(pixel, values, setting); }
  void slot(const Pixel<C>& pixel, int k, Floats* to) const {
    const Floats scaled = pixel.weight[k] * at.counts;
    for (int c = 0; c < pixel.channels(); ++c) to[c] = -scaled * at.error[c];
    to[pixel.channels()] = scaled * pixel.weight[k];
  }
};

// ---- pictures: `pixel` writes the C channels of a pixel ----

template <int C>
struct Blend {
  static constexpr bool compares = false;
  Blend(const Setting&, int) {}
  void pixel(const Pixel<C>& pixel, const Values&, Floats* to) {
    for (int c = 0; c < pixel.channels(); ++c) to[c] = pixel.color[c];
  }
};

// The root of the pixel's weight times the change of its colour by the steps attached to the sites.
template <int C>
struct Change {
  static constexpr bool compares = true;
  const Setting& setting;
  Compared<C> at;
  Change(const Setting& setting, int channels) : setting(setting), at(channels) {}

  void pixel(const Pixel<C>& pixel, const Values& values, Floats* to) {
    at.open(pixel, values, setting);
    for (int c = 0; c < pixel.channels(); ++c) to[c] = Floats{};
    for (int k = 0; k < pixel.k(); ++k) {
      Floats phi[PHI], logit{};
      pixel.phi(k, phi);
      const Floats* step = pixel.attached(k);
      for (int i = 0; i < PHI; ++i) logit += phi[i] * step[i];
      for (int c = 0; c < pixel.channels(); ++c)
        to[c] += pixel.weight[k] * (logit * (pixel.own(k)[c] - pixel.color[c]) + step[PHI + c]);
    }
    const Floats scale = root(at.counts);
    for (int c = 0; c < pixel.channels(); ++c) to[c] *= scale;
  }
};

// ---- how a pass goes over a band ----

struct Pictures {
  const float *image, *weight;  // null where the pass has none

  Values at(const Cells& cells, int64_t first, int pixel, int channels) const {
    return {image ? image + cells.offset(first, pixel, channels) : nullptr,
            weight ? weight + cells.offset(first, pixel, 1) : nullptr, cells.lanes};
  }
};

template <int C, template <int> class Pass>
void sum_band(const Cells& cells, const Table& table, const Pictures& pictures,
              const Setting& setting, int channels, int number, Band& band) {
  const int entries = Pass<C>::entries(channels, setting.robust());
  Pixel<C> pixel(cells, table, channels);
  Pass<C> pass(setting, channels);
  constexpr int known = C ? padded(Pass<C ? C : 1>::entries(C, true)) : 0;
  const int vectors = C ? known : padded(entries);
  band = Band(table, cells, vectors);
  Vectors<known> received(vectors);
  for (int i = entries; i < vectors; ++i) received[i] = Floats{};
  cells.for_vectors(number, [&](int64_t first, int column, int row) {
    pixel.go_to(band, first, column, row);
    float* sums = band.sums();
    for (int i = 0; i < cells.pixels(); ++i) {
      pixel.blend(i);
      pass.open(pixel, pictures.at(cells, first, i, channels));
      for (int k = 0; k < cells.k; ++k) {
        pass.slot(pixel, k, &received[0]);
        add_to_sums(sums, pixel.places[k], &received[0], vectors);
      }
    }
  });
}

template <int C, template <int> class Pass>
void draw_band(const Cells& cells, const Table& table, const Pictures& pictures,
               const Setting& setting, int channels, int number, float* out) {
  Band band(table, cells, 0);
  Pixel<C> pixel(cells, table, channels);
  Pass<C> pass(setting, channels);
  Vectors<C> drawn(channels);
  cells.for_vectors(number, [&](int64_t first, int column, int row) {
    pixel.go_to(band, first, column, row);
    for (int i = 0; i < cells.pixels(); ++i) {
      pixel.blend(i);
      pass.pixel(pixel, pictures.at(cells, first, i, channels), &drawn[0]);
      float* to = out + cells.offset(first, i, channels);
      for (int c = 0; c < channels; ++c) store(to + c * cells.lanes, drawn[c]);
    }
  });
}

// Adds up the bands, in their order, for the sites from `first` to `last`: [entries, N].
inline void add_bands(const std::vector<Band>& bands, int64_t sites, int entries, int64_t first,
                      int64_t last, float* out) {
  const int chunks = padded(entries) / LANES;
  std::vector<Floats> total(chunks * LANES);  // [chunk, lane]
  for (int64_t site = first; site < last; site += LANES) {
    const int some = std::min<int64_t>(LANES, last - site);
    for (Floats& sums : total) sums = Floats{};
    for (int lane = 0; lane < some; ++lane)
      for (const Band& band : bands)
        if (const float* sums = band.sums_of(site + lane))
          for (int i = 0; i < chunks; ++i) total[i * LANES + lane] += load(sums + i * LANES);
    for (int i = 0; i < chunks; ++i) transpose(&total[i * LANES]);
    for (int64_t i = 0; i < entries; ++i)
      store(out + i * sites + site, total[i], some);
  }
}

}  // namespace sad
