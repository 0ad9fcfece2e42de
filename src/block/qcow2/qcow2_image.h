// Qcow2Image: the format "qcow2", versions 2 and 3.
//
// Owner: its Node. Threads: as Image. `meta_` guards all metadata; guest data moves without it.
// Spec: QEMU's docs/interop/qcow2. What is in memory reaches the file in commit() alone, in an order
// that leaves a sound image wherever it is cut off: see commit.cpp.
// Example: `{"driver": "qcow2", "lazy-refcounts": true, "file": {…}, "backing": null}`
#pragma once

#include <condition_variable>
#include <mutex>
#include <set>

#include "block/core/driver.h"
#include "block/core/stores.h"
#include "block/luks/encrypted_file.h"
#include "block/luks/luks_volume.h"
#include "block/qcow2/format.h"
#include "block/qcow2/in_flight.h"
#include "block/qcow2/refcounts.h"
#include "block/qcow2/table_cache.h"

namespace menura {

extern const Driver kQcow2Driver;

namespace qcow2 {

class Snapshots;
class Bitmaps;
class Checker;

// What a write to a cluster is checked against before: the tables at fixed places, all that memory
// knows of, or what snapshots refer to as well.
enum class OverlapCheck : u8 { None, Constant, Cached, All };
std::span<const std::string_view> enum_names(OverlapCheck);

// `encrypt` of the node's options.
struct EncryptConfig {
  std::string format;
  std::string key_secret;
  void describe(PropertyVisitor& p);
};

struct Config {
  std::optional<bool> lazy_refcounts;
  std::optional<bool> pass_discard_request;
  bool pass_discard_snapshot = true;
  bool pass_discard_other = false;
  bool discard_no_unref = false;
  OverlapCheck overlap_check = OverlapCheck::Cached;
  std::optional<Size> cache_size;
  Size l2_cache_size{32 * MiB};
  Size l2_cache_entry_size{4096};
  Size refcount_cache_size{4 * MiB};
  EncryptConfig encrypt;
  void describe(PropertyVisitor& p);
};

// One L2 entry; `bits` are an extended one's: 32 of "allocated", above them 32 of "zero".
struct Entry {
  u64 word = 0;
  u64 bits = 0;
  bool operator==(const Entry&) const = default;
};

// What a cluster, or a subcluster, is. "Alloc": it has its place in the file, but no content there.
enum class Kind : u8 { Hole, HoleAlloc, Zero, ZeroAlloc, Normal, Compressed };

// Adjacent bytes of the guest that are of one kind, and adjacent in the file if they are there.
struct Run {
  Kind kind = Kind::Hole;
  u64 length = 0;
  u64 host = 0;
  u64 word = 0;  // Compressed: the entry
  bool copied = false;
};

class Qcow2Image final : public Image {
 public:
  static Result<std::unique_ptr<Image>> open(OpenContext& context);
  ~Qcow2Image() override;

  u64 size() const override { return size_.load(std::memory_order_relaxed); }
  Result<Extent> map(u64 offset, u64 length) override;
  std::optional<Direct> peek(u64 offset, u64 length) override;
  Result<void> read(u64 offset, Bytes to) override;
  Result<void> write(u64 offset, ConstBytes from, WriteMode mode) override;
  Result<void> zero(u64 offset, u64 length, WriteMode mode) override;
  Result<void> discard(u64 offset, u64 length) override;
  Result<void> flush() override;
  Result<void> truncate(u64 size, Preallocation preallocation) override;
  Result<void> write_compressed(u64 offset, ConstBytes from) override;
  bool has_zero_init() const override;
  ImageInfo info() override;
  std::optional<u64> allocated_size() override;
  Result<CheckReport> check(Repair repair) override;
  Result<void> amend(const Value& options, const Progress& progress) override;
  Result<void> change_backing(const std::string& file, const std::string& format) override;
  Result<void> make_empty() override;
  SnapshotStore* snapshots() override;
  BitmapStore* bitmaps() override;
  Result<void> read_vm_state(u64 offset, Bytes to) override;
  Result<void> write_vm_state(u64 offset, ConstBytes from) override;
  Result<void> reopen(bool read_only) override;
  Result<void> close() override;

  // Gives every cluster of the range a place, zeroes to be read there (preallocation).
  Result<void> preallocate(u64 offset, u64 length, Preallocation mode);

 private:
  friend class Snapshots;
  friend class Bitmaps;
  friend class Checker;
  using Lock = std::unique_lock<std::mutex>;

  // Where a part of a request goes.
  struct WritePlan {
    u64 length = 0;  // of the guest's bytes
    u64 host = 0;    // of the first of them
    bool in_place = false;
    // Otherwise: clusters get a new place, or theirs gets its first content.
    bool reuse = false;  // the place is the old one
    bool fresh = false;  // the place reads as zeroes
    u64 clusters = 0;
    std::vector<Entry> old;
  };

  Qcow2Image(Header header, Config config, Node& node, const Child& file);

  // open.cpp
  Result<void> load(bool writable);
  Result<void> unlock(OpenContext& context);
  Result<void> load_l1(u64 offset, u64 entries);
  Result<void> become_writable();
  Result<void> write_header();
  Result<void> check_not_corrupt() const;
  Error mark_corrupt(std::string what);

  // mapping.cpp: all under meta_
  u64 cluster_size() const { return header_.cluster_size(); }
  u64 cluster_of(u64 offset) const { return offset & ~(cluster_size() - 1); }
  u64 l1_index(u64 offset) const { return offset >> (header_.cluster_bits + header_.l2_bits()); }
  u64 table_span() const { return u64{1} << (header_.cluster_bits + header_.l2_bits()); }
  bool has_place(const Entry& entry) const;
  Kind kind_of(const Entry& entry, unsigned subcluster) const;
  Result<void> check_entry(const Entry& entry, u64 guest) const;
  u64 entry_offset(u64 table, u64 guest) const;
  static Entry load_entry(const Slice& slice, u64 at, unsigned size);
  Result<Entry> entry_at(u64 guest);
  Result<void> set_entry(u64 guest, const Entry& entry);  // its table is ours alone
  Result<u64> own_table(u64 guest);  // the L2 table, made or copied so that it is ours alone
  Result<Run> run_at(u64 guest, u64 length);
  void release_entry(const Entry& entry, Refcounts::Punch punch);
  bool hole_is_zero(u64 guest) const;
  u64 compressed_offset(u64 word) const;
  u64 compressed_size(u64 word) const;

  // read.cpp
  Result<void> read_guest(u64 offset, Bytes to);
  Result<void> read_run(const Run& run, u64 offset, Bytes to);
  Result<void> read_hole(u64 offset, Bytes to);
  Result<void> read_compressed(u64 word, u64 offset, Bytes to);

  // write.cpp
  Result<void> write_guest(u64 offset, ConstBytes from);
  Result<WritePlan> plan_write(Lock& lock, u64 offset, u64 length);
  Result<WritePlan> plan_allocation(u64 offset, u64 length, const Entry& first);
  Result<void> write_data(u64 host, ConstBytes from);
  Result<void> write_new(const WritePlan& plan, u64 offset, ConstBytes from);
  Result<void> link(const WritePlan& plan, u64 offset, u64 length);
  bool records_writes() const;
  bool reads_as_zero(const Entry& entry, u64 guest) const;
  Result<u64> allocate_bytes(u64 size);
  Result<void> write_packed(u64 offset, ConstBytes packed);

  // overlap.cpp
  Result<bool> is_metadata(u64 host, u64 length);
  Result<void> list_metadata();

  // zero.cpp
  enum class Drop : u8 { Zero, ZeroUnmap, Discard, Empty };
  Result<void> drop_clusters(u64 offset, u64 length, Drop how);
  Result<void> drop_cluster(u64 guest, Drop how);
  Result<void> zero_subclusters(u64 guest, u64 length);

  // commit.cpp
  Result<void> commit();
  Result<void> commit_if_full();
  Result<void> note_allocation();  // lazy refcounts: the dirty bit, before the first one

  // resize.cpp
  Result<void> grow_l1(u64 entries);
  Result<void> set_size(u64 size);
  u64 vm_state_offset() const { return header_.l1_entries_for(size()) * table_span(); }

  // Configuration
  const Config config_;
  // Wiring
  Node& node_;
  const Child& file_;
  const Child* data_ = nullptr;  // of guest data: file_, or the external data file
  const Child* backing_ = nullptr;
  // State
  std::atomic<u64> size_;
  Header header_;
  std::mutex meta_;
  std::mutex commit_;  // one commit at a time; taken before meta_
  std::vector<u64> l1_;
  std::set<u64> dirty_l1_;  // sectors of 64 entries
  TableCache l2_;
  Refcounts refcounts_;
  InFlight in_flight_;
  Epochs epochs_;
  bool writable_ = false;
  bool lazy_ = false;
  bool marked_dirty_ = false;
  bool showing_snapshot_ = false;
  // Clusters of metadata, sorted: by overlap_check; made anew when it is stale.
  std::vector<u64> metadata_;
  bool metadata_stale_ = true;
  u64 metadata_blocks_ = 0;            // reference count blocks among them
  std::optional<u64> compressed_end_;  // where the next compressed cluster may follow the last
  std::unique_ptr<Snapshots> snapshots_;
  // Encrypted images: the header; what opens the content, when there was a password.
  std::optional<luks::LuksHeader> luks_header_;
  std::optional<luks::LuksVolume> volume_;
  std::optional<luks::EncryptedFile> encrypted_;
  std::unique_ptr<Bitmaps> bitmaps_;  // once writable, or asked for
};

}  // namespace qcow2
}  // namespace menura
