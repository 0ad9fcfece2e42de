// MonitorTarget: what the monitors of a machine command.
//
// Owner: the program's session; outlives every monitor. Threads: in the loop, under the machine
// lock. Example: `MonitorTarget target(machine);  QmpMonitor monitor(target, chardev, {});`
#pragma once

#include "control/monitor/key_sender.h"
#include "machine/machine.h"

namespace menura {

struct MonitorTarget {
  explicit MonitorTarget(Machine& m) : machine(m), keys(m) {}
  Machine& machine;
  KeySender keys;
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
