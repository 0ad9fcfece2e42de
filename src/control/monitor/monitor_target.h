// MonitorTarget: what the monitors of a machine command.
//
// Owner: the program's session; outlives every monitor. Threads: in the loop, under the machine
// lock. Example: `MonitorTarget target(machine);  QmpMonitor monitor(target, chardev, {});`
#pragma once

#include "control/monitor/block_exports.h"
#include "control/monitor/key_sender.h"
#include "machine/catalogue/objects.h"
#include "machine/machine.h"

namespace menura {

// How the last dump of the guest's memory ended (query-dump).
enum class DumpStatus : u8 { None, Active, Completed, Failed };
std::span<const std::string_view> enum_names(DumpStatus);
struct DumpReply {
  DumpStatus status = DumpStatus::None;
  u64 completed = 0;  // bytes
  u64 total = 0;
  void describe(PropertyVisitor& p);
};

class Chardev;
class VncServer;

struct MonitorTarget {
  explicit MonitorTarget(Machine& m) : machine(m), keys(m), objects(m), exports(m) {}
  Machine& machine;
  KeySender keys;
  Objects objects;
  BlockExports exports;
  DumpReply dump;
  std::vector<VncServer*> vnc_servers;  // the session's
  bool migration_events = false;
  // Of the client whose command runs; null: nobody's.
  Chardev* asking = nullptr;
  // `gdbserver FORM`; set by the program. Its answer is for people.
  std::function<Result<std::string>(std::string_view form)> start_gdb = {};
};

// CPUs at rest while it lives, so that chips inside an accelerator can be looked at.
class RestingCpus {
 public:
  explicit RestingCpus(Machine& machine) : machine_(machine) { pause_all(machine.cpus()); }
  ~RestingCpus() {
    if (machine_.running()) resume_all(machine_.cpus());
  }
  RestingCpus(const RestingCpus&) = delete;
  RestingCpus& operator=(const RestingCpus&) = delete;

 private:
  Machine& machine_;
};

}  // namespace menura
