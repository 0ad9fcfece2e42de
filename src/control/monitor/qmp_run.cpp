#include "control/monitor/qmp_run.h"

#include "base/text.h"
#include "control/monitor/hmp.h"

namespace menura {

std::span<const std::string_view> enum_names(QmpCapability) {
  static constexpr std::string_view kNames[] = {"oob"};
  return kNames;
}
void QmpCapabilities::describe(PropertyVisitor& p) {
  p.field("enable", enable, "capabilities of the greeting to use");
}

Result<Nothing> qmp_capabilities(MonitorTarget&, const QmpCapabilities&) {
  return fail(Errc::InvalidArgument, "Capabilities were agreed on already");
}

Result<Nothing> qmp_stop(MonitorTarget& target, const Nothing&) {
  target.machine.stop();
  return Nothing{};
}

Result<Nothing> qmp_cont(MonitorTarget& target, const Nothing&) {
  if (target.machine.run_state() == RunState::InternalError)
    return fail(Errc::InvalidArgument, "The machine failed and cannot go on; system_reset helps");
  if (target.machine.run_state() == RunState::Suspended)
    return fail(Errc::InvalidArgument, "The guest sleeps; system_wakeup wakes it");
  target.machine.cont();
  return Nothing{};
}

Result<Nothing> qmp_quit(MonitorTarget& target, const Nothing&) {
  target.machine.request_shutdown(Cause::HostQmpQuit);
  return Nothing{};
}

Result<Nothing> qmp_system_reset(MonitorTarget& target, const Nothing&) {
  target.machine.request_reset(Cause::HostQmpSystemReset);
  return Nothing{};
}

Result<Nothing> qmp_system_powerdown(MonitorTarget& target, const Nothing&) {
  target.machine.request_power_button();
  return Nothing{};
}

Result<Nothing> qmp_system_wakeup(MonitorTarget& target, const Nothing&) {
  if (target.machine.run_state() != RunState::Suspended)
    return fail(Errc::InvalidArgument, "The guest does not sleep: there is nothing to wake");
  target.machine.request_wake(WakeCause::Other);
  return Nothing{};
}

void SetAction::describe(PropertyVisitor& p) {
  p.field("reboot", reboot, "when the guest reboots");
  p.field("shutdown", shutdown, "when the guest powers off");
  p.field("panic", panic, "when the guest tells of a panic");
  p.field("watchdog", watchdog, "when a watchdog timer runs out");
}

Result<Nothing> qmp_set_action(MonitorTarget& target, const SetAction& arguments) {
  ActionOptions& actions = target.machine.actions();
  actions.reboot = arguments.reboot.value_or(actions.reboot);
  actions.shutdown = arguments.shutdown.value_or(actions.shutdown);
  actions.panic = arguments.panic.value_or(actions.panic);
  actions.watchdog = arguments.watchdog.value_or(actions.watchdog);
  return Nothing{};
}

void SetWatchdogAction::describe(PropertyVisitor& p) {
  p.required("action", action, "what follows");
}

Result<Nothing> qmp_watchdog_set_action(MonitorTarget& target, const SetWatchdogAction& arguments) {
  target.machine.actions().watchdog = arguments.action;
  return Nothing{};
}

Result<Nothing> qmp_inject_nmi(MonitorTarget& target, const Nothing&) {
  for (const std::unique_ptr<VcpuThread>& cpu : target.machine.cpus()) cpu->vcpu().nmi();
  return Nothing{};
}

void SendKey::describe(PropertyVisitor& p) {
  p.required(
      "keys", keys,
      "a list of {\"type\": \"qcode\", \"data\": NAME} or {\"type\": \"number\", \"data\": N}");
  p.field("hold-time", hold_time_ms, "how long they stay down, in ms");
}

Result<Nothing> qmp_send_key(MonitorTarget& target, const SendKey& arguments) {
  constexpr size_t kMaxKeys = 16;
  if (arguments.keys.empty() || arguments.keys.size() > kMaxKeys)
    return fail(Errc::InvalidArgument, "'keys' must be a list of 1 to {} keys", kMaxKeys);
  std::vector<Key> keys;
  for (const KeyValue& key : arguments.keys) keys.push_back(TRY(key.key()));
  TRY(target.keys.send(std::move(keys), arguments.hold_time_ms));
  return Nothing{};
}

void HumanMonitorCommand::describe(PropertyVisitor& p) {
  p.required("command-line", command_line, "as typed at the human monitor");
  p.field("cpu-index", cpu_index, "the CPU that commands about one refer to");
}

Result<Value> qmp_human_monitor_command(MonitorTarget& target,
                                        const HumanMonitorCommand& arguments) {
  HmpContext context{.target = target};
  if (arguments.cpu_index) TRY(context.select_cpu(*arguments.cpu_index));
  Result<std::string> answer = run_hmp(context, arguments.command_line);
  // The human monitor's errors are text, as a person would see them.
  return Value(answer ? std::move(*answer) : "Error: " + answer.error().text + "\n");
}

}  // namespace menura
