// NoneBoard: a machine without anything: programs start one to ask what this build can do.
//
// Owner: Machine. Threads: under the machine lock. Example: `-machine none -qmp stdio`
#pragma once

#include "machine/board.h"
#include "machine/machine.h"

namespace menura {

class NoneBoard final : public Board {
 public:
  explicit NoneBoard(Machine& machine) : machine_(machine) {}

  Result<void> build() override {
    const MachineConfig& config = machine_.config();
    if (!config.devices.empty())
      return fail(Errc::Unsupported, "-device {}: machine 'none' has no place for devices",
                  config.devices.front().name);
    for (const DriveOptions& drive : config.drives)
      if (drive.interface != DriveOptions::Interface::None)
        return fail(Errc::Unsupported, "-drive file={}: machine 'none' has no disk controller",
                    drive.file_name());
    if (!config.firmware.kernel.empty())
      return fail(Errc::Unsupported, "-kernel {}: machine 'none' has no CPU to run it",
                  config.firmware.kernel);
    return {};
  }
  Result<VcpuConfig> cpu_config(unsigned) override { unreachable("machine 'none' has no CPUs"); }
  void connect_cpu(unsigned, CpuInterrupts&) override {}
  void reset_cpu(unsigned, x86::State&) override {}
  void system_reset() override {}
  void press_power_button() override {}
  void wake(WakeCause) override {}

 private:
  // Wiring
  Machine& machine_;
};

}  // namespace menura
