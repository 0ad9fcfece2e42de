// How metadata reaches the file. Of one moment's state:
//   1. the file is made long enough, and the reference counts are written: too high ones are leaks;
//   2. a flush: guest data, new tables and the counts are durable;
//   3. the L2 and L1 entries are written that refer to what 2 made durable;
//   4. a flush: what they referred to before is durably unused;
//   5. clusters released before are counted down, may be used anew, and are punched.
// Cut off anywhere, and whatever subset of one step's sectors arrives, no entry refers to a cluster
// that is not counted or holds somebody else's bytes.
#include <algorithm>

#include "base/bytes.h"
#include "block/qcow2/qcow2_image.h"

namespace menura::qcow2 {

namespace {

struct Copy {
  u64 offset;
  std::vector<std::byte> bytes;
};

std::vector<Copy> copies_of(const std::vector<Slice*>& slices) {
  std::vector<Copy> copies;
  for (const Slice* slice : slices) {
    // Neighbours go in one write.
    if (!copies.empty() && copies.back().offset + copies.back().bytes.size() == slice->offset &&
        copies.back().bytes.size() < 1 * MiB)
      copies.back().bytes.insert(copies.back().bytes.end(), slice->bytes.begin(),
                                 slice->bytes.end());
    else
      copies.push_back({slice->offset, slice->bytes});
  }
  return copies;
}

Result<void> write_copies(const Child& file, const std::vector<Copy>& copies) {
  for (const Copy& copy : copies) TRY(file->write(copy.offset, copy.bytes), "Writing qcow2 tables");
  return {};
}

}  // namespace

Result<void> Qcow2Image::commit() {
  const std::lock_guard one(commit_);
  Lock lock(meta_);
  std::vector<Slice*> counts;
  if (!lazy_) counts = refcounts_.cache().take_dirty();
  const std::vector<Slice*> tables = l2_.take_dirty();
  std::set<u64> l1_sectors;
  std::swap(l1_sectors, dirty_l1_);
  std::vector<Refcounts::Release> released = refcounts_.take_released();
  const std::vector<Copy> count_copies = copies_of(counts);
  std::vector<Copy> entry_copies = copies_of(tables);
  for (const u64 sector : l1_sectors) {
    Copy copy{header_.l1_offset + sector * 512, {}};
    const u64 first = sector * 64, last = std::min<u64>(first + 64, l1_.size());
    copy.bytes.resize((last - first) * 8);
    for (u64 i = first; i < last; i++) store_be<u64>(copy.bytes, (i - first) * 8, l1_[i]);
    entry_copies.push_back(std::move(copy));
  }
  const u64 end = refcounts_.end();
  lock.unlock();

  const auto bring_out = [&]() -> Result<void> {
    if (!count_copies.empty() || !entry_copies.empty()) {
      if ((*file_).size() < end && file_->image().grows()) TRY(file_->truncate(end));
      file_->reached("flush_to_os");
      if (!count_copies.empty()) file_->reached("refblock_update");
      TRY(write_copies(file_, count_copies));
    }
    if (!entry_copies.empty()) {
      if (data_ != &file_) TRY((*data_)->flush());
      file_->reached("flush_to_disk");
      TRY(file_->flush());
      if (!tables.empty()) file_->reached("l2_update");
      if (!l1_sectors.empty()) file_->reached("l1_update");
      TRY(write_copies(file_, entry_copies));
    }
    if (!released.empty() || !entry_copies.empty()) TRY(file_->flush());
    return {};
  };
  Result<void> done = bring_out();
  if (done && !released.empty()) epochs_.wait();

  lock.lock();
  if (!done) {
    refcounts_.cache().failed(counts);
    l2_.failed(tables);
    dirty_l1_.merge(l1_sectors);
    refcounts_.put_back(std::move(released));
    return done;
  }
  refcounts_.cache().done(counts);
  l2_.done(tables);
  if (!released.empty()) file_->reached("cluster_free");
  const std::vector<Refcounts::Release> punch = TRY(refcounts_.settle(released));
  // Still under meta_, so that nobody takes these clusters before their holes are there.
  for (const Refcounts::Release& r : punch)
    (void)file_->discard(r.offset, r.clusters * cluster_size()).ok();
  return {};
}

Result<void> Qcow2Image::commit_if_full() {
  bool full = false;
  {
    const Lock lock(meta_);
    full = l2_.is_full();
    if (refcounts_.cache().is_full()) {
      // Counts may go out at any time: they are never too low.
      const std::vector<Slice*> counts = refcounts_.cache().take_dirty();
      const Result<void> written = write_copies(file_, copies_of(counts));
      if (!written) {
        refcounts_.cache().failed(counts);
        return written;
      }
      refcounts_.cache().done(counts);
    }
  }
  return full ? commit() : Result<void>();
}

Result<void> Qcow2Image::flush() {
  if (!writable_) return {};
  bool clean = false;
  {
    const Lock lock(meta_);
    clean = l2_.dirty_count() == 0 && dirty_l1_.empty() && !refcounts_.has_released();
  }
  if (!clean) return commit();  // ends with a flush
  file_->reached("flush_to_disk");
  if (data_ != &file_) TRY((*data_)->flush());
  return file_->flush();
}

// With lazy refcounts the counts go out at the end only: until then the image says so.
Result<void> Qcow2Image::note_allocation() {
  if (!lazy_ || marked_dirty_) return {};
  header_.incompatible |= kDirty;
  TRY(write_header());
  TRY(file_->flush());
  marked_dirty_ = true;
  return {};
}

}  // namespace menura::qcow2
