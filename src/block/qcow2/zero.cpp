// Zeroing, discarding, emptying.
#include <algorithm>

#include "block/qcow2/bitmaps.h"
#include "block/qcow2/qcow2_image.h"

namespace menura::qcow2 {

namespace {
constexpr u64 kAllZero = u64{0xffffffff} << 32;
}

Result<void> Qcow2Image::zero(u64 offset, u64 length, WriteMode mode) {
  const bool has_flag = header_.version >= 3;
  // Version 2 has no zero clusters: only a hole above nothing reads as zeroes.
  if (!has_flag && (*backing_ || !mode.may_unmap))
    return fail(Errc::Unsupported, "Version 2 images have no zero clusters");
  if (bitmaps_) TRY(bitmaps_->note_write(offset, length));
  const u64 end = offset + length;
  const u64 unit = header_.subcluster_size();
  const u64 begin_whole = (offset + unit - 1) / unit * unit;
  // The end of the disk ends its cluster.
  const u64 end_whole = end == size() ? (end + unit - 1) / unit * unit : end / unit * unit;
  const auto write_zeroes = [&](u64 from, u64 to) {
    return write_guest(from, std::vector<std::byte>(static_cast<size_t>(to - from)));
  };
  if (begin_whole >= end_whole) return write_zeroes(offset, end);
  if (offset < begin_whole) TRY(write_zeroes(offset, begin_whole));
  if (end > end_whole) TRY(write_zeroes(end_whole, end));
  if (header_.data_file_is_raw())
    TRY((*data_)->zero(begin_whole, std::min(end, end_whole) - begin_whole, mode));
  return drop_clusters(begin_whole, end_whole - begin_whole,
                       mode.may_unmap ? Drop::ZeroUnmap : Drop::Zero);
}

Result<void> Qcow2Image::discard(u64 offset, u64 length) {
  if (header_.version < 3 && *backing_) return {};  // a hole would show what is below
  const u64 end = offset + length;
  const u64 begin_whole = cluster_of(offset + cluster_size() - 1);
  const u64 end_whole = end == size() ? cluster_of(end + cluster_size() - 1) : cluster_of(end);
  if (begin_whole >= end_whole) return {};
  if (bitmaps_) TRY(bitmaps_->note_write(offset, length));
  if (header_.data_file_is_raw())
    return zero(begin_whole, std::min(end, end_whole) - begin_whole, {.may_unmap = true});
  return drop_clusters(begin_whole, end_whole - begin_whole, Drop::Discard);
}

// The range is of whole clusters, or with extended entries of whole subclusters.
Result<void> Qcow2Image::drop_clusters(u64 offset, u64 length, Drop how) {
  const u64 end = offset + length;
  while (offset < end) {
    Lock lock(meta_);
    TRY(check_not_corrupt());
    // As far as one slice goes, so that others get their turn and the cache its commits.
    const u64 slice_end = (offset / cluster_size() / 64 + 1) * 64 * cluster_size();
    const u64 part_end = std::min(end, slice_end);
    in_flight_.wait(lock, cluster_of(offset), part_end);
    while (offset < part_end) {
      const bool no_table =
          l1_index(offset) >= l1_.size() || !(l1_[l1_index(offset)] & kOffsetMask);
      const bool nothing_to_do = no_table && (how == Drop::Empty || hole_is_zero(offset) ||
                                              (how == Drop::Discard && header_.version < 3));
      if (nothing_to_do) {
        offset = std::min(end, (l1_index(offset) + 1) * table_span());
        continue;
      }
      const u64 next = std::min(end, cluster_of(offset) + cluster_size());
      if (next - offset == cluster_size())
        TRY(drop_cluster(offset, how));
      else
        TRY(zero_subclusters(offset, next - offset));
      offset = next;
    }
    lock.unlock();
    TRY(commit_if_full());
  }
  return {};
}

Result<void> Qcow2Image::drop_cluster(u64 guest, Drop how) {
  const Entry old = TRY(entry_at(guest));
  const bool extended = header_.extended_l2();
  const Entry zero{extended ? 0 : kZeroFlag, extended ? kAllZero : 0};
  const bool version_3 = header_.version >= 3;
  Entry now;
  auto punch = Refcounts::Punch::No;
  switch (how) {
    case Drop::Empty:
      punch = config_.pass_discard_other ? Refcounts::Punch::Yes : Refcounts::Punch::No;
      break;
    case Drop::Discard:
      // What was a hole above a backing image still shows it; what was given up reads as zeroes.
      if (old == Entry{}) return {};
      if (version_3 && !hole_is_zero(guest)) now = zero;
      break;
    case Drop::Zero:
    case Drop::ZeroUnmap: {
      if (version_3) now = zero;
      const bool keep =
          has_place(old) && (old.word & kCopied) && (how == Drop::Zero || header_.has_data_file());
      if (keep) now.word |= (old.word & kOffsetMask) | kCopied;
      if (version_3 && !has_place(old) && !(old.word & kCompressed) && reads_as_zero(old, guest) &&
          hole_is_zero(guest))
        return {};
      break;
    }
  }
  const bool on_request = how == Drop::Discard || how == Drop::ZeroUnmap;
  if (on_request &&
      config_.pass_discard_request.value_or(node_.options().discard == DiscardMode::Unmap))
    punch = Refcounts::Punch::Yes;
  if (now == old) return {};
  (void)TRY(own_table(guest));
  TRY(set_entry(guest, now));
  if (!has_place(now)) release_entry(old, punch);
  return {};
}

// Part of a cluster with an extended entry.
Result<void> Qcow2Image::zero_subclusters(u64 guest, u64 length) {
  const Entry old = TRY(entry_at(guest));
  const u64 sub = header_.subcluster_size();
  const u64 first = (guest & (cluster_size() - 1)) / sub;
  const u64 mask = ((u64{1} << (length / sub)) - 1) << first;
  if (old.word & kCompressed) {
    // A packed cluster has no parts: it becomes a plain one, outside of this lock's reach.
    return fail(Errc::Unsupported, "Part of a compressed cluster cannot be zeroed in place");
  }
  Entry now = old;
  now.bits = (old.bits & ~mask) | mask << 32;
  if (now == old) return {};
  (void)TRY(own_table(guest));
  // A place shared with a snapshot stays shared; only our view of it changes.
  return set_entry(guest, now);
}

Result<void> Qcow2Image::make_empty() {
  TRY(drop_clusters(0, cluster_of(size() + cluster_size() - 1), Drop::Empty));
  return commit();
}

}  // namespace menura::qcow2
