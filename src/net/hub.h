// NetHubs: the hubs inside a machine: a frame that enters at one port leaves at all others.
//
// Owner: the machine; outlives the ports. Threads: as NetBackend. A port that is not ready gets
// frames later, up to FrameQueue's bound.
// Example: `auto port = hubs.open_port(0, nullptr);  // for a card`
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "net/frame_queue.h"
#include "net/netdev.h"

namespace menura {

class NetHubs {
 public:
  explicit NetHubs(Tape& tape) : tape_(tape) {}
  // What is plugged in is a card (the port's sink), or another back end.
  std::unique_ptr<Netdev> open_port(i32 hub, NetBackend* backend);

 private:
  class Port;
  void spread(const Port& from, const NetPacket& packet);

  Tape& tape_;
  std::map<i32, std::vector<Port*>> hubs_;
};

}  // namespace menura
