// UsbHid: a USB keyboard, mouse or tablet.
//
// Owner: the user's device. Threads: under the machine lock. Source: USB Device Class Definition for
// HID 1.11; HID Usage Tables 1.12. Keyboard and mouse speak the boot protocol. A guest that
// configures one gets the user's input from it. Deviation: the idle rate is kept, not followed.
// Example: `UsbHid tablet("tablet", UsbHid::Kind::Tablet, inputs);  bus.plug(tablet).value();`
#pragma once

#include <array>

#include "hw/usb/usb_device.h"
#include "io/input.h"

namespace menura {

class UsbHid final : public UsbDevice, private InputSink {
 public:
  enum class Kind : u8 { Keyboard, Mouse, Tablet };
  UsbHid(std::string id, Kind kind, Inputs& inputs, Device* parent = nullptr);
  ~UsbHid() override;

  std::string_view type() const override;
  UsbSpeed fastest() const override { return UsbSpeed::High; }

 protected:
  const Descriptors& descriptors() const override {
    return speed() == UsbSpeed::High ? high_ : full_;
  }
  bool class_request(const UsbRequest& request, std::vector<u8>& data) override;
  UsbAnswer data_in(u8 endpoint, Bytes to) override;
  UsbAnswer data_out(u8 endpoint, ConstBytes from) override;
  void reset_function() override;
  void describe_function(StateVisitor& v) override;
  Result<void> restored_function() override;
  void configured_changed() override;

 private:
  InputKinds takes() const override;
  std::string_view input_name() const override;
  void key(Key key, bool down) override;
  void move(i32 dx, i32 dy) override;
  void move_to(u16 x, u16 y) override;
  void button(PointerButton button, bool down) override;
  void wheel(i32 up, i32 right) override;
  void sync() override;

  std::vector<u8> report();
  std::vector<u8> keyboard_report() const;
  bool pending() const;
  void show_leds();

  // Configuration
  const Kind kind_;
  const Descriptors full_, high_;  // by speed
  std::vector<u8> report_descriptor_;
  // Wiring
  Inputs& inputs_;
  // State
  u8 protocol_ = 1;  // 0: boot
  u8 idle_ = 0;
  u8 leds_ = 0;
  std::vector<u8> keys_;  // usages that are down, in the order of pressing
  u8 modifiers_ = 0;
  std::vector<std::vector<u8>> reports_;  // of a keyboard, each a change
  u8 buttons_ = 0;
  i32 dx_ = 0, dy_ = 0, wheel_ = 0;
  u16 x_ = 0, y_ = 0;
  bool changed_ = false;  // of a pointer
};

}  // namespace menura
