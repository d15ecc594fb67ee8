// What XLA calls: the handlers of the engine, each for a batch of any shape.
#include "best.hpp"
#include "blocks.hpp"
#include "passes.hpp"
#include "search.hpp"
#include "threads.hpp"

namespace sad {
namespace {

namespace ffi = xla::ffi;
using FloatArray = ffi::Buffer<ffi::F32>;
using IntArray = ffi::Buffer<ffi::S32>;
constexpr int64_t SITES_AT_ONCE = 1024;  // or cells, of one part of the work

// Dimension number `index` from the end, starting at 1.
template <class Array>
int64_t size(const Array& array, int index) {
  const auto dimensions = array.dimensions();
  return dimensions[dimensions.size() - index];
}

// How many arrays of so many dimensions a batch holds.
template <class Array>
int64_t batch_of(const Array& array, int dimensions) {
  int64_t count = 1;
  for (int i = array.dimensions().size(); i > dimensions; --i) count *= size(array, i);
  return count;
}

template <class Array>
auto entry(Array& array, int64_t number, int64_t batch) {
  return array.typed_data() + number * (array.element_count() / batch);
}

std::vector<float> rows_of(ffi::ThreadPool& pool, const float* table, int64_t sites, int entries) {
  std::vector<float> rows(sites * padded(entries));
  in_parts(pool, (sites + SITES_AT_ONCE - 1) / SITES_AT_ONCE, [&](int64_t i) {
    const int64_t first = i * SITES_AT_ONCE, last = std::min(first + SITES_AT_ONCE, sites);
    make_rows(table, sites, entries, first, last, rows.data());
  });
  return rows;
}

Setting setting_of(std::string_view loss, ffi::Span<const float> numbers) {
  const auto number = [&](size_t i) { return i < numbers.size() ? numbers[i] : 0; };
  return {loss_of(loss), number(0), number(1), number(2)};
}

ffi::Error unknown(std::string_view loss) {
  return ffi::Error::InvalidArgument("expected a loss that the CPU engine has, got " +
                                     std::string(loss));
}

// run(Channels<C>) with the C that is compiled for so many channels.
template <int C>
struct Channels {
  static constexpr int value = C;
};
template <class Run>
void with_channels(int channels, const Run& run) {
  if (channels == 1) return run(Channels<1>{});
  if (channels == 3) return run(Channels<3>{});
  if (channels == 4) return run(Channels<4>{});
  run(Channels<0>{});
}

Cells cells_of(const IntArray& members, int64_t cell, int64_t lanes) {
  return {int(size(members, 3)), int(size(members, 2)), int(size(members, 1) - 2) / 2, int(cell), lanes};
}

template <template <int> class Pass>
ffi::Error sums(ffi::ThreadPool pool, FloatArray table, IntArray members, FloatArray image,
                FloatArray weight, ffi::ResultBuffer<ffi::F32> out, int64_t cell, std::string_view loss,
                ffi::Span<const float> numbers) {
  const Setting setting = setting_of(loss, numbers);
  if (setting.loss == Loss::none) return unknown(loss);
  const int channels = size(image, 2), entries = size(*out, 2);
  const int64_t sites = size(table, 1), batch = batch_of(table, 2);
  const Cells cells = cells_of(members, cell, size(image, 1));
  for (int64_t b = 0; b < batch; ++b) {
    const auto rows = rows_of(pool, entry(table, b, batch), sites, size(table, 2));
    const Table own{rows.data(), sites, int(padded(size(table, 2)))};
    const Pictures pictures{entry(members, b, batch), entry(image, b, batch),
                            entry(weight, b, batch)};
    std::vector<Sums> bands(cells.bands());
    in_parts(pool, cells.bands(), [&](int64_t i) {
      with_channels(channels, [&](auto c) {
        sum_band<decltype(c)::value, Pass>(cells, own, pictures, setting, channels, i, bands[i]);
      });
    });
    float* to = entry(*out, b, batch);
    in_parts(pool, (sites + SITES_AT_ONCE - 1) / SITES_AT_ONCE, [&](int64_t i) {
      const int64_t first = i * SITES_AT_ONCE, last = std::min(first + SITES_AT_ONCE, sites);
      add_bands(bands, sites, entries, first, last, to);
    });
  }
  return ffi::Error::Success();
}

ffi::Error group(ffi::ThreadPool pool, IntArray ids, ffi::ResultBuffer<ffi::S32> out, int64_t sites) {
  const Cells cells = cells_of(*out, 1, 0);
  const int64_t batch = batch_of(ids, 3);
  for (int64_t b = 0; b < batch; ++b)
    in_parts(pool, cells.bands(), [&](int64_t i) {
      Grouping(cells, entry(ids, b, batch), sites).write_band(i, entry(*out, b, batch));
    });
  return ffi::Error::Success();
}

template <template <int> class Pass>
ffi::Error drawn(ffi::ThreadPool& pool, FloatArray& table, IntArray& members, FloatArray* image,
                 FloatArray* weight, ffi::Result<FloatArray>& out, int64_t cell,
                 const Setting& setting) {
  const int entries = size(*out, 2), channels = entries / Pass<0>::PICTURES;
  const int64_t batch = batch_of(table, 2);
  const Cells cells = cells_of(members, cell, size(*out, 1));
  for (int64_t b = 0; b < batch; ++b) {
    const auto rows = rows_of(pool, entry(table, b, batch), size(table, 1), size(table, 2));
    const Table own{rows.data(), size(table, 1), int(padded(size(table, 2)))};
    const Pictures pictures{entry(members, b, batch), image ? entry(*image, b, batch) : nullptr,
                            weight ? entry(*weight, b, batch) : nullptr};
    float* to = entry(*out, b, batch);
    in_parts(pool, cells.bands(), [&](int64_t i) {
      with_channels(channels, [&](auto c) {
        draw_band<decltype(c)::value, Pass>(cells, own, pictures, setting, channels, i, to);
      });
    });
    pad_picture(cells, entries, size(*out, 4), to);
  }
  return ffi::Error::Success();
}

ffi::Error blend(ffi::ThreadPool pool, FloatArray table, IntArray members,
                 ffi::ResultBuffer<ffi::F32> out, int64_t cell) {
  return drawn<Blend>(pool, table, members, nullptr, nullptr, out, cell, {});
}

ffi::Error change(ffi::ThreadPool pool, FloatArray table, IntArray members, FloatArray image,
                  FloatArray weight, ffi::ResultBuffer<ffi::F32> out, int64_t cell, std::string_view loss,
                  ffi::Span<const float> numbers) {
  const Setting setting = setting_of(loss, numbers);
  if (setting.loss == Loss::none) return unknown(loss);
  const int64_t steps = size(*out, 2) / size(image, 2);
  if (steps < 1 || steps > 2)
    return ffi::Error::InvalidArgument("expected 1 or 2 steps of a site, got " + std::to_string(steps));
  const auto draw = steps == 1 ? drawn<ChangeByOne> : drawn<ChangeByTwo>;
  return draw(pool, table, members, &image, &weight, out, cell, setting);
}

ffi::Error search(ffi::ThreadPool pool, FloatArray table, ffi::ResultBuffer<ffi::S32> out,
                  int64_t cell) {
  const int64_t batch = batch_of(table, 2);
  for (int64_t b = 0; b < batch; ++b) {
    const Search search{int(size(*out, 3)),     int(size(*out, 2)), int(size(*out, 1)), float(cell),
                        entry(table, b, batch), size(table, 1),     entry(*out, b, batch)};
    std::vector<Box> boxes;
    search.split(search.whole(), boxes);
    for (int level = 0; level < 2; ++level) {  // until there are enough boxes for the threads
      std::vector<std::vector<Box>> parts(boxes.size());
      in_parts(pool, boxes.size(), [&](int64_t i) {
        if (Search::is_tile(boxes[i]))
          parts[i].push_back(std::move(boxes[i]));
        else
          search.split(boxes[i], parts[i]);
      });
      boxes.clear();
      for (auto& part : parts) std::move(part.begin(), part.end(), std::back_inserter(boxes));
    }
    in_parts(pool, boxes.size(), [&](int64_t i) { search.find(boxes[i]); });
  }
  return ffi::Error::Success();
}

ffi::Error merge_lists(ffi::ThreadPool pool, FloatArray table, IntArray ids, FloatArray place,
                       ffi::ResultBuffer<ffi::S32> out) {
  const int64_t batch = batch_of(table, 2), sites = size(table, 1), lanes = size(ids, 1);
  const int64_t offered = size(ids, 2), blocks = size(ids, 3), k = size(*out, 2);
  for (int64_t b = 0; b < batch; ++b) {
    const auto rows = rows_of(pool, entry(table, b, batch), sites, GEOMETRY);
    const int64_t parts = (lanes + SITES_AT_ONCE - 1) / SITES_AT_ONCE;
    in_parts(pool, blocks * parts, [&](int64_t i) {
      const int64_t block = i / parts, first = i % parts * SITES_AT_ONCE;
      merge(rows.data(), sites, entry(ids, b, batch) + block * offered * lanes,
            entry(place, b, batch) + block * 2 * lanes, offered, lanes, k, first,
            std::min(first + SITES_AT_ONCE, lanes), entry(*out, b, batch) + block * k * lanes);
    });
  }
  return ffi::Error::Success();
}

// body(array, first site) for all vectors of sites of a batch.
template <class Body>
void for_sites(ffi::ThreadPool& pool, int64_t batch, int64_t sites, const Body& body) {
  const int64_t parts = (sites + SITES_AT_ONCE - 1) / SITES_AT_ONCE;
  in_parts(pool, batch * parts, [&](int64_t i) {
    const int64_t first = i % parts * SITES_AT_ONCE;
    for (int64_t site = first; site < std::min(first + SITES_AT_ONCE, sites); site += LANES)
      body(i / parts, site);
  });
}

ffi::Error map_curvature(ffi::ThreadPool pool, FloatArray chain, FloatArray geometry,
                         FloatArray mixed, ffi::ResultBuffer<ffi::F32> new_geometry,
                         ffi::ResultBuffer<ffi::F32> new_mixed) {
  const int64_t sites = size(chain, 1), batch = batch_of(chain, 3);
  for_sites(pool, batch, sites, [&](int64_t b, int64_t site) {
    const auto read = [&](auto& array) { return Read(entry(array, b, batch), sites, site); };
    const auto write = [&](auto& array) { return Write(entry(array, b, batch), sites, site); };
    curvature_in_tangents(read(chain), read(geometry), read(mixed), size(mixed, 2),
                          write(*new_geometry), write(*new_mixed));
  });
  return ffi::Error::Success();
}

ffi::Error solve(ffi::ThreadPool pool, FloatArray geometry, FloatArray mixed, FloatArray color,
                 FloatArray added, FloatArray right, ffi::ResultBuffer<ffi::F32> out,
                 float least_pivot) {
  const int64_t sites = size(color, 1), batch = batch_of(color, 1);
  for_sites(pool, batch, sites, [&](int64_t b, int64_t site) {
    const auto read = [&](auto& array) { return Read(entry(array, b, batch), sites, site); };
    solve_blocks(read(geometry), read(mixed), read(color), read(added), read(right),
                 size(mixed, 2), least_pivot, Write(entry(*out, b, batch), sites, site));
  });
  return ffi::Error::Success();
}

}  // namespace

#define SAD_EXPORT extern "C" __attribute__((visibility("default")))

// The engine that this machine's instructions can run: of x86-64-v2, v3 and v4; 0 elsewhere.
SAD_EXPORT int sad_level() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 2;
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return wide ? 4 : 3;
#else
  return 0;
#endif
}

#define SAD_HANDLER(Name, ...)                     \
  SAD_EXPORT XLA_FFI_Error* Name(XLA_FFI_CallFrame*); \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(Name, __VA_ARGS__)

constexpr auto table = [] { return ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<FloatArray>(); };
constexpr auto table_and_lists = [] { return table().Arg<IntArray>(); };
constexpr auto and_pictures = [] {
  return table_and_lists()
      .Arg<FloatArray>()
      .Arg<FloatArray>()
      .Ret<FloatArray>()
      .Attr<int64_t>("cell")
      .Attr<std::string_view>("loss")
      .Attr<ffi::Span<const float>>("numbers");
};

SAD_HANDLER(sad_group, group,
            ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<IntArray>().Ret<IntArray>().Attr<int64_t>("sites"));
SAD_HANDLER(sad_pull_back, sums<PullBack>, and_pictures());
SAD_HANDLER(sad_gradient, sums<Gradient>, and_pictures());
SAD_HANDLER(sad_curvature, sums<Curvature>, and_pictures());
SAD_HANDLER(sad_statistics, sums<Statistics>, and_pictures());
SAD_HANDLER(sad_color_product, sums<ColorProduct>, and_pictures());
SAD_HANDLER(sad_color_right_side, sums<ColorRightSide>, and_pictures());
SAD_HANDLER(sad_change, change, and_pictures());
SAD_HANDLER(sad_map_curvature, map_curvature,
            table().Arg<FloatArray>().Arg<FloatArray>().Ret<FloatArray>().Ret<FloatArray>());
SAD_HANDLER(sad_solve, solve,
            table()
                .Arg<FloatArray>()
                .Arg<FloatArray>()
                .Arg<FloatArray>()
                .Arg<FloatArray>()
                .Ret<FloatArray>()
                .Attr<float>("least_pivot"));
SAD_HANDLER(sad_blend, blend, table_and_lists().Ret<FloatArray>().Attr<int64_t>("cell"));
SAD_HANDLER(sad_search, search, table().Ret<IntArray>().Attr<int64_t>("cell"));
SAD_HANDLER(sad_merge, merge_lists, table_and_lists().Arg<FloatArray>().Ret<IntArray>());

}  // namespace sad
