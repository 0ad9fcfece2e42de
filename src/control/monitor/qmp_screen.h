// QMP commands about the screen and what users do in front of it: pictures, text, keys, pointers.
//
// Owner: control/monitor. Threads: under the machine lock. Errors: as control/monitor/command.h.
// Example: `command<&screendump>("screendump", "Save a picture of the screen")`
#pragma once

#include "control/monitor/qmp_tools.h"
#include "display/picture.h"

namespace menura {

struct Screendump {
  std::string filename;
  std::optional<std::string> device;
  std::optional<i64> head;
  PictureFormat format = PictureFormat::Ppm;
  void describe(PropertyVisitor& p);
};
Result<Nothing> screendump(MonitorTarget& target, const Screendump& arguments);

// The display of a device, or the machine's first.
Result<Display*> find_display(MonitorTarget& target, const std::optional<std::string>& device);

struct ScreenQuery {
  std::optional<std::string> device;
  void describe(PropertyVisitor& p);
};
struct ScreenReply {
  u32 width = 0, height = 0;  // pixels
  // Of a text mode.
  std::optional<std::vector<std::string>> text;
  std::optional<u32> cursor_column, cursor_row;
  void describe(PropertyVisitor& p);
};
// Ours alone: what is on the screen, as text where it is text.
Result<ScreenReply> query_screen(MonitorTarget& target, const ScreenQuery& arguments);

struct MouseReply {
  std::string name;
  u32 index = 0;
  bool current = false;
  bool absolute = false;
  void describe(PropertyVisitor& p);
};
Result<std::vector<MouseReply>> query_mice(MonitorTarget& target, const Nothing&);

// As in {"type": "rel", "data": {"axis": "x", "value": -3}}.
enum class InputButton : u8 {
  Left,
  Middle,
  Right,
  WheelUp,
  WheelDown,
  Side,
  Extra,
  WheelLeft,
  WheelRight
};
std::span<const std::string_view> enum_names(InputButton);
enum class InputAxis : u8 { X, Y };
std::span<const std::string_view> enum_names(InputAxis);

struct InputEvent {
  enum class Type : u8 { Key, Btn, Rel, Abs };
  struct KeyData {
    bool down = false;
    KeyValue key;
    void describe(PropertyVisitor& p);
  };
  struct ButtonData {
    bool down = false;
    InputButton button = InputButton::Left;
    void describe(PropertyVisitor& p);
  };
  struct MoveData {
    InputAxis axis = InputAxis::X;
    i64 value = 0;
    void describe(PropertyVisitor& p);
  };
  Type type = Type::Key;
  KeyData key;
  ButtonData button;
  MoveData move;

  static Result<InputEvent> read(const Value& given);
  static Shape shape();
};
std::span<const std::string_view> enum_names(InputEvent::Type);

template <>
struct detail::Converter<InputEvent> {
  static Result<InputEvent> from(const Value& v) { return InputEvent::read(v); }
  static Value to(const InputEvent&) { return Value::object(); }
  static std::string name() { return "input event"; }
  static Shape shape() { return InputEvent::shape(); }
};

struct InputSendEvent {
  std::optional<std::string> device;
  std::optional<i64> head;
  std::vector<InputEvent> events;
  void describe(PropertyVisitor& p);
};
Result<Nothing> input_send_event(MonitorTarget& target, const InputSendEvent& arguments);

}  // namespace menura
