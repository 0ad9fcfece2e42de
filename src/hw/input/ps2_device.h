// Ps2Device: what hangs on a PS/2 connector: takes command bytes, sends bytes.
//
// Owner: the board, next to its I8042. Threads: under the machine lock. Source: IBM PS/2 Hardware
// Interface Technical Reference, "Keyboard and Auxiliary Device Controller".
// Example: see ps2_keyboard.h.
#pragma once

#include <functional>
#include <initializer_list>
#include <vector>

#include "hw/core/device.h"

namespace menura {

class Ps2Device : public Device {
 public:
  // Bytes the device holds for the controller; sequences that do not fit are dropped whole.
  static constexpr size_t kQueue = 256;

  // From the controller.
  virtual void receive(u8 byte) = 0;
  bool has_output() const { return !output_.empty(); }
  // Takes the oldest byte; 0 when there is none.
  u8 take();
  void on_output(std::function<void()> notify) { notify_ = std::move(notify); }

 protected:
  using Device::Device;
  enum : u8 { kAck = 0xfa, kResend = 0xfe, kSelfTestPassed = 0xaa };

  void send(std::initializer_list<u8> bytes);
  void send(const std::vector<u8>& bytes);
  void reset_output() {
    output_.clear();
    last_sent_ = 0;
  }
  void describe_output(StateVisitor& v);
  Result<void> check_output() const;
  bool has_room(size_t bytes) const { return output_.size() + bytes <= kQueue; }
  u8 last_sent() const { return last_sent_; }

 private:
  // Wiring
  std::function<void()> notify_;
  // State
  std::vector<u8> output_;
  u8 last_sent_ = 0;
};

}  // namespace menura
