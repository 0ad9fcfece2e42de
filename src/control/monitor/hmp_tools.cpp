#include "control/monitor/hmp_tools.h"

#include "base/code_log.h"
#include "base/log.h"
#include "base/text.h"
#include "base/trace.h"
#include "base/units.h"
#include "control/monitor/qmp_objects.h"
#include "control/monitor/qmp_tools.h"
#include "control/monitor/qom_tree.h"
#include "machine/chardevs.h"

namespace menura::hmp {

namespace {

using Answer = Result<std::string>;
constexpr std::string_view kGuestErrors = "guest_errors";

// "pty,id=p0": the kind, the id and the rest.
Result<NamedOptions> named_options(std::string_view text, std::string_view name_key) {
  NamedOptions named{.options = TRY(parse_keyval(text, name_key))};
  for (const auto& [key, into] : {std::pair{name_key, &named.name}, {"id", &named.id}})
    if (const Value* value = named.options.find(key)) {
      *into = TRY(detail::to_text(*value));
      named.options.erase(key);
    }
  return named;
}

}  // namespace

// What was logged before and is not among these is logged no more.
Answer log_these(HmpContext&, HmpWords words) {
  if (words.size() != 1)
    return fail(Errc::InvalidArgument, "log: expected items, separated by commas, or none");
  bool guest_errors = false;
  u32 code = 0;
  std::vector<std::string_view> names{kGuestErrors, "none"};
  for (const LogItemInfo& item : log_items()) names.push_back(item.name);
  for (const std::string_view item : split(words[0], ',')) {
    if (item == "none") continue;
    if (item == kGuestErrors)
      guest_errors = true;
    else if (const std::optional<LogItem> found = find_log_item(item))
      code |= 1u << static_cast<unsigned>(*found);
    else
      return fail(Errc::InvalidArgument, "There is no log item '{}'{}", item,
                  suggestion(item, names));
  }
  enable_guest_errors(guest_errors);
  set_code_log(code);
  return std::string();
}

Answer trace_these(HmpContext& context, HmpWords words) {
  if (words.size() != 2 || (words[1] != "on" && words[1] != "off"))
    return fail(Errc::InvalidArgument, "trace-event: expected a name or pattern, and on or off");
  TRY(trace_event_set_state(context.target,
                            {.name = std::string(words[0]), .enable = words[1] == "on"}));
  return std::string();
}

Answer serve_gdb(HmpContext& context, HmpWords words) {
  if (words.size() > 1)
    return fail(Errc::InvalidArgument, "gdbserver: expected a character device, or none");
  if (!context.target.start_gdb)
    return fail(Errc::Unsupported, "gdbserver: not to be changed from here");
  return context.target.start_gdb(words.empty() ? "tcp::1234" : words[0]);
}

Answer list_object(HmpContext& context, HmpWords words) {
  std::string text;
  for (const QomProperty& property :
       TRY(qom_properties(context.target, words.empty() ? "/" : words[0])))
    text += format("{} ({})\n", property.name, property.type);
  return text;
}

Answer get_property(HmpContext& context, HmpWords words) {
  if (words.size() != 2) return fail(Errc::InvalidArgument, "qom-get: expected path property");
  return to_json(TRY(qom_value(context.target, words[0], words[1]))) + "\n";
}

Answer add_object(HmpContext& context, HmpWords words) {
  if (words.size() != 1)
    return fail(Errc::InvalidArgument, "object_add: expected type,id=ID[,property=value...]");
  TRY(context.target.objects.create(TRY(named_options(words[0], "qom-type"))));
  return std::string();
}

Answer remove_object(HmpContext& context, HmpWords words) {
  if (words.size() != 1) return fail(Errc::InvalidArgument, "object_del: expected an id");
  TRY(context.target.objects.remove(words[0]));
  return std::string();
}

Answer add_chardev(HmpContext& context, HmpWords words) {
  if (words.size() != 1)
    return fail(Errc::InvalidArgument, "chardev-add: expected kind,id=ID[,property=value...]");
  TRY(context.target.machine.chardevs().create(TRY(named_options(words[0], "backend"))));
  return std::string();
}

Answer change_chardev(HmpContext& context, HmpWords words) {
  if (words.size() != 2)
    return fail(Errc::InvalidArgument, "chardev-change: expected ID kind[,property=value...]");
  NamedOptions chardev = TRY(named_options(words[1], "backend"));
  chardev.id = words[0];
  TRY(context.target.machine.chardevs().change(chardev, context.target.asking));
  return std::string();
}

Answer remove_chardev(HmpContext& context, HmpWords words) {
  if (words.size() != 1) return fail(Errc::InvalidArgument, "chardev-remove: expected an id");
  TRY(context.target.machine.chardevs().remove(words[0]));
  return std::string();
}

Answer name_descriptor(HmpContext& context, HmpWords words) {
  if (words.size() != 1) return fail(Errc::InvalidArgument, "getfd: expected a name");
  TRY(getfd(context.target, {.name = std::string(words[0])}));
  return std::string();
}

Answer close_descriptor(HmpContext& context, HmpWords words) {
  if (words.size() != 1) return fail(Errc::InvalidArgument, "closefd: expected a name");
  TRY(closefd(context.target, {.name = std::string(words[0])}));
  return std::string();
}

Answer read_ring(HmpContext& context, HmpWords words) {
  if (words.size() != 2) return fail(Errc::InvalidArgument, "ringbuf_read: expected device size");
  return TRY(ringbuf_read(context.target,
                          {.device = std::string(words[0]), .size = TRY(parse_u64(words[1]))})) +
         "\n";
}

Answer write_ring(HmpContext& context, HmpWords words) {
  if (words.size() < 2) return fail(Errc::InvalidArgument, "ringbuf_write: expected device data");
  TRY(ringbuf_write(context.target,
                    {.device = std::string(words[0]), .data = join(words.subspan(1), " ")}));
  return std::string();
}

std::vector<std::string> complete_log_item(HmpContext&) {
  std::vector<std::string> names{std::string(kGuestErrors), "none"};
  for (const LogItemInfo& item : log_items()) names.emplace_back(item.name);
  return names;
}

std::vector<std::string> complete_trace_event(HmpContext&) {
  std::vector<std::string> names;
  for (const TraceEvent* event : trace_events()) names.emplace_back(event->name);
  return names;
}

std::vector<std::string> complete_chardev(HmpContext& context) {
  std::vector<std::string> ids;
  for (Chardevs::Info& info : context.target.machine.chardevs().list())
    ids.push_back(std::move(info.id));
  return ids;
}

std::vector<std::string> complete_object(HmpContext& context) {
  std::vector<std::string> ids;
  for (const Objects::Object& object : context.target.objects.all()) ids.push_back(object.id);
  return ids;
}

}  // namespace menura::hmp
