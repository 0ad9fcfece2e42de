// BlockExports: the NBD server of a running machine and what it exports: nbd-server-start,
// block-export-add and their kin.
//
// Owner: MonitorTarget. Threads: under the machine lock; clients are served on the server's own
// threads. Every export that ends is told as BLOCK_EXPORT_DELETED.
// Example: `TRY(exports.start(place, {}, 100));  TRY(exports.add("e0", std::move(node), options));`
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "block/nbd_server/server.h"
#include "machine/machine.h"

namespace menura {

class BlockExports {
 public:
  explicit BlockExports(Machine& machine) : machine_(machine) {}
  ~BlockExports();
  BlockExports(const BlockExports&) = delete;
  BlockExports& operator=(const BlockExports&) = delete;

  // Errc::Exists when it runs already.
  Result<void> start(const SocketPlace& place, NbdServerTls tls, unsigned connections);
  Result<void> stop();
  bool running() const { return server_ != nullptr; }

  struct Export {
    std::string id;
    std::string node;
    NbdExport* exported;
  };
  Result<void> add(std::string id, NodePtr node, NbdExportOptions options);
  Result<void> remove(std::string_view id, NbdServer::Removal removal);
  const std::vector<Export>& all() const { return exports_; }
  // By what clients call it.
  const Export* find_name(std::string_view name) const;

 private:
  void tell_end(const std::string& id);

  // Wiring
  Machine& machine_;
  // State
  std::unique_ptr<NbdServer> server_;
  std::string socket_path_;
  std::vector<Export> exports_;
};

}  // namespace menura
