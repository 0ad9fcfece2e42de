#include "block/qcow2/refcounts.h"

#include <algorithm>

#include "base/bytes.h"

namespace menura::qcow2 {

namespace {
constexpr u32 kSlice = 4096;
constexpr u64 kTableMask = ~u64{511};
}  // namespace

Refcounts::Refcounts(const Child& file, Header& header, size_t cache_slices)
    : per_block_(header.refcounts_per_block()),
      limit_(u64{1} << (56 - header.cluster_bits)),
      file_(file),
      header_(header),
      cache_(file, static_cast<u32>(std::min<u64>(kSlice, header.cluster_size())), cache_slices,
             "refblock_load") {}

Result<void> Refcounts::load() {
  const u64 entries = header_.reftable_clusters * header_.cluster_size() / 8;
  std::vector<std::byte> bytes(entries * 8);
  TRY(file_->read_or_zero(header_.reftable_offset, bytes), "Reading the reference count table");
  table_.resize(entries);
  for (u64 i = 0; i < entries; i++) {
    table_[i] = load_be<u64>(bytes, i * 8) & kTableMask;
    if (table_[i] & (header_.cluster_size() - 1) || table_[i] >> 56)
      return fail(Errc::Corrupt, "Reference count table entry {} ({:#x}) is unaligned or too large",
                  i, table_[i]);
  }
  while (!table_.empty() && table_.back() == 0) table_.pop_back();
  cache_.clear();
  blocks_made_++;
  hint_ = 0;
  return {};
}

u64 Refcounts::load_count(const Slice& slice, u64 index) const {
  const unsigned order = header_.refcount_order;
  switch (order) {
    case 3: return load_be<u8>(slice.bytes, index);
    case 4: return load_be<u16>(slice.bytes, index * 2);
    case 5: return load_be<u32>(slice.bytes, index * 4);
    case 6: return load_be<u64>(slice.bytes, index * 8);
    default: {
      const unsigned bits = 1u << order, per_byte = 8 / bits;
      return static_cast<u64>(slice.bytes[index / per_byte]) >> (index % per_byte * bits) &
             ((1u << bits) - 1);
    }
  }
}

void Refcounts::store_count(Slice& slice, u64 index, u64 value) const {
  const unsigned order = header_.refcount_order;
  switch (order) {
    case 3: return store_be<u8>(slice.bytes, index, static_cast<u8>(value));
    case 4: return store_be<u16>(slice.bytes, index * 2, static_cast<u16>(value));
    case 5: return store_be<u32>(slice.bytes, index * 4, static_cast<u32>(value));
    case 6: return store_be<u64>(slice.bytes, index * 8, value);
    default: {
      const unsigned bits = 1u << order, per_byte = 8 / bits;
      const unsigned shift = index % per_byte * bits;
      const unsigned mask = ((1u << bits) - 1) << shift;
      std::byte& byte = slice.bytes[index / per_byte];
      byte = static_cast<std::byte>((static_cast<unsigned>(byte) & ~mask) |
                                    (static_cast<unsigned>(value) << shift));
    }
  }
}

// Null where there is no block and none is wanted: all its counts are zero.
Result<Slice*> Refcounts::slice_of(u64 cluster, bool make) {
  const u64 block = cluster / per_block_;
  if (block >= table_.size() || table_[block] == 0) {
    if (!make) return nullptr;
    TRY(make_block(block));
  }
  const u64 byte = (cluster % per_block_ << header_.refcount_order) / 8;
  return cache_.get(table_[block] + byte);
}

namespace {
// The index of a count within its slice.
u64 in_slice(u64 index_in_block, const Slice& slice, unsigned order) {
  return index_in_block % ((u64{slice.bytes.size()} * 8) >> order);
}
}  // namespace

Result<u64> Refcounts::get(u64 offset) {
  const u64 cluster = offset >> header_.cluster_bits;
  const Slice* slice = TRY(slice_of(cluster, false));
  return slice ? load_count(*slice, in_slice(cluster % per_block_, *slice, header_.refcount_order))
               : 0;
}

Result<void> Refcounts::set(u64 offset, u64 value) {
  const u64 cluster = offset >> header_.cluster_bits;
  if (value > header_.max_refcount())
    return fail(Errc::OutOfRange, "A reference count of {} bits cannot hold {}",
                header_.refcount_bits(), value);
  Slice* slice = TRY(slice_of(cluster, true));
  store_count(*slice, in_slice(cluster % per_block_, *slice, header_.refcount_order), value);
  cache_.mark_dirty(*slice);
  if (value == 0) hint_ = std::min(hint_, cluster);
  if (value > 0) end_ = std::max(end_, offset + header_.cluster_size());
  return {};
}

Result<void> Refcounts::add(u64 offset, u64 clusters, i64 delta) {
  for (u64 i = 0; i < clusters; i++) {
    const u64 at = offset + (i << header_.cluster_bits);
    const u64 now = TRY(get(at));
    if (delta < 0 && now < static_cast<u64>(-delta))
      return fail(Errc::Corrupt, "The reference count of cluster {:#x} would fall below zero", at);
    if (delta > 0 && now > header_.max_refcount() - static_cast<u64>(delta))
      return fail(Errc::OutOfRange,
                  "The reference count of cluster {:#x} would not fit into {} bits", at,
                  header_.refcount_bits());
    TRY(set(at, now + static_cast<u64>(delta)));
  }
  return {};
}

Result<void> Refcounts::write_table_entry(u64 index) {
  std::byte bytes[8];
  store_be<u64>(bytes, 0, table_[index]);
  return file_->write(header_.reftable_offset + index * 8, bytes);
}

// A block describes itself where it can: its place is then the first free cluster it covers, and
// nothing else must change with it. The table points to it when it is durable.
Result<void> Refcounts::make_block(u64 index) {
  if (index >= limit_ / per_block_) return fail(Errc::NoSpace, "The image file would be too large");
  if (index >= header_.reftable_clusters * header_.cluster_size() / 8) TRY(grow_table(index + 1));
  if (index < table_.size() && table_[index]) return {};
  file_->reached("refblock_alloc");
  // A block that does not exist counts only zeroes, so that every cluster it covers is free.
  const u64 cluster = index * per_block_;
  const u64 offset = cluster << header_.cluster_bits;
  std::vector<std::byte> bytes(header_.cluster_size());
  Slice first;
  first.bytes.resize(cache_.slice_size());
  store_count(first, 0, 1);
  std::copy(first.bytes.begin(), first.bytes.end(), bytes.begin());
  cache_.forget(offset, header_.cluster_size());
  file_->reached("refblock_alloc_write");
  TRY(file_->write(offset, bytes), "Writing a reference count block");
  TRY(file_->flush());
  if (table_.size() <= index) table_.resize(index + 1);
  table_[index] = offset;
  blocks_made_++;
  if (Result<void> written = write_table_entry(index); !written) {
    table_[index] = 0;
    return written;
  }
  fresh_from_ = std::max(fresh_from_, offset + header_.cluster_size());
  end_ = std::max(end_, offset + header_.cluster_size());
  return {};
}

Result<void> Refcounts::grow_table(u64 blocks) {
  const u64 cluster_size = header_.cluster_size();
  const u64 wanted =
      std::max(blocks + blocks / 2, header_.reftable_clusters * cluster_size / 8 + 1);
  u64 clusters = (wanted * 8 + cluster_size - 1) / cluster_size;
  if (clusters * cluster_size > kMaxReftableBytes) clusters = kMaxReftableBytes / cluster_size;
  if (clusters * cluster_size / 8 < blocks)
    return fail(Errc::NoSpace, "The reference count table cannot grow any more");
  // It lies where the first block that the present table lacks would count; that block is new, too,
  // follows the table, and counts both.
  const u64 old_entries = header_.reftable_clusters * cluster_size / 8;
  const u64 first_block = old_entries;
  const u64 at = first_block * per_block_ << header_.cluster_bits;
  if (clusters + 1 > per_block_)
    return fail(Errc::NoSpace,
                "The reference count table cannot grow any more with clusters this small");
  const u64 block_at = at + clusters * cluster_size;
  std::vector<u64> table = table_;
  table.resize(std::max<u64>(table.size(), first_block + 1));
  table[first_block] = block_at;
  std::vector<std::byte> bytes(clusters * cluster_size);
  for (u64 i = 0; i < table.size(); i++) store_be<u64>(bytes, i * 8, table[i]);
  Slice block;
  block.bytes.resize(cluster_size);
  for (u64 i = 0; i <= clusters; i++) store_count(block, i, 1);
  cache_.forget(at, (clusters + 1) * cluster_size);
  TRY(file_->write(block_at, block.bytes));
  TRY(file_->write(at, bytes), "Writing a larger reference count table");
  TRY(file_->flush());
  std::byte fields[12];
  store_be<u64>(fields, 0, at);
  store_be<u32>(fields, 8, static_cast<u32>(clusters));
  TRY(file_->write(48, fields));
  TRY(file_->flush());
  release(header_.reftable_offset, header_.reftable_clusters);
  header_.reftable_offset = at;
  header_.reftable_clusters = static_cast<u32>(clusters);
  table_ = std::move(table);
  blocks_made_++;
  fresh_from_ = std::max(fresh_from_, block_at + cluster_size);
  end_ = std::max(end_, block_at + cluster_size);
  return {};
}

Result<bool> Refcounts::is_free(u64 cluster) {
  const Slice* slice = TRY(slice_of(cluster, false));
  if (!slice) {
    // The block that would count it takes the first cluster for itself.
    return cluster % per_block_ != 0;
  }
  return load_count(*slice, in_slice(cluster % per_block_, *slice, header_.refcount_order)) == 0;
}

// The first of that many adjacent free clusters.
Result<u64> Refcounts::find_free(u64 clusters) {
  u64 start = hint_, found = 0;
  for (u64 at = hint_; found < clusters; at++) {
    if (at >= limit_) return fail(Errc::NoSpace, "The image file would be too large");
    if (TRY(is_free(at))) {
      if (found++ == 0) start = at;
    } else {
      found = 0;
    }
  }
  return start;
}

Result<u64> Refcounts::allocate(u64 clusters) {
  for (;;) {
    const u64 start = TRY(find_free(clusters));
    // Making the blocks that count them may take some of them.
    for (u64 block = start / per_block_; block <= (start + clusters - 1) / per_block_; block++)
      (void)TRY(slice_of(block * per_block_, true));
    bool still_free = true;
    for (u64 i = 0; i < clusters && still_free; i++) still_free = TRY(is_free(start + i));
    if (!still_free) continue;
    const u64 offset = start << header_.cluster_bits;
    TRY(add(offset, clusters, 1));
    // What lies below was looked at, unless a long run was wanted.
    if (clusters == 1 || start == hint_) hint_ = start + clusters;
    return offset;
  }
}

Result<bool> Refcounts::allocate_at(u64 offset) {
  const u64 cluster = offset >> header_.cluster_bits;
  if (cluster >= limit_ || !TRY(is_free(cluster))) return false;
  (void)TRY(slice_of(cluster, true));
  if (!TRY(is_free(cluster))) return false;
  TRY(set(offset, 1));
  if (hint_ == cluster) hint_++;
  return true;
}

Result<Refcounts::Run> Refcounts::allocate_some(u64 wanted) {
  Run run{TRY(allocate(1)), 1};
  while (run.clusters < wanted &&
         TRY(allocate_at(run.offset + run.clusters * header_.cluster_size())))
    run.clusters++;
  return run;
}

void Refcounts::release(u64 offset, u64 clusters, Punch punch) {
  const u64 size = header_.cluster_size();
  if (!released_.empty()) {
    Release& last = released_.back();
    if (last.punch == punch && last.offset + last.clusters * size == offset) {
      last.clusters += clusters;
      return;
    }
  }
  released_.push_back({offset, clusters, punch});
}

void Refcounts::put_back(std::vector<Release> released) {
  released_.insert(released_.begin(), released.begin(), released.end());
}

Result<std::vector<Refcounts::Release>> Refcounts::settle(const std::vector<Release>& released) {
  std::vector<Release> free;
  for (const Release& r : released)
    for (u64 i = 0; i < r.clusters; i++) {
      const u64 at = r.offset + (i << header_.cluster_bits);
      TRY(add(at, 1, -1));
      if (r.punch == Punch::No || TRY(get(at)) != 0) continue;
      if (!free.empty() && free.back().offset + free.back().clusters * header_.cluster_size() == at)
        free.back().clusters++;
      else
        free.push_back({at, 1, r.punch});
    }
  return free;
}

}  // namespace menura::qcow2
