#include "control/monitor/qmp_run.h"

#include "base/text.h"
#include "control/monitor/hmp.h"

namespace menura {

void QmpCapabilities::describe(PropertyVisitor& p) {
  p.field("enable", enable, "capabilities of the greeting to use");
}

Result<Nothing> qmp_capabilities(MonitorTarget&, const QmpCapabilities&) {
  return fail(Errc::InvalidArgument, "Capabilities negotiation is already complete");
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
    return fail(Errc::InvalidArgument, "Unable to wake up: guest is not in suspended state");
  target.machine.request_wake(WakeCause::Other);
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

namespace {

// Numbers are make codes of scan code set 1, with bit 7 for those behind an E0.
Result<Key> key_by_number(u32 number) {
  const u32 code = number & 0x80 ? 0xe000 | (number & 0x7f) : number;
  for (unsigned i = 0; number != 0 && i < static_cast<unsigned>(Key::kCount); i++)
    if (key_set1(static_cast<Key>(i)) == code) return static_cast<Key>(i);
  return fail(Errc::InvalidArgument, "There is no key number {}", number);
}

Result<Key> key_of(const Value& value) {
  enum class Type : u8 { Qcode, Number };
  struct KeyValue {
    std::string type;
    Value data;
    void describe(PropertyVisitor& p) {
      p.required("type", type);
      p.required("data", data);
    }
  } given;
  TRY(read_properties(given, value, "a key"));
  if (given.type == "number")
    return key_by_number(static_cast<u32>(TRY(detail::to_unsigned(given.data, 0xffff))));
  if (given.type != "qcode")
    return fail(Errc::InvalidArgument, "A key's type is qcode or number, not '{}'", given.type);
  return find_key(TRY(detail::to_text(given.data)));
}

}  // namespace

Result<Nothing> qmp_send_key(MonitorTarget& target, const SendKey& arguments) {
  constexpr size_t kMaxKeys = 16;
  const Value::List* list = arguments.keys.as<Value::List>();
  if (!list || list->empty() || list->size() > kMaxKeys)
    return fail(Errc::InvalidArgument, "'keys' must be a list of 1 to {} keys", kMaxKeys);
  std::vector<Key> keys;
  for (const Value& value : *list) keys.push_back(TRY(key_of(value)));
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
