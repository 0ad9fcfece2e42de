// Snapshots: internal snapshots: each is an L1 table of its own, whose clusters count once more.
//
// Owner: Qcow2Image. Threads: nothing else is in flight. Every change becomes visible by one write to
// the header's first sector, when all it leads to is durable. Spec: "Snapshots".
// Example: `auto snapshots = TRY(Snapshots::load(image));`
#pragma once

#include "block/qcow2/qcow2_image.h"

namespace menura::qcow2 {

class Snapshots final : public SnapshotStore {
 public:
  struct Record {
    SnapshotInfo info;
    u64 l1_offset = 0;
    u32 l1_size = 0;
    std::vector<std::byte> more;  // extra data that we do not know
  };
  static Result<std::unique_ptr<Snapshots>> load(Qcow2Image& image);

  std::vector<SnapshotInfo> list() const override;
  Result<void> create(SnapshotInfo snapshot) override;
  Result<void> apply(std::string_view snapshot) override;
  Result<void> remove(std::string_view snapshot) override;
  Result<void> show(std::string_view snapshot) override;
  const std::vector<Record>& records() const { return records_; }
  u64 table_bytes() const { return table_bytes_; }
  Result<std::vector<u64>> l1_of(const Record& record) const;

 private:
  explicit Snapshots(Qcow2Image& image) : image_(image) {}
  Result<void> parse();
  Result<size_t> find(std::string_view snapshot) const;
  // One use more or less of everything the table leads to.
  Result<void> count_tree(const std::vector<u64>& l1, i64 delta);
  Result<void> set_copied_flags(bool by_count);
  Result<u64> write_l1(const std::vector<u64>& l1);
  Result<void> write_table(std::vector<Record> records);
  Result<void> commit_counts();
  u64 clusters_for(u64 bytes) const;

  Qcow2Image& image_;
  std::vector<Record> records_;
  u64 table_bytes_ = 0;
};

}  // namespace menura::qcow2
