// The table of events: what Machine::emit() and the monitors tell clients.
#include "block/job/job.h"
#include "control/monitor/qmp_schema.h"
#include "control/monitor/qmp_vnc.h"
#include "machine/machine.h"

namespace menura {

namespace {

struct CauseData {
  bool guest = false;
  Cause reason = Cause::HostQmpQuit;
  void describe(PropertyVisitor& p) {
    p.field("guest", guest);
    p.field("reason", reason);
  }
};

struct DumpData {
  DumpReply result;
  std::optional<std::string> error;
  void describe(PropertyVisitor& p) {
    p.field("result", result);
    p.field("error", error);
  }
};

// What the machine did about it.
enum class PanicFollowUp : u8 { Pause, Poweroff, Run };
std::span<const std::string_view> enum_names(PanicFollowUp) {
  static constexpr std::string_view kNames[] = {"pause", "poweroff", "run"};
  return kNames;
}
struct PanicData {
  PanicFollowUp action = PanicFollowUp::Pause;
  void describe(PropertyVisitor& p) { p.field("action", action); }
};

struct WatchdogData {
  WatchdogAction action = WatchdogAction::Reset;
  void describe(PropertyVisitor& p) { p.field("action", action); }
};

struct DeletedData {
  std::optional<std::string> device;
  std::string path;
  void describe(PropertyVisitor& p) {
    p.field("device", device);
    p.field("path", path);
  }
};
struct BalloonData {
  u64 actual = 0;
  void describe(PropertyVisitor& p) { p.field("actual", actual); }
};

struct PortData {
  std::string id;
  bool open = false;
  void describe(PropertyVisitor& p) {
    p.field("id", id);
    p.field("open", open);
  }
};

struct ExportData {
  std::string id;
  void describe(PropertyVisitor& p) { p.field("id", id); }
};

struct JobStatusData {
  std::string id;
  JobStatus status = JobStatus::Created;
  void describe(PropertyVisitor& p) {
    p.field("id", id);
    p.field("status", status);
  }
};

// Of a block job at a turn of its life.
struct BlockJobData {
  JobType type = JobType::Stream;
  std::string device;
  u64 len = 0, offset = 0, speed = 0;
  void describe(PropertyVisitor& p) {
    p.field("type", type);
    p.field("device", device);
    p.field("len", len);
    p.field("offset", offset);
    p.field("speed", speed);
  }
};

struct BlockJobEndData {
  BlockJobData job;
  std::optional<std::string> error;
  void describe(PropertyVisitor& p) {
    job.describe(p);
    p.field("error", error);
  }
};

enum class JobIo : u8 { Read, Write };
std::span<const std::string_view> enum_names(JobIo) {
  static constexpr std::string_view kNames[] = {"read", "write"};
  return kNames;
}
// What the job did about it.
enum class ErrorFollowUp : u8 { Ignore, Report, Stop };
std::span<const std::string_view> enum_names(ErrorFollowUp) {
  static constexpr std::string_view kNames[] = {"ignore", "report", "stop"};
  return kNames;
}

struct BlockJobErrorData {
  std::string device;
  JobIo operation = JobIo::Read;
  ErrorFollowUp action = ErrorFollowUp::Report;
  void describe(PropertyVisitor& p) {
    p.field("device", device);
    p.field("operation", operation);
    p.field("action", action);
  }
};

struct BlockJobPendingData {
  JobType type = JobType::Stream;
  std::string id;
  void describe(PropertyVisitor& p) {
    p.field("type", type);
    p.field("id", id);
  }
};

// As VncServer tells them.
struct VncServerData {
  VncClientReply at;
  std::optional<std::string> auth;
  void describe(PropertyVisitor& p) {
    at.describe(p);
    p.field("auth", auth);
  }
};
struct VncData {
  VncServerData server;
  VncClientReply client;
  void describe(PropertyVisitor& p) {
    p.field("server", server);
    p.field("client", client);
  }
};

template <class Data>
constexpr EventKind event(std::string_view name, std::string_view help) {
  return {name, help, shape_of<Data>};
}

constexpr EventKind kEvents[] = {
    event<Nothing>("STOP", "The CPUs stopped"),
    event<Nothing>("RESUME", "The CPUs run again"),
    event<CauseData>("RESET", "The machine was reset"),
    event<CauseData>("SHUTDOWN", "The machine is at its end, or stays with -no-shutdown"),
    event<Nothing>("POWERDOWN", "The power button was pressed"),
    event<Nothing>("SUSPEND", "The guest sleeps in RAM"),
    event<Nothing>("WAKEUP", "The guest woke"),
    event<PanicData>("GUEST_PANICKED", "The guest's kernel panicked"),
    event<PanicData>("GUEST_CRASHLOADED", "The guest's kernel panicked and loads another"),
    event<WatchdogData>("WATCHDOG", "A watchdog timer ran out"),
    event<DeletedData>("DEVICE_DELETED", "A device is gone: its id is free again"),
    event<BalloonData>("BALLOON_CHANGE", "The guest gave RAM, or took it back"),
    event<PortData>("VSERPORT_CHANGE", "The guest opened or closed a serial port"),
    event<ExportData>("BLOCK_EXPORT_DELETED", "An export has ended"),
    event<JobStatusData>("JOB_STATUS_CHANGE", "A job came to another state"),
    event<BlockJobData>("BLOCK_JOB_READY", "A job can be completed"),
    event<BlockJobEndData>("BLOCK_JOB_COMPLETED", "A job has ended, well or with an error"),
    event<BlockJobData>("BLOCK_JOB_CANCELLED", "A job was ended before its time"),
    event<BlockJobErrorData>("BLOCK_JOB_ERROR", "A job's reading or writing failed"),
    event<BlockJobPendingData>("BLOCK_JOB_PENDING", "A job waits to be finalized"),
    event<VncData>("VNC_CONNECTED", "A VNC client came; it has yet to show its password"),
    event<VncData>("VNC_INITIALIZED", "A VNC client is in and sees the screen"),
    event<VncData>("VNC_DISCONNECTED", "A VNC client went"),
    event<DumpData>("DUMP_COMPLETED", "A dump of the guest's memory is done, or failed"),
};

}  // namespace

std::span<const EventKind> qmp_events() { return kEvents; }

}  // namespace menura
