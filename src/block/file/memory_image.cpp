#include "block/file/memory_image.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <mutex>

namespace menura {

namespace {

struct MemoryConfig {
  Size size;
  void describe(PropertyVisitor& p) { p.field("size", size, "size of the disk"); }
};

}  // namespace

const Driver kMemoryDriver{.name = "memory",
                           .help = "memory of this process, empty at first",
                           .kind = DriverKind::Protocol,
                           .open = MemoryImage::open,
                           .open_options = properties_of<MemoryConfig>};

Result<std::unique_ptr<Image>> MemoryImage::open(OpenContext& context) {
  const auto config = TRY(context.options<MemoryConfig>());
  return std::unique_ptr<Image>(new MemoryImage(config.size.bytes));
}

u64 MemoryImage::size() const {
  const std::shared_lock guard(mutex_);
  return size_;
}

Result<Extent> MemoryImage::map(u64 offset, u64 length) {
  const std::shared_lock guard(mutex_);
  const auto page = pages_.lower_bound(offset / kPage);
  const bool present = page != pages_.end() && page->first == offset / kPage;
  const u64 end =
      present ? (offset / kPage + 1) * kPage
              : (page == pages_.end() ? std::numeric_limits<u64>::max() : page->first * kPage);
  return Extent{present ? ExtentKind::Data : ExtentKind::Zero, std::min(length, end - offset), this,
                offset};
}

Result<void> MemoryImage::read(u64 offset, Bytes to) {
  const std::shared_lock guard(mutex_);
  while (!to.empty()) {
    const size_t here = static_cast<size_t>(std::min<u64>(to.size(), kPage - offset % kPage));
    const auto page = pages_.find(offset / kPage);
    if (page == pages_.end())
      std::memset(to.data(), 0, here);
    else
      std::memcpy(to.data(), page->second.get() + offset % kPage, here);
    to = to.subspan(here);
    offset += here;
  }
  return {};
}

Result<void> MemoryImage::write(u64 offset, ConstBytes from, WriteMode) {
  const std::unique_lock guard(mutex_);
  size_ = std::max(size_, offset + from.size());
  while (!from.empty()) {
    const size_t here = static_cast<size_t>(std::min<u64>(from.size(), kPage - offset % kPage));
    Page& page = pages_[offset / kPage];
    if (!page) page = std::make_unique<std::byte[]>(kPage);
    std::memcpy(page.get() + offset % kPage, from.data(), here);
    from = from.subspan(here);
    offset += here;
  }
  return {};
}

Result<void> MemoryImage::zero(u64 offset, u64 length, WriteMode) {
  const std::unique_lock guard(mutex_);
  size_ = std::max(size_, offset + length);
  const u64 end = offset + length;
  for (auto page = pages_.lower_bound(offset / kPage);
       page != pages_.end() && page->first * kPage < end;) {
    const u64 start = page->first * kPage;
    const u64 from = std::max(offset, start), to = std::min(end, start + kPage);
    if (to - from == kPage) {
      page = pages_.erase(page);
      continue;
    }
    std::memset(page->second.get() + (from - start), 0, static_cast<size_t>(to - from));
    ++page;
  }
  return {};
}

Result<void> MemoryImage::discard(u64 offset, u64 length) { return zero(offset, length, {}); }

Result<void> MemoryImage::truncate(u64 size, Preallocation) {
  const u64 before = this->size();
  if (size < before) TRY(zero(size, before - size, {}));
  const std::unique_lock guard(mutex_);
  size_ = size;
  return {};
}

std::optional<u64> MemoryImage::allocated_size() {
  const std::shared_lock guard(mutex_);
  return pages_.size() * kPage;
}

}  // namespace menura
