// GdbPackets: the framing of GDB's remote serial protocol: $text#sum, acknowledgements, Ctrl-C.
//
// Owner: a GdbStub. Threads: none. Source: GDB manual, appendix E "Overview" and "Packet
// Acknowledgment". Bounded: a longer packet than kMaxPacket is refused with a '-'.
// Example: `packets.feed(bytes, [&](std::string_view packet) { handle(packet); });`
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace menura {

class GdbPackets {
 public:
  static constexpr size_t kMaxPacket = 16384;

  struct Sinks {
    std::function<void(std::string_view packet)> packet;
    std::function<void()> interrupt;             // Ctrl-C outside of a packet
    std::function<void(std::string_view)> send;  // acknowledgements and frames
  };
  explicit GdbPackets(Sinks sinks) : sinks_(std::move(sinks)) {}

  void feed(std::string_view bytes);
  void send(std::string_view packet);
  // After QStartNoAckMode.
  void stop_acknowledging() { acknowledges_ = false; }
  void forget();

 private:
  void feed_char(char c);
  void finish();

  // Wiring
  Sinks sinks_;
  // State
  enum class Phase : u8 { Idle, Packet, Sum1, Sum2 } phase_ = Phase::Idle;
  bool acknowledges_ = true;
  bool too_long_ = false;
  char sum_digit_ = 0;
  std::string packet_;  // as it came, with escapes
  std::string last_;    // for a '-'
};

std::string to_hex(ConstBytes bytes);
std::string to_hex(std::string_view text);
// Nothing when it has an odd length or other characters.
std::optional<std::vector<std::byte>> from_hex(std::string_view text);
// A hexadecimal number at the front, which is taken off; nothing when there is none, or too long.
std::optional<u64> take_hex(std::string_view& text);
bool take(std::string_view& text, std::string_view prefix);

}  // namespace menura
