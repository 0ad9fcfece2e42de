// NbdServer: exports images to NBD clients over listening sockets, on threads of its own.
//
// Owner: a program or its monitor. Threads: construction, exports and stop() on the graph's main
// thread; clients are served on others. Clients are hostile: their number, their negotiation's time,
// the size of requests and what is under way are bounded (Limits).
// Example:
//   NbdServer server({.tls = creds});  TRY(server.add(export));  TRY(server.listen(std::move(fd)));
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "block/nbd_server/negotiation.h"
#include "block/nbd_server/request_loop.h"

namespace menura {

class NbdServer final : private NbdExportTable {
 public:
  struct Limits {
    unsigned connections = 100;  // the next ones wait in the kernel's queue
    std::chrono::milliseconds negotiation{10'000};
    NbdRequestLimits requests;
  };
  struct Options {
    Limits limits;
    NbdServerTls tls;
    // On a thread of the server: a client that had an export has gone, and so many are left.
    std::function<void(unsigned left)> client_gone;
  };
  enum class Removal : u8 { Safe, Hard };  // Safe: only without clients

  explicit NbdServer(Options options);
  ~NbdServer() override;
  NbdServer(const NbdServer&) = delete;
  NbdServer& operator=(const NbdServer&) = delete;

  // Accepts clients of a listening socket from now on.
  Result<void> listen(UniqueFd listening);
  // Errc::Exists when the name is taken.
  Result<void> add(std::shared_ptr<NbdExport> exported);
  // Hard: cuts its clients off first. The export is closed afterwards.
  Result<void> remove(NbdExport& exported, Removal removal);
  NbdExport* find(std::string_view name) const;
  const std::vector<std::shared_ptr<NbdExport>>& exports() const { return exports_; }
  unsigned clients_of(const NbdExport& exported) const;
  // For whoever brings streams of their own.
  NbdExportTable& table() { return *this; }
  // Cuts off all clients and closes all exports.
  void stop();

 private:
  struct Connection {
    explicit Connection(UniqueFd socket) : stream(std::move(socket)) {}
    NbdStream stream;
    std::thread thread;
    const NbdExport* serving = nullptr;
    bool over = false;
  };
  void accept_clients();
  void accept_from(int listening);
  void serve(Connection& connection);
  void reap();
  void wake();
  std::vector<Line> list() override;
  std::shared_ptr<NbdExport> lookup(std::string_view name) override;
  std::optional<NbdExportUse> use(NbdExport& exported) override;
  void unuse(NbdExport& used) override;

  // Configuration
  const Options options_;
  // Wiring
  UniqueFd wake_;
  std::thread acceptor_;
  // State
  mutable std::mutex mutex_;
  std::condition_variable less_used_;
  std::vector<UniqueFd> listening_;
  std::list<Connection> connections_;
  std::vector<std::shared_ptr<NbdExport>> exports_;  // changed on the main thread
  std::vector<const NbdExport*> uses_;               // one for each
  const NbdExport* leaving_ = nullptr;               // takes no new clients
  bool stopping_ = false;
};

}  // namespace menura
