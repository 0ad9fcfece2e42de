// The client's part of NBD's negotiation: from a fresh connection to an export, or to a list.
//
// Owner: block/nbd. Threads: the connecting one. The server may be hostile: lengths and counts are
// bounded, and the stream's deadline bounds the time. Errors say what the server said.
// Example: `const NbdExportInfo info = TRY(choose_nbd_export(stream, target));`
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "block/nbd/nbd_stream.h"
#include "block/nbd/protocol.h"

namespace menura {

struct NbdTarget {
  SocketPlace place;
  std::string export_name;
  std::shared_ptr<const TlsCredentials> tls;  // null: plain
  std::string tls_hostname;
  bool wants_status = true;  // base:allocation
};

// What an export is, as its server says; checked for sense.
struct NbdExportInfo {
  std::string name, description;
  u64 size = 0;
  u16 flags = 0;
  u32 minimum_block = 1, preferred_block = 4096, largest_request = kNbdLargestRequest;
  bool blocks_told = false;  // the server has said so itself
  bool structured = false;
  std::vector<std::pair<u32, std::string>> contexts;  // chosen; of a list: available
  bool can(u16 flag) const { return flags & flag; }
};

Result<NbdExportInfo> choose_nbd_export(NbdStream& stream, const NbdTarget& target);
// All exports with their metadata contexts; target.export_name is ignored. Takes its leave.
Result<std::vector<NbdExportInfo>> list_nbd_exports(NbdStream& stream, const NbdTarget& target);

}  // namespace menura
