#include "block/qcow2/table_cache.h"

#include <algorithm>

namespace menura::qcow2 {

Slice* TableCache::peek(u64 offset) {
  const auto found = index_.find(offset / slice_size_);
  if (found == index_.end()) return nullptr;
  order_.splice(order_.begin(), order_, found->second);
  return found->second->get();
}

Result<Slice*> TableCache::get(u64 offset) {
  if (Slice* here = peek(offset)) return here;
  auto slice = std::make_unique<Slice>();
  slice->offset = offset / slice_size_ * slice_size_;
  slice->bytes.resize(slice_size_);
  file_->reached(load_point_);
  TRY(file_->read_or_zero(slice->offset, slice->bytes), "Reading a qcow2 table at {}",
      slice->offset);
  evict();
  order_.push_front(std::move(slice));
  index_[offset / slice_size_] = order_.begin();
  return order_.front().get();
}

void TableCache::evict() {
  if (order_.size() < limit_) return;
  // Dirty ones wait for a commit; those in use by this very operation are the newest.
  unsigned looked_at = 0;
  for (auto at = std::prev(order_.end()); looked_at < 64 && at != order_.begin(); looked_at++) {
    const auto victim = at--;
    if ((*victim)->dirty || (*victim)->writing) continue;
    index_.erase((*victim)->offset / slice_size_);
    order_.erase(victim);
    if (order_.size() < limit_) return;
  }
}

void TableCache::mark_dirty(Slice& slice) {
  if (slice.dirty) return;
  slice.dirty = true;
  dirty_.push_back(&slice);
}

void TableCache::forget(u64 offset, u64 length) {
  for (u64 at = offset; at < offset + length; at += slice_size_) {
    const auto found = index_.find(at / slice_size_);
    if (found == index_.end()) continue;
    Slice* slice = found->second->get();
    // One that is being written stays until it is, with what the file will hold.
    std::erase(dirty_, slice);
    slice->dirty = false;
    if (slice->writing) {
      std::ranges::fill(slice->bytes, std::byte{0});
      continue;
    }
    order_.erase(found->second);
    index_.erase(found);
  }
}

std::vector<Slice*> TableCache::take_dirty() {
  std::vector<Slice*> taken = std::move(dirty_);
  dirty_.clear();
  std::ranges::sort(taken, {}, &Slice::offset);
  for (Slice* slice : taken) slice->dirty = false, slice->writing = true;
  return taken;
}

void TableCache::done(const std::vector<Slice*>& slices) {
  for (Slice* slice : slices) slice->writing = false;
}

void TableCache::failed(const std::vector<Slice*>& slices) {
  for (Slice* slice : slices) {
    slice->writing = false;
    mark_dirty(*slice);
  }
}

void TableCache::clear() {
  for (auto at = order_.begin(); at != order_.end();) {
    if ((*at)->dirty || (*at)->writing) {
      ++at;
      continue;
    }
    index_.erase((*at)->offset / slice_size_);
    at = order_.erase(at);
  }
}

}  // namespace menura::qcow2
