// `check`: counts every use of every cluster, and compares with what the image says.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/bytes.h"
#include "block/qcow2/bitmaps.h"
#include "block/qcow2/create.h"
#include "block/qcow2/qcow2_image.h"
#include "block/qcow2/snapshots.h"

namespace menura::qcow2 {

namespace {

// Uses of clusters, sparse: a hostile image may name places all over 2^56 bytes.
class Uses {
 public:
  u32& at(u64 cluster) {
    std::vector<u32>& page = pages_[cluster / kPage];
    if (page.empty()) page.resize(kPage);
    return page[cluster % kPage];
  }
  u32 count(u64 cluster) const {
    const auto page = pages_.find(cluster / kPage);
    return page == pages_.end() ? 0 : page->second[cluster % kPage];
  }

 private:
  static constexpr u64 kPage = 16384;
  std::unordered_map<u64, std::vector<u32>> pages_;
};

}  // namespace

class Checker {
 public:
  Checker(Qcow2Image& image, Repair repair) : image_(image), repair_(repair) {}

  Result<CheckReport> run() {
    end_ = std::max(image_.file_->size(), image_.refcounts_.end());
    use(0, image_.cluster_size(), "the header");
    use(image_.header_.reftable_offset, image_.header_.reftable_clusters * image_.cluster_size(),
        "the reference count table");
    use_blocks();
    TRY(use_tree(image_.header_.l1_offset, image_.l1_, "the active L1 table", true));
    TRY(use_snapshots());
    TRY(use_bitmaps());
    if (image_.header_.crypto)
      use(image_.header_.crypto->offset, image_.header_.crypto->length, "the encryption header");
    TRY(compare());
    TRY(compare_copied_flags());
    report_.total_clusters = (image_.size() + image_.cluster_size() - 1) / image_.cluster_size();
    return std::move(report_);
  }

 private:
  void error(std::string what) {
    report_.corruptions++;
    report_.note("ERROR " + std::move(what));
  }

  // One use of each cluster that the bytes touch.
  bool use(u64 offset, u64 length, std::string_view what) {
    if (length == 0) return true;
    if (offset >= end_ || length > end_ - offset + image_.cluster_size()) {
      error(format("{} at {:#x} with {:#x} bytes lies beyond the end of the file", what, offset,
                   length));
      return false;
    }
    for (u64 at = image_.cluster_of(offset); at < offset + length; at += image_.cluster_size()) {
      u32& uses = uses_.at(at >> image_.header_.cluster_bits);
      if (uses == ~u32{0}) return false;
      uses++;
      used_end_ = std::max(used_end_, at + image_.cluster_size());
    }
    return true;
  }

  void use_blocks() {
    for (size_t i = 0; i < image_.refcounts_.table().size(); i++) {
      const u64 block = image_.refcounts_.table()[i];
      if (block) use(block, image_.cluster_size(), format("reference count block {}", i));
    }
  }

  Result<void> use_tree(u64 l1_offset, const std::vector<u64>& l1, std::string_view what,
                        bool active) {
    if (!use(l1_offset, l1.size() * 8, what)) return {};
    std::unordered_set<u64> seen;
    for (size_t i = 0; i < l1.size(); i++) {
      const u64 table = l1[i] & kOffsetMask;
      if (table == 0) continue;
      if (table & (image_.cluster_size() - 1)) {
        error(format("{}: entry {} ({:#x}) is not aligned", what, i, l1[i]));
        continue;
      }
      if (!use(table, image_.cluster_size(), "an L2 table")) continue;
      // The same table twice in one tree: its clusters would be counted for ever.
      if (!seen.insert(table).second) {
        error(format("{}: entries lead to the same L2 table at {:#x}", what, table));
        continue;
      }
      TRY(use_table(table, i * image_.table_span(), active));
    }
    return {};
  }

  Result<void> use_table(u64 table, u64 guest, bool active) {
    const unsigned size = image_.header_.l2_entry_size();
    u64 next_host = 0;
    for (u64 at = table; at < table + image_.cluster_size();
         at += size, guest += image_.cluster_size()) {
      const Slice* slice = TRY(image_.l2_.get(at));
      const Entry entry = Qcow2Image::load_entry(*slice, at, size);
      if (entry.word == 0) continue;
      if (const Result<void> sound = image_.check_entry(entry, guest); !sound) {
        error(sound.error().text);
        continue;
      }
      if (entry.word & kCompressed) {
        if (entry.word & kCopied)
          error(format("cluster of guest offset {:#x}: OFLAG_COPIED and compressed", guest));
        const u64 offset = image_.compressed_offset(entry.word);
        const u64 size_here =
            std::min(image_.compressed_size(entry.word), offset < end_ ? end_ - offset : ~u64{0});
        use(offset, size_here, "a compressed cluster");
        if (active)
          report_.allocated_clusters++, report_.compressed_clusters++,
              report_.fragmented_clusters++;
        continue;
      }
      if (!image_.has_place(entry)) continue;
      const u64 host = entry.word & kOffsetMask;
      if (!image_.header_.has_data_file()) use(host, image_.cluster_size(), "a data cluster");
      if (!active || image_.kind_of(entry, 0) == Kind::ZeroAlloc) continue;
      report_.allocated_clusters++;
      if (next_host && host != next_host) report_.fragmented_clusters++;
      next_host = host + image_.cluster_size();
    }
    return {};
  }

  Result<void> use_snapshots() {
    std::unordered_set<u64> seen;
    if (image_.header_.snapshot_count)
      use(image_.header_.snapshots_offset, image_.snapshots_->table_bytes(), "the snapshot table");
    for (const Snapshots::Record& r : image_.snapshots_->records()) {
      const std::string what = format("the L1 table of snapshot {} ('{}')", r.info.id, r.info.name);
      if (r.l1_size && (r.l1_offset >= end_ || !seen.insert(r.l1_offset).second)) {
        error(format("{} is beyond the end of the file, or another snapshot's", what));
        continue;
      }
      std::vector<std::byte> bytes(u64{r.l1_size} * 8);
      TRY(image_.file_->read_or_zero(r.l1_offset, bytes));
      std::vector<u64> l1(r.l1_size);
      for (size_t i = 0; i < l1.size(); i++) l1[i] = load_be<u64>(bytes, i * 8);
      TRY(use_tree(r.l1_offset, l1, what, false));
    }
    return {};
  }

  Result<void> use_bitmaps() {
    if (!image_.header_.bitmaps) return {};
    use(image_.header_.bitmaps->directory_offset, image_.header_.bitmaps->directory_size,
        "the bitmap directory");
    const Result<std::vector<Bitmaps::Record>> records = Bitmaps::read_directory(image_);
    if (!records) {
      error(records.error().text);
      return {};
    }
    for (const Bitmaps::Record& r : *records) {
      if (!use(r.table_offset, std::max<u64>(1, u64{r.table_size} * 8), "a bitmap's table"))
        continue;
      const Result<std::vector<u64>> table = Bitmaps::read_table(image_, r);
      if (!table) {
        error(table.error().text);
        continue;
      }
      for (const u64 entry : *table)
        if (entry & kOffsetMask) use(entry & kOffsetMask, image_.cluster_size(), "a bitmap's data");
    }
    return {};
  }

  Result<void> compare() {
    const u64 clusters =
        (std::max(end_, used_end_) + image_.cluster_size() - 1) / image_.cluster_size();
    for (u64 cluster = 0; cluster < clusters; cluster++) {
      const u64 offset = cluster << image_.header_.cluster_bits;
      const u64 says = TRY(image_.refcounts_.get(offset));
      const u64 uses = uses_.count(cluster);
      if (says || uses) report_.image_end_offset = offset + image_.cluster_size();
      if (says == uses) continue;
      const bool leak = says > uses;
      const bool fix = leak ? repair_ != Repair::None : repair_ == Repair::All;
      (leak ? report_.leaks : report_.corruptions)++;
      report_.note(format("{} cluster {} refcount={} reference={}",
                          fix    ? "Repairing"
                          : leak ? "Leaked"
                                 : "ERROR",
                          cluster, says, uses));
      if (!fix) continue;
      if (uses > image_.header_.max_refcount()) {
        report_.check_errors++;
        continue;
      }
      TRY(image_.refcounts_.set(offset, uses));
      (leak ? report_.leaks_fixed : report_.corruptions_fixed)++;
    }
    return {};
  }

  // A flag that is set where it must not be lets a snapshot be written to; one that is missing only
  // costs a copy, but is put right with the leaks.
  void flag(bool set, u64 uses, std::string_view what, u64 offset, bool& fix) {
    fix = false;
    if (set == (uses == 1)) return;
    if (set && repair_ == Repair::None)
      return error(format("OFLAG_COPIED {} at {:#x}: refcount={}", what, offset, uses));
    if (set)
      report_.corruptions++, report_.corruptions_fixed += repair_ == Repair::All;
    else
      report_.leaks++, report_.leaks_fixed += repair_ != Repair::None;
    fix = set ? repair_ == Repair::All : repair_ != Repair::None;
    report_.note(format("{} {} at {:#x}: refcount={}, OFLAG_COPIED is {}",
                        fix ? "Repairing" : "Leaked", what, offset, uses, set ? "set" : "not set"));
  }

  Result<void> compare_copied_flags() {
    if (image_.showing_snapshot_) return {};
    const unsigned size = image_.header_.l2_entry_size();
    for (size_t i = 0; i < image_.l1_.size(); i++) {
      const u64 table = image_.l1_[i] & kOffsetMask;
      if (table == 0 || table & (image_.cluster_size() - 1) || table >= end_) continue;
      bool fix = false;
      flag(image_.l1_[i] & kCopied, uses_.count(table >> image_.header_.cluster_bits), "L2 table",
           table, fix);
      if (fix) image_.l1_[i] ^= kCopied, image_.dirty_l1_.insert(i / 64);
      for (u64 at = table; at < table + image_.cluster_size(); at += size) {
        Slice* slice = TRY(image_.l2_.get(at));
        const Entry entry = Qcow2Image::load_entry(*slice, at, size);
        if (!image_.has_place(entry) || image_.header_.has_data_file()) continue;
        const u64 host = entry.word & kOffsetMask;
        if (host & (image_.cluster_size() - 1) || host >= end_) continue;
        flag(entry.word & kCopied, uses_.count(host >> image_.header_.cluster_bits), "data cluster",
             host, fix);
        if (!fix) continue;
        store_be<u64>(slice->bytes, at - slice->offset, entry.word ^ kCopied);
        image_.l2_.mark_dirty(*slice);
      }
    }
    return {};
  }

  Qcow2Image& image_;
  const Repair repair_;
  CheckReport report_;
  Uses uses_;
  u64 end_ = 0;
  u64 used_end_ = 0;
};

Result<CheckReport> Qcow2Image::check(Repair repair) {
  if (repair != Repair::None && !writable_)
    return fail(Errc::Permission, "A read-only image cannot be repaired");
  if (repair != Repair::None) TRY(commit());
  CheckReport report = TRY(Checker(*this, repair).run());
  if (repair == Repair::None) return report;
  TRY(commit());
  TRY(file_->flush());
  const bool sound = report.corruptions == report.corruptions_fixed && report.check_errors == 0;
  if (sound && header_.incompatible & (kDirty | kCorrupt)) {
    header_.incompatible &= ~(kDirty | kCorrupt);
    marked_dirty_ = false;
    TRY(write_header());
  }
  return report;
}

Result<void> Qcow2Image::amend(const Value& options, const Progress&) {
  AmendOptions wanted;
  TRY(read_properties(wanted, options, "qcow2"));
  TRY(check_not_corrupt());
  Header changed = header_;
  if (wanted.compat) {
    const bool v2 = *wanted.compat == "0.10" || *wanted.compat == "v2";
    if (!v2 && *wanted.compat != "1.1" && *wanted.compat != "v3")
      return fail(Errc::InvalidArgument, "compat: expected 0.10, v2, 1.1 or v3, not '{}'",
                  *wanted.compat);
    if (v2 && header_.version == 3)
      return fail(Errc::Unsupported, "Downgrading an image to version 2 is not there yet");
    if (!v2) changed.version = 3;
  }
  if (wanted.lazy_refcounts) {
    if (*wanted.lazy_refcounts && changed.version < 3)
      return fail(Errc::InvalidArgument,
                  "lazy_refcounts needs a version 3 image: amend compat=v3 too");
    changed.compatible = *wanted.lazy_refcounts ? changed.compatible | kLazyRefcounts
                                                : changed.compatible & ~kLazyRefcounts;
  }
  if (wanted.refcount_bits && *wanted.refcount_bits != header_.refcount_bits())
    return fail(Errc::Unsupported, "Changing the reference count width is not there yet");
  if (wanted.backing_file) changed.backing_file = *wanted.backing_file;
  if (wanted.backing_fmt) changed.backing_format = *wanted.backing_fmt;
  if (wanted.data_file) {
    if (!header_.has_data_file())
      return fail(
          Errc::InvalidArgument,
          "data_file: the image keeps its data in itself, and its data cannot be moved out");
    changed.data_file = *wanted.data_file;
  }
  if (wanted.data_file_raw && *wanted.data_file_raw != header_.data_file_is_raw()) {
    if (*wanted.data_file_raw)
      return fail(Errc::InvalidArgument, "data_file_raw is decided when an image is made");
    changed.autoclear &= ~kDataFileRaw;
  }
  TRY(commit());
  TRY(changed.serialize());
  header_ = std::move(changed);
  TRY(write_header());
  if (wanted.size) TRY(truncate(wanted.size->bytes, Preallocation::Off));
  return {};
}

}  // namespace menura::qcow2
