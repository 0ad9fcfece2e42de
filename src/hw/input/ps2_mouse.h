// Ps2Mouse: a PS/2 mouse that becomes a wheel mouse (ID 3) or a five-button one (ID 4) when asked.
//
// Owner: the board. Threads: under the machine lock. Source: IBM PS/2 Mouse Technical Reference
// (S68X-2229); the wheel's knock as published by Microsoft ("PS/2 IntelliMouse").
// Example: `Ps2Mouse mouse("mouse");  mouse.move(3, -2);  mouse.sync();`
#pragma once

#include "hw/input/ps2_device.h"
#include "io/input.h"

namespace menura {

class Ps2Mouse final : public Ps2Device, public InputSink {
 public:
  // With inputs, the user's movements arrive from there.
  explicit Ps2Mouse(std::string id, Inputs* inputs = nullptr);
  ~Ps2Mouse() override;

  std::string_view type() const override { return "ps2-mouse"; }
  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override { return check_output(); }
  void receive(u8 byte) override;

  InputKinds takes() const override { return {.relative = true}; }
  std::string_view input_name() const override { return "PS/2 mouse"; }
  void move(i32 dx, i32 dy) override;
  void button(PointerButton button, bool down) override;
  void wheel(i32 up, i32 right) override;
  void sync() override { report(); }

 private:
  void command(u8 byte);
  void argument(u8 byte);
  void set_defaults();
  void note_rate(u8 rate);
  void report_status();
  // Sends what has gathered while reporting is on and the queue has room.
  void report();
  std::vector<u8> take_packet();
  bool something_to_report() const { return dx_ || dy_ || wheel_ || buttons_ != reported_buttons_; }
  size_t packet_size() const { return device_id_ == 0 ? 3 : 4; }

  // Wiring
  Inputs* inputs_;
  // State
  bool reporting_ = false;
  bool remote_ = false;
  bool wrap_ = false;
  bool scaling_ = false;  // 2:1
  u8 resolution_ = 2;
  u8 sample_rate_ = 100;
  u8 device_id_ = 0;
  u32 last_rates_ = 0;  // the last three rates set, newest in the low byte
  u8 pending_command_ = 0;
  u8 buttons_ = 0;
  u8 reported_buttons_ = 0;
  i32 dx_ = 0, dy_ = 0, wheel_ = 0;
};

}  // namespace menura
