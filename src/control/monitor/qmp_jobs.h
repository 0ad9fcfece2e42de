// QMP commands on block jobs.
//
// Owner: control/monitor. Threads: under the machine lock. Errors: as control/monitor/command.h.
// Example: `command<&block_stream>("block-stream", "Move the content of backing images up")`
#pragma once

#include "block/job/works.h"
#include "control/monitor/command.h"

namespace menura {

// Members that every command that begins a job has.
struct JobBase {
  std::optional<std::string> job_id;
  u64 speed = 0;
  bool auto_finalize = true, auto_dismiss = true;
  void describe(PropertyVisitor& p);
};

struct BlockStream : JobBase {
  std::string device;
  std::optional<std::string> base, base_node, bottom, backing_file;
  OnError on_error = OnError::Report;
  void describe(PropertyVisitor& p);
};
Result<Nothing> block_stream(MonitorTarget& target, const BlockStream& arguments);

struct BlockCommit : JobBase {
  std::string device;
  std::optional<std::string> base, base_node, top, top_node, backing_file;
  OnError on_error = OnError::Report;
  void describe(PropertyVisitor& p);
};
Result<Nothing> block_commit(MonitorTarget& target, const BlockCommit& arguments);

struct BlockdevMirror : JobBase {
  std::string device, target;
  std::optional<std::string> replaces;
  Sync sync = Sync::Full;
  std::optional<u64> granularity;
  CopyMode copy_mode = CopyMode::Background;
  OnError on_source_error = OnError::Report, on_target_error = OnError::Report;
  void describe(PropertyVisitor& p);
};
Result<Nothing> blockdev_mirror(MonitorTarget& target, const BlockdevMirror& arguments);

enum class NewImageMode : u8 { AbsolutePaths, Existing };
std::span<const std::string_view> enum_names(NewImageMode);

struct DriveMirror : BlockdevMirror {
  std::optional<std::string> format, node_name;
  NewImageMode mode = NewImageMode::AbsolutePaths;
  bool unmap = true;
  void describe(PropertyVisitor& p);
};
Result<Nothing> drive_mirror(MonitorTarget& target, const DriveMirror& arguments);

struct BlockdevBackup : JobBase {
  std::string device, target;
  Sync sync = Sync::Full;
  std::optional<std::string> bitmap;
  std::optional<BitmapMode> bitmap_mode;
  bool compress = false;
  OnError on_source_error = OnError::Report, on_target_error = OnError::Report;
  void describe(PropertyVisitor& p);
};
Result<Nothing> blockdev_backup(MonitorTarget& target, const BlockdevBackup& arguments);

struct DriveBackup : BlockdevBackup {
  std::optional<std::string> format;
  NewImageMode mode = NewImageMode::AbsolutePaths;
  void describe(PropertyVisitor& p);
};
Result<Nothing> drive_backup(MonitorTarget& target, const DriveBackup& arguments);

struct BlockdevCreate {
  std::string job_id;
  Value options;
  void describe(PropertyVisitor& p);
};
Result<Nothing> blockdev_create(MonitorTarget& target, const BlockdevCreate& arguments);

// For transactions: the job without its start.
Result<Job*> prepare_backup(MonitorTarget& target, const BlockdevBackup& arguments);
Result<Job*> prepare_backup(MonitorTarget& target, const DriveBackup& arguments);

// --- Jobs that run: block-job-* names them "device", job-* "id".

struct JobDevice {
  std::string device;
  void describe(PropertyVisitor& p);
};
struct JobId {
  std::string id;
  void describe(PropertyVisitor& p);
};
struct JobCancel : JobDevice {
  bool force = false;
  void describe(PropertyVisitor& p);
};
struct JobSpeed : JobDevice {
  u64 speed = 0;
  void describe(PropertyVisitor& p);
};
Result<Nothing> block_job_set_speed(MonitorTarget& target, const JobSpeed& arguments);
Result<Nothing> block_job_cancel(MonitorTarget& target, const JobCancel& arguments);
Result<Nothing> block_job_pause(MonitorTarget& target, const JobDevice& arguments);
Result<Nothing> block_job_resume(MonitorTarget& target, const JobDevice& arguments);
Result<Nothing> block_job_complete(MonitorTarget& target, const JobDevice& arguments);
Result<Nothing> job_cancel(MonitorTarget& target, const JobId& arguments);
Result<Nothing> job_pause(MonitorTarget& target, const JobId& arguments);
Result<Nothing> job_resume(MonitorTarget& target, const JobId& arguments);
Result<Nothing> job_complete(MonitorTarget& target, const JobId& arguments);
Result<Nothing> job_finalize(MonitorTarget& target, const JobId& arguments);
Result<Nothing> job_dismiss(MonitorTarget& target, const JobId& arguments);

struct JobInfo {
  std::string id;
  JobType type = JobType::Stream;
  JobStatus status = JobStatus::Created;
  u64 current_progress = 0, total_progress = 0;
  std::optional<std::string> error;
  void describe(PropertyVisitor& p);
};
Result<std::vector<JobInfo>> query_jobs(MonitorTarget& target, const Nothing&);

enum class IoStatus : u8 { Ok, Failed, NoSpace };
std::span<const std::string_view> enum_names(IoStatus);
struct BlockJobInfo {
  std::string type, device;
  u64 len = 0, offset = 0, speed = 0;
  bool busy = false, paused = false, ready = false, auto_finalize = true, auto_dismiss = true;
  IoStatus io_status = IoStatus::Ok;
  JobStatus status = JobStatus::Created;
  std::optional<std::string> error;
  void describe(PropertyVisitor& p);
};
Result<std::vector<BlockJobInfo>> query_block_jobs(MonitorTarget& target, const Nothing&);

}  // namespace menura
