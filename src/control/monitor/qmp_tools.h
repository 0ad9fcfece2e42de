// QMP commands for testers and tools: trace events, input events, GDB's server's neighbours.
//
// Owner: control/monitor. Threads: under the machine lock. Errors: as control/monitor/command.h.
// Example: `command<&trace_event_set_state>("trace-event-set-state", "...")`
#pragma once

#include "control/monitor/command.h"

namespace menura {

enum class TraceState : u8 { Unavailable, Disabled, Enabled };
std::span<const std::string_view> enum_names(TraceState);
struct TraceReply {
  std::string name;
  TraceState state = TraceState::Disabled;
  bool vcpu = false;
  void describe(PropertyVisitor& p);
};
struct TraceQuery {
  std::string name;
  void describe(PropertyVisitor& p);
};
Result<std::vector<TraceReply>> trace_event_get_state(MonitorTarget& target,
                                                      const TraceQuery& query);
struct TraceChange {
  std::string name;
  bool enable = false;
  bool ignore_unavailable = false;
  void describe(PropertyVisitor& p);
};
Result<Nothing> trace_event_set_state(MonitorTarget& target, const TraceChange& arguments);

// One of send-key's keys: {"type": "qcode", "data": "a"}.
struct KeyValue {
  enum class Type : u8 { Qcode, Number };
  Type type = Type::Qcode;
  Value data;
  void describe(PropertyVisitor& p);
  Result<Key> key() const;
};
std::span<const std::string_view> enum_names(KeyValue::Type);

// Capabilities of a migration. There is none yet: the one that libvirt always sets is kept.
struct MigrationCapability {
  enum class Name : u8 { Events };
  Name capability = Name::Events;
  bool state = false;
  void describe(PropertyVisitor& p);
};
std::span<const std::string_view> enum_names(MigrationCapability::Name);
Result<std::vector<MigrationCapability>> query_migrate_capabilities(MonitorTarget& target,
                                                                    const Nothing&);
struct MigrateSetCapabilities {
  std::vector<MigrationCapability> capabilities;
  void describe(PropertyVisitor& p);
};
Result<Nothing> migrate_set_capabilities(MonitorTarget& target,
                                         const MigrateSetCapabilities& arguments);

// -add-fd's descriptors.
struct FdSetReply {
  struct Fd {
    i32 fd = -1;
    std::optional<std::string> opaque;
    void describe(PropertyVisitor& p);
  };
  u32 set = 0;
  std::vector<Fd> fds;
  void describe(PropertyVisitor& p);
};
Result<std::vector<FdSetReply>> query_fdsets(MonitorTarget& target, const Nothing&);
struct RemoveFd {
  u32 set = 0;
  std::optional<i32> fd;
  void describe(PropertyVisitor& p);
};
Result<Nothing> remove_fd(MonitorTarget& target, const RemoveFd& arguments);

// The oldest descriptor that the client sent along becomes one of a set.
struct AddFd {
  std::optional<u32> set;
  std::string opaque;
  void describe(PropertyVisitor& p);
};
struct AddFdReply {
  u32 set = 0;
  i32 fd = -1;
  void describe(PropertyVisitor& p);
};
Result<AddFdReply> add_fd(MonitorTarget& target, const AddFd& arguments);
// ... or gets a name.
struct FdName {
  std::string name;
  void describe(PropertyVisitor& p);
};
Result<Nothing> getfd(MonitorTarget& target, const FdName& arguments);
Result<Nothing> closefd(MonitorTarget& target, const FdName& arguments);

}  // namespace menura
