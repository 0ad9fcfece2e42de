// QMP commands that act: run state, reset, power, keys, the human monitor.
//
// Owner: control/monitor. Threads: under the machine lock. Errors: as control/monitor/command.h.
// Example: `command<&qmp_stop>("stop", "Stop all CPUs")`
#pragma once

#include <optional>

#include "control/monitor/command.h"
#include "control/monitor/qmp_tools.h"

namespace menura {

// What a client may ask for; none is offered.
enum class QmpCapability : u8 { Oob };
std::span<const std::string_view> enum_names(QmpCapability);
struct QmpCapabilities {
  std::vector<QmpCapability> enable;
  void describe(PropertyVisitor& p);
};
// For a monitor that has negotiated already.
Result<Nothing> qmp_capabilities(MonitorTarget& target, const QmpCapabilities& arguments);

Result<Nothing> qmp_stop(MonitorTarget& target, const Nothing&);
Result<Nothing> qmp_cont(MonitorTarget& target, const Nothing&);
Result<Nothing> qmp_quit(MonitorTarget& target, const Nothing&);
Result<Nothing> qmp_system_reset(MonitorTarget& target, const Nothing&);
Result<Nothing> qmp_system_powerdown(MonitorTarget& target, const Nothing&);
Result<Nothing> qmp_system_wakeup(MonitorTarget& target, const Nothing&);
// What is not said stays as it was.
struct SetAction {
  std::optional<RebootAction> reboot;
  std::optional<ShutdownAction> shutdown;
  std::optional<PanicAction> panic;
  std::optional<WatchdogAction> watchdog;
  void describe(PropertyVisitor& p);
};
Result<Nothing> qmp_set_action(MonitorTarget& target, const SetAction& arguments);
struct SetWatchdogAction {
  WatchdogAction action = WatchdogAction::Reset;
  void describe(PropertyVisitor& p);
};
Result<Nothing> qmp_watchdog_set_action(MonitorTarget& target, const SetWatchdogAction& arguments);
Result<Nothing> qmp_inject_nmi(MonitorTarget& target, const Nothing&);

struct SendKey {
  std::vector<KeyValue> keys;
  u32 hold_time_ms = KeySender::kHoldMs;
  void describe(PropertyVisitor& p);
};
Result<Nothing> qmp_send_key(MonitorTarget& target, const SendKey& arguments);

struct HumanMonitorCommand {
  std::string command_line;
  std::optional<u32> cpu_index;
  void describe(PropertyVisitor& p);
};
Result<Value> qmp_human_monitor_command(MonitorTarget& target,
                                        const HumanMonitorCommand& arguments);

}  // namespace menura
