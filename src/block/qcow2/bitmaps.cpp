#include "block/qcow2/bitmaps.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/bytes.h"
#include "base/text.h"

namespace menura::qcow2 {

namespace {

constexpr u32 kInUse = 1;
constexpr u32 kAuto = 2;
constexpr size_t kFixed = 24;
constexpr u64 kTableOffsetMask = 0x00fffffffffffe00;
constexpr u64 kAllOnes = 1;
constexpr u64 kLimitWords = 64 * MiB;  // of one bitmap in memory: 512 MiB

u64 padded(u64 length) { return (length + 7) & ~u64{7}; }

}  // namespace

bool Qcow2Image::records_writes() const { return bitmaps_ && bitmaps_->records(); }

BitmapStore* Qcow2Image::bitmaps() {
  if (header_.version < 3) return nullptr;
  if (!bitmaps_) {
    Result<std::unique_ptr<Bitmaps>> loaded = Bitmaps::load_recording(*this);
    if (!loaded) return nullptr;
    bitmaps_ = std::move(loaded).value();
  }
  return bitmaps_.get();
}

u64 Bitmaps::words_for(u64 granularity) const {
  const u64 bits = (image_.size() + granularity - 1) / granularity;
  return (bits + 63) / 64;
}

Result<std::vector<Bitmaps::Record>> Bitmaps::read_directory(const Qcow2Image& image) {
  std::vector<Record> records;
  if (!image.header_.bitmaps) return records;
  const Header::Bitmaps& where = *image.header_.bitmaps;
  std::vector<std::byte> bytes(where.directory_size);
  TRY(image.file_->read_or_zero(where.directory_offset, bytes), "Reading the bitmap directory");
  u64 at = 0;
  for (u32 i = 0; i < where.count; i++) {
    if (bytes.size() - at < kFixed) return fail(Errc::Corrupt, "The bitmap directory is too short");
    const ConstBytes fixed = ConstBytes(bytes).subspan(at, kFixed);
    Record r;
    r.table_offset = load_be<u64>(fixed, 0);
    r.table_size = load_be<u32>(fixed, 8);
    r.flags = load_be<u32>(fixed, 12);
    r.flags_at = where.directory_offset + at + 12;
    const u8 type = load_be<u8>(fixed, 16), granularity = load_be<u8>(fixed, 17);
    const u16 name = load_be<u16>(fixed, 18);
    const u32 extra = load_be<u32>(fixed, 20);
    if (type != 1 || granularity < 9 || granularity > 31 || extra > bytes.size() || name > 1023 ||
        bytes.size() - at < kFixed + extra + name || r.table_offset & (image.cluster_size() - 1) ||
        r.table_offset >> 56 || r.table_size > kMaxL1Bytes / 8)
      return fail(Errc::Corrupt, "Entry {} of the bitmap directory is damaged", i);
    r.info.granularity = u64{1} << granularity;
    r.info.enabled = r.flags & kAuto;
    r.info.in_use = r.flags & kInUse;
    r.extra.assign(bytes.begin() + static_cast<i64>(at + kFixed),
                   bytes.begin() + static_cast<i64>(at + kFixed + extra));
    r.info.name.assign(reinterpret_cast<const char*>(bytes.data() + at + kFixed + extra), name);
    records.push_back(std::move(r));
    at += padded(kFixed + extra + name);
    if (at > bytes.size()) return fail(Errc::Corrupt, "The bitmap directory is too short");
  }
  return records;
}

Result<std::vector<u64>> Bitmaps::read_table(const Qcow2Image& image, const Record& record) {
  std::vector<std::byte> bytes(u64{record.table_size} * 8);
  TRY(image.file_->read_or_zero(record.table_offset, bytes), "Reading the table of bitmap '{}'",
      record.info.name);
  std::vector<u64> table(record.table_size);
  for (size_t i = 0; i < table.size(); i++) {
    table[i] = load_be<u64>(bytes, i * 8);
    if ((table[i] & kTableOffsetMask) & (image.cluster_size() - 1))
      return fail(Errc::Corrupt, "The table of bitmap '{}' is damaged", record.info.name);
  }
  return table;
}

Result<std::unique_ptr<Bitmaps>> Bitmaps::load_recording(Qcow2Image& image) {
  auto bitmaps = std::make_unique<Bitmaps>(image);
  bitmaps->records_ = TRY(read_directory(image));
  if (!image.writable_) return bitmaps;
  for (const Record& r : bitmaps->records_)
    if (r.info.enabled && !r.info.in_use)
      bitmaps->recording_.push_back(
          {r.info.name, r.info.granularity, TRY(bitmaps->load(r.info.name))});
  return bitmaps;
}

Value Bitmaps::describe(Qcow2Image& image) {
  Value list = Value::list();
  const Result<std::vector<Record>> records = read_directory(image);
  if (!records) return list;
  for (const Record& r : *records) {
    Value flags = Value::list();
    if (r.info.in_use) flags.as<Value::List>()->push_back("in-use");
    if (r.info.enabled) flags.as<Value::List>()->push_back("auto");
    Value one = Value::object();
    one.set("flags", std::move(flags));
    one.set("name", r.info.name);
    one.set("granularity", r.info.granularity);
    list.as<Value::List>()->push_back(std::move(one));
  }
  return list;
}

std::vector<BitmapInfo> Bitmaps::list() const {
  std::vector<BitmapInfo> list;
  for (const Record& r : records_) list.push_back(r.info);
  return list;
}

Result<Bitmaps::Record*> Bitmaps::find(std::string_view name) {
  std::vector<std::string_view> names;
  for (Record& r : records_) {
    if (r.info.name == name) return &r;
    names.push_back(r.info.name);
  }
  return fail(Errc::NotFound, "Dirty bitmap '{}' not found{}", name, suggestion(name, names));
}

Result<void> Bitmaps::note_write(u64 offset, u64 length) {
  if (recording_.empty() || length == 0) return {};
  const std::lock_guard guard(mutex_);
  TRY(mark_in_use());
  for (Recording& r : recording_)
    for (u64 bit = offset / r.granularity; bit <= (offset + length - 1) / r.granularity; bit++)
      r.content.words[bit / 64] |= u64{1} << (bit % 64);
  return {};
}

// A crash from here on leaves bitmaps that miss writes: the file says so first.
Result<void> Bitmaps::mark_in_use() {
  if (in_use_marked_) return {};
  for (Record& r : records_) {
    if (!r.info.enabled || r.info.in_use) continue;
    r.flags |= kInUse;
    std::array<std::byte, 4> flags;
    store_be<u32>(flags, 0, r.flags);
    TRY(image_.file_->write(r.flags_at, flags), "Marking bitmap '{}' as in use", r.info.name);
  }
  TRY(image_.file_->flush());
  in_use_marked_ = true;
  return {};
}

Result<void> Bitmaps::store_all() {
  if (!in_use_marked_) return {};
  std::vector<Record> records = records_;
  std::vector<Record> old;
  for (Record& r : records) {
    const auto at = std::ranges::find(recording_, r.info.name, &Recording::name);
    if (at == recording_.end()) continue;
    old.push_back(r);
    TRY(store_content(r, at->content));
    r.flags &= ~kInUse;
  }
  TRY(write_directory(std::move(records)));
  for (const Record& r : old) TRY(release_content(r));
  in_use_marked_ = false;
  return {};
}

Result<void> Bitmaps::add(BitmapInfo bitmap) {
  TRY(image_.check_not_corrupt());
  if (bitmap.name.empty() || bitmap.name.size() > 1023)
    return fail(Errc::InvalidArgument, "A bitmap's name has 1 to 1023 bytes");
  if (find(bitmap.name))
    return fail(Errc::Exists, "The image keeps a bitmap '{}' already", bitmap.name);
  if (!std::has_single_bit(bitmap.granularity) || bitmap.granularity < 512 ||
      bitmap.granularity > 2 * GiB)
    return fail(Errc::InvalidArgument,
                "Granularity must be a power of 2, at least 512 and at most 2 GiB");
  if (records_.size() >= kMaxBitmaps) return fail(Errc::OutOfRange, "Too many bitmaps");
  const u64 words = words_for(bitmap.granularity);
  if (words > kLimitWords)
    return fail(Errc::OutOfRange, "The bitmap would be too large: take a coarser granularity");
  Record record;
  record.info = bitmap;
  record.flags = bitmap.enabled ? kAuto : 0;
  TRY(store_content(record, {std::vector<u64>(words)}));
  std::vector<Record> records = records_;
  records.push_back(std::move(record));
  TRY(write_directory(std::move(records)));
  if (bitmap.enabled)
    recording_.push_back({bitmap.name, bitmap.granularity, {std::vector<u64>(words)}});
  return image_.commit();
}

Result<void> Bitmaps::remove(std::string_view name) {
  TRY(image_.check_not_corrupt());
  const Record gone = *TRY(find(name));
  std::vector<Record> records = records_;
  std::erase_if(records, [&](const Record& r) { return r.info.name == name; });
  TRY(write_directory(std::move(records)));
  TRY(release_content(gone));
  std::erase_if(recording_, [&](const Recording& r) { return r.name == name; });
  return image_.commit();
}

Result<void> Bitmaps::set_enabled(std::string_view name, bool enabled) {
  Record* record = TRY(find(name));
  if (record->info.in_use)
    return fail(Errc::Corrupt,
                "Bitmap '{}' was in use when its image was last closed and may lack writes", name);
  if (record->info.enabled == enabled) return {};
  const BitmapContent content = TRY(load(name));
  std::vector<Record> records = records_;
  Record& changed = records[static_cast<size_t>(record - records_.data())];
  changed.info.enabled = enabled;
  changed.flags = enabled ? changed.flags | kAuto : changed.flags & ~kAuto;
  TRY(write_directory(std::move(records)));
  const u64 granularity = TRY(find(name))->info.granularity;
  std::erase_if(recording_, [&](const Recording& r) { return r.name == name; });
  if (enabled) recording_.push_back({std::string(name), granularity, content});
  return image_.commit();
}

Result<BitmapContent> Bitmaps::load(std::string_view name) {
  for (const Recording& r : recording_)
    if (r.name == name) return r.content;
  const Record& record = *TRY(find(name));
  if (record.info.in_use)
    return fail(Errc::Corrupt,
                "Bitmap '{}' was in use when its image was last closed and may lack writes", name);
  BitmapContent content;
  const u64 words = words_for(record.info.granularity);
  if (words > kLimitWords) return fail(Errc::OutOfRange, "Bitmap '{}' is too large", name);
  content.words.resize(words);
  const std::vector<u64> table = TRY(read_table(image_, record));
  const u64 cluster = image_.cluster_size();
  const u64 bytes = (words * 8 + cluster - 1) / cluster;
  if (table.size() < bytes)
    return fail(Errc::Corrupt, "The table of bitmap '{}' is too short", name);
  std::vector<std::byte> chunk(cluster);
  for (u64 i = 0; i < bytes; i++) {
    const u64 here = std::min(cluster, words * 8 - i * cluster);
    const u64 offset = table[i] & kTableOffsetMask;
    if (offset)
      TRY(image_.file_->read_or_zero(offset, chunk));
    else
      std::ranges::fill(chunk, table[i] & kAllOnes ? std::byte{0xff} : std::byte{0});
    for (u64 w = 0; w * 8 < here; w++)
      content.words[i * cluster / 8 + w] = load_le<u64>(chunk, w * 8);
  }
  return content;
}

Result<void> Bitmaps::store(std::string_view name, const BitmapContent& content) {
  TRY(image_.check_not_corrupt());
  Record* record = TRY(find(name));
  if (content.words.size() != words_for(record->info.granularity))
    return fail(Errc::InvalidArgument, "The content does not fit bitmap '{}'", name);
  const Record old = *record;
  std::vector<Record> records = records_;
  TRY(store_content(records[static_cast<size_t>(record - records_.data())], content));
  TRY(write_directory(std::move(records)));
  TRY(release_content(old));
  for (Recording& r : recording_)
    if (r.name == name) r.content = content;
  return image_.commit();
}

Result<void> Bitmaps::continue_from(std::string_view name, const BitmapContent& content) {
  const std::lock_guard guard(mutex_);
  const auto at = std::ranges::find(recording_, name, &Recording::name);
  if (at == recording_.end() || at->content.words.size() != content.words.size())
    return fail(Errc::InvalidArgument, "Bitmap '{}' does not record, or has another size", name);
  TRY(mark_in_use());
  at->content = content;
  return {};
}

// At new places; nothing refers to them before write_directory().
Result<void> Bitmaps::store_content(Record& record, const BitmapContent& content) {
  const Qcow2Image::Lock lock(image_.meta_);
  TRY(image_.note_allocation());
  Refcounts& counts = image_.refcounts_;
  const u64 cluster = image_.cluster_size();
  const u64 chunks = (content.words.size() * 8 + cluster - 1) / cluster;
  const auto allocate = [&](u64 clusters) -> Result<u64> {
    const u64 at = TRY(counts.allocate(clusters));
    counts.set_fresh_from(std::max(counts.fresh_from(), at + clusters * cluster));
    return at;
  };
  std::vector<std::byte> table(std::max<u64>(1, (chunks * 8 + cluster - 1) / cluster) * cluster),
      chunk(cluster);
  for (u64 i = 0; i < chunks; i++) {
    const std::span<const u64> words =
        std::span(content.words)
            .subspan(i * cluster / 8,
                     std::min<u64>(cluster / 8, content.words.size() - i * cluster / 8));
    if (std::ranges::all_of(words, [](u64 w) { return w == 0; })) continue;
    std::ranges::fill(chunk, std::byte{0});
    for (size_t w = 0; w < words.size(); w++) store_le<u64>(chunk, w * 8, words[w]);
    const u64 at = TRY(allocate(1));
    TRY(image_.file_->write(at, chunk), "Writing bitmap '{}'", record.info.name);
    store_be<u64>(table, i * 8, at);
  }
  record.table_offset = TRY(allocate(table.size() / cluster));
  record.table_size = static_cast<u32>(chunks);
  TRY(image_.file_->write(record.table_offset, table), "Writing bitmap '{}'", record.info.name);
  return {};
}

Result<void> Bitmaps::release_content(const Record& record) {
  const std::vector<u64> table = TRY(read_table(image_, record));
  const Qcow2Image::Lock lock(image_.meta_);
  for (const u64 entry : table)
    if (entry & kTableOffsetMask) image_.refcounts_.release(entry & kTableOffsetMask, 1);
  const u64 cluster = image_.cluster_size();
  image_.refcounts_.release(record.table_offset,
                            std::max<u64>(1, (u64{record.table_size} * 8 + cluster - 1) / cluster));
  return {};
}

// A new directory; the header tells of it when it, and all it leads to, is durable.
Result<void> Bitmaps::write_directory(std::vector<Record> records) {
  const u64 cluster = image_.cluster_size();
  std::vector<std::byte> bytes;
  std::vector<u64> flags_at;
  for (const Record& r : records) {
    const size_t at = bytes.size();
    bytes.resize(at + padded(kFixed + r.extra.size() + r.info.name.size()));
    const Bytes entry = Bytes(bytes).subspan(at);
    store_be<u64>(entry, 0, r.table_offset);
    store_be<u32>(entry, 8, r.table_size);
    store_be<u32>(entry, 12, r.flags);
    entry[16] = std::byte{1};
    entry[17] = static_cast<std::byte>(std::countr_zero(r.info.granularity));
    store_be<u16>(entry, 18, static_cast<u16>(r.info.name.size()));
    store_be<u32>(entry, 20, static_cast<u32>(r.extra.size()));
    const auto names = std::ranges::copy(r.extra, entry.begin() + kFixed).out;
    std::ranges::copy(bytes_of(r.info.name), names);
    flags_at.push_back(at + 12);
  }
  const std::optional<Header::Bitmaps> old = image_.header_.bitmaps;
  std::optional<Header::Bitmaps> now;
  if (!records.empty()) {
    const Qcow2Image::Lock lock(image_.meta_);
    const u64 clusters = (bytes.size() + cluster - 1) / cluster;
    const u64 at = TRY(image_.refcounts_.allocate(clusters));
    image_.refcounts_.set_fresh_from(
        std::max(image_.refcounts_.fresh_from(), at + clusters * cluster));
    std::vector<std::byte> whole = bytes;
    whole.resize(clusters * cluster);
    TRY(image_.file_->write(at, whole), "Writing the bitmap directory");
    now = Header::Bitmaps{static_cast<u32>(records.size()), bytes.size(), at};
  }
  TRY(image_.commit());
  TRY(image_.file_->flush());
  for (size_t i = 0; i < records.size(); i++)
    records[i].flags_at = now->directory_offset + flags_at[i];
  image_.header_.bitmaps = now;
  image_.header_.autoclear &= ~kBitmapsConsistent;
  if (now) image_.header_.autoclear |= kBitmapsConsistent;
  TRY(image_.write_header());
  TRY(image_.file_->flush());
  for (Record& r : records) r.info.in_use = r.flags & kInUse;
  records_ = std::move(records);
  if (old) {
    const Qcow2Image::Lock lock(image_.meta_);
    image_.refcounts_.release(old->directory_offset, (old->directory_size + cluster - 1) / cluster);
  }
  return {};
}

}  // namespace menura::qcow2
