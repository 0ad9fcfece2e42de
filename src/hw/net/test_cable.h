// TestCable: a cable that records what a card sends, for tests.
//
// Owner: the test; outlives the card. Threads: one. Example: `cable.arrive(frame);`
#pragma once

#include <vector>

#include "io/net_backend.h"

namespace menura {

using Frame = std::vector<std::byte>;

struct TestCable final : NetBackend {
  bool send(const NetPacket& packet) override {
    if (room == 0) return false;
    room--;
    sent.emplace_back(packet.frame.begin(), packet.frame.end());
    return true;
  }
  void attach(NetSink* s) override { sink = s; }
  void accept_input() override { accepts++; }
  bool link_up() const override { return link; }

  // False when the card is not ready.
  bool arrive(const Frame& frame) {
    if (!sink || !sink->ready()) return false;
    sink->receive({.frame = frame});
    return true;
  }
  void set_link(bool up) {
    link = up;
    sink->link_changed();
  }

  NetSink* sink = nullptr;
  bool link = true;
  size_t room = 1 << 20;  // frames it takes
  int accepts = 0;
  std::vector<Frame> sent;
};

}  // namespace menura
