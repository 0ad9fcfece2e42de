// Refcounts: how often each cluster of the image file is used, and which are free. Allocations count
// at once; a cluster that is given up counts, and is not used anew, until settle(): when what
// referred to it is durably gone (see Qcow2Image::commit()).
//
// Owner: Qcow2Image. Threads: under its metadata lock. Offsets are of the file, of clusters.
// Spec: "Host cluster management". Example: `u64 at = TRY(refcounts.allocate(1));`
#pragma once

#include <unordered_map>
#include <vector>

#include "block/qcow2/format.h"
#include "block/qcow2/table_cache.h"

namespace menura::qcow2 {

class Refcounts {
 public:
  Refcounts(const Child& file, Header& header, size_t cache_slices);

  // Reads the reference count table.
  Result<void> load();
  Result<u64> get(u64 cluster_offset);
  // Sets it, making the block that holds it if need be. Errc::OutOfRange: the width is too small.
  Result<void> set(u64 cluster_offset, u64 value);
  Result<void> add(u64 cluster_offset, u64 clusters, i64 delta);

  // Adjacent free clusters, counted once each. Nothing is written there yet.
  Result<u64> allocate(u64 clusters);
  // The same, as many as lie together at the next free place: 1 to `wanted`.
  struct Run {
    u64 offset;
    u64 clusters;
  };
  Result<Run> allocate_some(u64 wanted);
  // If this very cluster is free: it is allocated. For runs that go on where one has ended.
  Result<bool> allocate_at(u64 cluster_offset);
  // One use less, later. `punch`: the host may have the space when nobody uses it any more.
  enum class Punch : u8 { No, Yes };
  void release(u64 offset, u64 clusters, Punch punch = Punch::No);

  // From here on, a byte of the file at or above this reads as zero: nobody has ever written there.
  u64 fresh_from() const { return fresh_from_; }
  void set_fresh_from(u64 offset) { fresh_from_ = offset; }
  // Where the last allocated cluster ends, as far as we have seen.
  u64 end() const { return end_; }

  // What was released up to now; settle() makes it free, and says what to punch.
  struct Release {
    u64 offset;
    u64 clusters;
    Punch punch;
  };
  std::vector<Release> take_released() { return std::exchange(released_, {}); }
  void put_back(std::vector<Release> released);
  bool has_released() const { return !released_.empty(); }
  Result<std::vector<Release>> settle(const std::vector<Release>& released);

  TableCache& cache() { return cache_; }
  const std::vector<u64>& table() const { return table_; }
  // Counts up whenever table() changes or moves.
  u64 blocks_made() const { return blocks_made_; }

 private:
  Result<Slice*> slice_of(u64 cluster, bool make_block);
  Result<void> make_block(u64 index);
  Result<void> grow_table(u64 blocks);
  Result<void> write_table_entry(u64 index);
  Result<bool> is_free(u64 cluster);
  u64 load_count(const Slice& slice, u64 index) const;
  void store_count(Slice& slice, u64 index, u64 value) const;
  Result<u64> find_free(u64 clusters);

  // Configuration
  const u64 per_block_;
  const u64 limit_;  // clusters: the largest file
  // Wiring
  const Child& file_;
  Header& header_;
  TableCache cache_;
  // State
  std::vector<u64> table_;  // offsets of the blocks
  u64 hint_ = 0;            // cluster: below it, nothing is free
  u64 fresh_from_ = 0;
  u64 end_ = 0;
  u64 blocks_made_ = 0;
  std::vector<Release> released_;
};

}  // namespace menura::qcow2
