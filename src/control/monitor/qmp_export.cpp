#include "control/monitor/qmp_export.h"

#include "block/nbd/server_address.h"
#include "machine/drives.h"
#include "tls/credentials.h"

namespace menura {

namespace {

constexpr u32 kMostConnections = 1000;

// {"type": "inet", "data": {"host": ...}}, or flat as in newer commands.
Result<SocketPlace> listening_place(const Value& given) {
  Value flat = given;
  const Value* data = given.find("data");
  if (data && data->as<Value::Object>()) {
    const Value::Object members = *data->as<Value::Object>();
    flat.erase("data");
    for (const auto& [key, value] : members) flat.set(key, value);
  }
  NbdServerAddress address;
  TRY(read_properties(address, flat, "addr"));
  return address.place();
}

}  // namespace

Result<NodePtr> find_exported_node(MonitorTarget& target, std::string_view name) {
  Drives& drives = target.machine.drives();
  for (const std::unique_ptr<Drive>& drive : drives.all())
    if (drive->options.id == name) return drive->disk->node().shared_from_this();
  Node* node = drives.graph().find(name);
  if (!node) return fail(Errc::InvalidArgument, "There is no drive or node '{}'", name);
  return node->shared_from_this();
}

void NbdServerStart::describe(PropertyVisitor& p) {
  p.required("addr", addr, "where to listen: type inet or unix, and data");
  p.field("tls-creds", tls_creds, "an object with a server's credentials: only TLS clients");
  p.field("max-connections", max_connections, "clients at once; 0: as many as the server can");
}
Result<Nothing> nbd_server_start(MonitorTarget& target, const NbdServerStart& arguments) {
  NbdServerTls tls;
  if (!arguments.tls_creds.empty()) {
    tls.credentials = TRY(target.machine.drives().graph().tls_credentials(arguments.tls_creds));
    TRY(tls.credentials->check_endpoint(TlsEndpoint::Server), "tls-creds={}", arguments.tls_creds);
  }
  const u32 most = arguments.max_connections ? arguments.max_connections : kMostConnections;
  if (most > kMostConnections)
    return fail(Errc::InvalidArgument, "max-connections is at most {}", kMostConnections);
  TRY(target.exports.start(TRY(listening_place(arguments.addr)), std::move(tls), most));
  return Nothing{};
}
Result<Nothing> nbd_server_stop(MonitorTarget& target, const Nothing&) {
  TRY(target.exports.stop());
  return Nothing{};
}

void NbdServerAdd::describe(PropertyVisitor& p) {
  p.required("device", device, "a drive's id or a node's name");
  p.field("name", name, "what clients call it (the device)");
  p.field("description", description, "for people");
  p.field("writable", writable, "clients may write");
  p.field("bitmap", bitmap, "a dirty bitmap that clients may see");
}
Result<Nothing> nbd_server_add(MonitorTarget& target, const NbdServerAdd& arguments) {
  NbdExportOptions options{.name = arguments.name.value_or(arguments.device),
                           .description = arguments.description,
                           .writable = arguments.writable};
  if (arguments.bitmap) options.bitmaps.push_back(*arguments.bitmap);
  const std::string id = options.name;
  NodePtr node = TRY(find_exported_node(target, arguments.device));
  // This old command exports what it can.
  if (node->read_only()) options.writable = false;
  TRY(target.exports.add(id, std::move(node), std::move(options)));
  return Nothing{};
}

std::span<const std::string_view> enum_names(NbdServer::Removal) {
  static constexpr std::string_view kNames[] = {"safe", "hard"};
  return kNames;
}
void NbdServerRemove::describe(PropertyVisitor& p) {
  p.required("name", name, "what clients call it");
  p.field("mode", mode, "safe: not while it has clients; hard: they are cut off");
}
Result<Nothing> nbd_server_remove(MonitorTarget& target, const NbdServerRemove& arguments) {
  const BlockExports::Export* found = target.exports.find_name(arguments.name);
  if (!found)
    return fail(Errc::InvalidArgument, "The NBD server has no export '{}'", arguments.name);
  TRY(target.exports.remove(found->id, arguments.mode));
  return Nothing{};
}

std::span<const std::string_view> enum_names(ExportType) {
  static constexpr std::string_view kNames[] = {"nbd"};
  return kNames;
}
void BlockExportAdd::describe(PropertyVisitor& p) {
  p.required("type", type, "how it is exported");
  p.required("id", id, "the export's name in the monitor");
  p.required("node-name", node_name, "what is exported");
  p.field("writable", writable, "clients may write");
  p.field("writethrough", writethrough, "every write is durable when it is answered");
  p.field("name", name, "what clients call it (the node's name)");
  p.field("description", description, "for people");
  p.field("bitmaps", bitmaps, "dirty bitmaps that clients may see");
  p.field("allocation-depth", allocation_depth,
          "clients may see which image of the chain has what");
}
Result<Nothing> block_export_add(MonitorTarget& target, const BlockExportAdd& arguments) {
  NbdExportOptions options{.name = arguments.name.value_or(arguments.node_name),
                           .description = arguments.description,
                           .writable = arguments.writable,
                           .writethrough = arguments.writethrough,
                           .allocation_depth = arguments.allocation_depth,
                           .bitmaps = arguments.bitmaps};
  TRY(target.exports.add(arguments.id, TRY(find_exported_node(target, arguments.node_name)),
                         std::move(options)));
  return Nothing{};
}

void BlockExportDel::describe(PropertyVisitor& p) {
  p.required("id", id, "the export's name in the monitor");
  p.field("mode", mode, "safe: not while it has clients; hard: they are cut off");
}
Result<Nothing> block_export_del(MonitorTarget& target, const BlockExportDel& arguments) {
  TRY(target.exports.remove(arguments.id, arguments.mode));
  return Nothing{};
}

void ExportReply::describe(PropertyVisitor& p) {
  p.field("id", id, "its name in the monitor");
  p.field("type", type, "how it is exported");
  p.field("node-name", node_name, "what is exported");
  p.field("shutting-down", shutting_down, "it is on its way out");
}
Result<std::vector<ExportReply>> query_block_exports(MonitorTarget& target, const Nothing&) {
  std::vector<ExportReply> replies;
  for (const BlockExports::Export& one : target.exports.all())
    replies.push_back({.id = one.id, .node_name = one.node});
  return replies;
}

}  // namespace menura
