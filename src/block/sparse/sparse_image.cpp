#include "block/sparse/sparse_image.h"

#include <algorithm>
#include <cstring>

#include "base/bits.h"
#include "base/units.h"

namespace menura {

namespace {
constexpr size_t kPages = 2048;
constexpr u64 kCopyChunk = 1 * MiB;
constexpr u64 kLargestEnd = ~u64{0} >> 1;
}  // namespace

SparseImage::SparseImage(const Layout& layout, bool writable, const Child& file,
                         const Child* backing)
    : tables_(file, kPages),
      roots_(file, kPages),
      block_(layout.block),
      absent_(backing || layout.absent_is_hole ? ExtentKind::Hole : ExtentKind::Zero),
      file_(&file),
      backing_(backing),
      size_(layout.size),
      writable_(writable),
      end_(layout.end),
      zero_from_(file->size()) {}

Result<Child> attach_for_creation(const CreateContext& context) {
  return Child::attach(
      context.file,
      {"the creation", "file", {kConsistentRead | kWrite | kResize, kConsistentRead}});
}

Result<void> SparseImage::unpack(const Place&, Bytes) {
  return fail(Errc::Unsupported, "Blocks of this format are not compressed");
}

// --- Reading

// Blocks whose entries say the same, or that lie one after the other, are one run.
Result<SparseImage::Run> SparseImage::run_at(u64 offset, u64 length) {
  u64 index = offset / block_;
  const u64 within = offset % block_;
  const Place first = TRY(find(index));
  Run run{first, block_ - within};
  if (first.kind == Place::Kind::At) run.place.offset += within;
  if (first.kind == Place::Kind::Packed) return Run{first, std::min(run.length, length)};
  const auto skip = [&](const Place& place) {
    const u64 more = place.kind == Place::Kind::Absent ? std::max<u64>(place.alike, 1) : 1;
    index += more;
    return more;
  };
  run.length += (skip(first) - 1) * block_;
  while (run.length < length) {
    const Result<Place> next = find(index);
    if (!next || next->kind != first.kind) break;
    if (next->kind == Place::Kind::At && next->offset != run.place.offset + run.length) break;
    run.length += skip(*next) * block_;
  }
  run.length = std::min(run.length, length);
  return run;
}

Result<Extent> SparseImage::map(u64 offset, u64 length) {
  const Lock lock(meta_);
  const Run run = TRY(run_at(offset, length));
  Extent extent{.length = run.length};
  switch (run.place.kind) {
    case Place::Kind::Absent: extent.kind = absent_; break;
    case Place::Kind::Zero: extent.kind = ExtentKind::Zero; break;
    case Place::Kind::Packed: extent.compressed = true; break;
    case Place::Kind::At:
      extent.kind = ExtentKind::Data;
      extent.at = &(*file_)->image(), extent.offset = run.place.offset;
      break;
  }
  return extent;
}

std::optional<Direct> SparseImage::peek(u64 offset, u64 length) {
  const Lock lock(meta_, std::try_to_lock);
  if (!lock) return {};
  tables_.set_resident_only(true), roots_.set_resident_only(true);
  const Result<Run> run = run_at(offset, length);
  tables_.set_resident_only(false), roots_.set_resident_only(false);
  if (!run || run->place.kind == Place::Kind::Packed) return {};
  if (run->place.kind == Place::Kind::At) {
    std::optional<Direct> direct = (*file_)->peek(run->place.offset, run->length);
    if (direct) direct->writable = direct->writable && writable_ && in_use_;
    return direct;
  }
  if (run->place.kind == Place::Kind::Absent && backing_ && *backing_) return {};
  return Direct{.kind = Direct::Kind::Zero, .length = run->length};
}

Result<void> SparseImage::read_below(u64 offset, Bytes to) {
  if (backing_ && *backing_) return (*backing_)->read_or_zero(offset, to);
  std::memset(to.data(), 0, to.size());
  return {};
}

Result<void> SparseImage::read_packed(const Place& place, u64 within, Bytes to) {
  if (to.size() == block_) return unpack(place, to);
  std::vector<std::byte> whole(static_cast<size_t>(block_));
  TRY(unpack(place, whole));
  std::memcpy(to.data(), whole.data() + within, to.size());
  return {};
}

Result<void> SparseImage::read(u64 offset, Bytes to) {
  while (!to.empty()) {
    Lock lock(meta_);
    const Run run = TRY(run_at(offset, to.size()));
    lock.unlock();
    const Bytes part = to.first(static_cast<size_t>(run.length));
    switch (run.place.kind) {
      case Place::Kind::Absent: TRY(read_below(offset, part)); break;
      case Place::Kind::Zero: std::memset(part.data(), 0, part.size()); break;
      case Place::Kind::At: TRY((*file_)->read_or_zero(run.place.offset, part)); break;
      case Place::Kind::Packed: TRY(read_packed(run.place, offset % block_, part)); break;
    }
    to = to.subspan(part.size());
    offset += part.size();
  }
  return {};
}

// --- Writing

Result<void> SparseImage::begin_change() {
  if (!writable_) return fail(Errc::Permission, "The image is read-only");
  if (in_use_) return {};
  TRY(mark_in_use());
  in_use_ = true;
  return {};
}

Result<u64> SparseImage::take_room(u64 bytes, u64 alignment) {
  const u64 at = (end_ + alignment - 1) / alignment * alignment;
  if (at > kLargestEnd || bytes > kLargestEnd - at)
    return fail(Errc::NoSpace, "The image's file would become too large");
  if (!(*file_)->image().grows())
    return fail(Errc::Unsupported, "New blocks need a file that can grow: this is a device");
  // What an earlier program left behind the end is not zero.
  if (at < zero_from_) TRY((*file_)->zero(at, std::min(bytes, zero_from_ - at)));
  if (at + bytes > (*file_)->size()) TRY((*file_)->truncate(at + bytes));
  end_ = at + bytes;
  return at;
}

Result<void> SparseImage::write(u64 offset, ConstBytes from, WriteMode) {
  while (!from.empty()) {
    Lock lock(meta_);
    TRY(begin_change());
    const Run run = TRY(run_at(offset, from.size()));
    const bool in_place = run.place.kind == Place::Kind::At;
    const u64 length = in_place ? run.length : std::min(run.length, block_ - offset % block_);
    const ConstBytes part = from.first(static_cast<size_t>(length));
    lock.unlock();
    TRY(in_place ? (*file_)->write(run.place.offset, part) : change_block(offset, part));
    from = from.subspan(part.size());
    offset += part.size();
  }
  return {};
}

// A block gets a place, with the bytes given and what it held around them.
Result<void> SparseImage::change_block(u64 offset, ConstBytes from) {
  const u64 index = offset / block_;
  Lock lock(meta_);
  settled_.wait(lock, [&] { return !busy_.contains(index); });
  const Place old = TRY(find(index));
  if (old.kind == Place::Kind::At) {  // by somebody else, meanwhile
    lock.unlock();
    return (*file_)->write(old.offset + offset % block_, from);
  }
  const u64 host = TRY(allocate(index));
  busy_.insert(index);
  lock.unlock();
  Result<void> done = write_new(old, host, offset, from);
  lock.lock();
  if (done) done = record(index, {.kind = Place::Kind::At, .offset = host});
  busy_.erase(index);
  settled_.notify_all();
  return done;
}

bool SparseImage::is_zero_below(u64 index) const {
  return !backing_ || !*backing_ || index * block_ >= (*backing_)->size();
}

Result<void> SparseImage::write_new(const Place& old, u64 host, u64 offset, ConstBytes from) {
  const u64 within = offset % block_;
  const u64 after = within + from.size();
  const bool was_zero = old.kind == Place::Kind::Zero ||
                        (old.kind == Place::Kind::Absent && is_zero_below(offset / block_));
  if (!was_zero) {
    TRY(copy_old(old, host, offset - within, within));
    TRY((*file_)->write(host + within, from));
    return copy_old(old, host + after, offset - within + after, block_ - after);
  }
  return (*file_)->write(host + within, from);
}

Result<void> SparseImage::copy_old(const Place& old, u64 host, u64 offset, u64 length) {
  std::vector<std::byte> bytes(static_cast<size_t>(std::min(length, kCopyChunk)));
  for (u64 done = 0; done < length;) {
    const Bytes part =
        Bytes(bytes).first(static_cast<size_t>(std::min<u64>(length - done, bytes.size())));
    if (old.kind == Place::Kind::Packed)
      TRY(read_packed(old, (offset + done) % block_, part));
    else
      TRY(read_below(offset + done, part));
    // What the backing image has beyond this disk is not this disk's.
    const u64 inside = size() - std::min(size(), offset + done);
    if (inside < part.size())
      std::ranges::fill(part.subspan(static_cast<size_t>(inside)), std::byte{0});
    TRY((*file_)->write(host + done, part));
    done += part.size();
  }
  return {};
}

Result<void> SparseImage::write_packed(u64 index, ConstBytes packed, u64 alignment) {
  Lock lock(meta_);
  TRY(begin_change());
  settled_.wait(lock, [&] { return !busy_.contains(index); });
  const u64 host = TRY(take_room(packed.size(), alignment));
  busy_.insert(index);
  lock.unlock();
  Result<void> done = (*file_)->write(host, packed);
  lock.lock();
  if (done)
    done = record(index, {.kind = Place::Kind::Packed, .offset = host, .packed = packed.size()});
  busy_.erase(index);
  settled_.notify_all();
  return done;
}

Result<void> SparseImage::zero(u64 offset, u64 length, WriteMode mode) {
  while (length > 0) {
    Lock lock(meta_);
    TRY(begin_change());
    Run run = TRY(run_at(offset, length));
    if (run.place.kind == Place::Kind::At) {
      lock.unlock();
      TRY((*file_)->zero(run.place.offset, run.length, mode));
    } else if (run.place.kind != Place::Kind::Zero) {
      run.length = std::min(run.length, block_ - offset % block_);
      TRY(zero_absent(lock, run, offset, mode));
    }
    offset += run.length;
    length -= run.length;
  }
  return {};
}

// Inside one block that has no place, or is packed.
Result<void> SparseImage::zero_absent(Lock& lock, const Run& run, u64 offset, WriteMode mode) {
  const u64 index = offset / block_;
  if (run.place.kind == Place::Kind::Absent && is_zero_below(index)) return {};
  const bool whole =
      offset % block_ == 0 && (run.length == block_ || offset + run.length == size());
  if (whole && marks_zero()) {
    settled_.wait(lock, [&] { return !busy_.contains(index); });
    const Place now = TRY(find(index));
    if (now.kind != Place::Kind::At) return record(index, {.kind = Place::Kind::Zero});
    lock.unlock();
    return (*file_)->zero(now.offset, run.length, mode);
  }
  lock.unlock();
  if (mode.no_fallback) return fail(Errc::Unsupported, "Zeroes must be written here");
  const std::vector<std::byte> zeroes(static_cast<size_t>(std::min(run.length, kCopyChunk)));
  for (u64 done = 0; done < run.length;) {
    const u64 here = std::min<u64>(run.length - done, zeroes.size());
    TRY(change_block(offset + done, ConstBytes(zeroes).first(static_cast<size_t>(here))));
    done += here;
  }
  return {};
}

Result<void> SparseImage::discard(u64 offset, u64 length) {
  while (length > 0) {
    Lock lock(meta_);
    const Run run = TRY(run_at(offset, length));
    lock.unlock();
    if (run.place.kind == Place::Kind::At) TRY((*file_)->discard(run.place.offset, run.length));
    offset += run.length;
    length -= run.length;
  }
  return {};
}

// --- Durability

Result<void> SparseImage::commit() {
  const std::lock_guard one(committing_);
  std::vector<TablePages::Piece> tables, roots;
  {
    const Lock lock(meta_);
    tables = tables_.take();
    roots = roots_.take();
  }
  Result<void> done = (*file_)->flush();
  if (tables.empty() && roots.empty()) return done;
  if (done) done = write_pieces(tables, roots);
  const Lock lock(meta_);
  tables_.settle(done.ok());
  roots_.settle(done.ok());
  return done;
}

Result<void> SparseImage::write_pieces(const std::vector<TablePages::Piece>& tables,
                                       const std::vector<TablePages::Piece>& roots) {
  for (const TablePages::Piece& piece : tables) TRY((*file_)->write(piece.offset, piece.bytes));
  if (!tables.empty() && !roots.empty()) TRY((*file_)->flush());
  for (const TablePages::Piece& piece : roots) TRY((*file_)->write(piece.offset, piece.bytes));
  return (*file_)->flush();
}

Result<void> SparseImage::close() {
  if (!writable_ || !in_use_) return {};
  TRY(commit());
  TRY(mark_closed());
  in_use_ = false;
  return commit();
}

Result<void> SparseImage::reopen(bool read_only) {
  if (read_only) TRY(close());
  writable_ = !read_only;
  return {};
}

// --- Looking at all of it

ImageInfo SparseImage::info() {
  ImageInfo info;
  info.cluster_size = block_;
  return info;
}

Result<void> SparseImage::check_block(u64 index, const Place& place, Repair repair,
                                      CheckReport& report) {
  const u64 bytes = place.kind == Place::Kind::Packed ? place.packed : block_;
  const u64 whole = (*file_)->size();
  // The last block may be cut where the disk ends.
  const u64 needed =
      place.kind == Place::Kind::Packed ? bytes : std::min(bytes, size() - index * block_);
  if (place.offset <= whole && needed <= whole - place.offset) {
    report.image_end_offset = std::max(report.image_end_offset, place.offset + bytes);
    return {};
  }
  report.corruptions++;
  report.note(format("Block {} lies at {}, beyond the file's end", index, place.offset));
  if (repair != Repair::All) return {};
  TRY(record(index, {}));
  report.corruptions_fixed++;
  return {};
}

Result<CheckReport> SparseImage::check(Repair repair) {
  CheckReport report;
  TRY(check_blocks(repair, report));
  if (report.corruptions_fixed) TRY(commit());
  return report;
}

Result<void> SparseImage::check_blocks(Repair repair, CheckReport& report) {
  report.total_clusters = blocks();
  std::vector<std::pair<u64, u64>> used;  // from, to
  const Lock lock(meta_);
  u64 expected = 0;
  for (u64 index = 0; index < blocks();) {
    const Result<Place> place = find(index);
    if (!place) {
      report.check_errors++;
      report.note(format("Block {}: {}", index, place.error().text));
      index++;
      continue;
    }
    if (place->kind == Place::Kind::Absent) {
      index += std::max<u64>(place->alike, 1);
      continue;
    }
    if (place->kind == Place::Kind::At || place->kind == Place::Kind::Packed) {
      report.allocated_clusters++;
      const bool packed = place->kind == Place::Kind::Packed;
      if (packed) report.compressed_clusters++;
      if (expected && place->offset != expected && !packed) report.fragmented_clusters++;
      expected = place->offset + block_;
      const u64 bad = report.corruptions;
      TRY(check_block(index, *place, repair, report));
      if (bad == report.corruptions)
        used.emplace_back(place->offset, place->offset + (packed ? place->packed : block_));
    }
    index++;
  }
  std::ranges::sort(used);
  for (size_t i = 1; i < used.size(); i++)
    if (used[i].first < used[i - 1].second) {
      report.corruptions++;
      report.note(format("Two blocks share the bytes from {} on", used[i].first));
    }
  return {};
}

}  // namespace menura
