// Sizes: the disk's, and the L1 table's.
#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "block/qcow2/bitmaps.h"
#include "block/qcow2/qcow2_image.h"
#include "block/qcow2/snapshots.h"

namespace menura::qcow2 {

// A larger table at a new place; the header tells of it when it is durable.
Result<void> Qcow2Image::grow_l1(u64 entries) {
  if (entries <= header_.l1_size) return {};
  if (entries * 8 > kMaxL1Bytes)
    return fail(Errc::OutOfRange, "The image would be too large for its cluster size");
  TRY(commit());
  const Lock lock(meta_);
  const u64 clusters = (entries * 8 + cluster_size() - 1) / cluster_size();
  const u64 old_offset = header_.l1_offset;
  const u64 old_clusters = (u64{header_.l1_size} * 8 + cluster_size() - 1) / cluster_size();
  TRY(note_allocation());
  const u64 offset = TRY(refcounts_.allocate(clusters));
  refcounts_.set_fresh_from(std::max(refcounts_.fresh_from(), offset + clusters * cluster_size()));
  std::vector<std::byte> bytes(static_cast<size_t>(clusters * cluster_size()));
  for (size_t i = 0; i < l1_.size(); i++) store_be<u64>(bytes, i * 8, l1_[i]);
  const auto write = [&]() -> Result<void> {
    file_->reached("l1_grow_write_table");
    TRY(file_->write(offset, bytes), "Writing a larger L1 table");
    const std::vector<Slice*> counts = refcounts_.cache().take_dirty();
    for (const Slice* slice : counts)
      if (Result<void> written = file_->write(slice->offset, slice->bytes); !written) {
        refcounts_.cache().failed(counts);
        return written;
      }
    refcounts_.cache().done(counts);
    TRY(file_->flush());
    std::array<std::byte, 12> fields;
    store_be<u32>(fields, 0, static_cast<u32>(entries));
    store_be<u64>(fields, 4, offset);
    file_->reached("l1_grow_activate_table");
    TRY(file_->write(36, fields));
    return file_->flush();
  };
  if (Result<void> done = write(); !done) {
    refcounts_.release(offset, clusters);
    return done;
  }
  header_.l1_offset = offset;
  header_.l1_size = static_cast<u32>(entries);
  l1_.resize(static_cast<size_t>(entries));
  metadata_stale_ = true;
  if (old_clusters) refcounts_.release(old_offset, old_clusters);
  return {};
}

Result<void> Qcow2Image::set_size(u64 size) {
  std::array<std::byte, 8> field;
  store_be<u64>(field, 0, size);
  TRY(file_->write(24, field), "Writing the disk's new size");
  header_.size = size;
  size_.store(size, std::memory_order_relaxed);
  return file_->flush();
}

Result<void> Qcow2Image::truncate(u64 size, Preallocation preallocation) {
  const u64 before = this->size();
  if (size & 511) return fail(Errc::InvalidArgument, "The new size must be a multiple of 512");
  if (snapshots_ && !snapshots_->list().empty() && (header_.version < 3 || size < before))
    return fail(Errc::Unsupported, "Can't resize an image which has snapshots");
  if (header_.bitmaps)
    return fail(Errc::Unsupported,
                "The image keeps bitmaps, which are not resized yet: remove them first");
  if (size < before) {
    if (preallocation != Preallocation::Off)
      return fail(Errc::Unsupported, "Nothing is added to an image made smaller: no preallocation");
    // What is cut off goes first, so that it cannot come back.
    const u64 keep = cluster_of(size + cluster_size() - 1);
    const u64 end = cluster_of(before + cluster_size() - 1);
    if (keep < end) TRY(drop_clusters(keep, end - keep, Drop::Empty));
    TRY(commit());
    TRY(set_size(size));
    if (header_.has_data_file()) TRY((*data_)->truncate(size));
    return {};
  }
  if (size == before) return {};
  TRY(grow_l1(header_.l1_entries_for(size)));
  if (header_.has_data_file() && (*data_)->size() < size) TRY((*data_)->truncate(size));
  // The rest of the last cluster, and what a larger backing image has there, must read as zeroes.
  const u64 rest = cluster_of(before + cluster_size() - 1);
  const bool was_cut = before & (cluster_size() - 1);
  TRY(set_size(size));
  if (was_cut) TRY(zero(before, std::min(rest, size) - before, {}));
  if (*backing_ && (*backing_)->size() > rest && size > rest)
    TRY(zero(rest, std::min((*backing_)->size(), size) - rest, {}));
  if (preallocation != Preallocation::Off) TRY(preallocate(before, size - before, preallocation));
  return commit();
}

Result<void> Qcow2Image::preallocate(u64 offset, u64 length, Preallocation mode) {
  const u64 end = offset + length;
  u64 last_host = 0;
  for (u64 at = cluster_of(offset); at < end;) {
    {
      Lock lock(meta_);
      const Entry entry = TRY(entry_at(at));
      if (has_place(entry) || (entry.word & kCompressed)) {
        at += cluster_size();
        continue;
      }
      WritePlan plan = TRY(plan_write(lock, at, end - at));
      in_flight_.remove(at);
      u64 host = plan.host;
      for (u64 i = 0; i < plan.clusters; i++, at += cluster_size(), host += cluster_size()) {
        Entry now{host | kCopied, 0};
        // Of an extended entry every subcluster stays the hole it was.
        TRY(set_entry(at, now));
      }
      last_host = std::max(last_host, host);
      if (!plan.fresh && data_ == &file_)
        TRY(file_->zero(plan.host, plan.clusters * cluster_size()));
    }
    TRY(commit_if_full());
  }
  if (data_ == &file_ && last_host > file_->size()) {
    const Preallocation below = mode == Preallocation::Metadata ? Preallocation::Off : mode;
    TRY(file_->truncate(last_host, below));
  }
  return commit();
}

}  // namespace menura::qcow2
