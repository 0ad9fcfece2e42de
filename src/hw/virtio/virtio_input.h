// VirtioInput: a keyboard, mouse or tablet (VIRTIO 1.2 §5.8), an InputSink of the machine.
//
// Owner: its transport. Threads: under the machine lock. Events are those of Linux's evdev; a report
// goes to the guest as a whole or, when it has no buffers left, not at all. Example:
//   std::make_unique<VirtioInput>(VirtioInput::Role::Tablet, "", machine.inputs())
#pragma once

#include <string>
#include <vector>

#include "hw/virtio/virtio_device.h"
#include "io/input.h"

namespace menura {

class VirtioInput final : public VirtioDevice, private InputSink {
 public:
  enum class Role : u8 { Keyboard, Mouse, Tablet };
  static constexpr VirtioKind kind_of(Role role) {
    if (role == Role::Keyboard)
      return {.id = virtio::kInput, .name = "virtio-keyboard", .class_code = 0x090000};
    if (role == Role::Mouse)
      return {.id = virtio::kInput, .name = "virtio-mouse", .class_code = 0x090200};
    return {.id = virtio::kInput, .name = "virtio-tablet", .class_code = 0x098000};
  }

  VirtioInput(Role role, std::string serial, Inputs& inputs);
  ~VirtioInput() override;

 protected:
  u64 device_features() const override { return 0; }
  void fill_config(Bytes config) override;
  void config_written(size_t offset, ConstBytes bytes) override;
  void process(unsigned queue) override;
  void driver_ready() override;
  void reset_device() override;
  void describe_device(StateVisitor& v) override;

 private:
  struct Event {
    u16 type, code;
    u32 value;
  };
  // InputSink
  InputKinds takes() const override;
  std::string_view input_name() const override;
  void key(Key key, bool down) override;
  void move(i32 dx, i32 dy) override;
  void move_to(u16 x, u16 y) override;
  void button(PointerButton button, bool down) override;
  void wheel(i32 up, i32 right) override;
  void sync() override;

  void add(u16 type, u16 code, i32 value);
  void take_status();
  // The answer to what the driver selected.
  std::vector<u8> selected() const;
  std::vector<u8> event_bits() const;

  // Configuration
  const Role role_;
  const std::string serial_;

  // Wiring
  Inputs& inputs_;
  std::vector<Event> report_;  // until sync()

  // State
  u8 select_ = 0;
  u8 subselect_ = 0;
  KeyboardLeds leds_;
};

}  // namespace menura
