#include "control/monitor/qmp_objects.h"

#include "base/base64.h"
#include "base/bytes.h"
#include "chardev/config.h"
#include "control/monitor/qom_tree.h"
#include "machine/chardevs.h"

namespace menura {

// Objects

void PathQuery::describe(PropertyVisitor& p) {
  p.required("path", path, "of an object, like /machine/peripheral/disk0");
}
Result<std::vector<PropertyReply>> qom_list(MonitorTarget& target, const PathQuery& query) {
  std::vector<PropertyReply> replies;
  for (QomProperty& property : TRY(qom_properties(target, query.path)))
    replies.push_back({.name = std::move(property.name), .type = std::move(property.type)});
  return replies;
}

void ValueQuery::describe(PropertyVisitor& p) {
  p.required("path", path, "of an object, like /machine/peripheral/disk0");
  p.required("property", property, "as qom-list names it");
}
Result<Value> qom_get(MonitorTarget& target, const ValueQuery& query) {
  return qom_value(target, query.path, query.property);
}

Shape ObjectAdd::shape() {
  Shape shape{.kind = Shape::Kind::Object, .tag = "qom-type"};
  Shape types{.kind = Shape::Kind::Choice};
  for (const ObjectKind& kind : object_kinds()) {
    types.choices.emplace_back(kind.name);
    shape.variants.push_back({std::string(kind.name), kind.shape()});
  }
  shape.members.push_back(
      {.name = "qom-type", .help = "the kind", .shape = std::move(types), .required = true});
  shape.members.push_back(
      {.name = "id", .help = "its name", .shape = {.kind = Shape::Kind::Text}, .required = true});
  return shape;
}

Result<std::string> take_text(Value& object, std::string_view name) {
  const Value* value = object.find(name);
  if (!value) return fail(Errc::InvalidArgument, "'{}' is wanted and was not said", name);
  std::string text = TRY(detail::to_text(*value), "'{}'", name);
  object.erase(name);
  return text;
}

namespace {}  // namespace

Result<ObjectAdd> ObjectAdd::read(const Value& given) {
  ObjectAdd add;
  add.object.options = given;
  add.object.name = TRY(take_text(add.object.options, "qom-type"));
  add.object.id = TRY(take_text(add.object.options, "id"));
  return add;
}
Result<Nothing> object_add(MonitorTarget& target, const ObjectAdd& arguments) {
  TRY(target.objects.create(arguments.object));
  return Nothing{};
}

Shape DeviceAdd::shape() {
  Shape shape{.kind = Shape::Kind::Object};
  const auto member = [&](std::string name, std::string help, bool required) {
    shape.members.push_back({.name = std::move(name),
                             .help = std::move(help),
                             .shape = {.kind = Shape::Kind::Text},
                             .required = required});
  };
  member("driver", "the kind of device", true);
  member("bus", "where it is plugged", false);
  member("id", "its name", false);
  return shape;
}
Result<DeviceAdd> DeviceAdd::read(const Value& given) {
  DeviceAdd add;
  add.device.options = given;
  add.device.name = TRY(take_text(add.device.options, "driver"));
  if (given.find("id")) add.device.id = TRY(take_text(add.device.options, "id"));
  return add;
}
Result<Nothing> device_add(MonitorTarget& target, const DeviceAdd& arguments) {
  const Result<const DeviceKind*> kind =
      target.machine.catalogue().find_device(arguments.device.name);
  if (!kind) return fail(Errc::InvalidArgument, "{}", kind.error().text);
  if (!arguments.device.id.empty() && target.machine.devices().find(arguments.device.id))
    return fail(Errc::Exists, "There is a device '{}' already", arguments.device.id);
  TRY(target.machine.board().plug(arguments.device));
  return Nothing{};
}
Result<Nothing> device_del(MonitorTarget& target, const IdArgument& arguments) {
  Device* device = target.machine.devices().find(arguments.id);
  if (!device) return fail(Errc::NotFound, "No device has the id '{}'", arguments.id);
  TRY(target.machine.board().unplug(*device));
  return Nothing{};
}

void IdArgument::describe(PropertyVisitor& p) { p.required("id", id, "its name"); }
Result<Nothing> object_del(MonitorTarget& target, const IdArgument& arguments) {
  TRY(target.objects.remove(arguments.id));
  return Nothing{};
}

// Character devices

void BackendReply::describe(PropertyVisitor& p) { p.field("name", name); }
Result<std::vector<BackendReply>> query_chardev_backends(MonitorTarget&, const Nothing&) {
  std::vector<BackendReply> replies;
  for (const ChardevKind& kind : chardev_kinds()) replies.push_back({std::string(kind.name)});
  return replies;
}

namespace {

// Where QMP says it in other words than -chardev.
constexpr std::pair<std::string_view, std::string_view> kChardevNames[] = {{"out", "path"},
                                                                           {"in", "input-path"}};

// {"type": "unix", "data": {...}} or {"type": "inet", ...} becomes the address's own members.
Result<void> flatten_address(Value& options) {
  const Value* address = options.find("addr");
  if (!address) return {};
  const Value* type = address->find("type");
  const Value* data = address->find("data");
  if (!type || !data || !data->as<Value::Object>())
    return fail(Errc::InvalidArgument, "'addr' must have a type and data");
  const Value::Object members = *data->as<Value::Object>();
  options.erase("addr");
  for (const auto& [name, value] : members)
    options.set(*type == Value("fd") && name == "str" ? "fd" : std::string_view(name), value);
  return {};
}

}  // namespace

Shape ChardevAdd::shape() {
  Shape backend{.kind = Shape::Kind::Object, .tag = "type"};
  Shape types{.kind = Shape::Kind::Choice};
  for (const ChardevKind& kind : chardev_kinds()) {
    types.choices.emplace_back(kind.name);
    Shape data{.kind = Shape::Kind::Object};
    data.members.push_back({.name = "data",
                            .help = "its options",
                            .shape = {.kind = Shape::Kind::Any},
                            .required = true});
    backend.variants.push_back({std::string(kind.name), std::move(data)});
  }
  backend.members.push_back(
      {.name = "type", .help = "the kind", .shape = std::move(types), .required = true});
  Shape shape{.kind = Shape::Kind::Object};
  shape.members.push_back(
      {.name = "id", .help = "its name", .shape = {.kind = Shape::Kind::Text}, .required = true});
  shape.members.push_back({.name = "backend",
                           .help = "the kind and its options",
                           .shape = std::move(backend),
                           .required = true});
  return shape;
}

Result<ChardevAdd> ChardevAdd::read(const Value& given) {
  struct Outer {
    std::string id;
    Value backend;
    void describe(PropertyVisitor& p) {
      p.required("id", id);
      p.required("backend", backend);
    }
  } outer;
  TRY(read_properties(outer, given, "arguments"));
  struct Backend {
    std::string type;
    Value data = Value::object();
    void describe(PropertyVisitor& p) {
      p.required("type", type);
      p.field("data", data);
    }
  } backend;
  TRY(read_properties(backend, outer.backend, "backend"));
  ChardevAdd add;
  add.chardev = {.name = backend.type, .id = outer.id, .options = std::move(backend.data)};
  TRY(flatten_address(add.chardev.options));
  for (const auto& [theirs, ours] : kChardevNames)
    if (const Value* value = add.chardev.options.find(theirs)) {
      add.chardev.options.set(ours, *value);
      add.chardev.options.erase(theirs);
    }
  return add;
}

void ChardevAddReply::describe(PropertyVisitor& p) { p.field("pty", pty); }

namespace {

// What a client must know of a device that it made.
ChardevAddReply made_chardev(const Chardevs& chardevs, std::string_view id) {
  ChardevAddReply reply;
  constexpr std::string_view kPty = "pty:";
  for (const Chardevs::Info& info : chardevs.list())
    if (info.id == id && info.where.starts_with(kPty)) reply.pty = info.where.substr(kPty.size());
  return reply;
}

}  // namespace

Result<ChardevAddReply> chardev_add(MonitorTarget& target, const ChardevAdd& arguments) {
  TRY(target.machine.chardevs().create(arguments.chardev));
  return made_chardev(target.machine.chardevs(), arguments.chardev.id);
}
Result<ChardevAddReply> chardev_change(MonitorTarget& target, const ChardevAdd& arguments) {
  TRY(target.machine.chardevs().change(arguments.chardev, target.asking));
  return made_chardev(target.machine.chardevs(), arguments.chardev.id);
}
Result<Nothing> chardev_remove(MonitorTarget& target, const IdArgument& arguments) {
  TRY(target.machine.chardevs().remove(arguments.id));
  return Nothing{};
}

std::span<const std::string_view> enum_names(RingFormat) {
  static constexpr std::string_view kNames[] = {"utf8", "base64"};
  return kNames;
}
void RingRead::describe(PropertyVisitor& p) {
  p.required("device", device, "id of a ringbuf character device");
  p.required("size", size, "how many bytes to take at most");
  p.field("format", format, "how they are put into text");
}
Result<std::string> ringbuf_read(MonitorTarget& target, const RingRead& arguments) {
  RingChardev* ring = TRY(target.machine.chardevs().ring(arguments.device));
  std::string text = ring->read(arguments.size);
  return arguments.format == RingFormat::Base64 ? base64_encode(bytes_of(text)) : text;
}
void RingWrite::describe(PropertyVisitor& p) {
  p.required("device", device, "id of a ringbuf character device");
  p.required("data", data, "what its other end gets");
  p.field("format", format, "how the bytes are put into text");
}
Result<Nothing> ringbuf_write(MonitorTarget& target, const RingWrite& arguments) {
  RingChardev* ring = TRY(target.machine.chardevs().ring(arguments.device));
  if (arguments.format == RingFormat::Base64)
    ring->feed(TRY(base64_decode(arguments.data), "data"));
  else
    ring->feed(bytes_of(arguments.data));
  return Nothing{};
}

}  // namespace menura
