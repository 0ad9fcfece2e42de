// The sockets that network back ends are told of: resolved, or inherited from who started us.
//
// Owner: net. Threads: any; resolve() may block on name resolution.
// Example: `SocketAddress peer = TRY(resolve(config.addr, SocketType::Stream, SocketRole::Client));`
#pragma once

#include "base/socket_address.h"
#include "net/config.h"

namespace menura {

// Of an Inet or Unix address: the first that its name has.
Result<SocketAddress> resolve(const NetAddress& address, SocketType type, SocketRole role);
// Of "[HOST]:PORT", -netdev socket's short form, which means IPv4 when it names no host.
Result<SocketAddress> resolve(std::string_view text, SocketType type, SocketRole role);

// An inherited or sent socket (base/fd_sets.h), made non-blocking; Errc::InvalidArgument for others.
Result<UniqueFd> inherited_socket(const std::string& number_or_name);

}  // namespace menura
