#include "block/core/dirty_bitmap.h"

#include <algorithm>
#include <bit>

namespace menura {

namespace {
u64 words_for(u64 granules) { return (granules + 63) / 64; }
}  // namespace

DirtyBitmap::DirtyBitmap(u64 size, u64 granularity) : granularity_(granularity), size_(size) {
  ensure(std::has_single_bit(granularity), "granules are powers of two");
  words_.resize(words_for((size + granularity - 1) / granularity));
}

u64 DirtyBitmap::size() const {
  const std::lock_guard guard(mutex_);
  return size_;
}

void DirtyBitmap::put(u64 first, u64 last, bool value) {
  for (u64 bit = first; bit <= last;) {
    const u64 word = bit / 64, low = bit % 64;
    const u64 high = std::min<u64>(63, last - word * 64);
    const u64 mask = (~u64{0} >> (63 - (high - low))) << low;
    const u64 before = words_[word];
    words_[word] = value ? before | mask : before & ~mask;
    count_ += static_cast<u64>(std::popcount(words_[word]));
    count_ -= static_cast<u64>(std::popcount(before));
    bit = word * 64 + high + 1;
  }
}

void DirtyBitmap::set(u64 offset, u64 length) {
  const std::lock_guard guard(mutex_);
  if (offset >= size_ || length == 0) return;
  const u64 end = length > size_ - offset ? size_ : offset + length;
  put(offset / granularity_, (end - 1) / granularity_, true);
}

void DirtyBitmap::clear(u64 offset, u64 length) {
  const std::lock_guard guard(mutex_);
  if (offset >= size_ || length == 0) return;
  const u64 end = length > size_ - offset ? size_ : offset + length;
  put(offset / granularity_, (end - 1) / granularity_, false);
}

void DirtyBitmap::clear_all() {
  const std::lock_guard guard(mutex_);
  std::ranges::fill(words_, 0);
  count_ = 0;
}

bool DirtyBitmap::test(u64 offset) const {
  const std::lock_guard guard(mutex_);
  const u64 bit = offset / granularity_;
  return offset < size_ && (words_[bit / 64] >> (bit % 64) & 1);
}

u64 DirtyBitmap::dirty_bytes() const {
  const std::lock_guard guard(mutex_);
  return std::min(count_ * granularity_, size_);
}

std::optional<DirtyBitmap::Range> DirtyBitmap::find(u64 from, u64 most) const {
  if (count_ == 0) return {};
  const u64 granules = (size_ + granularity_ - 1) / granularity_;
  const auto is_set = [&](u64 bit) { return words_[bit / 64] >> (bit % 64) & 1; };
  u64 first = from / granularity_;
  while (first < granules && !is_set(first)) {
    const u64 rest = words_[first / 64] >> (first % 64);
    first = rest ? first + static_cast<u64>(std::countr_zero(rest)) : (first / 64 + 1) * 64;
  }
  if (first >= granules) return {};
  u64 last = first;
  while (last + 1 < granules && (last + 2 - first) * granularity_ <= most && is_set(last + 1))
    last++;
  const u64 begin = first * granularity_;
  return Range{begin, std::min((last + 1) * granularity_, size_) - begin};
}

std::optional<DirtyBitmap::Range> DirtyBitmap::next(u64 from, u64 most) const {
  const std::lock_guard guard(mutex_);
  return find(from, most);
}

std::optional<DirtyBitmap::Range> DirtyBitmap::take(u64 from, u64 most) {
  const std::lock_guard guard(mutex_);
  const std::optional<Range> range = find(from, most);
  if (range)
    put(range->offset / granularity_, (range->offset + range->length - 1) / granularity_, false);
  return range;
}

void DirtyBitmap::resize(u64 size) {
  const std::lock_guard guard(mutex_);
  const u64 before = (size_ + granularity_ - 1) / granularity_;
  const u64 granules = (size + granularity_ - 1) / granularity_;
  if (granules < before) put(granules, before - 1, false);
  size_ = size;
  words_.resize(words_for(granules));
}

BitmapContent DirtyBitmap::content() const {
  const std::lock_guard guard(mutex_);
  return {words_};
}

void DirtyBitmap::merge(const BitmapContent& content, u64 granularity) {
  for (size_t word = 0; word < content.words.size(); word++)
    for (u64 bits = content.words[word]; bits; bits &= bits - 1) {
      const u64 granule = u64{word} * 64 + static_cast<u64>(std::countr_zero(bits));
      set(granule * granularity, granularity);
    }
}

void RangeLocks::acquire(u64 begin, u64 end) {
  std::unique_lock guard(mutex_);
  released_.wait(guard, [&] {
    return std::ranges::none_of(ranges_,
                                [&](const Range& r) { return r.begin < end && begin < r.end; });
  });
  ranges_.push_back({begin, end});
}

void RangeLocks::release(u64 begin, u64 end) {
  {
    const std::lock_guard guard(mutex_);
    const auto mine = std::ranges::find_if(
        ranges_, [&](const Range& r) { return r.begin == begin && r.end == end; });
    ensure(mine != ranges_.end(), "only what is held is released");
    ranges_.erase(mine);
  }
  released_.notify_all();
}

}  // namespace menura
