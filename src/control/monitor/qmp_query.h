// QMP commands that ask.
//
// Owner: control/monitor. Threads: under the machine lock. Errors: as control/monitor/command.h.
// Example: `command<&query_status>("query-status", "The run state")`
#pragma once

#include "block/core/node.h"
#include "block/core/throttle.h"
#include "control/monitor/command.h"
#include "control/monitor/qmp_introspect.h"
#include "memory/ram.h"

namespace menura {

struct StatusReply {
  bool running = false;
  RunState status = RunState::Prelaunch;
  void describe(PropertyVisitor& p);
};
Result<StatusReply> query_status(MonitorTarget& target, const Nothing&);

struct KvmReply {
  bool enabled = false;
  bool present = false;
  void describe(PropertyVisitor& p);
};
Result<KvmReply> query_kvm(MonitorTarget& target, const Nothing&);

// What QEMU calls HumanReadableText.
struct TextReply {
  std::string text;
  void describe(PropertyVisitor& p);
};
Result<TextReply> query_jit(MonitorTarget& target, const Nothing&);

struct NameReply {
  std::optional<std::string> name;
  void describe(PropertyVisitor& p);
};
Result<NameReply> query_name(MonitorTarget& target, const Nothing&);

struct UuidReply {
  std::string uuid;
  void describe(PropertyVisitor& p);
};
Result<UuidReply> query_uuid(MonitorTarget& target, const Nothing&);

struct GuidReply {
  std::string guid;
  void describe(PropertyVisitor& p);
};
Result<GuidReply> query_generation_id(MonitorTarget& target, const Nothing&);

struct CpuPlace {
  u32 socket = 0, die = 0, core = 0, thread = 0;
  void describe(PropertyVisitor& p);
};
struct CpuReply {
  u32 index = 0;
  std::string qom_path;
  i32 thread_id = 0;
  CpuPlace place;
  TargetArch target = TargetArch::X86_64;
  void describe(PropertyVisitor& p);
};
Result<std::vector<CpuReply>> query_cpus_fast(MonitorTarget& target, const Nothing&);

// A place for a CPU, taken (qom_path) or not.
struct CpuSlotReply {
  std::string type;
  u32 vcpus = 1;
  CpuPlace place;
  std::optional<std::string> qom_path;
  void describe(PropertyVisitor& p);
};
Result<std::vector<CpuSlotReply>> query_hotpluggable_cpus(MonitorTarget& target, const Nothing&);

struct MemoryReply {
  u64 base = 0;
  void describe(PropertyVisitor& p);
};
Result<MemoryReply> query_memory_size_summary(MonitorTarget& target, const Nothing&);

// The object that is the RAM.
struct MemdevReply {
  std::optional<std::string> id;
  u64 size = 0;
  bool merge = false, dump = true, prealloc = false, share = false;
  std::vector<u32> host_nodes;
  HostPolicy policy = HostPolicy::Default;
  void describe(PropertyVisitor& p);
};
Result<std::vector<MemdevReply>> query_memdev(MonitorTarget& target, const Nothing&);

// There are none: the list is empty.
struct IothreadReply {
  std::string id;
  i32 thread_id = 0;
  void describe(PropertyVisitor& p);
};
Result<std::vector<IothreadReply>> query_iothreads(MonitorTarget& target, const Nothing&);

// A drive and its medium. There is no throttling yet.
struct BlockReply {
  struct Cache {
    bool writeback = true, direct = false, no_flush = false;
    void describe(PropertyVisitor& p);
  };
  struct Image {
    std::string filename, format;
    u64 virtual_size = 0;  // bytes
    std::optional<u64> actual_size;
    std::optional<u64> cluster_size;
    bool dirty = false;
    void describe(PropertyVisitor& p);
  };
  struct Inserted {
    std::string file;
    std::string node;
    bool readonly = false;
    std::string driver;
    std::optional<std::string> backing_file;
    u32 backing_depth = 0;
    bool encrypted = false;
    DetectZeroes detect_zeroes = DetectZeroes::Off;
    ThrottleLimits limits;
    Image image;
    Cache cache;
    void describe(PropertyVisitor& p);
  };
  std::string device;
  std::string type = "unknown";
  bool removable = false;
  bool locked = false;
  std::optional<Inserted> inserted;
  void describe(PropertyVisitor& p);
};
Result<std::vector<BlockReply>> query_block(MonitorTarget& target, const Nothing&);

struct NodesQuery {
  bool flat = false;
  void describe(PropertyVisitor& p);
};
// The media of the drives: nothing is behind them.
Result<std::vector<BlockReply::Inserted>> query_named_block_nodes(MonitorTarget& target,
                                                                  const NodesQuery&);

struct ChardevReply {
  std::string label;
  std::string filename;
  bool frontend_open = false;
  void describe(PropertyVisitor& p);
};
Result<std::vector<ChardevReply>> query_chardev(MonitorTarget& target, const Nothing&);

}  // namespace menura
