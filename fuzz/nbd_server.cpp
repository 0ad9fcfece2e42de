// An NBD server whose client sends anything: no crash, no hang, and a reply for whoever reads.
#include <sys/socket.h>

#include <cstdlib>
#include <thread>

#include "block/core/graph.h"
#include "block/drivers.h"
#include "block/nbd_server/server.h"

namespace {

using namespace menura;

Graph& graph() {
  static Graph kGraph(all_drivers());
  return kGraph;
}

NodePtr disk() {
  Value options = Value::object();
  options.set("driver", "memory");
  options.set("size", u64{1} << 20);
  options.set("discard", "unmap");
  Result<NodePtr> node = graph().open(std::move(options));
  if (!node) std::abort();
  return *node;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, size_t size) {
  if (size == 0) return 0;
  static const NodePtr kDisk = disk();
  // The first byte chooses what negotiation would have agreed on, or none at all.
  const bool negotiates = bytes[0] & 1, structured = bytes[0] & 2, writable = bytes[0] & 4;
  bytes++, size--;
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return 0;
  const int client = ends[1];
  std::thread reader([client] {
    std::array<char, 65536> waste;
    while (::recv(client, waste.data(), waste.size(), 0) > 0) {}
  });
  {
    NbdServer server({.limits = {.negotiation = std::chrono::milliseconds(2000)}});
    auto exported = NbdExport::create(kDisk, {.name = "x", .writable = writable});
    if (!exported || !server.add(*exported)) std::abort();
    NbdStream stream{UniqueFd(ends[0])};
    std::thread writer([client, bytes, size] {
      (void)::send(client, bytes, size, MSG_NOSIGNAL);
      ::shutdown(client, SHUT_WR);
    });
    NbdExportTable& table = server.table();
    if (negotiates) {
      stream.set_deadline(NbdStream::Clock::now() + std::chrono::seconds(2));
      auto agreed = negotiate(stream, table, {});
      stream.set_deadline({});
      if (agreed && *agreed) NbdRequestLoop(stream, std::move(**agreed), {}).run();
    } else if (auto used = table.use(**exported)) {
      NbdRequestLoop(stream, {std::move(*used), structured, {0}}, {}).run();
    }
    stream.shut();
    writer.join();
  }
  reader.join();
  ::close(client);
  return 0;
}
