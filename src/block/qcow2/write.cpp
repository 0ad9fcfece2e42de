#include <algorithm>
#include <cstring>

#include "block/qcow2/bitmaps.h"
#include "block/qcow2/codec.h"
#include "block/qcow2/qcow2_image.h"

namespace menura::qcow2 {

namespace {
// Up to here, what surrounds new data is put around it in memory and written at once.
constexpr u64 kOneWrite = 256 * KiB;
constexpr u64 kMostClusters = 4096;  // of one allocation
constexpr u64 kAllAllocated = 0xffffffff;
}  // namespace

Result<void> Qcow2Image::write(u64 offset, ConstBytes from, WriteMode) {
  if (bitmaps_) TRY(bitmaps_->note_write(offset, from.size()));
  return write_guest(offset, from);
}

Result<void> Qcow2Image::write_guest(u64 offset, ConstBytes from) {
  while (!from.empty()) {
    Lock lock(meta_);
    TRY(check_not_corrupt());
    const WritePlan plan = TRY(plan_write(lock, offset, from.size()));
    const Epochs::Stay stay(epochs_);
    lock.unlock();
    const ConstBytes part = from.first(static_cast<size_t>(plan.length));
    if (plan.in_place) {
      file_->reached("write_aio");
      TRY(write_data(plan.host, part));
    } else {
      Result<void> done = write_new(plan, offset, part);
      lock.lock();
      if (done) done = link(plan, offset, plan.length);
      if (!done && !plan.reuse && !header_.has_data_file())
        refcounts_.release(cluster_of(plan.host), plan.clusters);
      in_flight_.remove(cluster_of(offset));
      lock.unlock();
      TRY(std::move(done));
    }
    from = from.subspan(part.size());
    offset += part.size();
  }
  return commit_if_full();
}

Result<void> Qcow2Image::write_data(u64 host, ConstBytes from) {
  return encrypted_ ? encrypted_->write(host, from) : (*data_)->write(host, from);
}

Result<Qcow2Image::WritePlan> Qcow2Image::plan_write(Lock& lock, u64 offset, u64 length) {
  const u64 end = offset + length;
  for (;;) {
    const u64 busy = in_flight_.first_overlap(offset, end);
    if (busy > offset) {
      length = busy - offset;
      break;
    }
    in_flight_.wait_for_any(lock);
  }
  const Run run = TRY(run_at(offset, length));
  if (run.kind == Kind::Normal && run.copied) {
    if (data_ == &file_ && TRY(is_metadata(run.host, run.length)))
      return mark_corrupt(format("a write to guest offset {:#x} would overwrite metadata at {:#x}",
                                 offset, run.host));
    WritePlan plan;
    plan.length = run.length, plan.host = run.host, plan.in_place = true;
    return plan;
  }
  return plan_allocation(offset, length, TRY(entry_at(offset)));
}

Result<Qcow2Image::WritePlan> Qcow2Image::plan_allocation(u64 offset, u64 length,
                                                          const Entry& first) {
  TRY(note_allocation());
  (void)TRY(own_table(offset));
  WritePlan plan;
  const u64 start = cluster_of(offset);
  const u64 table_end = (l1_index(offset) + 1) * table_span();
  plan.old.push_back(first);
  if (has_place(first) && (first.word & kCopied)) {
    plan.reuse = true;
    plan.clusters = 1;
    plan.host = first.word & kOffsetMask;
  } else {
    for (u64 at = start + cluster_size();
         at < std::min(offset + length, table_end) && plan.old.size() < kMostClusters;
         at += cluster_size()) {
      const Entry entry = TRY(entry_at(at));
      if (has_place(entry) && (entry.word & kCopied)) break;
      plan.old.push_back(entry);
    }
    plan.clusters = plan.old.size();
    const u64 fresh_from = refcounts_.fresh_from();
    if (header_.has_data_file()) {
      plan.host = start;
    } else {
      file_->reached("cluster_alloc");
      const Refcounts::Run run = TRY(refcounts_.allocate_some(plan.clusters));
      plan.host = run.offset, plan.clusters = run.clusters;
      plan.fresh = run.offset >= fresh_from && !header_.crypt_method;
      refcounts_.set_fresh_from(
          std::max(refcounts_.fresh_from(), run.offset + run.clusters * cluster_size()));
    }
    plan.old.resize(plan.clusters);
  }
  plan.length = std::min(length, start + plan.clusters * cluster_size() - offset);
  plan.host += offset - start;
  in_flight_.add(start, start + plan.clusters * cluster_size());
  return plan;
}

bool Qcow2Image::reads_as_zero(const Entry& entry, u64 guest) const {
  for (unsigned sub = 0; sub < header_.subclusters(); sub++) {
    const Kind kind = kind_of(entry, sub);
    if (kind == Kind::Normal || kind == Kind::Compressed) return false;
    if ((kind == Kind::Hole || kind == Kind::HoleAlloc) && !hole_is_zero(guest)) return false;
  }
  return true;
}

// The bytes around the guest's, up to the borders of what becomes allocated, are written with them.
Result<void> Qcow2Image::write_new(const WritePlan& plan, u64 offset, ConstBytes from) {
  const auto unit_of = [&](const Entry& old) {
    // Extended entries keep what is around the subclusters, unless it must move along.
    const bool moves = (has_place(old) && !plan.reuse) || (old.word & kCompressed);
    return moves ? cluster_size() : header_.subcluster_size();
  };
  const u64 head_unit = unit_of(plan.old.front()), tail_unit = unit_of(plan.old.back());
  const u64 end = offset + from.size();
  u64 begin_all = offset / head_unit * head_unit;
  u64 end_all = (end + tail_unit - 1) / tail_unit * tail_unit;
  if (plan.fresh && reads_as_zero(plan.old.front(), offset)) begin_all = offset;
  if (plan.fresh && reads_as_zero(plan.old.back(), cluster_of(end - 1))) end_all = end;
  const u64 host = plan.host - (offset - begin_all);
  if (begin_all == offset && end_all == end) {
    file_->reached("write_aio");
    return write_data(host, from);
  }
  const size_t head = static_cast<size_t>(offset - begin_all),
               tail = static_cast<size_t>(end_all - end);
  file_->reached("cow_read");
  if (end_all - begin_all <= kOneWrite) {
    std::vector<std::byte> all(static_cast<size_t>(end_all - begin_all));
    TRY(read_guest(begin_all, Bytes(all).first(head)));
    std::memcpy(all.data() + head, from.data(), from.size());
    TRY(read_guest(end, Bytes(all).last(tail)));
    file_->reached("cow_write");
    return write_data(host, all);
  }
  std::vector<std::byte> around(std::max(head, tail));
  TRY(read_guest(begin_all, Bytes(around).first(head)));
  TRY(write_data(host, ConstBytes(around).first(head)));
  file_->reached("cow_write");
  TRY(write_data(plan.host, from));
  TRY(read_guest(end, Bytes(around).first(tail)));
  return write_data(plan.host + from.size(), ConstBytes(around).first(tail));
}

// The L2 entries now lead to the new places.
Result<void> Qcow2Image::link(const WritePlan& plan, u64 offset, u64 length) {
  const u64 start = cluster_of(offset);
  const u64 host = plan.host - (offset - start);
  for (u64 i = 0; i < plan.clusters; i++) {
    const u64 guest = start + i * cluster_size();
    const Entry& old = plan.old[i];
    Entry entry{(host + i * cluster_size()) | kCopied, 0};
    if (header_.extended_l2()) {
      const bool moved = (has_place(old) && !plan.reuse) || (old.word & kCompressed);
      const u64 sub = header_.subcluster_size();
      const u64 first = guest < offset ? (offset - guest) / sub : 0;
      const u64 last = std::min<u64>(31, (offset + length - guest - 1) / sub);
      const u64 touched = (kAllAllocated >> (31 - (last - first))) << first;
      entry.bits = moved ? kAllAllocated : (old.bits | touched) & ~(touched << 32);
    }
    TRY(set_entry(guest, entry));
    if (!plan.reuse) release_entry(old, Refcounts::Punch::No);
  }
  return {};
}

Result<void> Qcow2Image::write_compressed(u64 offset, ConstBytes from) {
  if (header_.has_data_file() || header_.crypt_method)
    return fail(Errc::Unsupported,
                "Compressed clusters need an image that is neither encrypted nor has an external "
                "data file");
  const bool cut_by_end = offset + from.size() == size();
  if (offset & (cluster_size() - 1) || (from.size() & (cluster_size() - 1) && !cut_by_end))
    return fail(Errc::InvalidArgument, "Compressed writes are of whole clusters");
  std::vector<std::byte> room(cluster_size() - 1), last;
  for (; !from.empty(); from = from.subspan(std::min<size_t>(from.size(), cluster_size())),
                        offset += cluster_size()) {
    ConstBytes cluster = from.first(std::min<size_t>(from.size(), cluster_size()));
    if (cluster.size() < cluster_size()) {
      last.assign(cluster.begin(), cluster.end());
      last.resize(cluster_size());
      cluster = last;
    }
    const Result<size_t> packed = pack(header_.compression, cluster, room);
    if (!packed && packed.error().code != Errc::NoSpace) return packed.error();
    if (!packed)
      TRY(write(offset, cluster.first(std::min<size_t>(from.size(), cluster_size())), {}));
    else
      TRY(write_packed(offset, ConstBytes(room).first(*packed)));
  }
  return commit_if_full();
}

// Packed clusters follow one another as closely as they can, across the borders of host clusters;
// each host cluster counts those that touch it.
Result<u64> Qcow2Image::allocate_bytes(u64 size) {
  TRY(note_allocation());
  if (compressed_end_) {
    const u64 at = *compressed_end_;
    const u64 room = cluster_size() - (at & (cluster_size() - 1));
    const u64 mine = cluster_of(at);
    if (room < cluster_size() && TRY(refcounts_.get(mine)) < header_.max_refcount()) {
      if (size <= room) {
        TRY(refcounts_.add(mine, 1, 1));
        compressed_end_ = at + size;
        return at;
      }
      if (TRY(refcounts_.allocate_at(mine + cluster_size()))) {
        TRY(refcounts_.add(mine, 1, 1));
        compressed_end_ = at + size;
        refcounts_.set_fresh_from(std::max(refcounts_.fresh_from(), mine + 2 * cluster_size()));
        return at;
      }
    }
  }
  const u64 at = TRY(refcounts_.allocate(1));
  refcounts_.set_fresh_from(std::max(refcounts_.fresh_from(), at + cluster_size()));
  compressed_end_ = at + size;
  return at;
}

Result<void> Qcow2Image::write_packed(u64 offset, ConstBytes packed) {
  file_->reached("write_compressed");
  if (bitmaps_) TRY(bitmaps_->note_write(offset, std::min(cluster_size(), size() - offset)));
  Lock lock(meta_);
  TRY(check_not_corrupt());
  in_flight_.wait(lock, offset, offset + cluster_size());
  (void)TRY(own_table(offset));
  const Entry old = TRY(entry_at(offset));
  const u64 at = TRY(allocate_bytes(packed.size()));
  in_flight_.add(offset, offset + cluster_size());
  const Epochs::Stay stay(epochs_);
  lock.unlock();
  Result<void> done = (*data_)->write(at, packed);
  lock.lock();
  const unsigned bits = 62 - (header_.cluster_bits - 8);
  const u64 sectors = ((at + packed.size() - 1) >> 9) - (at >> 9);
  const Entry entry{at | sectors << bits | kCompressed, 0};
  if (done) done = set_entry(offset, entry);
  release_entry(done ? old : entry, Refcounts::Punch::No);
  in_flight_.remove(offset);
  return done;
}

}  // namespace menura::qcow2
