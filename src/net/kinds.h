// The makers of the kinds, inside this room; everybody else calls open_netdev() (net/netdev.h).
//
// Owner: net. Threads: as NetBackend. Errors name what was tried.
// Example: `auto user = TRY(open_user_net(context, config));`
#pragma once

#include "net/config.h"
#include "net/netdev.h"

namespace menura {

NetdevResult open_user_net(const NetdevContext& context, const UserNetConfig& config);
NetdevResult open_tap(const NetdevContext& context, const TapConfig& config);
NetdevResult open_bridge(const NetdevContext& context, const BridgeConfig& config);
NetdevResult open_socket_net(const NetdevContext& context, const SocketNetConfig& config);
// Its kinds without a connection: mcast, udp, or a datagram socket's fd.
NetdevResult open_socket_datagrams(const NetdevContext& context, const SocketNetConfig& config);
NetdevResult open_stream_net(const NetdevContext& context, const StreamNetConfig& config);
NetdevResult open_dgram_net(const NetdevContext& context, const DgramNetConfig& config);

}  // namespace menura
