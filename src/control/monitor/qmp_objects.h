// QMP commands about objects, devices and character devices: what there is, and adding to it.
//
// Owner: control/monitor. Threads: under the machine lock. Errors: as control/monitor/command.h.
// Example: `command<&qom_list>("qom-list", "The properties and children of an object")`
#pragma once

#include "control/monitor/qmp_introspect.h"

namespace menura {

// A text member that must be there; the object loses it.
Result<std::string> take_text(Value& object, std::string_view name);

struct PathQuery {
  std::string path;
  void describe(PropertyVisitor& p);
};
Result<std::vector<PropertyReply>> qom_list(MonitorTarget& target, const PathQuery& query);

struct ValueQuery {
  std::string path;
  std::string property;
  void describe(PropertyVisitor& p);
};
Result<Value> qom_get(MonitorTarget& target, const ValueQuery& query);

// Which properties there are depends on qom-type.
struct ObjectAdd {
  NamedOptions object;
  static Result<ObjectAdd> read(const Value& given);
  static Shape shape();
};
Result<Nothing> object_add(MonitorTarget& target, const ObjectAdd& arguments);

// Further members are the driver's properties.
struct DeviceAdd {
  NamedOptions device;
  static Result<DeviceAdd> read(const Value& given);
  static Shape shape();
};
// Into a slot that takes devices while the machine runs; Unsupported where there is none.
Result<Nothing> device_add(MonitorTarget& target, const DeviceAdd& arguments);

struct IdArgument {
  std::string id;
  void describe(PropertyVisitor& p);
};
Result<Nothing> object_del(MonitorTarget& target, const IdArgument& arguments);
// As device_add.
Result<Nothing> device_del(MonitorTarget& target, const IdArgument& arguments);

struct BackendReply {
  std::string name;
  void describe(PropertyVisitor& p);
};
Result<std::vector<BackendReply>> query_chardev_backends(MonitorTarget& target, const Nothing&);

// {"id": ..., "backend": {"type": "pty", "data": {...}}}
struct ChardevAdd {
  NamedOptions chardev;
  static Result<ChardevAdd> read(const Value& given);
  static Shape shape();
};
struct ChardevAddReply {
  std::optional<std::string> pty;
  void describe(PropertyVisitor& p);
};
Result<ChardevAddReply> chardev_add(MonitorTarget& target, const ChardevAdd& arguments);
Result<ChardevAddReply> chardev_change(MonitorTarget& target, const ChardevAdd& arguments);
Result<Nothing> chardev_remove(MonitorTarget& target, const IdArgument& arguments);

enum class RingFormat : u8 { Utf8, Base64 };
std::span<const std::string_view> enum_names(RingFormat);
struct RingRead {
  std::string device;
  u64 size = 0;
  RingFormat format = RingFormat::Utf8;
  void describe(PropertyVisitor& p);
};
Result<std::string> ringbuf_read(MonitorTarget& target, const RingRead& arguments);
struct RingWrite {
  std::string device;
  std::string data;
  RingFormat format = RingFormat::Utf8;
  void describe(PropertyVisitor& p);
};
Result<Nothing> ringbuf_write(MonitorTarget& target, const RingWrite& arguments);

}  // namespace menura
