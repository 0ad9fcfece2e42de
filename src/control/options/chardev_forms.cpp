#include "control/options/chardev_forms.h"

#include <utility>

namespace menura {

namespace {

// "PATH,server,nowait": the address, and the options behind the first comma.
Result<Value> address_options(std::string_view text, std::string_view& address) {
  const size_t comma = text.find(',');
  address = text.substr(0, comma);
  return parse_keyval(comma == std::string_view::npos ? std::string_view()
                                                      : text.substr(comma + 1));
}

Result<NamedOptions> unix_socket(std::string_view text) {
  std::string_view path;
  NamedOptions chardev{.name = "socket", .id = {}, .options = TRY(address_options(text, path))};
  if (path.empty()) return fail(Errc::InvalidArgument, "'unix:' needs the path of a socket");
  chardev.options.set("path", path);
  return chardev;
}

Result<NamedOptions> tcp_socket(std::string_view text) {
  std::string_view address;
  NamedOptions chardev{.name = "socket", .id = {}, .options = TRY(address_options(text, address))};
  const size_t colon = address.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == address.size())
    return fail(Errc::InvalidArgument, "'tcp:{}' is not of the form tcp:[HOST]:PORT", address);
  std::string_view host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (!host.empty()) chardev.options.set("host", host);
  chardev.options.set("port", address.substr(colon + 1));
  return chardev;
}

Result<NamedOptions> new_chardev(std::string_view text) {
  NamedOptions chardev;
  if (text == "null" || text == "stdio" || text == "pty") {
    chardev.name = text;
    return chardev;
  }
  if (text.starts_with("file:") && text.size() > 5) {
    chardev.name = "file";
    chardev.options.set("path", text.substr(5));
    return chardev;
  }
  if (text.starts_with("unix:")) return unix_socket(text.substr(5));
  if (text.starts_with("tcp:")) return tcp_socket(text.substr(4));
  return fail(Errc::InvalidArgument, "expected {}, not '{}'", kChardevForms, text);
}

}  // namespace

Result<ChardevForm> parse_chardev_form(std::string_view text, std::string_view label) {
  ChardevForm form;
  if (text == "none") return form;
  if (text.starts_with("mon:")) {
    form.with_monitor = true;
    text.remove_prefix(4);
  }
  if (text.starts_with("chardev:")) {
    form.kind = ChardevForm::Kind::Existing;
    form.id = text.substr(8);
    if (form.id.empty()) return fail(Errc::InvalidArgument, "'chardev:' needs an id");
    return form;
  }
  form.kind = ChardevForm::Kind::New;
  form.chardev = TRY(new_chardev(text));
  form.id = form.chardev.id = label;
  if (form.with_monitor) {
    form.chardev.options.set("mux", true);
    // Ctrl-C is the guest's then; Ctrl-A x ends the program.
    if (form.chardev.name == "stdio") form.chardev.options.set("signal", false);
  }
  return form;
}

Result<ChardevForm> parse_gdb_form(std::string_view text) {
  ChardevForm form = TRY(parse_chardev_form(text, "gdb"));
  if (form.kind != ChardevForm::Kind::New || form.chardev.name != "socket") return form;
  for (const auto& [name, value] : {std::pair{"server", true}, std::pair{"wait", false}})
    if (!form.chardev.options.find(name)) form.chardev.options.set(name, value);
  return form;
}

}  // namespace menura
