#include "control/gdbstub/gdb_packets.h"

#include "base/bytes.h"
#include "base/format.h"

namespace menura {

namespace {

constexpr char kInterrupt = 3;
constexpr char kEscape = '}';
constexpr u8 kEscapeBit = 0x20;

u8 sum_of(std::string_view text) {
  u8 sum = 0;
  for (const char c : text) sum = static_cast<u8>(sum + static_cast<u8>(c));
  return sum;
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

void GdbPackets::feed(std::string_view bytes) {
  for (const char c : bytes) feed_char(c);
}

void GdbPackets::feed_char(char c) {
  switch (phase_) {
    case Phase::Idle:
      if (c == kInterrupt) return sinks_.interrupt();
      if (c == '-' && acknowledges_ && !last_.empty()) return sinks_.send(last_);
      if (c != '$') return;
      packet_.clear();
      too_long_ = false;
      phase_ = Phase::Packet;
      return;
    case Phase::Packet:
      if (c == '#') {
        phase_ = Phase::Sum1;
      } else if (packet_.size() < kMaxPacket) {
        packet_ += c;
      } else {
        too_long_ = true;
      }
      return;
    case Phase::Sum1:
      sum_digit_ = c;
      phase_ = Phase::Sum2;
      return;
    case Phase::Sum2: {
      phase_ = Phase::Idle;
      const bool good = !too_long_ && digit(sum_digit_) * 16 + digit(c) == sum_of(packet_);
      if (acknowledges_) sinks_.send(good ? "+" : "-");
      if (good) finish();
      return;
    }
  }
}

void GdbPackets::finish() {
  std::string plain;
  for (size_t i = 0; i < packet_.size(); i++) {
    if (packet_[i] == kEscape && i + 1 < packet_.size())
      plain += static_cast<char>(packet_[++i] ^ kEscapeBit);
    else
      plain += packet_[i];
  }
  sinks_.packet(plain);
}

void GdbPackets::send(std::string_view packet) {
  std::string frame = "$";
  for (const char c : packet) {
    const bool special = c == '#' || c == '$' || c == kEscape || c == '*';
    if (special) frame += kEscape;
    frame += special ? static_cast<char>(c ^ kEscapeBit) : c;
  }
  frame += format("#{:02x}", sum_of(std::string_view(frame).substr(1)));
  last_ = frame;
  sinks_.send(frame);
}

void GdbPackets::forget() {
  phase_ = Phase::Idle;
  acknowledges_ = true;
  last_.clear();
}

std::string to_hex(ConstBytes bytes) {
  std::string text;
  for (const std::byte b : bytes) text += format("{:02x}", static_cast<unsigned>(b));
  return text;
}

std::string to_hex(std::string_view text) { return to_hex(bytes_of(text)); }

std::optional<std::vector<std::byte>> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return {};
  std::vector<std::byte> bytes;
  for (size_t i = 0; i < text.size(); i += 2) {
    const int high = digit(text[i]), low = digit(text[i + 1]);
    if (high < 0 || low < 0) return {};
    bytes.push_back(static_cast<std::byte>(high * 16 + low));
  }
  return bytes;
}

std::optional<u64> take_hex(std::string_view& text) {
  constexpr size_t kMaxDigits = 16;
  u64 value = 0;
  size_t digits = 0;
  while (digits < text.size() && digit(text[digits]) >= 0) {
    if (digits == kMaxDigits) return {};
    value = value << 4 | static_cast<u64>(digit(text[digits++]));
  }
  if (digits == 0) return {};
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace menura
