// Whether a place that an entry names as the guest's is metadata: such an image is damaged, and a
// write there would damage it more.
#include <algorithm>

#include "base/units.h"
#include "block/qcow2/qcow2_image.h"
#include "block/qcow2/snapshots.h"

namespace menura::qcow2 {

namespace {
// A hostile image may claim more tables than memory holds.
constexpr size_t kMostMetadata = 32 * MiB;  // clusters
}  // namespace

Result<void> Qcow2Image::list_metadata() {
  metadata_.clear();
  const auto add = [&](u64 offset, u64 bytes) {
    for (u64 at = cluster_of(offset); at < offset + bytes; at += cluster_size())
      metadata_.push_back(at);
  };
  add(0, cluster_size());
  add(header_.l1_offset, u64{header_.l1_size} * 8);
  add(header_.reftable_offset, header_.reftable_clusters * cluster_size());
  if (header_.crypto) add(header_.crypto->offset, header_.crypto->length);
  if (snapshots_) add(header_.snapshots_offset, snapshots_->table_bytes());
  if (header_.bitmaps) add(header_.bitmaps->directory_offset, header_.bitmaps->directory_size);
  if (config_.overlap_check >= OverlapCheck::Cached) {
    for (const u64 table : l1_)
      if (table & kOffsetMask) metadata_.push_back(table & kOffsetMask);
    for (const u64 block : refcounts_.table())
      if (block) metadata_.push_back(block);
    if (snapshots_)
      for (const Snapshots::Record& r : snapshots_->records()) {
        add(r.l1_offset, u64{r.l1_size} * 8);
        if (metadata_.size() > kMostMetadata)
          return fail(Errc::Corrupt, "The snapshots' tables are too many to be looked after");
        if (config_.overlap_check < OverlapCheck::All) continue;
        for (const u64 table : TRY(snapshots_->l1_of(r)))
          if (table & kOffsetMask) metadata_.push_back(table & kOffsetMask);
      }
  }
  std::ranges::sort(metadata_);
  metadata_stale_ = false;
  metadata_blocks_ = refcounts_.blocks_made();
  return {};
}

Result<bool> Qcow2Image::is_metadata(u64 host, u64 length) {
  if (config_.overlap_check == OverlapCheck::None) return false;
  if (metadata_stale_ || metadata_blocks_ != refcounts_.blocks_made()) TRY(list_metadata());
  const auto first = std::ranges::lower_bound(metadata_, cluster_of(host));
  return first != metadata_.end() && *first < host + length;
}

}  // namespace menura::qcow2
