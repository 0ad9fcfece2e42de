#include "hw/virtio/virtio_net.h"

#include <algorithm>
#include <bit>

#include "base/bytes.h"

namespace menura {

namespace {

// Feature bits (§5.1.3).
constexpr u64 kCsum = bit(0), kGuestCsum = bit(1), kCtrlGuestOffloads = bit(2), kMtu = bit(3),
              kMac = bit(5), kGuestTso4 = bit(7), kGuestTso6 = bit(8), kGuestEcn = bit(9),
              kGuestUfo = bit(10), kHostTso4 = bit(11), kHostTso6 = bit(12), kHostEcn = bit(13),
              kHostUfo = bit(14), kMergeable = bit(15), kStatus = bit(16), kCtrlVq = bit(17),
              kCtrlRx = bit(18), kCtrlVlan = bit(19), kCtrlRxExtra = bit(20), kAnnounce = bit(21),
              kMultiQueue = bit(22), kCtrlMacAddr = bit(23);
constexpr u64 kGuestOffloads = kGuestCsum | kGuestTso4 | kGuestTso6 | kGuestEcn | kGuestUfo;

// The header before each frame (§5.1.6).
constexpr size_t kHeader = 12, kShortHeader = 10;
constexpr u8 kNeedsCsum = 1, kDataValid = 2;
constexpr u8 kGsoNone = 0, kGsoTcp4 = 1, kGsoUdp = 3, kGsoTcp6 = 4, kGsoEcn = 0x80;

constexpr u16 kLinkUp = 1, kAnnounceBit = 2;
constexpr size_t kConfigSize = 12;
// Commands (§5.1.6.5).
enum CommandKind : u8 { kRxMode, kMacTable, kVlan, kAnnounceAck, kMqPairs, kOffloads };
constexpr size_t kMostMacs = 64;
constexpr size_t kMostCommand = 64 * 1024;
constexpr u16 kControlSize = 64;
constexpr size_t kEthernetHeader = 14;

std::vector<u16> queue_sizes(const VirtioNetConfig& config) {
  std::vector<u16> sizes;
  for (unsigned n = 0; n < config.pairs; n++) {
    sizes.push_back(config.rx_queue_size);
    sizes.push_back(config.tx_queue_size);
  }
  sizes.push_back(kControlSize);
  return sizes;
}

u8 gso_of(const NetOffload& offload) {
  const u8 ecn = offload.ecn ? kGsoEcn : 0;
  switch (offload.segmentation) {
    case Segmentation::None: return kGsoNone;
    case Segmentation::TcpV4: return kGsoTcp4 | ecn;
    case Segmentation::TcpV6: return kGsoTcp6 | ecn;
    case Segmentation::Udp: return kGsoUdp;
  }
  return kGsoNone;
}

void write_header(Bytes to, const NetOffload& offload) {
  to[0] = std::byte(offload.needs_checksum ? kNeedsCsum : offload.checksum_good ? kDataValid : 0);
  to[1] = std::byte(gso_of(offload));
  store_le(to, 2, offload.header_size);
  store_le(to, 4, offload.segment_size);
  store_le(to, 6, offload.checksum_start);
  store_le(to, 8, offload.checksum_offset);
}

// False: no header that a driver may write.
bool read_header(ConstBytes from, size_t frame_size, NetOffload& offload) {
  const u8 flags = static_cast<u8>(from[0]), gso = static_cast<u8>(from[1]);
  offload.needs_checksum = (flags & kNeedsCsum) != 0;
  offload.header_size = load_le<u16>(from, 2);
  offload.segment_size = load_le<u16>(from, 4);
  offload.checksum_start = load_le<u16>(from, 6);
  offload.checksum_offset = load_le<u16>(from, 8);
  offload.ecn = (gso & kGsoEcn) != 0;
  switch (gso & ~kGsoEcn) {
    case kGsoNone: offload.segmentation = Segmentation::None; break;
    case kGsoTcp4: offload.segmentation = Segmentation::TcpV4; break;
    case kGsoTcp6: offload.segmentation = Segmentation::TcpV6; break;
    case kGsoUdp: offload.segmentation = Segmentation::Udp; break;
    default: return false;
  }
  if (offload.segmentation != Segmentation::None &&
      (!offload.needs_checksum || offload.segment_size == 0))
    return false;
  return !offload.needs_checksum ||
         size_t{offload.checksum_start} + offload.checksum_offset + 2 <= frame_size;
}

}  // namespace

void VirtioNetConfig::describe(PropertyVisitor& p) {
  p.field("rx_queue_size", rx_queue_size, "places in each receive queue, a power of two");
  p.field("tx_queue_size", tx_queue_size, "places in each transmit queue, a power of two");
  p.field("host_mtu", host_mtu, "largest packet to tell the guest; 0: none");
  p.field("csum", csum, "take over checksums of what is sent");
  p.field("host_tso4", host_tso4, "take over segmenting TCP over IPv4");
  p.field("host_tso6", host_tso6, "take over segmenting TCP over IPv6");
  p.field("host_ecn", host_ecn, "segment TCP with ECN, too");
  p.field("host_ufo", host_ufo, "take over fragmenting UDP");
  p.field("guest_csum", guest_csum, "give the guest packets without checksums");
  p.field("guest_tso4", guest_tso4, "give the guest unsegmented TCP over IPv4");
  p.field("guest_tso6", guest_tso6, "give the guest unsegmented TCP over IPv6");
  p.field("guest_ecn", guest_ecn, "give the guest unsegmented TCP with ECN");
  p.field("guest_ufo", guest_ufo, "give the guest unfragmented UDP");
  p.field("mrg_rxbuf", mrg_rxbuf, "spread a packet over several buffers");
  p.field("status", status, "tell whether the cable is plugged");
  p.field("guest_announce", guest_announce, "have the guest announce itself after a move");
  p.field("ctrl_vq", ctrl_vq, "have a queue for commands, which the next ones need");
  p.field("ctrl_rx", ctrl_rx, "let the driver choose what is received");
  p.field("ctrl_vlan", ctrl_vlan, "filter by VLAN");
  p.field("ctrl_rx_extra", ctrl_rx_extra, "more choices of what is received");
  p.field("ctrl_mac_addr", ctrl_mac_addr, "let the driver set the MAC address by command");
  p.field("ctrl_guest_offloads", ctrl_guest_offloads, "let the driver switch its offloads");
}

Result<void> VirtioNetConfig::check() const {
  for (const u16 size : {rx_queue_size, tx_queue_size})
    if (!is_power_of_two(size) || size < 256 || size > 1024)
      return fail(Errc::OutOfRange,
                  "rx_queue_size and tx_queue_size must be powers of two from 256 to 1024, not {}",
                  size);
  return {};
}

VirtioNet::VirtioNet(const VirtioNetConfig& config, NetBackend* backend)
    : VirtioDevice(kKind, queue_sizes(config), kConfigSize),
      config_(config),
      backend_(backend),
      mac_(config.mac),
      waiting_(config.pairs) {
  if (backend_) backend_->attach(this);
}

VirtioNet::~VirtioNet() {
  if (backend_) backend_->attach(nullptr);
}

u64 VirtioNet::device_features() const {
  const NetOffloads host = backend_ ? backend_->offered() : NetOffloads{};
  const auto when = [](bool offered, u64 feature) { return offered ? feature : u64{0}; };
  const auto& c = config_;
  u64 features =
      kMac | when(c.mrg_rxbuf, kMergeable) | when(c.status, kStatus) | when(c.host_mtu != 0, kMtu);
  if (host.checksum) {
    features |= when(c.csum, kCsum) | when(c.guest_csum, kGuestCsum);
    if (c.csum)
      features |= when(c.host_tso4 && host.tcp4, kHostTso4) |
                  when(c.host_tso6 && host.tcp6, kHostTso6) |
                  when(c.host_ecn && host.ecn, kHostEcn) | when(c.host_ufo && host.udp, kHostUfo);
    if (c.guest_csum)
      features |= when(c.guest_tso4 && host.tcp4, kGuestTso4) |
                  when(c.guest_tso6 && host.tcp6, kGuestTso6) |
                  when(c.guest_ecn && host.ecn, kGuestEcn) |
                  when(c.guest_ufo && host.udp, kGuestUfo);
  }
  if (!c.ctrl_vq) return features;
  return features | kCtrlVq | when(c.ctrl_rx, kCtrlRx) | when(c.ctrl_vlan, kCtrlVlan) |
         when(c.ctrl_rx_extra, kCtrlRxExtra) | when(c.ctrl_mac_addr, kCtrlMacAddr) |
         when(c.guest_announce && c.status, kAnnounce) | when(c.pairs > 1, kMultiQueue) |
         when(c.ctrl_guest_offloads && (features & kGuestOffloads) != 0, kCtrlGuestOffloads);
}

u16 VirtioNet::link_status() const {
  const bool up = backend_ && backend_->link_up();
  return static_cast<u16>((up ? kLinkUp : 0) | (announcing_ ? kAnnounceBit : 0));
}

void VirtioNet::fill_config(Bytes config) {
  std::ranges::copy(std::as_bytes(std::span(mac_)), config.begin());
  store_le(config, 6, link_status());
  store_le(config, 8, static_cast<u16>(config_.pairs));
  store_le(config, 10, config_.host_mtu);
}

// A legacy driver sets its address here (§5.1.4.2).
void VirtioNet::config_written(size_t offset, ConstBytes bytes) {
  if (has(virtio::kVersion1 | kCtrlMacAddr)) return;
  for (size_t i = 0; i < bytes.size() && offset + i < mac_.size(); i++)
    mac_[offset + i] = static_cast<u8>(bytes[i]);
}

unsigned VirtioNet::control_queue() const { return has(kMultiQueue) ? 2 * config_.pairs : 2; }

size_t VirtioNet::header_size() const {
  return has(kMergeable | virtio::kVersion1) ? kHeader : kShortHeader;
}

void VirtioNet::features_accepted() {
  guest_offloads_ = driver_features() & kGuestOffloads;
  apply_offloads();
}

void VirtioNet::apply_offloads() {
  if (!backend_) return;
  const auto takes = [this](u64 feature) { return (guest_offloads_ & feature) != 0; };
  backend_->accept_offloads({.checksum = takes(kGuestCsum),
                             .tcp4 = takes(kGuestTso4),
                             .tcp6 = takes(kGuestTso6),
                             .udp = takes(kGuestUfo),
                             .ecn = takes(kGuestEcn)});
}

void VirtioNet::driver_ready() {
  if (backend_) backend_->accept_input();
}

void VirtioNet::process(unsigned queue) {
  if (has(kCtrlVq) && queue == control_queue()) return take_commands();
  if (queue >= 2 * config_.pairs) return;
  if (queue % 2 != 0) return transmit(queue);
  if (backend_) backend_->accept_input();
}

void VirtioNet::transmit(unsigned queue) {
  Waiting& waiting = waiting_[queue / 2];
  bool any = false;
  while (waiting.is || take(queue, waiting.chain)) {
    waiting.is = true;
    if (!send(waiting.chain)) break;
    waiting.is = false;
    give_back(queue, waiting.chain, 0);
    any = true;
  }
  if (any) interrupt(queue);
}

// False when the back end wants it later. A frame that is none is dropped.
bool VirtioNet::send(const VirtioChain& chain) {
  const u64 size = chain.readable_size(), header = header_size();
  if (size < header) {
    break_down("a frame is shorter than its header");
    return true;
  }
  if (!backend_ || size - header < kEthernetHeader || size - header > kMaxFrame) return true;
  std::array<std::byte, kHeader> head{};
  std::vector<std::byte> frame(size - header);
  if (!read_chain(chain, 0, Bytes(head).first(header)) || !read_chain(chain, header, frame))
    return true;
  NetPacket packet{.frame = frame};
  if (!read_header(head, frame.size(), packet.offload)) return true;
  const NetOffload& o = packet.offload;
  const bool agreed = (!o.needs_checksum || has(kCsum)) &&
                      (o.segmentation == Segmentation::None ||
                       has(o.segmentation == Segmentation::TcpV4   ? kHostTso4
                           : o.segmentation == Segmentation::TcpV6 ? kHostTso6
                                                                   : kHostUfo));
  return !agreed || backend_->send(packet);
}

void VirtioNet::writable() {
  if (is_paused() || !driver_ok()) return;
  for (unsigned pair = 0; pair < config_.pairs; pair++)
    if (waiting_[pair].is) transmit(2 * pair + 1);
}

bool VirtioNet::ready() {
  if (!driver_ok()) return true;  // what comes is lost
  if (is_paused()) return false;
  for (unsigned pair = 0; pair < active_pairs_; pair++) {
    VirtioChain chain;
    if (!take(2 * pair, chain)) return false;
    put_back(2 * pair, chain);
  }
  return true;
}

bool VirtioNet::lets_in(ConstBytes frame) const {
  if (frame.size() < kEthernetHeader) return false;
  if (load_be<u16>(frame, 12) == 0x8100 && has(kCtrlVlan) && frame.size() >= 16) {
    const u16 vlan = load_be<u16>(frame, 14) & 0xfff;
    if (!test_bit(vlans_[vlan / 64], vlan % 64)) return false;
  }
  if (promiscuous_) return true;
  MacAddress to{};
  std::ranges::copy(frame.first(to.size()), std::as_writable_bytes(std::span(to)).begin());
  const auto in = [&](const MacTable& table) {
    return table.overflow || std::ranges::find(table.entries, to) != table.entries.end();
  };
  if (std::ranges::all_of(to, [](u8 b) { return b == 0xff; })) return !no_broadcast_;
  if (to[0] & 1) return !no_multicast_ && (all_multicast_ || in(multicast_));
  return !no_unicast_ && (all_unicast_ || to == mac_ || in(unicast_));
}

// Frames of one flow keep to one queue: by a sum over what does not change in it.
unsigned VirtioNet::receive_queue_for(ConstBytes frame) const {
  if (active_pairs_ <= 1 || frame.size() < 38) return 0;
  u32 sum = 0;
  for (size_t at = 26; at < 38; at += 4) sum = std::rotl(sum, 5) ^ load_le<u32>(frame, at);
  return 2 * (sum * 0x9e37'79b1u % active_pairs_);
}

// Enough buffers for so many bytes; else none at all.
bool VirtioNet::collect(unsigned queue, u64 size, std::vector<VirtioChain>& chains) {
  u64 room = 0;
  while (room < size) {
    VirtioChain chain;
    const bool more = chains.empty() || has(kMergeable);
    if (!more || chains.size() >= VirtioChain::kMaxSegments || !take(queue, chain)) break;
    room += chain.writable_size();
    chains.push_back(std::move(chain));
  }
  if (room >= size) return true;
  for (auto chain = chains.rbegin(); chain != chains.rend(); ++chain) put_back(queue, *chain);
  return false;
}

void VirtioNet::receive(const NetPacket& packet) {
  if (!driver_ok() || !lets_in(packet.frame)) return;
  std::vector<std::byte> bytes(header_size() + packet.frame.size());
  write_header(bytes, packet.offload);
  std::ranges::copy(packet.frame, bytes.begin() + static_cast<std::ptrdiff_t>(bytes.size() -
                                                                              packet.frame.size()));
  const unsigned queue = receive_queue_for(packet.frame);
  std::vector<VirtioChain> chains;
  if (!collect(queue, bytes.size(), chains)) return;
  if (header_size() == kHeader) store_le(Bytes(bytes), 10, static_cast<u16>(chains.size()));
  ConstBytes left = bytes;
  for (const VirtioChain& chain : chains) {
    const ConstBytes part = left.first(std::min<u64>(left.size(), chain.writable_size()));
    if (!write_chain(chain, 0, part)) return;
    left = left.subspan(part.size());
    give_back(queue, chain, static_cast<u32>(part.size()));
  }
  interrupt(queue);
}

std::optional<NetFilter> VirtioNet::filter() const {
  using Mode = NetFilter::Mode;
  const auto mode = [](bool none, bool all) {
    return none ? Mode::None : all ? Mode::All : Mode::Normal;
  };
  NetFilter filter{.promiscuous = promiscuous_,
                   .multicast = mode(no_multicast_, all_multicast_),
                   .unicast = mode(no_unicast_, all_unicast_),
                   .vlan = has(kCtrlVlan) ? Mode::Normal : Mode::All,
                   .broadcast = !no_broadcast_,
                   .multicast_overflow = multicast_.overflow,
                   .unicast_overflow = unicast_.overflow,
                   .main_mac = mac_,
                   .unicast_table = unicast_.entries,
                   .multicast_table = multicast_.entries,
                   .vlan_table = {}};
  for (u16 vlan = 0; vlan < 4096; vlan++)
    if (has(kCtrlVlan) && test_bit(vlans_[vlan / 64], vlan % 64)) filter.vlan_table.push_back(vlan);
  return filter;
}

void VirtioNet::take_commands() {
  const unsigned queue = control_queue();
  VirtioChain chain;
  while (take(queue, chain)) {
    std::vector<std::byte> text(std::min<u64>(chain.readable_size(), kMostCommand));
    if (text.size() < 2 || chain.writable_size() < 1)
      return break_down("a command has no code or no place for its answer");
    if (!read_chain(chain, 0, text)) return;
    const Reach reach =
        command(static_cast<u8>(text[0]), static_cast<u8>(text[1]), ConstBytes(text).subspan(2));
    const std::array<std::byte, 1> answer{std::byte(reach)};
    if (!write_chain(chain, 0, answer)) return;
    finish(queue, chain, 1);
  }
}

VirtioNet::Reach VirtioNet::command(u8 kind, u8 code, ConstBytes body) {
  switch (kind) {
    case kRxMode: return receive_mode(code, body);
    case kMacTable: return mac_command(code, body);
    case kVlan: return vlan_command(code, body);
    case kAnnounceAck:
      if (code != 0 || !announcing_) return Reach::Refused;
      announcing_ = false;
      return Reach::Ok;
    case kMqPairs: {
      if (code != 0 || !has(kMultiQueue) || body.size() < 2) return Reach::Refused;
      const u16 pairs = load_le<u16>(body);
      if (pairs == 0 || pairs > config_.pairs) return Reach::Refused;
      active_pairs_ = pairs;
      return Reach::Ok;
    }
    case kOffloads: {
      if (code != 0 || !has(kCtrlGuestOffloads) || body.size() < 8) return Reach::Refused;
      const u64 offloads = load_le<u64>(body);
      if (offloads & ~(driver_features() & kGuestOffloads)) return Reach::Refused;
      guest_offloads_ = offloads;
      apply_offloads();
      return Reach::Ok;
    }
    default: return Reach::Refused;
  }
}

VirtioNet::Reach VirtioNet::receive_mode(u8 code, ConstBytes body) {
  bool* const modes[] = {&promiscuous_,  &all_multicast_, &all_unicast_,
                         &no_multicast_, &no_unicast_,    &no_broadcast_};
  if (code >= std::size(modes) || body.empty() || !has(code < 2 ? kCtrlRx : kCtrlRxExtra))
    return Reach::Refused;
  *modes[code] = body[0] != std::byte{0};
  return Reach::Ok;
}

bool VirtioNet::read_table(ConstBytes& body, MacTable& table) {
  if (body.size() < 4) return false;
  const u64 count = load_le<u32>(body);
  body = body.subspan(4);
  if (count * sizeof(MacAddress) > body.size()) return false;
  table.overflow = count > kMostMacs;
  table.entries.resize(table.overflow ? 0 : count);
  const ConstBytes macs = body.first(table.entries.size() * sizeof(MacAddress));
  std::ranges::copy(macs, std::as_writable_bytes(std::span(table.entries)).begin());
  body = body.subspan(count * sizeof(MacAddress));
  return true;
}

VirtioNet::Reach VirtioNet::mac_command(u8 code, ConstBytes body) {
  if (code == 1) {
    if (!has(kCtrlMacAddr) || body.size() < mac_.size()) return Reach::Refused;
    std::ranges::copy(body.first(mac_.size()), std::as_writable_bytes(std::span(mac_)).begin());
    return Reach::Ok;
  }
  MacTable unicast, multicast;
  if (code != 0 || !has(kCtrlRx) || !read_table(body, unicast) || !read_table(body, multicast))
    return Reach::Refused;
  unicast_ = std::move(unicast);
  multicast_ = std::move(multicast);
  return Reach::Ok;
}

VirtioNet::Reach VirtioNet::vlan_command(u8 code, ConstBytes body) {
  if (code > 1 || !has(kCtrlVlan) || body.size() < 2) return Reach::Refused;
  const u16 vlan = load_le<u16>(body);
  if (vlan >= 4096) return Reach::Refused;
  if (code == 0)
    vlans_[vlan / 64] |= bit(vlan % 64);
  else
    vlans_[vlan / 64] &= ~bit(vlan % 64);
  return Reach::Ok;
}

void VirtioNet::announce() {
  if (!has(kAnnounce) || !driver_ok()) return;
  announcing_ = true;
  config_changed();
}

void VirtioNet::reset_device() {
  mac_ = config_.mac;
  promiscuous_ = true;
  all_multicast_ = all_unicast_ = no_multicast_ = no_unicast_ = no_broadcast_ = false;
  unicast_ = multicast_ = {};
  vlans_ = {};
  active_pairs_ = 1;
  guest_offloads_ = 0;
  announcing_ = false;
  for (Waiting& waiting : waiting_) waiting = {};
  apply_offloads();
}

void VirtioNet::queue_was_reset(unsigned queue) {
  if (queue < 2 * config_.pairs && queue % 2 != 0) waiting_[queue / 2] = {};
}

void VirtioNet::MacTable::describe(StateVisitor& v) {
  v.field("overflow", overflow);
  v.field("entries", entries);
  if (entries.size() > kMostMacs) v.fail(fail(Errc::Corrupt, "A table of {} MACs", entries.size()));
}

void VirtioNet::Waiting::describe(StateVisitor& v) {
  v.field("is", is);
  v.field("chain", chain);
}

void VirtioNet::describe_device(StateVisitor& v) {
  v.field("mac", mac_);
  v.field("promiscuous", promiscuous_);
  v.field("all_multicast", all_multicast_);
  v.field("all_unicast", all_unicast_);
  v.field("no_multicast", no_multicast_);
  v.field("no_unicast", no_unicast_);
  v.field("no_broadcast", no_broadcast_);
  v.field("unicast", unicast_);
  v.field("multicast", multicast_);
  v.field("vlans", vlans_);
  v.field("active_pairs", active_pairs_);
  v.field("guest_offloads", guest_offloads_);
  v.field("announcing", announcing_);
  v.field("unsent", waiting_);
  loaded_ |= v.loading();
}

Result<void> VirtioNet::restored_device() {
  if (waiting_.size() != config_.pairs || active_pairs_ == 0 || active_pairs_ > config_.pairs) {
    waiting_.resize(config_.pairs);
    active_pairs_ = 1;
    return fail(Errc::Corrupt, "Network card '{}' has {} pairs of queues, another number was saved",
                host().name(), config_.pairs);
  }
  apply_offloads();
  return {};
}

void VirtioNet::resumed() {
  if (std::exchange(loaded_, false)) announce();
  writable();
}

}  // namespace menura
