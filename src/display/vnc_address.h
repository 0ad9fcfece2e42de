// Where a VNC server listens, and who is connected: as -vnc names it and query-vnc tells it.
//
// Owner: display. Threads: values; listen() may block on name resolution.
// Example: `VncPlace place = TRY(parse_vnc_place("127.0.0.1:1", 5900));`
#pragma once

#include <string>
#include <string_view>

#include "base/socket_address.h"

namespace menura {

struct VncPlace {
  std::string path;  // of a UNIX socket; else
  std::string host;  // empty: every address
  u32 port = 0;
};

// "host:display", ":display", "[::1]:2", "unix:PATH"; displays begin at `first_port`.
Result<VncPlace> parse_vnc_place(std::string_view text, u32 first_port);

// Non-blocking sockets that listen at the place, or (to > port) at the first free port up to there:
// one for each address of the host's name. Errors name the place.
Result<std::vector<SocketAddress::Listening>> vnc_listen(const VncPlace& place, u32 to);

// A socket's own end, or its peer's.
struct VncEndpoint {
  std::string host, service, family;  // family: "ipv4", "ipv6", "unix", "unknown"
  static VncEndpoint of_socket(int fd);
  static VncEndpoint of_peer(int fd);
};

}  // namespace menura
