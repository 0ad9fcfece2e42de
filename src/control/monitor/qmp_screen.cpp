#include "control/monitor/qmp_screen.h"

#include <fcntl.h>

#include <algorithm>

#include "base/fd.h"

namespace menura {

void Screendump::describe(PropertyVisitor& p) {
  p.required("filename", filename, "where the picture goes");
  p.field("device", device, "id of the graphics card; the first one");
  p.field("head", head, "which of its screens: 0");
  p.field("format", format, "of the picture");
}

Result<Display*> find_display(MonitorTarget& target, const std::optional<std::string>& device) {
  Displays& displays = target.machine.displays();
  if (!displays.first()) return fail(Errc::Unsupported, "This machine has no screen");
  if (!device) return displays.first();
  Display* display = displays.find(*device);
  if (!display) return fail(Errc::NotFound, "There is no graphics card '{}'", *device);
  return display;
}

Result<Nothing> screendump(MonitorTarget& target, const Screendump& arguments) {
  if (arguments.head && !arguments.device)
    return fail(Errc::InvalidArgument, "'head' is of a 'device', which must be given too");
  if (arguments.head.value_or(0) != 0)
    return fail(Errc::InvalidArgument, "Head {} does not exist: graphics cards have one, 0",
                *arguments.head);
  Display& display = *TRY(find_display(target, arguments.device));
  display.refresh();
  const std::vector<std::byte> picture =
      TRY(encode_picture(display.surface(), arguments.format), "Picture of {}", display.name());
  const UniqueFd fd = TRY(open_file(arguments.filename, O_WRONLY | O_CREAT | O_TRUNC));
  TRY(write_all(fd.get(), picture), "Writing {}", arguments.filename);
  return Nothing{};
}

void ScreenQuery::describe(PropertyVisitor& p) {
  p.field("device", device, "id of the graphics card; the first one");
}
void ScreenReply::describe(PropertyVisitor& p) {
  p.field("width", width);
  p.field("height", height);
  p.field("text", text);
  p.field("cursor-column", cursor_column);
  p.field("cursor-row", cursor_row);
}

Result<ScreenReply> query_screen(MonitorTarget& target, const ScreenQuery& arguments) {
  Display& display = *TRY(find_display(target, arguments.device));
  display.refresh();
  ScreenReply reply{.width = display.surface().width(), .height = display.surface().height()};
  const std::optional<TextScreen> screen = display.text();
  if (!screen) return reply;
  reply.text.emplace();
  for (u32 row = 0; row < screen->rows; row++) reply.text->push_back(text_row(*screen, row));
  if (screen->cursor) {
    reply.cursor_column = screen->cursor->first;
    reply.cursor_row = screen->cursor->second;
  }
  return reply;
}

void MouseReply::describe(PropertyVisitor& p) {
  p.field("name", name);
  p.field("index", index);
  p.field("current", current);
  p.field("absolute", absolute);
}

Result<std::vector<MouseReply>> query_mice(MonitorTarget& target, const Nothing&) {
  std::vector<MouseReply> replies;
  for (Inputs::Pointer& pointer : target.machine.inputs().pointers())
    replies.push_back({.name = std::move(pointer.name),
                       .index = pointer.number,
                       .current = pointer.current,
                       .absolute = pointer.absolute});
  return replies;
}

// input-send-event

std::span<const std::string_view> enum_names(InputButton) {
  static constexpr std::string_view kNames[] = {"left",     "middle",     "right",
                                                "wheel-up", "wheel-down", "side",
                                                "extra",    "wheel-left", "wheel-right"};
  return kNames;
}
std::span<const std::string_view> enum_names(InputAxis) {
  static constexpr std::string_view kNames[] = {"x", "y"};
  return kNames;
}
std::span<const std::string_view> enum_names(InputEvent::Type) {
  static constexpr std::string_view kNames[] = {"key", "btn", "rel", "abs"};
  return kNames;
}

void InputEvent::KeyData::describe(PropertyVisitor& p) {
  p.required("down", down, "pressed, or released");
  p.required("key", key, "which");
}
void InputEvent::ButtonData::describe(PropertyVisitor& p) {
  p.required("down", down, "pressed, or released");
  p.required("button", button, "which");
}
void InputEvent::MoveData::describe(PropertyVisitor& p) {
  p.required("axis", axis, "which way");
  p.required("value", value, "how far, or where of 0 to 32767");
}

Shape InputEvent::shape() {
  Shape shape{.kind = Shape::Kind::Object, .tag = "type"};
  Shape types{.kind = Shape::Kind::Choice};
  const auto variant = [&](std::string_view name, Shape data) {
    types.choices.emplace_back(name);
    Shape object{.kind = Shape::Kind::Object};
    object.members.push_back(
        {.name = "data", .help = "what happened", .shape = std::move(data), .required = true});
    shape.variants.push_back({std::string(name), std::move(object)});
  };
  variant("key", shape_of<KeyData>());
  variant("btn", shape_of<ButtonData>());
  variant("rel", shape_of<MoveData>());
  variant("abs", shape_of<MoveData>());
  shape.members.push_back(
      {.name = "type", .help = "the kind", .shape = std::move(types), .required = true});
  return shape;
}

Result<InputEvent> InputEvent::read(const Value& given) {
  struct Outer {
    Type type = Type::Key;
    Value data;
    void describe(PropertyVisitor& p) {
      p.required("type", type);
      p.required("data", data);
    }
  } outer;
  TRY(read_properties(outer, given, "events"));
  InputEvent event{.type = outer.type};
  switch (outer.type) {
    case Type::Key: TRY(read_properties(event.key, outer.data, "data")); break;
    case Type::Btn: TRY(read_properties(event.button, outer.data, "data")); break;
    case Type::Rel:
    case Type::Abs: TRY(read_properties(event.move, outer.data, "data")); break;
  }
  return event;
}

void InputSendEvent::describe(PropertyVisitor& p) {
  p.field("device", device, "id of the graphics card that the pointer is on");
  p.field("head", head, "which of its screens: 0");
  p.required("events", events, "in order");
}

namespace {

// What has no device to go to is told before anything happens.
Result<void> check_event(const Inputs& inputs, const InputEvent& event) {
  const std::vector<Inputs::Pointer> pointers = inputs.pointers();
  const auto has = [&](bool absolute) {
    return std::ranges::any_of(
        pointers, [absolute](const Inputs::Pointer& p) { return p.absolute == absolute; });
  };
  switch (event.type) {
    case InputEvent::Type::Key:
      if (!inputs.has_keyboard()) return fail(Errc::Unsupported, "This machine has no keyboard");
      TRY(event.key.key.key());
      return {};
    case InputEvent::Type::Btn:
      if (pointers.empty()) return fail(Errc::Unsupported, "This machine has no mouse");
      return {};
    case InputEvent::Type::Rel:
      if (!has(false)) return fail(Errc::Unsupported, "No mouse here takes movements");
      return {};
    case InputEvent::Type::Abs:
      if (!has(true)) return fail(Errc::Unsupported, "No mouse here takes positions");
      return {};
  }
  unreachable();
}

void send_button(Inputs& inputs, InputButton button, bool down) {
  switch (button) {
    case InputButton::Left: inputs.button(PointerButton::Left, down); return;
    case InputButton::Middle: inputs.button(PointerButton::Middle, down); return;
    case InputButton::Right: inputs.button(PointerButton::Right, down); return;
    case InputButton::Side: inputs.button(PointerButton::Side, down); return;
    case InputButton::Extra: inputs.button(PointerButton::Extra, down); return;
    // A wheel turns when it is pressed.
    case InputButton::WheelUp: inputs.wheel(down ? 1 : 0, 0); return;
    case InputButton::WheelDown: inputs.wheel(down ? -1 : 0, 0); return;
    case InputButton::WheelLeft: inputs.wheel(0, down ? -1 : 0); return;
    case InputButton::WheelRight: inputs.wheel(0, down ? 1 : 0); return;
  }
}

}  // namespace

Result<Nothing> input_send_event(MonitorTarget& target, const InputSendEvent& arguments) {
  if (arguments.device) TRY(find_display(target, arguments.device));
  if (arguments.head.value_or(0) != 0)
    return fail(Errc::InvalidArgument, "Head {} does not exist: graphics cards have one, 0",
                *arguments.head);
  Inputs& inputs = target.machine.inputs();
  for (const InputEvent& event : arguments.events) TRY(check_event(inputs, event));
  // An axis at a time comes in, a place goes out.
  std::optional<u16> x, y;
  const auto move = [&] {
    if (x || y) inputs.move_to(x.value_or(inputs.place().first), y.value_or(inputs.place().second));
    x = y = std::nullopt;
  };
  const auto place = [](i64 value) {
    return static_cast<u16>(std::clamp<i64>(value, 0, kPointerMax));
  };
  for (const InputEvent& event : arguments.events) {
    const bool is_x = event.move.axis == InputAxis::X;
    switch (event.type) {
      case InputEvent::Type::Key: inputs.key(TRY(event.key.key.key()), event.key.down); break;
      case InputEvent::Type::Btn:
        move();
        send_button(inputs, event.button.button, event.button.down);
        break;
      case InputEvent::Type::Rel: {
        const auto by = static_cast<i32>(std::clamp<i64>(event.move.value, -0x7fff, 0x7fff));
        inputs.move(is_x ? by : 0, is_x ? 0 : by);
        break;
      }
      case InputEvent::Type::Abs: (is_x ? x : y) = place(event.move.value); break;
    }
  }
  move();
  inputs.sync();
  return Nothing{};
}

}  // namespace menura
