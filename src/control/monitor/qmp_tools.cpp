#include "control/monitor/qmp_tools.h"

#include "base/fd_sets.h"
#include "base/text.h"
#include "base/trace.h"
#include "control/monitor/hmp.h"
#include "io/chardev.h"

namespace menura {

// Traces

std::span<const std::string_view> enum_names(TraceState) {
  static constexpr std::string_view kNames[] = {"unavailable", "disabled", "enabled"};
  return kNames;
}
void TraceReply::describe(PropertyVisitor& p) {
  p.field("name", name);
  p.field("state", state);
  p.field("vcpu", vcpu);
}
void TraceQuery::describe(PropertyVisitor& p) {
  p.required("name", name, "of an event, or a pattern with * and ?");
}
Result<std::vector<TraceReply>> trace_event_get_state(MonitorTarget&, const TraceQuery& query) {
  std::vector<TraceReply> replies;
  for (const TraceEvent* event : trace_events())
    if (glob_match(query.name, event->name))
      replies.push_back(
          {std::string(event->name), event->on ? TraceState::Enabled : TraceState::Disabled});
  if (replies.empty() && query.name.find_first_of("*?") == std::string::npos)
    return fail(Errc::InvalidArgument, "There is no trace event '{}'", query.name);
  return replies;
}

void TraceChange::describe(PropertyVisitor& p) {
  p.required("name", name, "of an event, or a pattern with * and ?");
  p.required("enable", enable, "trace it, or not");
  p.field("ignore-unavailable", ignore_unavailable, "no error when nothing matches");
}
Result<Nothing> trace_event_set_state(MonitorTarget&, const TraceChange& arguments) {
  if (enable_trace(arguments.name, arguments.enable) > 0 || arguments.ignore_unavailable)
    return Nothing{};
  std::vector<std::string_view> names;
  for (const TraceEvent* event : trace_events()) names.push_back(event->name);
  return fail(Errc::InvalidArgument, "No trace event matches '{}'{}", arguments.name,
              suggestion(arguments.name, names));
}

// Keys

namespace {

Result<Key> find_key_number(u64 number) {
  if (const std::optional<Key> key = key_by_number(static_cast<u32>(number))) return *key;
  return fail(Errc::InvalidArgument, "There is no key number {}", number);
}

}  // namespace

std::span<const std::string_view> enum_names(KeyValue::Type) {
  static constexpr std::string_view kNames[] = {"qcode", "number"};
  return kNames;
}
void KeyValue::describe(PropertyVisitor& p) {
  p.required("type", type, "whether data is a name or a number");
  p.required("data", data, "the key");
}
Result<Key> KeyValue::key() const {
  if (type == Type::Number) return find_key_number(TRY(detail::to_unsigned(data, 0xffff)));
  return find_key(TRY(detail::to_text(data)));
}

std::span<const std::string_view> enum_names(MigrationCapability::Name) {
  static constexpr std::string_view kNames[] = {"events"};
  return kNames;
}
void MigrationCapability::describe(PropertyVisitor& p) {
  p.required("capability", capability, "its name");
  p.required("state", state, "on or off");
}
Result<std::vector<MigrationCapability>> query_migrate_capabilities(MonitorTarget& target,
                                                                    const Nothing&) {
  return std::vector{MigrationCapability{.state = target.migration_events}};
}
void MigrateSetCapabilities::describe(PropertyVisitor& p) {
  p.required("capabilities", capabilities, "those to change");
}
Result<Nothing> migrate_set_capabilities(MonitorTarget& target,
                                         const MigrateSetCapabilities& arguments) {
  for (const MigrationCapability& c : arguments.capabilities) target.migration_events = c.state;
  return Nothing{};
}

void FdSetReply::Fd::describe(PropertyVisitor& p) {
  p.field("fd", fd);
  p.field("opaque", opaque);
}
void FdSetReply::describe(PropertyVisitor& p) {
  p.field("fdset-id", set);
  p.field("fds", fds);
}
Result<std::vector<FdSetReply>> query_fdsets(MonitorTarget&, const Nothing&) {
  std::vector<FdSetReply> replies;
  for (const FdSetEntry& entry : fd_sets()) {
    if (replies.empty() || replies.back().set != entry.set) replies.push_back({.set = entry.set});
    FdSetReply::Fd fd{.fd = entry.fd};
    if (!entry.opaque.empty()) fd.opaque = entry.opaque;
    replies.back().fds.push_back(std::move(fd));
  }
  return replies;
}
void RemoveFd::describe(PropertyVisitor& p) {
  p.required("fdset-id", set, "the number in /dev/fdset/N");
  p.field("fd", fd, "one descriptor of it; all, if not given");
}
Result<Nothing> remove_fd(MonitorTarget&, const RemoveFd& arguments) {
  TRY(remove_from_fd_set(arguments.set, arguments.fd.value_or(-1)));
  return Nothing{};
}

namespace {

// What else came with it is closed: a command asks for one.
Result<UniqueFd> sent_fd(MonitorTarget& target) {
  std::vector<UniqueFd> fds;
  if (target.asking) fds = target.asking->take_fds();
  if (fds.empty())
    return fail(Errc::InvalidArgument,
                "No descriptor came with the command (SCM_RIGHTS, over a UNIX socket)");
  return std::move(fds.front());
}

}  // namespace

void AddFd::describe(PropertyVisitor& p) {
  p.field("fdset-id", set, "the number in /dev/fdset/N; a free one, if not given");
  p.field("opaque", opaque, "a text that query-fdsets tells");
}
void AddFdReply::describe(PropertyVisitor& p) {
  p.field("fdset-id", set);
  p.field("fd", fd);
}
Result<AddFdReply> add_fd(MonitorTarget& target, const AddFd& arguments) {
  UniqueFd fd = TRY(sent_fd(target));
  const AddFdReply reply{.set = arguments.set.value_or(free_fd_set()), .fd = fd.get()};
  TRY(add_to_fd_set(reply.set, fd.get(), arguments.opaque));
  (void)fd.release();
  return reply;
}

void FdName::describe(PropertyVisitor& p) { p.required("fdname", name, "the descriptor's name"); }
Result<Nothing> getfd(MonitorTarget& target, const FdName& arguments) {
  TRY(name_fd(arguments.name, TRY(sent_fd(target))));
  return Nothing{};
}
Result<Nothing> closefd(MonitorTarget&, const FdName& arguments) {
  TRY(close_named_fd(arguments.name));
  return Nothing{};
}

}  // namespace menura
