#include "net/netdev.h"

#include "net/hub.h"
#include "net/kinds.h"

namespace menura {

namespace {

struct Opener {
  const NetdevContext& context;
  NetdevResult operator()(const UserNetConfig& c) { return open_user_net(context, c); }
  NetdevResult operator()(const TapConfig& c) { return open_tap(context, c); }
  NetdevResult operator()(const BridgeConfig& c) { return open_bridge(context, c); }
  NetdevResult operator()(const SocketNetConfig& c) { return open_socket_net(context, c); }
  NetdevResult operator()(const StreamNetConfig& c) { return open_stream_net(context, c); }
  NetdevResult operator()(const DgramNetConfig& c) { return open_dgram_net(context, c); }
  NetdevResult operator()(const HubPortConfig& c) {
    NetBackend* const backend = c.netdev.empty() ? nullptr : TRY(context.netdev(c.netdev));
    return context.hubs->open_port(c.hubid, backend);
  }
};

}  // namespace

NetdevResult open_netdev(const NetdevContext& context, const NetdevConfig& config) {
  return std::visit(Opener{context}, config.kind);
}

}  // namespace menura
