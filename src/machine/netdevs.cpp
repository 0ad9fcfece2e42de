#include "machine/netdevs.h"

#include <algorithm>

#include "base/text.h"
#include "machine/chardevs.h"
#include "net/config.h"

namespace menura {

namespace {

constexpr MacAddress kFirstMac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
constexpr std::string_view kStatuses[] = {"on", "off"};

}  // namespace

void NicOptions::describe(PropertyVisitor& p) {
  p.field("netdev", netdev, "id of the back end it is connected to");
  p.field("mac", mac, "its Ethernet address, like 52:54:00:12:34:56");
}

std::span<const std::string_view> enum_names(FilterDumpOptions::Status) { return kStatuses; }

void FilterDumpOptions::describe(PropertyVisitor& p) {
  p.required("netdev", netdev, "the back end whose frames are captured");
  p.required("file", file, "where they are written, in the format of tcpdump");
  p.field("maxlen", maxlen, "bytes kept of each frame");
  p.field("queue", queue, "frames to the back end (rx), from it (tx), or all");
  p.field("status", status, "off: nothing is captured");
}

Result<MacAddress> parse_mac(std::string_view text) {
  MacAddress mac{};
  const std::vector<std::string_view> parts =
      split(text, text.find('-') == std::string_view::npos ? ':' : '-');
  const Error malformed =
      fail(Errc::InvalidArgument, "expected an address like 52:54:00:12:34:56, not '{}'", text);
  if (parts.size() != mac.size()) return malformed;
  for (size_t i = 0; i < mac.size(); i++) {
    const Result<u64> byte = parse_u64(format("0x{}", parts[i]));
    if (!byte || parts[i].size() > 2) return malformed;
    mac[i] = static_cast<u8>(*byte);
  }
  if (mac[0] & 1)
    return fail(Errc::InvalidArgument, "'{}' is the address of a group, not of a card", text);
  return mac;
}

std::string print_mac(const MacAddress& mac) {
  std::string text;
  for (const u8 byte : mac) text += format("{}{:02x}", text.empty() ? "" : ":", byte);
  return text;
}

Netdevs::Netdevs(EventLoop& loop, Chardevs& chardevs)
    : loop_(loop), chardevs_(chardevs), hubs_(loop.tape()) {}

// A hub's port is made after the back end that it plugs in.
Netdevs::~Netdevs() {
  for (Filter& filter : filters_)
    for (Entry& entry : entries_) entry.port->remove_capture(*filter.file);
  while (!entries_.empty()) entries_.pop_back();
}

NetPort& Netdevs::add(Entry entry) {
  entry.port->set_running(running_);
  entries_.push_back(std::move(entry));
  return *entries_.back().port;
}

Result<void> Netdevs::create(const NamedOptions& options) {
  if (options.id.empty())
    return fail(Errc::InvalidArgument, "-netdev {}: property 'id' must be given", options.name);
  if (std::ranges::any_of(entries_, [&](const Entry& e) { return e.id == options.id; }))
    return fail(Errc::Exists, "-netdev: there is a network back end '{}' already", options.id);
  NetdevConfig config = TRY(netdev_config(options.name), "-netdev");
  Value given = with_plain_lists(options.options);
  given.set("id", options.id);
  TRY(read_properties(config, given, format("-netdev {}", options.name)));
  const NetdevContext context{
      .loop = loop_,
      .id = options.id,
      .chardev = [this](std::string_view id) { return chardevs_.connect(id); },
      .hubs = &hubs_,
      .netdev = [this](std::string_view id) -> Result<NetBackend*> {
        Entry* const entry = TRY(find(id));
        if (entry->port->card()) return fail(Errc::Busy, "'{}' is in use already", id);
        return entry->port.get();
      }};
  auto netdev = TRY(open_netdev(context, config), "-netdev {}", options.id);
  add({options.id, options.name, std::make_unique<NetPort>(std::move(netdev))});
  return {};
}

Result<Netdevs::Entry*> Netdevs::find(std::string_view id) {
  std::vector<std::string_view> ids;
  for (Entry& entry : entries_) {
    if (!id.empty() && entry.id == id) return &entry;
    if (!entry.id.empty()) ids.push_back(entry.id);
  }
  return fail(Errc::NotFound, "There is no network back end '{}'{}", id, suggestion(id, ids));
}

Result<void> Netdevs::remove(std::string_view id) {
  Entry* const entry = TRY(find(id));
  for (const Filter& filter : filters_)
    if (filter.netdev == id) entry->port->remove_capture(*filter.file);
  std::erase_if(filters_, [&](const Filter& f) { return f.netdev == id; });
  entry->port->remove_netdev();
  entry->id.clear();
  drop_loose_ends();
  return {};
}

// Cables that had a card once and nothing at either end now.
void Netdevs::drop_loose_ends() {
  std::erase_if(nics_, [](const Nic& nic) { return !nic.port->card(); });
  std::erase_if(entries_, [](const Entry& e) { return e.id.empty() && !e.port->card(); });
}

Result<MacAddress> Netdevs::choose_mac(const std::string& given) {
  if (!given.empty()) return TRY(parse_mac(given), "mac");
  MacAddress mac = kFirstMac;
  const auto taken = [&](const Nic& nic) { return nic.mac == mac; };
  while (std::ranges::any_of(nics_, taken)) mac[5]++;
  return mac;
}

Result<NicCable> Netdevs::plug(const Card& card, const NicOptions& options) {
  drop_loose_ends();
  NicCable cable{.port = nullptr, .mac = TRY(choose_mac(options.mac))};
  if (options.netdev.empty()) {
    cable.port = &add({{}, {}, std::make_unique<NetPort>(nullptr)});
  } else {
    cable.port = TRY(find(options.netdev))->port.get();
    if (cable.port->card())
      return fail(Errc::Busy, "Network back end '{}' is in use already", options.netdev);
  }
  nics_.push_back({card.id, card.model, cable.mac, cable.port});
  return cable;
}

Result<void> Netdevs::set_link(std::string_view name, bool up) {
  for (const Nic& nic : nics())
    if (nic.id == name) {
      nic.port->set_link(up);
      return {};
    }
  TRY(find(name))->port->set_link(up);
  return {};
}

void Netdevs::set_running(bool running) {
  running_ = running;
  for (Entry& entry : entries_) entry.port->set_running(running);
}

Result<void> Netdevs::create_filter(const NamedOptions& options) {
  FilterDumpOptions config;
  TRY(read_properties(config, options.options, kFilterDump));
  if (std::ranges::any_of(filters_, [&](const Filter& f) { return f.id == options.id; }))
    return fail(Errc::Exists, "There is a filter '{}' already", options.id);
  Entry* const entry = TRY(find(config.netdev), "{}", kFilterDump);
  auto file = TRY(
      PcapFile::create(loop_, config.file, {.max_length = config.maxlen, .queue = config.queue}),
      "{}", kFilterDump);
  file->set_enabled(config.status == FilterDumpOptions::Status::On);
  entry->port->add_capture(*file);
  filters_.push_back({options.id, config.netdev, std::move(file)});
  return {};
}

bool Netdevs::remove_filter(std::string_view id) {
  const auto at = std::ranges::find_if(filters_, [&](const Filter& f) { return f.id == id; });
  if (at == filters_.end()) return false;
  for (Entry& entry : entries_) entry.port->remove_capture(*at->file);
  filters_.erase(at);
  return true;
}

std::vector<Netdevs::Nic> Netdevs::nics() const {
  std::vector<Nic> present;
  for (const Nic& nic : nics_)
    if (nic.port->card()) present.push_back(nic);
  return present;
}

std::vector<Netdevs::Info> Netdevs::list() const {
  std::vector<Info> infos;
  for (const Entry& entry : entries_)
    if (!entry.id.empty()) infos.push_back({entry.id, entry.kind, entry.port.get()});
  return infos;
}

Result<UserNet*> Netdevs::user_net(std::string_view id) const {
  std::vector<UserNet*> found;
  for (const Info& info : list())
    if (UserNet* const net = info.port->netdev()->user_net(); net && (id.empty() || info.id == id))
      found.push_back(net);
  if (found.size() == 1) return found.front();
  if (!id.empty()) return fail(Errc::NotFound, "There is no user network '{}'", id);
  if (found.empty()) return fail(Errc::NotFound, "There is no user network");
  return fail(Errc::InvalidArgument, "There are several user networks: which one?");
}

}  // namespace menura
