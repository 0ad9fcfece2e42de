#include "control/monitor/hmp_screen.h"

#include <algorithm>

#include "base/units.h"
#include "control/monitor/qmp_screen.h"
#include "control/monitor/qmp_vnc.h"

namespace menura::hmp {

using Answer = Result<std::string>;

Answer save_screen(HmpContext& context, HmpWords words) {
  Screendump arguments;
  std::vector<std::string_view> plain;
  for (size_t i = 0; i < words.size(); i++) {
    if (words[i] != "-f") {
      plain.push_back(words[i]);
    } else if (++i < words.size()) {
      arguments.format = TRY(detail::convert<PictureFormat>(Value(words[i])));
    }
  }
  if (plain.empty() || plain.size() > 3)
    return fail(Errc::InvalidArgument, "screendump: expected a file, and perhaps device and head");
  arguments.filename = plain[0];
  if (plain.size() > 1) arguments.device = plain[1];
  if (plain.size() > 2) arguments.head = static_cast<i64>(TRY(parse_u64(plain[2])));
  TRY(screendump(context.target, arguments));
  return std::string();
}

Answer move_mouse(HmpContext& context, HmpWords words) {
  if (words.size() < 2 || words.size() > 3)
    return fail(Errc::InvalidArgument, "mouse_move: expected dx dy, and perhaps dz");
  std::array<i32, 3> by{};
  for (size_t i = 0; i < words.size(); i++) {
    const bool negative = words[i].starts_with('-');
    const u64 value = TRY(parse_u64(words[i].substr(negative ? 1 : 0)));
    by[i] = static_cast<i32>(std::min<u64>(value, 0x7fff)) * (negative ? -1 : 1);
  }
  Inputs& inputs = context.target.machine.inputs();
  if (!inputs.move(by[0], by[1])) return fail(Errc::Unsupported, "No mouse here takes movements");
  if (by[2] != 0) inputs.wheel(-by[2], 0);
  inputs.sync();
  return std::string();
}

Answer press_mouse(HmpContext& context, HmpWords words) {
  if (words.size() != 1) return fail(Errc::InvalidArgument, "mouse_button: expected a state");
  const u64 state = TRY(parse_u64(words[0]));
  constexpr PointerButton kButtons[] = {PointerButton::Left, PointerButton::Middle,
                                        PointerButton::Right};
  Inputs& inputs = context.target.machine.inputs();
  for (size_t i = 0; i < std::size(kButtons); i++) {
    const bool down = (state >> i) & 1;
    if (down != inputs.is_down(kButtons[i]) && !inputs.button(kButtons[i], down))
      return fail(Errc::Unsupported, "This machine has no mouse");
  }
  inputs.sync();
  return std::string();
}

Answer choose_mouse(HmpContext& context, HmpWords words) {
  if (words.size() != 1) return fail(Errc::InvalidArgument, "mouse_set: expected a mouse's number");
  const u64 index = TRY(parse_u64(words[0]));
  TRY(context.target.machine.inputs().select_pointer(
      static_cast<unsigned>(std::min<u64>(index, ~0u))));
  return std::string();
}

Answer info_mice(HmpContext& context, HmpWords) {
  std::string text;
  for (const Inputs::Pointer& pointer : context.target.machine.inputs().pointers())
    text += format("{} Mouse #{}: {}{}\n", pointer.current ? '*' : ' ', pointer.number,
                   pointer.name, pointer.absolute ? " (absolute)" : "");
  return text.empty() ? "No mouse here\n" : text;
}

Answer set_new_password(HmpContext& context, HmpWords words) {
  if (words.size() < 2 || words.size() > 3 || words[0] != "vnc" ||
      (words.size() == 3 && words[2] != "keep"))
    return fail(Errc::InvalidArgument, "set_password: expected vnc, a password, and perhaps keep");
  TRY(set_password(context.target, {.password = std::string(words[1])}));
  return std::string();
}

Answer limit_password(HmpContext& context, HmpWords words) {
  if (words.size() != 2 || words[0] != "vnc")
    return fail(Errc::InvalidArgument, "expire_password: expected vnc and a time");
  TRY(expire_password(context.target, {.time = std::string(words[1])}));
  return std::string();
}

Answer info_vnc(HmpContext& context, HmpWords) {
  std::string text;
  for (const VncServerReply& server : TRY(query_vnc_servers(context.target, {}))) {
    text +=
        format("{}: {}\n", server.id, enum_names(server.auth)[static_cast<size_t>(server.auth)]);
    for (const VncServerReply::Listener& at : server.server)
      text += format("  listens at {}:{}{}\n", at.at.host, at.at.service,
                     at.at.websocket ? " (websocket)" : "");
    for (const VncClientReply& client : server.clients)
      text += format("  client {}:{}{}\n", client.host, client.service,
                     client.websocket ? " (websocket)" : "");
  }
  return text.empty() ? "There is no VNC server\n" : text;
}

Answer info_screen(HmpContext& context, HmpWords words) {
  ScreenQuery query;
  if (!words.empty()) query.device = words[0];
  const ScreenReply screen = TRY(query_screen(context.target, query));
  std::string text = format("{}x{}\n", screen.width, screen.height);
  if (screen.text)
    for (const std::string& row : *screen.text) text += row + "\n";
  return text;
}

}  // namespace menura::hmp
