// QMP commands that change the image graph: snapshots, bitmaps, reopening; several at once in a
// transaction.
//
// Owner: control/monitor. Threads: under the machine lock. Errors: as control/monitor/command.h.
// Example: `command<&transaction>("transaction", "Change several things at once, or none")`
#pragma once

#include "control/monitor/qmp_jobs.h"

namespace menura {

struct BlockdevSnapshot {
  std::string node, overlay;
  void describe(PropertyVisitor& p);
};
Result<Nothing> blockdev_snapshot(MonitorTarget& target, const BlockdevSnapshot& arguments);

struct BlockdevSnapshotSync {
  std::optional<std::string> device, node, snapshot_node;
  std::string file;
  std::string format = "qcow2";
  NewImageMode mode = NewImageMode::AbsolutePaths;
  void describe(PropertyVisitor& p);
};
Result<Nothing> blockdev_snapshot_sync(MonitorTarget& target,
                                       const BlockdevSnapshotSync& arguments);

struct BitmapName {
  std::string node, name;
  void describe(PropertyVisitor& p);
};
struct BitmapAdd : BitmapName {
  std::optional<u64> granularity;
  bool persistent = false, disabled = false;
  void describe(PropertyVisitor& p);
};
struct BitmapMerge {
  std::string node, into;
  std::vector<Value> bitmaps;  // names, or {node, name}
  void describe(PropertyVisitor& p);
};
Result<Nothing> bitmap_add(MonitorTarget& target, const BitmapAdd& arguments);
Result<Nothing> bitmap_remove(MonitorTarget& target, const BitmapName& arguments);
Result<Nothing> bitmap_clear(MonitorTarget& target, const BitmapName& arguments);
Result<Nothing> bitmap_enable(MonitorTarget& target, const BitmapName& arguments);
Result<Nothing> bitmap_disable(MonitorTarget& target, const BitmapName& arguments);
Result<Nothing> bitmap_merge(MonitorTarget& target, const BitmapMerge& arguments);

struct BlockdevReopen {
  std::vector<Value> options;
  void describe(PropertyVisitor& p);
};
Result<Nothing> blockdev_reopen(MonitorTarget& target, const BlockdevReopen& arguments);

struct ChangeBackingFile {
  std::string device, image_node, file;
  void describe(PropertyVisitor& p);
};
Result<Nothing> change_backing_file(MonitorTarget& target, const ChangeBackingFile& arguments);

enum class TransactionKind : u8 {
  Abort,
  BitmapAdd,
  BitmapClear,
  BitmapDisable,
  BitmapEnable,
  BitmapMerge,
  BitmapRemove,
  BlockdevBackup,
  BlockdevSnapshot,
  BlockdevSnapshotSync,
  DriveBackup
};
std::span<const std::string_view> enum_names(TransactionKind);
struct TransactionAction {
  TransactionKind type = TransactionKind::Abort;
  Value data;
  void describe(PropertyVisitor& p);
};
struct BlockTransaction {
  std::vector<TransactionAction> actions;
  void describe(PropertyVisitor& p);
};
Result<Nothing> transaction(MonitorTarget& target, const BlockTransaction& arguments);

}  // namespace menura
