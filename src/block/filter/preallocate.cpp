// preallocate: a file that grows by small writes grows in large steps, and is cut when it is closed.
#include <algorithm>
#include <mutex>

#include "base/units.h"
#include "block/filter/filter_image.h"
#include "block/filter/filters.h"

namespace menura {

namespace {

struct PreallocateConfig {
  Size align{1 * MiB};
  Size size{128 * MiB};
  void describe(PropertyVisitor& p) {
    p.field("prealloc-align", align, "the file's size becomes a multiple of this");
    p.field("prealloc-size", size, "how much space is made ahead of what is written");
  }
};

class PreallocateImage final : public FilterImage {
 public:
  PreallocateImage(const Child& below, const PreallocateConfig& config)
      : FilterImage(below), config_(config), end_(below->size()) {}

  static Result<std::unique_ptr<Image>> open(OpenContext& context) {
    ChildLink* file = TRY(context.child("file", ChildRole::Image));
    const auto config = TRY(context.options<PreallocateConfig>());
    if (config.align.bytes == 0 || config.align.bytes % 512 || config.align.bytes > 1 * GiB ||
        config.size.bytes > 1 * TiB)
      return fail(Errc::InvalidArgument,
                  "prealloc-align is a multiple of 512 up to 1 GiB, prealloc-size at most 1 TiB");
    return std::unique_ptr<Image>(new PreallocateImage(file->child, config));
  }

  u64 size() const override { return end_.load(std::memory_order_relaxed); }
  Result<void> write(u64 at, ConstBytes from, WriteMode mode) override {
    TRY(make_room(at + from.size()));
    return FilterImage::write(at, from, mode);
  }
  Result<void> zero(u64 at, u64 length, WriteMode mode) override {
    TRY(make_room(at + length));
    return FilterImage::zero(at, length, mode);
  }
  Result<void> truncate(u64 size, Preallocation preallocation) override {
    const std::lock_guard guard(mutex_);
    // What was made ahead holds zeroes: it may stay, but not in front of a smaller end.
    if (size < below()->size() || preallocation != Preallocation::Off) {
      TRY(FilterImage::truncate(std::min(size, end_.load()), Preallocation::Off));
      TRY(FilterImage::truncate(size, preallocation));
    } else if (size > below()->size()) {
      TRY(FilterImage::truncate(size, preallocation));
    }
    end_ = size;
    return {};
  }
  Result<void> close() override {
    const std::lock_guard guard(mutex_);
    if (below()->read_only() || below()->size() <= end_) return {};
    return FilterImage::truncate(end_, Preallocation::Off);
  }

 private:
  Result<void> make_room(u64 end) {
    if (end <= size()) return {};
    const std::lock_guard guard(mutex_);
    if (end > below()->size()) {
      const u64 step = config_.align.bytes;
      const u64 wanted = (end + config_.size.bytes + step - 1) / step * step;
      // Where there is no space for so much, the write itself takes what it needs.
      const Result<void> grown = FilterImage::truncate(wanted, Preallocation::Falloc);
      if (!grown) TRY(FilterImage::truncate(end, Preallocation::Off));
    }
    end_ = std::max(end_.load(), end);
    return {};
  }

  // Configuration
  const PreallocateConfig config_;
  // State
  std::mutex mutex_;
  std::atomic<u64> end_;  // what was asked for; the file may be larger
};

}  // namespace

const Driver kPreallocateDriver{.name = "preallocate",
                                .help = "lets a file grow in large steps",
                                .kind = DriverKind::Filter,
                                .open = PreallocateImage::open,
                                .open_options = properties_of<PreallocateConfig>};

}  // namespace menura
