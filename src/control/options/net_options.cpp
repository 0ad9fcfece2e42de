// -netdev, -nic and -net: back ends, cards, and the network that a machine has without them.
#include <algorithm>
#include <array>

#include "base/text.h"
#include "control/options/handlers.h"
#include "net/config.h"

namespace menura {

namespace {

constexpr std::string_view kNetworkCards = "Network devices";
constexpr i64 kLegacyHub = 0;
constexpr std::array<std::string_view, 3> kLists = {"hostfwd", "guestfwd", "dnssearch"};

// "a=b,c=d" into its parts; ",," is a comma inside of one.
std::vector<std::string> parts_of(std::string_view text) {
  std::vector<std::string> parts(1);
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] != ',') {
      parts.back() += text[i];
    } else if (i + 1 < text.size() && text[i + 1] == ',') {
      parts.back() += ",,";
      i++;
    } else {
      parts.emplace_back();
    }
  }
  return parts;
}

// Options that may be given several times get numbers: hostfwd=A,hostfwd=B is hostfwd.0=A,...
std::string with_numbered_lists(std::string_view text) {
  std::string numbered;
  std::array<unsigned, kLists.size()> counts{};
  for (const std::string& part : parts_of(text)) {
    if (!numbered.empty()) numbered += ',';
    const auto list = std::ranges::find(kLists, std::string_view(part).substr(0, part.find('=')));
    if (list == kLists.end() || part.find('=') == std::string::npos) {
      numbered += part;
      continue;
    }
    unsigned& count = counts[static_cast<size_t>(list - kLists.begin())];
    numbered += format("{}.{}{}", *list, count++, part.substr(list->size()));
  }
  return numbered;
}

// guestfwd=...-FORM, where FORM is as -serial has it: the character device is made here.
Result<void> make_guestfwd_chardevs(CommandLine& line, NamedOptions& netdev) {
  Value* const rules = netdev.options.find("guestfwd");
  Value::List* const list = rules ? rules->as<Value::List>() : nullptr;
  for (size_t i = 0; list && i < list->size(); i++) {
    std::string* const rule = (*list)[i].as<std::string>();
    const size_t dash = rule ? rule->find('-') : std::string::npos;
    if (dash == std::string::npos) continue;
    const std::string form = rule->substr(dash + 1);
    if (form.starts_with("cmd:") || form.starts_with("chardev:")) continue;
    const std::string id =
        TRY(chardev_of_form(line, form, format("guestfwd-{}-{}", netdev.id, i)), "guestfwd");
    *rule = format("{}-chardev:{}", rule->substr(0, dash), id);
  }
  return {};
}

// Reads a back end and checks its words now, while the option's name is at hand.
Result<NamedOptions> read_netdev(CommandLine& line, OptionArgument argument) {
  const bool json = argument.starts_with('{');
  NamedOptions netdev =
      TRY(read_named_options(json ? std::string(argument) : with_numbered_lists(argument), "type"));
  netdev.options = with_plain_lists(std::move(netdev.options));
  TRY(netdev_config(netdev.name));
  TRY(make_guestfwd_chardevs(line, netdev));
  return netdev;
}

// An id that no other back end has.
std::string new_id(const CommandLine& line) {
  const auto taken = [&](const std::string& id) {
    return std::ranges::any_of(line.options.machine.netdevs,
                               [&](const NamedOptions& n) { return n.id == id; });
  };
  for (unsigned i = 0;; i++)
    if (std::string id = format("#net{}", i); !taken(id)) return id;
}

Result<std::string> netdev_options_help(std::string_view kind) {
  const NetdevConfig config = TRY(netdev_config(kind));
  return format("{} options:\n{}", kind, print_properties(list_properties(config)));
}

std::string models_help(const CommandLine& line) {
  std::string text = "Models of network cards:\n";
  for (const DeviceKind& device : line.catalogue.devices)
    if (device.category == kNetworkCards)
      text += format("{:<20} {}\n", device.name, device.description);
  return text;
}

// Moves a card's words from a back end's options to those of the card.
Result<void> take_card_options(Value& from, NamedOptions& card) {
  for (const auto& [theirs, ours] :
       {std::pair{"model", "model"}, {"mac", "mac"}, {"macaddr", "mac"}, {"addr", "addr"}}) {
    const Value* value = from.find(theirs);
    if (!value) continue;
    if (std::string_view(ours) == "model")
      card.name = TRY(detail::to_text(*value), "model");
    else
      card.options.set(ours, *value);
    from.erase(theirs);
  }
  // What other programs call the card that our table has by its device name.
  if (card.name == "virtio") card.name = "virtio-net-pci";
  return {};
}

Result<void> check_model(const CommandLine& line, const std::string& model) {
  if (!model.empty()) TRY(line.catalogue.find_device(model), "model={}", model);
  return {};
}

// In the order given, before other devices, as they sit on the board.
Result<void> put_cards(CommandLine& line, std::vector<NamedOptions> cards) {
  const MachineType* const type =
      TRY(line.catalogue.find_machine(line.options.machine.machine.type));
  for (NamedOptions& card : cards) {
    if (card.name.empty()) card.name = type->default_nic;
    if (card.name.empty())
      return fail(Errc::Unsupported, "-nic: machine '{}' takes no network card", type->name);
  }
  auto& devices = line.options.machine.devices;
  devices.insert(devices.begin(), std::move_iterator(cards.begin()),
                 std::move_iterator(cards.end()));
  return {};
}

// One card and one back end need no hub between them.
void connect_legacy(CommandLine& line) {
  NetworkLine& network = line.network;
  std::vector<NamedOptions>& netdevs = line.options.machine.netdevs;
  const auto add_port = [&](const std::string& plugged) {
    NamedOptions port{.name = "hubport", .id = new_id(line)};
    port.options.set("hubid", kLegacyHub);
    if (!plugged.empty()) port.options.set("netdev", plugged);
    netdevs.push_back(port);
    return port.id;
  };
  const bool direct = network.legacy_nics.size() == 1 && network.legacy_netdevs.size() == 1;
  if (!direct)
    for (const std::string& id : network.legacy_netdevs) add_port(id);
  for (NamedOptions& card : network.legacy_nics) {
    if (!card.options.find("netdev"))
      card.options.set("netdev", direct ? network.legacy_netdevs[0] : add_port({}));
    network.nics.push_back(std::move(card));
  }
}

}  // namespace

std::string netdev_help(const CommandLine&) {
  std::string text = "Network back ends:\n";
  for (const NetdevKind& kind : netdev_kinds()) text += format("{}\n", kind.name);
  return text;
}

Result<void> add_netdev(CommandLine& line, OptionArgument argument) {
  if (argument.ends_with(",help")) {
    line.options.answer = TRY(netdev_options_help(argument.substr(0, argument.find(','))));
    return {};
  }
  NamedOptions netdev = TRY(read_netdev(line, argument));
  if (netdev.id.empty()) return fail(Errc::InvalidArgument, "'id' must be given");
  line.network.given = true;
  line.options.machine.netdevs.push_back(std::move(netdev));
  return {};
}

Result<void> add_nic(CommandLine& line, OptionArgument argument) {
  line.network.given = true;
  if (argument == "none") return {};
  if (argument == "model=help" || argument.ends_with(",model=help")) {
    line.options.answer = models_help(line);
    return {};
  }
  NamedOptions card;
  const std::string_view kind = argument.substr(0, argument.find(','));
  // A card without a back end: -nic hubport and the like are back ends; -nic model=... is user.
  std::string text(argument);
  if (kind.find('=') != std::string_view::npos) text = "user," + text;
  if (kind == "type") text = argument.substr(5);
  NamedOptions netdev = TRY(read_named_options(with_numbered_lists(text), "type"));
  TRY(take_card_options(netdev.options, card));
  TRY(check_model(line, card.name));
  netdev.options = with_plain_lists(std::move(netdev.options));
  TRY(netdev_config(netdev.name));
  if (netdev.id.empty()) netdev.id = new_id(line);
  TRY(make_guestfwd_chardevs(line, netdev));
  card.options.set("netdev", netdev.id);
  line.options.machine.netdevs.push_back(std::move(netdev));
  line.network.nics.push_back(std::move(card));
  return {};
}

Result<void> add_net(CommandLine& line, OptionArgument argument) {
  line.network.given = true;
  if (argument == "none") return {};
  if (argument == "nic,model=help") {
    line.options.answer = models_help(line);
    return {};
  }
  NamedOptions given = TRY(read_named_options(with_numbered_lists(argument), "type"));
  if (given.name == "nic") {
    NamedOptions card{.name = {}, .id = given.id};
    TRY(take_card_options(given.options, card));
    TRY(check_model(line, card.name));
    if (const Value* netdev = given.options.find("netdev")) {
      card.options.set("netdev", *netdev);
      given.options.erase("netdev");
    }
    if (const Value::Object* left = given.options.as<Value::Object>(); !left->empty())
      return fail(Errc::InvalidArgument, "a card has no property '{}' here", left->front().first);
    line.network.legacy_nics.push_back(std::move(card));
    return {};
  }
  if (given.id.empty()) given.id = new_id(line);
  given.options = with_plain_lists(std::move(given.options));
  TRY(netdev_config(given.name));
  TRY(make_guestfwd_chardevs(line, given));
  line.network.legacy_netdevs.push_back(given.id);
  line.options.machine.netdevs.push_back(std::move(given));
  return {};
}

Result<void> finish_network(CommandLine& line) {
  connect_legacy(line);
  const MachineType* const type =
      TRY(line.catalogue.find_machine(line.options.machine.machine.type));
  if (!line.network.given && !line.options.machine.no_defaults && !type->default_nic.empty())
    TRY(add_nic(line, "user"));
  return put_cards(line, std::move(line.network.nics));
}

}  // namespace menura
