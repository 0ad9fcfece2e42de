// TestNetSink: a card's side that records everything, for tests.
//
// Owner: the test; outlives the back end. Threads: one. Example: `netdev->attach(&sink);`
#pragma once

#include <deque>
#include <functional>
#include <vector>

#include "io/net_backend.h"

namespace menura {

using Frame = std::vector<std::byte>;

struct TestNetSink final : NetSink {
  bool ready() override { return room > 0; }
  void receive(const NetPacket& packet) override {
    if (room == 0) violations++;
    if (room > 0) room--;
    frames.emplace_back(packet.frame.begin(), packet.frame.end());
    offloads.push_back(packet.offload);
    if (on_receive) on_receive();
  }
  void writable() override { writables++; }
  void link_changed() override { link_changes++; }

  size_t room = 1 << 20;  // frames
  int violations = 0;     // frames while not ready
  int writables = 0;
  int link_changes = 0;
  std::vector<Frame> frames;
  std::vector<NetOffload> offloads;
  std::function<void()> on_receive;
};

// An Ethernet frame of the given size: broadcast, of an experimental protocol, and a pattern.
inline Frame test_frame(size_t size, unsigned seed = 0) {
  Frame frame(size);
  for (size_t i = 0; i < size; i++)
    frame[i] = static_cast<std::byte>(i < 6     ? 0xff
                                      : i < 12  ? 0x02
                                      : i == 12 ? 0x88
                                      : i == 13 ? 0xb5
                                                : i * 7 + seed);
  return frame;
}

}  // namespace menura
