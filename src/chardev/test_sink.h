// TestSink: a device's side of a chardev that records everything, for tests.
//
// Owner: the test; outlives the chardev. Threads: one. Example: `chardev->attach(&sink);`
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "io/chardev.h"

namespace menura {

struct TestSink final : CharSink {
  size_t room() override { return space; }
  void receive(ConstBytes bytes) override {
    if (bytes.empty() || bytes.size() > space) violations++;
    space -= std::min(space, bytes.size());
    largest = std::max(largest, bytes.size());
    received.insert(received.end(), bytes.begin(), bytes.end());
    if (on_receive) on_receive();
  }
  void event(CharEvent event) override {
    if (event == CharEvent::Opened) opened++;
    if (event == CharEvent::Closed) closed++;
    events.push_back(event);
  }
  void writable() override {
    if (on_writable) on_writable();
  }
  std::string text() const {
    return {reinterpret_cast<const char*>(received.data()), received.size()};
  }

  size_t space = size_t{1} << 20;
  size_t largest = 0;  // of one receive()
  int violations = 0;  // more than room(), or nothing
  int opened = 0;
  int closed = 0;
  std::vector<CharEvent> events;
  std::vector<std::byte> received;
  std::function<void()> on_receive;
  std::function<void()> on_writable;
};

inline ConstBytes text_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

}  // namespace menura
