#include "block/qcow2/snapshots.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"

namespace menura::qcow2 {

namespace {
constexpr size_t kFixed = 40;  // of a table entry
constexpr u32 kMaxExtra = 1024;
constexpr size_t kKnownExtra = 24;

std::string text_of(ConstBytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

u64 padded(u64 length) { return (length + 7) & ~u64{7}; }

Snapshots::Record parse_record(ConstBytes fixed, ConstBytes extra, ConstBytes names,
                               u64 disk_size) {
  Snapshots::Record r;
  r.l1_offset = load_be<u64>(fixed, 0);
  r.l1_size = load_be<u32>(fixed, 8);
  const u16 id = load_be<u16>(fixed, 12);
  r.info.date_seconds = load_be<u32>(fixed, 16);
  r.info.date_nanoseconds = load_be<u32>(fixed, 20);
  r.info.vm_clock_ns = load_be<u64>(fixed, 24);
  r.info.vm_state_size = load_be<u32>(fixed, 32);
  r.info.disk_size = disk_size;
  if (extra.size() >= 8) r.info.vm_state_size = load_be<u64>(extra, 0);
  if (extra.size() >= 16) r.info.disk_size = load_be<u64>(extra, 8);
  if (extra.size() >= 24 && load_be<u64>(extra, 16) != ~u64{0})
    r.info.icount = load_be<u64>(extra, 16);
  if (extra.size() > kKnownExtra) r.more.assign(extra.begin() + kKnownExtra, extra.end());
  r.info.id = text_of(names.first(id));
  r.info.name = text_of(names.subspan(id));
  return r;
}

void append_record(std::vector<std::byte>& out, const Snapshots::Record& r) {
  const size_t at = out.size();
  const size_t extra = kKnownExtra + r.more.size();
  const size_t length = kFixed + extra + r.info.id.size() + r.info.name.size();
  out.resize(at + padded(length));
  const Bytes entry = Bytes(out).subspan(at);
  store_be<u64>(entry, 0, r.l1_offset);
  store_be<u32>(entry, 8, r.l1_size);
  store_be<u16>(entry, 12, static_cast<u16>(r.info.id.size()));
  store_be<u16>(entry, 14, static_cast<u16>(r.info.name.size()));
  store_be<u32>(entry, 16, static_cast<u32>(r.info.date_seconds));
  store_be<u32>(entry, 20, r.info.date_nanoseconds);
  store_be<u64>(entry, 24, r.info.vm_clock_ns);
  store_be<u32>(entry, 32,
                r.info.vm_state_size <= 0xffffffff ? static_cast<u32>(r.info.vm_state_size) : 0);
  store_be<u32>(entry, 36, static_cast<u32>(extra));
  store_be<u64>(entry, kFixed, r.info.vm_state_size);
  store_be<u64>(entry, kFixed + 8, r.info.disk_size);
  store_be<u64>(entry, kFixed + 16, r.info.icount.value_or(~u64{0}));
  auto to = entry.begin() + kFixed + kKnownExtra;
  to = std::ranges::copy(r.more, to).out;
  to = std::ranges::copy(bytes_of(r.info.id), to).out;
  std::ranges::copy(bytes_of(r.info.name), to);
}

}  // namespace

u64 Snapshots::clusters_for(u64 bytes) const {
  return (bytes + image_.cluster_size() - 1) / image_.cluster_size();
}

Result<std::unique_ptr<Snapshots>> Snapshots::load(Qcow2Image& image) {
  std::unique_ptr<Snapshots> snapshots(new Snapshots(image));
  TRY(snapshots->parse(), "Reading the snapshot table");
  return snapshots;
}

Result<void> Snapshots::parse() {
  u64 at = image_.header_.snapshots_offset;
  const u64 begin = at;
  for (u32 i = 0; i < image_.header_.snapshot_count; i++) {
    std::array<std::byte, kFixed> fixed;
    TRY(image_.file_->read_or_zero(at, fixed));
    const u32 extra_size = load_be<u32>(fixed, 36);
    const u64 names_size = u64{load_be<u16>(fixed, 12)} + load_be<u16>(fixed, 14);
    if (extra_size > kMaxExtra)
      return fail(Errc::Corrupt, "Snapshot {} of the table carries more than may be", i);
    std::vector<std::byte> rest(extra_size + names_size);
    TRY(image_.file_->read_or_zero(at + kFixed, rest));
    Record r = parse_record(fixed, ConstBytes(rest).first(extra_size),
                            ConstBytes(rest).subspan(extra_size), image_.size());
    if (u64{r.l1_size} * 8 > kMaxL1Bytes || r.l1_offset & (image_.cluster_size() - 1) ||
        r.l1_offset >> 56)
      return fail(Errc::Corrupt, "Snapshot '{}' has its L1 table at no valid place", r.info.name);
    records_.push_back(std::move(r));
    at += padded(kFixed + rest.size());
    if (at - begin > kMaxSnapshotTableBytes)
      return fail(Errc::Corrupt, "The snapshot table takes more space than it may");
  }
  table_bytes_ = at - begin;
  return {};
}

std::vector<SnapshotInfo> Snapshots::list() const {
  std::vector<SnapshotInfo> list;
  for (const Record& r : records_) list.push_back(r.info);
  return list;
}

Result<size_t> Snapshots::find(std::string_view snapshot) const {
  for (size_t i = 0; i < records_.size(); i++)
    if (records_[i].info.id == snapshot) return i;
  for (size_t i = 0; i < records_.size(); i++)
    if (records_[i].info.name == snapshot) return i;
  return fail(Errc::NotFound, "The image keeps no snapshot '{}'", snapshot);
}

Result<std::vector<u64>> Snapshots::l1_of(const Record& record) const {
  std::vector<std::byte> bytes(u64{record.l1_size} * 8);
  TRY(image_.file_->read_or_zero(record.l1_offset, bytes), "Reading the L1 table of snapshot '{}'",
      record.info.name);
  std::vector<u64> l1(record.l1_size);
  for (size_t i = 0; i < l1.size(); i++) l1[i] = load_be<u64>(bytes, i * 8);
  return l1;
}

Result<void> Snapshots::count_tree(const std::vector<u64>& l1, i64 delta) {
  const u64 cluster = image_.cluster_size();
  const unsigned entry_size = image_.header_.l2_entry_size();
  for (const u64 word : l1) {
    const u64 table = word & kOffsetMask;
    if (table == 0) continue;
    if (table & (cluster - 1))
      return fail(Errc::Corrupt, "An L2 table lies at {:#x}, which is not aligned", table);
    for (u64 at = table; at < table + cluster; at += entry_size) {
      const Slice* slice = TRY(image_.l2_.get(at));
      const Entry entry = Qcow2Image::load_entry(*slice, at, entry_size);
      if (entry.word & kCompressed) {
        const u64 first = image_.compressed_offset(entry.word);
        const u64 from = image_.cluster_of(first);
        const u64 to = image_.cluster_of(first + image_.compressed_size(entry.word) - 1);
        TRY(image_.refcounts_.add(from, (to - from) / cluster + 1, delta));
      } else if (image_.has_place(entry) && !image_.header_.has_data_file()) {
        TRY(image_.refcounts_.add(entry.word & kOffsetMask, 1, delta));
      }
    }
    TRY(image_.refcounts_.add(table, 1, delta));
  }
  return {};
}

// The flag says "counted once". Without looking: nothing is (a snapshot has just been taken).
Result<void> Snapshots::set_copied_flags(bool by_count) {
  const u64 cluster = image_.cluster_size();
  const unsigned entry_size = image_.header_.l2_entry_size();
  for (size_t i = 0; i < image_.l1_.size(); i++) {
    const u64 table = image_.l1_[i] & kOffsetMask;
    if (table == 0) continue;
    const bool table_once = by_count && TRY(image_.refcounts_.get(table)) == 1;
    for (u64 at = table; at < table + cluster; at += entry_size) {
      Slice* slice = TRY(image_.l2_.get(at));
      const Entry entry = Qcow2Image::load_entry(*slice, at, entry_size);
      if (!image_.has_place(entry)) continue;
      bool once = image_.header_.has_data_file();
      if (!once)
        once = by_count && table_once && TRY(image_.refcounts_.get(entry.word & kOffsetMask)) == 1;
      const u64 word = (entry.word & ~kCopied) | (once ? kCopied : 0);
      if (word == entry.word) continue;
      store_be<u64>(slice->bytes, at - slice->offset, word);
      image_.l2_.mark_dirty(*slice);
    }
    const u64 word = table | (table_once ? kCopied : 0);
    if (word != image_.l1_[i]) {
      image_.l1_[i] = word;
      image_.dirty_l1_.insert(i / 64);
    }
  }
  return {};
}

// Counts alone, durable: before anything else refers to what they count.
Result<void> Snapshots::commit_counts() {
  TRY(image_.commit());
  return image_.file_->flush();
}

Result<u64> Snapshots::write_l1(const std::vector<u64>& l1) {
  const u64 clusters = std::max<u64>(1, clusters_for(l1.size() * 8));
  const u64 offset = TRY(image_.refcounts_.allocate(clusters));
  image_.refcounts_.set_fresh_from(
      std::max(image_.refcounts_.fresh_from(), offset + clusters * image_.cluster_size()));
  std::vector<std::byte> bytes(clusters * image_.cluster_size());
  for (size_t i = 0; i < l1.size(); i++) store_be<u64>(bytes, i * 8, l1[i] & ~kCopied);
  TRY(image_.file_->write(offset, bytes), "Writing an L1 table");
  return offset;
}

Result<void> Snapshots::write_table(std::vector<Record> records) {
  std::vector<std::byte> table;
  for (const Record& r : records) append_record(table, r);
  if (table.size() > kMaxSnapshotTableBytes)
    return fail(Errc::OutOfRange, "The snapshot table would be too large");
  u64 offset = 0;
  if (!records.empty()) {
    const u64 clusters = clusters_for(table.size());
    offset = TRY(image_.refcounts_.allocate(clusters));
    image_.refcounts_.set_fresh_from(
        std::max(image_.refcounts_.fresh_from(), offset + clusters * image_.cluster_size()));
    TRY(image_.file_->write(offset, table), "Writing the snapshot table");
  }
  TRY(commit_counts());
  std::array<std::byte, 12> fields;
  store_be<u32>(fields, 0, static_cast<u32>(records.size()));
  store_be<u64>(fields, 4, offset);
  TRY(image_.file_->write(60, fields), "Writing the header");
  TRY(image_.file_->flush());
  if (table_bytes_)
    image_.refcounts_.release(image_.header_.snapshots_offset, clusters_for(table_bytes_));
  image_.header_.snapshot_count = static_cast<u32>(records.size());
  image_.header_.snapshots_offset = offset;
  records_ = std::move(records);
  table_bytes_ = table.size();
  image_.metadata_stale_ = true;
  return {};
}

Result<void> Snapshots::create(SnapshotInfo info) {
  if (image_.header_.has_data_file())
    return fail(Errc::Unsupported,
                "Internal snapshots need an image without an external data file");
  if (records_.size() >= kMaxSnapshots) return fail(Errc::OutOfRange, "Too many snapshots");
  TRY(image_.check_not_corrupt());
  TRY(image_.commit());
  u64 id = 0;
  for (const Record& r : records_)
    if (const Result<u64> number = parse_u64(r.info.id)) id = std::max(id, *number);
  info.id = std::to_string(id + 1);
  info.disk_size = image_.size();
  TRY(image_.note_allocation());
  image_.compressed_end_.reset();
  if (Result<void> counted = count_tree(image_.l1_, 1); !counted) {
    // Nothing refers to what was counted up, so that it is only leaked.
    return std::move(counted.error()).within("Counting the snapshot's clusters");
  }
  TRY(commit_counts());
  TRY(set_copied_flags(false));
  TRY(image_.commit());
  Record record;
  record.info = std::move(info);
  record.l1_size = static_cast<u32>(image_.l1_.size());
  record.l1_offset = TRY(write_l1(image_.l1_));
  std::vector<Record> records = records_;
  records.push_back(std::move(record));
  TRY(write_table(std::move(records)));
  return image_.commit();
}

Result<void> Snapshots::remove(std::string_view snapshot) {
  TRY(image_.check_not_corrupt());
  const size_t index = TRY(find(snapshot));
  TRY(image_.commit());
  const Record gone = records_[index];
  const std::vector<u64> l1 = TRY(l1_of(gone));
  std::vector<Record> records = records_;
  records.erase(records.begin() + static_cast<i64>(index));
  TRY(write_table(std::move(records)));
  TRY(count_tree(l1, -1));
  if (gone.l1_size)
    TRY(image_.refcounts_.add(gone.l1_offset, clusters_for(u64{gone.l1_size} * 8), -1));
  TRY(commit_counts());
  TRY(set_copied_flags(true));
  return image_.commit();
}

Result<void> Snapshots::apply(std::string_view snapshot) {
  TRY(image_.check_not_corrupt());
  const Record& record = records_[TRY(find(snapshot))];
  if (image_.header_.version < 3 && record.info.disk_size != image_.size())
    return fail(Errc::Unsupported, "The snapshot has another size than the disk");
  TRY(image_.commit());
  std::vector<u64> l1 = TRY(l1_of(record));
  const u64 needed = image_.header_.l1_entries_for(record.info.disk_size);
  if (l1.size() < needed)
    return fail(Errc::Corrupt, "The snapshot's L1 table is too small for its disk");
  TRY(image_.note_allocation());
  image_.compressed_end_.reset();
  TRY(count_tree(l1, 1));
  for (u64& word : l1) word &= ~kCopied;
  const u64 offset = TRY(write_l1(l1));
  TRY(commit_counts());
  std::array<std::byte, 24> fields;
  store_be<u64>(fields, 0, record.info.disk_size);
  store_be<u32>(fields, 8, image_.header_.crypt_method);
  store_be<u32>(fields, 12, static_cast<u32>(l1.size()));
  store_be<u64>(fields, 16, offset);
  TRY(image_.file_->write(24, fields), "Writing the header");
  TRY(image_.file_->flush());
  const std::vector<u64> old = std::exchange(image_.l1_, std::move(l1));
  const u64 old_offset = image_.header_.l1_offset, old_bytes = u64{image_.header_.l1_size} * 8;
  image_.header_.l1_offset = offset;
  image_.header_.l1_size = static_cast<u32>(image_.l1_.size());
  image_.header_.size = record.info.disk_size;
  image_.size_.store(record.info.disk_size, std::memory_order_relaxed);
  TRY(count_tree(old, -1));
  if (old_bytes) TRY(image_.refcounts_.add(old_offset, clusters_for(old_bytes), -1));
  return image_.commit();
}

Result<void> Snapshots::show(std::string_view snapshot) {
  const Record& record = records_[TRY(find(snapshot))];
  TRY(image_.commit());
  std::vector<u64> l1 = TRY(l1_of(record));
  if (l1.size() < image_.header_.l1_entries_for(record.info.disk_size))
    return fail(Errc::Corrupt, "The snapshot's L1 table is too small for its disk");
  image_.l1_ = std::move(l1);
  image_.size_.store(record.info.disk_size, std::memory_order_relaxed);
  image_.writable_ = false;
  image_.showing_snapshot_ = true;
  return {};
}

Result<void> Qcow2Image::read_vm_state(u64 offset, Bytes to) {
  return read_guest(vm_state_offset() + offset, to);
}

Result<void> Qcow2Image::write_vm_state(u64 offset, ConstBytes from) {
  const u64 end = vm_state_offset() + offset + from.size();
  TRY(grow_l1((end + table_span() - 1) / table_span()));
  return write_guest(vm_state_offset() + offset, from);
}

}  // namespace menura::qcow2
