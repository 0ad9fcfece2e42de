#include "control/monitor/hmp_export.h"

#include "control/monitor/qmp_export.h"
#include "machine/drives.h"

namespace menura::hmp {

namespace {

using Answer = Result<std::string>;

// Takes the flag out of the front words.
bool take_flag(HmpWords& words, std::string_view flag) {
  if (words.empty() || words[0] != flag) return false;
  words = words.subspan(1);
  return true;
}

// "host:port" or "unix:path"
Result<Value> address_of(std::string_view text) {
  constexpr std::string_view kUnix = "unix:";
  Value address = Value::object();
  if (text.starts_with(kUnix)) {
    address.set("type", "unix");
    address.set("path", std::string(text.substr(kUnix.size())));
    return address;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos)
    return fail(Errc::InvalidArgument, "nbd_server_start: '{}' is neither host:port nor unix:path",
                text);
  address.set("type", "inet");
  address.set("host", std::string(text.substr(0, colon)));
  address.set("port", std::string(text.substr(colon + 1)));
  return address;
}

}  // namespace

Answer start_nbd(HmpContext& context, HmpWords words) {
  bool all = false, writable = false;
  while (!words.empty() && words[0].starts_with('-')) {
    if (take_flag(words, "-a"))
      all = true;
    else if (take_flag(words, "-w"))
      writable = true;
    else
      return fail(Errc::InvalidArgument, "nbd_server_start: there is no flag '{}'", words[0]);
  }
  if (words.size() != 1 || (writable && !all))
    return fail(Errc::InvalidArgument,
                "nbd_server_start: expected [-a] [-w] host:port or unix:path, and -w only with -a");
  TRY(nbd_server_start(context.target, {.addr = TRY(address_of(words[0]))}));
  if (!all) return std::string();
  for (const std::unique_ptr<Drive>& drive : context.target.machine.drives().all()) {
    const Result<Nothing> added =
        nbd_server_add(context.target, {.device = drive->options.id, .writable = writable});
    if (added) continue;
    TRY(nbd_server_stop(context.target, {}));
    return added.error();
  }
  return std::string();
}

Answer add_nbd(HmpContext& context, HmpWords words) {
  const bool writable = take_flag(words, "-w");
  if (words.empty() || words.size() > 2)
    return fail(Errc::InvalidArgument, "nbd_server_add: expected [-w] device [name]");
  NbdServerAdd add{.device = std::string(words[0]), .writable = writable};
  if (words.size() == 2) add.name = std::string(words[1]);
  TRY(nbd_server_add(context.target, add));
  return std::string();
}

Answer remove_nbd(HmpContext& context, HmpWords words) {
  const bool hard = take_flag(words, "-f");
  if (words.size() != 1)
    return fail(Errc::InvalidArgument, "nbd_server_remove: expected [-f] name");
  TRY(nbd_server_remove(context.target,
                        {.name = std::string(words[0]),
                         .mode = hard ? NbdServer::Removal::Hard : NbdServer::Removal::Safe}));
  return std::string();
}

Answer stop_nbd(HmpContext& context, HmpWords) {
  TRY(nbd_server_stop(context.target, {}));
  return std::string();
}

std::vector<std::string> complete_node(HmpContext& context) {
  std::vector<std::string> names;
  for (const std::unique_ptr<Drive>& drive : context.target.machine.drives().all())
    names.push_back(drive->options.id);
  for (const Node* node : context.target.machine.drives().graph().nodes())
    if (node->has_given_name()) names.push_back(node->name());
  return names;
}

}  // namespace menura::hmp
