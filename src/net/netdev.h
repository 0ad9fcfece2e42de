// Netdev: a network back end of a machine as -netdev makes it: a NetBackend that says where it goes.
//
// Owner: the machine, inside a NetPort. Threads: as NetBackend. Opening may block (name resolution,
// scripts). Example:
//   auto netdev = TRY(open_netdev({.loop = loop, .id = "n0"}, config));
//   NetPort port(std::move(netdev));
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "event/event_loop.h"
#include "io/chardev.h"
#include "io/net_backend.h"
#include "net/config.h"

namespace menura {

class UserNet;

class Netdev : public NetBackend {
 public:
  bool link_up() const override { return true; }
  // For people, as `info network` shows it: "net=10.0.2.0,restrict=off".
  virtual std::string where() const = 0;
  // Null for other kinds: ports are forwarded while it runs, and its connections listed.
  virtual UserNet* user_net() { return nullptr; }
};

using NetdevResult = Result<std::unique_ptr<Netdev>>;

class NetHubs;

struct NetdevContext {
  EventLoop& loop;
  const std::string& id;
  // For guestfwd: one more user of a character device.
  std::function<Result<Chardev*>(std::string_view id)> chardev = {};
  // For hubport: the machine's hubs; and another netdev, to be plugged into one.
  NetHubs* hubs = nullptr;
  std::function<Result<NetBackend*>(std::string_view id)> netdev = {};
};

NetdevResult open_netdev(const NetdevContext& context, const NetdevConfig& config);

}  // namespace menura
