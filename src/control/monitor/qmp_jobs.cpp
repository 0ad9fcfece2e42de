#include "control/monitor/qmp_jobs.h"

#include <algorithm>
#include <bit>

#include "base/units.h"
#include "block/core/filename.h"
#include "machine/drives.h"

namespace menura {

namespace {

constexpr std::string_view kModes[] = {"absolute-paths", "existing"};
constexpr std::string_view kIoStatuses[] = {"ok", "failed", "nospace"};

// A drive's id, or a node's name.
JobOptions job_options(const JobBase& base, JobType type, std::string_view device) {
  JobOptions options;
  options.id = base.job_id.value_or(std::string(device));
  options.type = type;
  options.speed = base.speed;
  options.auto_finalize = base.auto_finalize;
  options.auto_dismiss = base.auto_dismiss;
  return options;
}

// Without job-id, a drive's job has its id; a node's must be named.
Result<JobOptions> named_options(MonitorTarget& target, const JobBase& base, JobType type,
                                 std::string_view device) {
  if (!base.job_id && !target.machine.drives().find(device))
    return fail(Errc::InvalidArgument, "A job on node '{}' needs a job-id", device);
  return job_options(base, type, device);
}

// In the chain below `top`, by node name or file name.
Result<NodePtr> in_chain(Node& top, const std::optional<std::string>& node,
                         const std::optional<std::string>& file) {
  if (node && file)
    return fail(Errc::InvalidArgument, "'{}' and '{}': a place in the chain has one name", *node,
                *file);
  for (Node* at = top.backing(); at; at = at->backing()) {
    if (node && at->name() == *node) return at->shared_from_this();
    if (file &&
        (at->filename() == *file || at->filename() == resolve_beside(top.filename(), *file)))
      return at->shared_from_this();
  }
  return fail(Errc::NotFound, "'{}' is not in the chain below '{}'", node ? *node : *file,
              top.name());
}

Result<Nothing> begin(MonitorTarget& target, JobOptions options, std::unique_ptr<JobWork> work) {
  TRY(target.machine.drives().jobs().start(std::move(options), std::move(work)));
  return Nothing{};
}

// The image a job fills: made first, unless it exists.
struct NewImage {
  std::string file;
  std::optional<std::string> format, node_name;
  NewImageMode mode;
  Sync sync;
};
Result<NodePtr> open_target(MonitorTarget& target, Node& source, const NewImage& image) {
  Graph& graph = target.machine.drives().graph();
  const std::string format_name = image.format.value_or(std::string(source.driver().name));
  Node* below = image.sync == Sync::Top    ? source.backing()
                : image.sync == Sync::None ? &source
                                           : nullptr;
  const Graph::Change change(graph);
  if (image.mode == NewImageMode::AbsolutePaths) {
    Value options = Value::object();
    if (below) {
      options.set("backing_file", below->filename());
      options.set("backing_fmt", below->driver().name);
    }
    TRY(graph.create(format_name, image.file, source.size(), std::move(options)));
  }
  Graph::FileOptions how;
  how.format = image.mode == NewImageMode::Existing ? image.format.value_or("") : format_name;
  how.read_only = false;
  how.more = Value::object();
  how.more.set("discard", "unmap");
  if (image.node_name) how.more.set("node-name", *image.node_name);
  const Driver* driver = graph.find_driver(format_name);
  if (driver && driver->has_backing)
    how.more.set("backing", below ? Value(below->name()) : Value());
  return graph.open_file(image.file, std::move(how));
}

}  // namespace

std::span<const std::string_view> enum_names(NewImageMode) { return kModes; }
std::span<const std::string_view> enum_names(IoStatus) { return kIoStatuses; }

void JobBase::describe(PropertyVisitor& p) {
  p.field("job-id", job_id, "the job's name; a drive's own when unsaid");
  p.field("speed", speed, "bytes a second; 0: no limit");
  p.field("auto-finalize", auto_finalize, "change the graph when the work is done");
  p.field("auto-dismiss", auto_dismiss, "forget the job when it has ended");
}

void BlockStream::describe(PropertyVisitor& p) {
  JobBase::describe(p);
  p.required("device", device, "the drive or node that is filled");
  p.field("base", base, "file name of the image that stays below");
  p.field("base-node", base_node, "the same by node");
  p.field("bottom", bottom, "the lowest node whose content moves");
  p.field("backing-file", backing_file, "what the header then calls its backing file");
  p.field("on-error", on_error, "what follows an error");
}
Result<Nothing> block_stream(MonitorTarget& target, const BlockStream& arguments) {
  StreamPlan plan;
  plan.top = TRY(target.machine.drives().find_node(arguments.device));
  if (arguments.bottom) {
    if (arguments.base || arguments.base_node)
      return fail(Errc::InvalidArgument, "'bottom' and 'base' say the same: give one");
    const NodePtr bottom = TRY(in_chain(*plan.top, arguments.bottom, {}));
    if (Node* below = bottom->backing()) plan.base = below->shared_from_this();
  } else if (arguments.base || arguments.base_node) {
    plan.base = TRY(in_chain(*plan.top, arguments.base_node, arguments.base));
  }
  plan.backing_file = arguments.backing_file;
  plan.on_error = arguments.on_error;
  return begin(target, TRY(named_options(target, arguments, JobType::Stream, arguments.device)),
               make_stream(std::move(plan)));
}

void BlockCommit::describe(PropertyVisitor& p) {
  JobBase::describe(p);
  p.required("device", device, "the drive, or the node on top of its chain");
  p.field("base", base, "file name of the image that takes the content; the lowest when unsaid");
  p.field("base-node", base_node, "the same by node");
  p.field("top", top, "file name of the highest image that moves; the active one when unsaid");
  p.field("top-node", top_node, "the same by node");
  p.field("backing-file", backing_file, "what the image above then calls its backing file");
  p.field("on-error", on_error, "what follows an error");
}
Result<Nothing> block_commit(MonitorTarget& target, const BlockCommit& arguments) {
  const NodePtr active = TRY(target.machine.drives().find_node(arguments.device));
  NodePtr top = active;
  const bool names_active = (arguments.top_node && *arguments.top_node == active->name()) ||
                            (arguments.top && *arguments.top == active->filename());
  if ((arguments.top || arguments.top_node) && !names_active)
    top = TRY(in_chain(*active, arguments.top_node, arguments.top));
  NodePtr base;
  if (arguments.base || arguments.base_node) {
    base = TRY(in_chain(*top, arguments.base_node, arguments.base));
  } else {
    Node* lowest = top->backing();
    while (lowest && lowest->backing()) lowest = lowest->backing();
    if (lowest) base = lowest->shared_from_this();
  }
  if (!base)
    return fail(Errc::InvalidArgument, "Node '{}' has no backing image to commit to", top->name());
  const JobOptions options =
      TRY(named_options(target, arguments, JobType::Commit, arguments.device));
  if (top == active) {
    if (arguments.backing_file)
      return fail(
          Errc::InvalidArgument,
          "'backing-file' is for what lies above 'top': nothing lies above the active image");
    return begin(target, options,
                 make_mirror({.source = top,
                              .target = base,
                              .sync = Sync::Top,
                              .on_source_error = arguments.on_error,
                              .on_target_error = arguments.on_error,
                              .into_backing = true}));
  }
  Node* above = active.get();
  while (above->backing() != top.get()) above = above->backing();
  return begin(target, options,
               make_commit({.above = above->shared_from_this(),
                            .top = top,
                            .base = base,
                            .backing_file = arguments.backing_file,
                            .on_error = arguments.on_error}));
}

void BlockdevMirror::describe(PropertyVisitor& p) {
  JobBase::describe(p);
  p.required("device", device, "the drive or node that is copied");
  p.required("target", target, "where the copy goes");
  p.required("sync", sync, "what is copied: full, top, none (new writes alone)");
  p.field("replaces", replaces, "the node whose place the copy takes");
  p.field("granularity", granularity, "bytes that are copied together");
  p.field("copy-mode", copy_mode, "background, or write-blocking");
  p.field("on-source-error", on_source_error, "what follows an error of reading");
  p.field("on-target-error", on_target_error, "what follows an error of writing");
}
namespace {
Result<Nothing> mirror(MonitorTarget& target, const BlockdevMirror& arguments, NodePtr source,
                       NodePtr copy, bool unmap) {
  if (arguments.sync != Sync::Full && arguments.sync != Sync::Top && arguments.sync != Sync::None)
    return fail(Errc::Unsupported, "A mirror copies full, top or none, no bitmap");
  const u64 granularity = arguments.granularity.value_or(
      std::clamp<u64>(copy->image().info().cluster_size, 4096, 64 * KiB));
  if (!std::has_single_bit(granularity) || granularity < 512 || granularity > 64 * MiB)
    return fail(Errc::InvalidArgument,
                "granularity: expected a power of two from 512 to 64 MiB, not {}", granularity);
  MirrorPlan plan{.source = std::move(source),
                  .target = std::move(copy),
                  .sync = arguments.sync,
                  .granularity = granularity,
                  .copy_mode = arguments.copy_mode,
                  .unmap = unmap,
                  .on_source_error = arguments.on_source_error,
                  .on_target_error = arguments.on_target_error};
  if (arguments.replaces)
    plan.replaces = TRY(target.machine.drives().find_node(*arguments.replaces));
  return begin(target, TRY(named_options(target, arguments, JobType::Mirror, arguments.device)),
               make_mirror(std::move(plan)));
}
}  // namespace
Result<Nothing> blockdev_mirror(MonitorTarget& target, const BlockdevMirror& arguments) {
  Drives& drives = target.machine.drives();
  return mirror(target, arguments, TRY(drives.find_node(arguments.device)),
                TRY(drives.find_node(arguments.target)), true);
}

void DriveMirror::describe(PropertyVisitor& p) {
  BlockdevMirror::describe(p);
  p.field("format", format, "of the copy; the source's when unsaid");
  p.field("node-name", node_name, "the copy's node");
  p.field("mode", mode, "absolute-paths makes the file, existing takes one");
  p.field("unmap", unmap, "zeroes in the copy need no space");
}
Result<Nothing> drive_mirror(MonitorTarget& target, const DriveMirror& arguments) {
  const NodePtr source = TRY(target.machine.drives().find_node(arguments.device));
  const NodePtr copy = TRY(open_target(
      target, *source,
      {arguments.target, arguments.format, arguments.node_name, arguments.mode, arguments.sync}));
  return mirror(target, arguments, source, copy, arguments.unmap);
}

void BlockdevBackup::describe(PropertyVisitor& p) {
  JobBase::describe(p);
  p.required("device", device, "the drive or node that is copied");
  p.required("target", target, "where the copy goes");
  p.required("sync", sync, "what is copied: full, top, none, incremental, bitmap");
  p.field("bitmap", bitmap, "the bitmap that says what is copied");
  p.field("bitmap-mode", bitmap_mode, "what becomes of the bitmap");
  p.field("compress", compress, "compress the copy");
  p.field("on-source-error", on_source_error, "what follows an error of reading");
  p.field("on-target-error", on_target_error, "what follows an error of writing");
}
namespace {
Result<Job*> backup(MonitorTarget& target, const BlockdevBackup& arguments, NodePtr source,
                    NodePtr copy) {
  const bool by_bitmap = arguments.sync == Sync::Incremental || arguments.sync == Sync::Bitmap;
  if (by_bitmap != arguments.bitmap.has_value())
    return fail(Errc::InvalidArgument,
                "'bitmap' goes with sync incremental or bitmap, and they "
                "need it");
  if (arguments.sync == Sync::Bitmap && !arguments.bitmap_mode)
    return fail(Errc::InvalidArgument, "sync bitmap needs 'bitmap-mode'");
  if (arguments.sync == Sync::Incremental && arguments.bitmap_mode &&
      *arguments.bitmap_mode != BitmapMode::OnSuccess)
    return fail(Errc::InvalidArgument, "sync incremental is bitmap-mode on-success");
  return target.machine.drives().jobs().prepare(
      TRY(named_options(target, arguments, JobType::Backup, arguments.device)),
      make_backup({.source = std::move(source),
                   .target = std::move(copy),
                   .sync = arguments.sync,
                   .bitmap = arguments.bitmap.value_or(""),
                   .bitmap_mode = arguments.bitmap_mode.value_or(BitmapMode::OnSuccess),
                   .compress = arguments.compress,
                   .on_source_error = arguments.on_source_error,
                   .on_target_error = arguments.on_target_error}));
}
template <class Arguments>
Result<Nothing> start_backup(MonitorTarget& target, const Arguments& arguments) {
  Jobs& jobs = target.machine.drives().jobs();
  Job* job = nullptr;
  {
    const Graph::Change change(jobs.graph());
    job = TRY(prepare_backup(target, arguments));
  }
  jobs.launch(*job);
  return Nothing{};
}
}  // namespace
Result<Job*> prepare_backup(MonitorTarget& target, const BlockdevBackup& arguments) {
  Drives& drives = target.machine.drives();
  return backup(target, arguments, TRY(drives.find_node(arguments.device)),
                TRY(drives.find_node(arguments.target)));
}
Result<Nothing> blockdev_backup(MonitorTarget& target, const BlockdevBackup& arguments) {
  return start_backup(target, arguments);
}

void DriveBackup::describe(PropertyVisitor& p) {
  BlockdevBackup::describe(p);
  p.field("format", format, "of the copy; the source's when unsaid");
  p.field("mode", mode, "absolute-paths makes the file, existing takes one");
}
Result<Job*> prepare_backup(MonitorTarget& target, const DriveBackup& arguments) {
  const NodePtr source = TRY(target.machine.drives().find_node(arguments.device));
  const NodePtr copy = TRY(open_target(
      target, *source, {arguments.target, arguments.format, {}, arguments.mode, arguments.sync}));
  return backup(target, arguments, source, copy);
}
Result<Nothing> drive_backup(MonitorTarget& target, const DriveBackup& arguments) {
  return start_backup(target, arguments);
}

// --- blockdev-create

namespace {

// The image is made in the loop: but for preallocation that is a matter of some writes.
class CreateWork final : public JobWork {
 public:
  CreateWork(Graph& graph, Value options) : graph_(graph), options_(std::move(options)) {}
  Result<void> run(JobControl&) override { return {}; }
  Result<void> finish() override {
    const Value* name = options_.find("driver");
    const Driver* row = TRY(
        graph_.driver(name && name->as<std::string>() ? *name->as<std::string>() : std::string()));
    if (!row->create) return fail(Errc::Unsupported, "Driver '{}' makes no images", row->name);
    CreateContext context{graph_, "", 0, Value::object(), nullptr};
    for (const auto& [key, value] : *options_.as<Value::Object>()) {
      if (key == "driver") continue;
      if (key == "size") {
        context.size = TRY(detail::to_size(value), "size");
      } else if (key == "filename" && row->kind == DriverKind::Protocol &&
                 value.as<std::string>()) {
        context.filename = *value.as<std::string>();
      } else if (key == "file" && row->kind == DriverKind::Format && value.as<std::string>()) {
        Node* file = graph_.find(*value.as<std::string>());
        if (!file) return fail(Errc::NotFound, "There is no node '{}'", *value.as<std::string>());
        context.file = file->shared_from_this();
      } else {
        std::string spelt = key == "version" ? "compat" : key;
        std::ranges::replace(spelt, '-', '_');
        if (spelt == "backing_fmt" || spelt == "backing_file" || spelt != "version")
          context.options.set(spelt, value);
      }
    }
    if (row->kind == DriverKind::Format && !context.file)
      return fail(Errc::InvalidArgument, "Making an image of format '{}' needs a node as 'file'",
                  row->name);
    if (row->kind == DriverKind::Format && row->makes_own_files) {
      if (!context.options.as<Value::Object>()->empty())
        return fail(Errc::InvalidArgument, "Format '{}' has no option '{}' here", row->name,
                    context.options.as<Value::Object>()->front().first);
      return context.file->truncate(context.size);
    }
    return row->create(context);
  }
  std::vector<Node*> nodes() const override { return {}; }

 private:
  Graph& graph_;
  const Value options_;
};

}  // namespace

void BlockdevCreate::describe(PropertyVisitor& p) {
  p.required("job-id", job_id, "the job's name");
  p.required("options", options, "driver, size, and what the driver's images have");
}
Result<Nothing> blockdev_create(MonitorTarget& target, const BlockdevCreate& arguments) {
  if (!arguments.options.as<Value::Object>())
    return fail(Errc::InvalidArgument, "'options' is an object");
  JobOptions options;
  options.id = arguments.job_id;
  options.type = JobType::Create;
  options.auto_dismiss = false;
  return begin(target, options,
               std::make_unique<CreateWork>(target.machine.drives().graph(), arguments.options));
}

// --- Jobs that run

void JobDevice::describe(PropertyVisitor& p) { p.required("device", device, "the job"); }
void JobId::describe(PropertyVisitor& p) { p.required("id", id, "the job"); }
void JobCancel::describe(PropertyVisitor& p) {
  JobDevice::describe(p);
  p.field("force", force, "end at once, even a mirror that is ready");
}
void JobSpeed::describe(PropertyVisitor& p) {
  JobDevice::describe(p);
  p.required("speed", speed, "bytes a second; 0: no limit");
}

namespace {

template <class Function>
Result<Nothing> with_job(MonitorTarget& target, std::string_view id, Function function) {
  Job* job = TRY(target.machine.drives().jobs().find(id));
  TRY(function(*job));
  return Nothing{};
}

}  // namespace

Result<Nothing> block_job_set_speed(MonitorTarget& target, const JobSpeed& arguments) {
  return with_job(target, arguments.device,
                  [&](Job& job) { return job.set_speed(arguments.speed); });
}
Result<Nothing> block_job_cancel(MonitorTarget& target, const JobCancel& arguments) {
  return with_job(target, arguments.device, [&](Job& job) {
    return job.cancel(arguments.force ? Job::Cancel::Force : Job::Cancel::Soft);
  });
}
Result<Nothing> block_job_pause(MonitorTarget& target, const JobDevice& arguments) {
  return with_job(target, arguments.device, [](Job& job) { return job.pause(); });
}
Result<Nothing> block_job_resume(MonitorTarget& target, const JobDevice& arguments) {
  return with_job(target, arguments.device, [](Job& job) { return job.resume(); });
}
Result<Nothing> block_job_complete(MonitorTarget& target, const JobDevice& arguments) {
  return with_job(target, arguments.device, [](Job& job) { return job.complete(); });
}
Result<Nothing> job_cancel(MonitorTarget& target, const JobId& arguments) {
  return with_job(target, arguments.id, [](Job& job) { return job.cancel(Job::Cancel::Force); });
}
Result<Nothing> job_pause(MonitorTarget& target, const JobId& arguments) {
  return with_job(target, arguments.id, [](Job& job) { return job.pause(); });
}
Result<Nothing> job_resume(MonitorTarget& target, const JobId& arguments) {
  return with_job(target, arguments.id, [](Job& job) { return job.resume(); });
}
Result<Nothing> job_complete(MonitorTarget& target, const JobId& arguments) {
  return with_job(target, arguments.id, [](Job& job) { return job.complete(); });
}
Result<Nothing> job_finalize(MonitorTarget& target, const JobId& arguments) {
  return with_job(target, arguments.id, [](Job& job) { return job.finalize(); });
}
Result<Nothing> job_dismiss(MonitorTarget& target, const JobId& arguments) {
  return with_job(target, arguments.id, [](Job& job) { return job.dismiss(); });
}

void JobInfo::describe(PropertyVisitor& p) {
  p.field("id", id);
  p.field("type", type);
  p.field("status", status);
  p.field("current-progress", current_progress);
  p.field("total-progress", total_progress);
  p.field("error", error);
}
Result<std::vector<JobInfo>> query_jobs(MonitorTarget& target, const Nothing&) {
  std::vector<JobInfo> list;
  for (const std::shared_ptr<Job>& job : target.machine.drives().jobs().all()) {
    JobInfo info{job->options().id, job->options().type, job->status(),
                 job->progress(),   job->total(),        {}};
    if (job->error()) info.error = job->error()->text;
    list.push_back(std::move(info));
  }
  return list;
}

void BlockJobInfo::describe(PropertyVisitor& p) {
  p.field("type", type);
  p.field("device", device);
  p.field("len", len);
  p.field("offset", offset);
  p.field("busy", busy);
  p.field("paused", paused);
  p.field("speed", speed);
  p.field("io-status", io_status);
  p.field("ready", ready);
  p.field("status", status);
  p.field("auto-finalize", auto_finalize);
  p.field("auto-dismiss", auto_dismiss);
  p.field("error", error);
}
Result<std::vector<BlockJobInfo>> query_block_jobs(MonitorTarget& target, const Nothing&) {
  std::vector<BlockJobInfo> list;
  for (const std::shared_ptr<Job>& job : target.machine.drives().jobs().all()) {
    const JobOptions& options = job->options();
    if (options.type == JobType::Create) continue;
    BlockJobInfo info;
    info.type = enum_names(options.type)[static_cast<size_t>(options.type)];
    info.device = options.id;
    info.len = job->total(), info.offset = job->progress(), info.speed = job->speed();
    info.busy = job->status() == JobStatus::Running || job->status() == JobStatus::Ready;
    info.paused = job->paused(), info.ready = job->ready(), info.status = job->status();
    info.auto_finalize = options.auto_finalize, info.auto_dismiss = options.auto_dismiss;
    if (job->stopped_by_error()) info.io_status = IoStatus::Failed;
    if (job->error()) info.error = job->error()->text;
    list.push_back(std::move(info));
  }
  return list;
}

}  // namespace menura
