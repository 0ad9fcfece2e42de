// An NBD client whose server sends anything: no crash, no hang, and no byte that was not sent.
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <thread>

#include "block/nbd/nbd_client.h"

namespace {

using namespace menura;

void use(NbdClient& client) {
  const u64 size = client.info().size;
  std::array<std::byte, 4096> buffer{};
  if (size >= buffer.size() && client.read(0, buffer)) {
    // Whole reads only: Coverage saw to it.
  }
  if (!client.info().contexts.empty() && size >= 512)
    if (const auto extent = client.status(0, 512); extent && extent->length > 512) std::abort();
  (void)client.write(0, Bytes(buffer).first(16), kNbdFua).ok();
  (void)client.command(NbdCommand::Flush, 0, 0, 0).ok();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, size_t size) {
  if (size == 0) return 0;
  const unsigned char way = bytes[0];
  bytes++, size--;
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return 0;
  std::thread server([fd = ends[1], bytes, size] {
    (void)::send(fd, bytes, size, MSG_NOSIGNAL);
    ::shutdown(fd, SHUT_WR);
    std::array<char, 65536> waste;
    while (::recv(fd, waste.data(), waste.size(), 0) > 0) {}
    ::close(fd);
  });
  auto stream = std::make_unique<NbdStream>(UniqueFd(ends[0]));
  const NbdTarget target{.export_name = "x"};
  if (way & 1) {
    if (auto info = choose_nbd_export(*stream, target)) {
      NbdClient client(std::move(stream), std::move(*info));
      use(client);
    }
  } else if (way & 2) {
    (void)list_nbd_exports(*stream, target).ok();
  } else {
    NbdExportInfo info;
    info.size = 1 << 20;
    info.structured = way & 4;
    if (info.structured) info.contexts = {{7, std::string(kNbdAllocation)}};
    NbdClient client(std::move(stream), std::move(info));
    use(client);
  }
  stream.reset();
  server.join();
  return 0;
}
