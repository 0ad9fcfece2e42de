// QMP commands of the NBD server and its exports.
//
// Owner: control/monitor. Threads: under the machine lock. Errors: as control/monitor/command.h.
// Example: `command<&nbd_server_start>("nbd-server-start", "Listen for NBD clients")`
#pragma once

#include "control/monitor/block_exports.h"
#include "control/monitor/command.h"

namespace menura {

struct NbdServerStart {
  Value addr;  // {"type": "unix", "data": {"path": ...}}, {"type": "inet", "data": {...}}
  std::string tls_creds;
  u32 max_connections = 100;
  void describe(PropertyVisitor& p);
};
Result<Nothing> nbd_server_start(MonitorTarget& target, const NbdServerStart& arguments);
Result<Nothing> nbd_server_stop(MonitorTarget& target, const Nothing&);

struct NbdServerAdd {
  std::string device;
  std::optional<std::string> name, bitmap;
  std::string description;
  bool writable = false;
  void describe(PropertyVisitor& p);
};
Result<Nothing> nbd_server_add(MonitorTarget& target, const NbdServerAdd& arguments);

std::span<const std::string_view> enum_names(NbdServer::Removal);
struct NbdServerRemove {
  std::string name;
  NbdServer::Removal mode = NbdServer::Removal::Safe;
  void describe(PropertyVisitor& p);
};
Result<Nothing> nbd_server_remove(MonitorTarget& target, const NbdServerRemove& arguments);

enum class ExportType : u8 { Nbd };
std::span<const std::string_view> enum_names(ExportType);
struct BlockExportAdd {
  ExportType type = ExportType::Nbd;
  std::string id, node_name;
  bool writable = false, writethrough = false;
  std::optional<std::string> name;
  std::string description;
  std::vector<std::string> bitmaps;
  bool allocation_depth = false;
  void describe(PropertyVisitor& p);
};
Result<Nothing> block_export_add(MonitorTarget& target, const BlockExportAdd& arguments);

struct BlockExportDel {
  std::string id;
  NbdServer::Removal mode = NbdServer::Removal::Safe;
  void describe(PropertyVisitor& p);
};
Result<Nothing> block_export_del(MonitorTarget& target, const BlockExportDel& arguments);

struct ExportReply {
  std::string id;
  ExportType type = ExportType::Nbd;
  std::string node_name;
  bool shutting_down = false;
  void describe(PropertyVisitor& p);
};
Result<std::vector<ExportReply>> query_block_exports(MonitorTarget& target, const Nothing&);

// A drive's node by the drive's id, or a node by its name.
Result<NodePtr> find_exported_node(MonitorTarget& target, std::string_view name);

}  // namespace menura
