// Ps2Keyboard: a 102-key PS/2 keyboard with scan code sets 1 and 2.
//
// Owner: the board. Threads: under the machine lock. Source: IBM PS/2 Keyboard Technical Reference.
// Deviations: set 3 is refused (Resend); typematic repeat is the host's business.
// Example: `Ps2Keyboard keyboard("keyboard");  keyboard.key(Key::A, true);`
#pragma once

#include "hw/input/ps2_device.h"
#include "io/input.h"

namespace menura {

class Ps2Keyboard final : public Ps2Device, public InputSink {
 public:
  // With inputs, the user's keys arrive from there and the lights are told there.
  explicit Ps2Keyboard(std::string id, Inputs* inputs = nullptr);
  ~Ps2Keyboard() override;

  std::string_view type() const override { return "ps2-kbd"; }
  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;
  void receive(u8 byte) override;

  InputKinds takes() const override { return {.keys = true}; }
  std::string_view input_name() const override { return "PS/2 keyboard"; }
  void key(Key key, bool down) override;
  u8 leds() const { return leds_; }  // bit 0 scroll, 1 num, 2 caps

 private:
  void command(u8 byte);
  void argument(u8 byte);
  void set_defaults();
  std::vector<u8> sequence(Key key, bool down) const;
  void show_leds();

  // Wiring
  Inputs* inputs_;
  // State
  bool scanning_ = true;
  u8 scan_code_set_ = 2;
  u8 leds_ = 0;
  u8 typematic_ = 0x2b;
  u8 pending_command_ = 0;  // waits for its argument; 0: none
};

}  // namespace menura
