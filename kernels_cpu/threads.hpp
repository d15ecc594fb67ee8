// Work in parts, shared between the caller and the threads of XLA's pool.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "xla/ffi/api/ffi.h"

namespace sad {

// part(i) for i from 0 to count - 1, each once. Which thread does which is left open, so what the
// parts do must not depend on it. A thread of the pool that comes too late finds nothing to do.
template <class Part>
void in_parts(xla::ffi::ThreadPool& pool, int64_t count, const Part& part) {
  struct Shared {
    std::atomic<int64_t> next{0}, done{0};
    std::mutex mutex;
    std::condition_variable finished;
  };
  auto shared = std::make_shared<Shared>();
  auto work = [shared, count, &part] {
    for (int64_t i; (i = shared->next++) < count;) {
      part(i);
      if (++shared->done == count) {
        std::lock_guard<std::mutex> lock(shared->mutex);
        shared->finished.notify_all();
      }
    }
  };
  const int64_t helpers = std::min(pool.num_threads(), count) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule([work] { work(); });
  work();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->finished.wait(lock, [&] { return shared->done == count; });
}

}  // namespace sad
