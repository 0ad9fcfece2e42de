// From guest offsets to L2 entries and runs. Everything here is under meta_.
#include <algorithm>

#include "base/bytes.h"
#include "block/qcow2/qcow2_image.h"

namespace menura::qcow2 {

namespace {
constexpr u64 kAllAllocated = 0xffffffff;
}  // namespace

// In an external data file, offset 0 is a place like any other: bit 63 tells.
bool Qcow2Image::has_place(const Entry& entry) const {
  if (entry.word & kCompressed) return false;
  return (entry.word & kOffsetMask) != 0 || (header_.has_data_file() && (entry.word & kCopied));
}

Kind Qcow2Image::kind_of(const Entry& entry, unsigned subcluster) const {
  if (entry.word & kCompressed) return Kind::Compressed;
  const bool place = has_place(entry);
  if (header_.extended_l2()) {
    const u64 bits = entry.bits >> subcluster;
    if (bits & 1) return Kind::Normal;
    if (bits >> 32 & 1) return place ? Kind::ZeroAlloc : Kind::Zero;
    return place ? Kind::HoleAlloc : Kind::Hole;
  }
  if (header_.version >= 3 && (entry.word & kZeroFlag)) return place ? Kind::ZeroAlloc : Kind::Zero;
  return place ? Kind::Normal : Kind::Hole;
}

Result<void> Qcow2Image::check_entry(const Entry& entry, u64 guest) const {
  const auto bad = [&](std::string_view what) {
    return fail(Errc::Corrupt, "qcow2 L2 entry {:#x} of guest offset {:#x}: {}", entry.word, guest,
                what);
  };
  if (entry.word & kCompressed) {
    if (header_.has_data_file()) return bad("compressed data beside an external data file");
    return {};
  }
  if ((entry.word & kOffsetMask) & (cluster_size() - 1)) return bad("the cluster is not aligned");
  if (header_.extended_l2()) {
    if (entry.bits & entry.bits >> 32 & kAllAllocated)
      return bad("a subcluster is both allocated and zero");
    if ((entry.bits & kAllAllocated) && !has_place(entry)) return bad("a subcluster has no place");
  }
  if (header_.data_file_is_raw() && has_place(entry) && (entry.word & kOffsetMask) != guest)
    return bad("the raw external data file has it elsewhere");
  return {};
}

u64 Qcow2Image::entry_offset(u64 table, u64 guest) const {
  const u64 index = guest >> header_.cluster_bits & ((u64{1} << header_.l2_bits()) - 1);
  return table + index * header_.l2_entry_size();
}

Entry Qcow2Image::load_entry(const Slice& slice, u64 at, unsigned size) {
  const u64 offset = at - slice.offset;
  return {load_be<u64>(slice.bytes, offset),
          size == 16 ? load_be<u64>(slice.bytes, offset + 8) : 0};
}

Result<Entry> Qcow2Image::entry_at(u64 guest) {
  const u64 index = l1_index(guest);
  if (index >= l1_.size()) return Entry{};
  const u64 table = l1_[index] & kOffsetMask;
  if (table == 0) return Entry{};
  if (table & (cluster_size() - 1))
    return fail(Errc::Corrupt, "qcow2 L1 entry {} ({:#x}) is not aligned", index, l1_[index]);
  const u64 at = entry_offset(table, guest);
  const Slice* slice = TRY(l2_.get(at));
  const Entry entry = load_entry(*slice, at, header_.l2_entry_size());
  TRY(check_entry(entry, cluster_of(guest)));
  return entry;
}

Result<void> Qcow2Image::set_entry(u64 guest, const Entry& entry) {
  const u64 l1 = l1_[l1_index(guest)];
  ensure(l1 & kCopied, "an L2 table that is shared is never written");
  const u64 at = entry_offset(l1 & kOffsetMask, guest);
  Slice* slice = TRY(l2_.get(at));
  store_be<u64>(slice->bytes, at - slice->offset, entry.word);
  if (header_.extended_l2()) store_be<u64>(slice->bytes, at - slice->offset + 8, entry.bits);
  l2_.mark_dirty(*slice);
  return {};
}

Result<u64> Qcow2Image::own_table(u64 guest) {
  const u64 index = l1_index(guest);
  ensure(index < l1_.size(), "the L1 table covers the disk");
  const u64 old = l1_[index];
  if (old & kCopied) return old & kOffsetMask;
  TRY(note_allocation());
  const u64 before = refcounts_.fresh_from();
  const u64 table = TRY(refcounts_.allocate(1));
  refcounts_.set_fresh_from(std::max(refcounts_.fresh_from(), table + cluster_size()));
  l2_.forget(table, cluster_size());
  std::vector<std::byte> content(cluster_size());
  // Nothing on disk refers to the new table before commit(), which comes after a flush.
  if (old & kOffsetMask)
    TRY(file_->read_or_zero(old & kOffsetMask, content), "Reading an L2 table");
  file_->reached("l2_alloc_write");
  if ((old & kOffsetMask) || table < before)
    if (Result<void> written = file_->write(table, content); !written) {
      refcounts_.release(table, 1);
      return std::move(written.error());
    }
  l1_[index] = table | kCopied;
  metadata_stale_ = true;
  dirty_l1_.insert(index / 64);
  if (old & kOffsetMask) refcounts_.release(old & kOffsetMask, 1);
  return table;
}

u64 Qcow2Image::compressed_offset(u64 word) const {
  const unsigned bits = 62 - (header_.cluster_bits - 8);
  return word & ((u64{1} << bits) - 1);
}

// An upper limit: the sectors that hold it, less what comes before it in the first.
u64 Qcow2Image::compressed_size(u64 word) const {
  const unsigned bits = 62 - (header_.cluster_bits - 8);
  const u64 sectors = ((word & ~(kCopied | kCompressed)) >> bits) + 1;
  return sectors * 512 - (compressed_offset(word) & 511);
}

bool Qcow2Image::hole_is_zero(u64 guest) const {
  return !*backing_ || guest >= (*backing_)->size();
}

Result<Run> Qcow2Image::run_at(u64 guest, u64 length) {
  const u64 sub_size = header_.subcluster_size();
  const Entry first = TRY(entry_at(guest));
  const auto sub_of = [&](u64 at) {
    return static_cast<unsigned>((at & (cluster_size() - 1)) / sub_size);
  };
  Run run;
  run.kind = kind_of(first, sub_of(guest));
  run.word = first.word;
  run.copied = first.word & kCopied;
  const bool placed =
      run.kind != Kind::Hole && run.kind != Kind::Zero && run.kind != Kind::Compressed;
  if (placed) run.host = (first.word & kOffsetMask) + (guest & (cluster_size() - 1));
  if (run.kind == Kind::Compressed) {
    run.length = std::min(length, cluster_of(guest) + cluster_size() - guest);
    return run;
  }
  u64 at = guest;
  const u64 table_end = (l1_index(guest) + 1) * table_span();
  if (l1_index(guest) >= l1_.size() || (l1_[l1_index(guest)] & kOffsetMask) == 0) {
    // No table: a hole up to the next one there is.
    u64 index = l1_index(guest) + 1;
    while (index < l1_.size() && index * table_span() < guest + length &&
           !(l1_[index] & kOffsetMask))
      index++;
    const u64 end = index < l1_.size() ? index * table_span() : guest + length;
    run.length = std::min(length, end - guest);
    return run;
  }
  const u64 end = std::min(guest + length, table_end);
  Entry entry = first;
  while (at < end) {
    if (at != guest && (at & (cluster_size() - 1)) == 0) {
      entry = TRY(entry_at(at));
      if (placed && has_place(entry) && (entry.word & kOffsetMask) != run.host + (at - guest))
        break;
      if (((entry.word & kCopied) != 0) != run.copied) break;
    }
    if (kind_of(entry, sub_of(at)) != run.kind) break;
    at = (at / sub_size + 1) * sub_size;
  }
  run.length = std::min(at, end) - guest;
  return run;
}

void Qcow2Image::release_entry(const Entry& entry, Refcounts::Punch punch) {
  if (entry.word & kCompressed) {
    const u64 first = cluster_of(compressed_offset(entry.word));
    const u64 last = cluster_of(compressed_offset(entry.word) + compressed_size(entry.word) - 1);
    refcounts_.release(first, (last - first) / cluster_size() + 1, punch);
  } else if (has_place(entry) && !header_.has_data_file()) {
    refcounts_.release(entry.word & kOffsetMask, 1, punch);
  }
}

}  // namespace menura::qcow2
