// The receiving half of the 82540EM: which frames it lets in, and how it stores them.
#include <algorithm>

#include "base/log.h"
#include "hw/net/e1000.h"
#include "hw/net/frames.h"

namespace menura {

namespace {

using namespace e1000;

constexpr u32 kAddressValid = 1u << 31;
constexpr u32 kDescriptorSize = 16;
constexpr i64 kDelayUnitNs = 1024;
// A frame may be this long with its VLAN tag and FCS, unless long ones are let in.
constexpr size_t kLongest = 1522;
constexpr size_t kLongestJumbo = 16384;

// Receive descriptors (§3.2.3).
constexpr u8 kStatusDd = 1 << 0;
constexpr u8 kStatusEop = 1 << 1;
constexpr u8 kStatusIxsm = 1 << 2;
constexpr u8 kStatusVp = 1 << 3;
constexpr u8 kStatusTcpcs = 1 << 5;
constexpr u8 kStatusIpcs = 1 << 6;
constexpr u8 kStatusPif = 1 << 7;
constexpr u8 kErrorTcpe = 1 << 5;
constexpr u8 kErrorIpe = 1 << 6;

}  // namespace

u32 E1000::receive_buffer_size() const {
  const u32 rctl = get(Reg::Rctl);
  const u32 size = 2048u >> (rctl >> rctl::kBsizeShift & 3);
  return rctl & rctl::kBsex ? std::min(size * 16, 16384u) : size;
}

u32 E1000::free_receive_descriptors() const {
  const u32 count = get(Reg::Rdlen) / kDescriptorSize;
  const u32 head = get(Reg::Rdh), tail = get(Reg::Rdt);
  if (head >= count || tail >= count) return 0;
  return tail >= head ? tail - head : count - head + tail;
}

// With descriptors for a plain frame at least: what is longer and does not fit is lost.
bool E1000::ready() {
  if (!(get(Reg::Rctl) & rctl::kEn) || !bus_master()) return false;
  return u64{free_receive_descriptors()} * receive_buffer_size() >= kLongest;
}

void E1000::receive(const NetPacket& packet) {
  if (link() && !looped_back()) take_frame(packet.frame);
}

bool E1000::in_multicast_table(const MacAddress& mac) const {
  static constexpr unsigned kShifts[] = {4, 3, 2, 0};
  const unsigned shift = kShifts[get(Reg::Rctl) >> rctl::kMoShift & 3];
  const u32 hash = ((mac[4] | u32{mac[5]} << 8) >> shift) & 0xfff;
  return mta_[hash >> 5] >> (hash & 31) & 1;
}

bool E1000::in_vlan_table(u16 tag) const { return vfta_[tag >> 5 & 0x7f] >> (tag & 31) & 1; }

bool E1000::lets_in(ConstBytes frame) const {
  const u32 rctl = get(Reg::Rctl);
  const MacAddress to = destination_of(frame);
  if ((rctl & rctl::kVfe) && ethertype_of(frame) == vlan_type() && frame.size() >= 16) {
    const u16 tag = load_be<u16>(frame, 14);
    if (!in_vlan_table(tag & 0xfff)) return false;
    if ((rctl & rctl::kCfien) && ((tag >> 12 & 1) != 0) != ((rctl & rctl::kCfi) != 0)) return false;
  }
  if (is_broadcast(to)) return (rctl & (rctl::kBam | rctl::kMpe)) != 0;
  if (is_multicast(to) ? rctl & rctl::kMpe : rctl & rctl::kUpe) return true;
  for (u32 i = 0; i < kRaPairs; i++)
    if ((ra_[2 * i + 1] & kAddressValid) && ra_[2 * i] == load_le<u32>(bytes_of(to), 0) &&
        (ra_[2 * i + 1] & 0xffff) == load_le<u16>(bytes_of(to), 4))
      return true;
  return is_multicast(to) && in_multicast_table(to);
}

std::optional<NetFilter> E1000::filter() const {
  const u32 rctl = get(Reg::Rctl);
  NetFilter filter;
  filter.promiscuous = (rctl & rctl::kUpe) && (rctl & rctl::kMpe);
  filter.unicast = rctl & rctl::kUpe ? NetFilter::Mode::All : NetFilter::Mode::Normal;
  filter.multicast = rctl & rctl::kMpe ? NetFilter::Mode::All : NetFilter::Mode::Normal;
  filter.vlan = rctl & rctl::kVfe ? NetFilter::Mode::Normal : NetFilter::Mode::All;
  filter.broadcast = (rctl & rctl::kBam) != 0;
  // Hashes do not tell addresses.
  filter.multicast_overflow = std::ranges::any_of(mta_, [](u32 word) { return word != 0; });
  for (u32 i = 0; i < kRaPairs; i++) {
    if (!(ra_[2 * i + 1] & kAddressValid)) continue;
    MacAddress mac{};
    store_le<u32>(writable_bytes_of(mac), 0, ra_[2 * i]);
    store_le<u16>(writable_bytes_of(mac), 4, static_cast<u16>(ra_[2 * i + 1]));
    if (i == 0)
      filter.main_mac = mac;
    else
      (is_multicast(mac) ? filter.multicast_table : filter.unicast_table).push_back(mac);
  }
  for (u16 tag = 0; tag < 4096; tag++)
    if (in_vlan_table(tag)) filter.vlan_table.push_back(tag);
  return filter;
}

E1000::ReceiveStatus E1000::check_frame(ConstBytes frame) const {
  ReceiveStatus result;
  const u32 start = get(Reg::Rxcsum) & 0xff;
  if (start < frame.size()) result.checksum = ones_sum(frame.subspan(start));
  const MacAddress to = destination_of(frame);
  if (is_multicast(to) && !is_broadcast(to) && in_multicast_table(to)) result.status |= kStatusPif;
  const std::optional<IpLayout> layout = find_ip(frame);
  const bool ip_wanted = (get(Reg::Rxcsum) & rxcsum::kIpofl) != 0;
  const bool payload_wanted = (get(Reg::Rxcsum) & rxcsum::kTuofl) != 0;
  if (!layout || layout->version != 4 || !(ip_wanted || payload_wanted)) {
    result.status |= kStatusIxsm;
    return result;
  }
  if (ip_wanted) {
    result.status |= kStatusIpcs;
    if (!ip_checksum_good(frame, *layout)) result.errors |= kErrorIpe;
  }
  const std::optional<bool> good = payload_checksum_good(frame, *layout);
  if (payload_wanted && good) {
    result.status |= kStatusTcpcs;
    if (!*good) result.errors |= kErrorTcpe;
  }
  return result;
}

void E1000::take_frame(ConstBytes frame) {
  if (!lets_in(frame)) return;
  const size_t longest = get(Reg::Rctl) & rctl::kLpe ? kLongestJumbo : kLongest;
  if (frame.size() + kFcs > longest) return statistics_.too_long();
  ReceiveStatus status = check_frame(frame);
  statistics_.received(frame);
  if (!(get(Reg::Ctrl) & ctrl::kVme) || ethertype_of(frame) != vlan_type() || frame.size() < 18)
    return store_frame(frame, status);
  status.status |= kStatusVp;
  status.special = load_be<u16>(frame, 14);
  std::vector<std::byte> untagged(frame.begin(), frame.end());
  untagged.erase(untagged.begin() + 12, untagged.begin() + 16);
  store_frame(untagged, status);
}

void E1000::store_frame(ConstBytes frame, const ReceiveStatus& status) {
  const u32 buffer_size = receive_buffer_size();
  const size_t fcs = get(Reg::Rctl) & rctl::kSecrc ? 0 : kFcs;
  const size_t total = frame.size() + fcs;
  if (total > u64{free_receive_descriptors()} * buffer_size) {
    statistics_.missed();
    return raise(irq::kRxo);
  }
  std::vector<std::byte> stored(frame.begin(), frame.end());
  stored.resize(total);
  const u64 base = get(Reg::Rdbal) | u64{get(Reg::Rdbah)} << 32;
  const u32 count = get(Reg::Rdlen) / kDescriptorSize;
  u32 head = get(Reg::Rdh);
  for (size_t at = 0; at < total; at += buffer_size) {
    const size_t size = std::min<size_t>(buffer_size, total - at);
    const bool last = at + size == total;
    const u64 address = base + u64{head} * kDescriptorSize;
    std::array<std::byte, kDescriptorSize> d{};
    // What cannot be reached is lost, as on the bus.
    (void)dma_read(GuestAddr{address}, d);
    const u64 buffer = load_le<u64>(d, 0);
    if (buffer != 0) (void)dma_write(GuestAddr{buffer}, ConstBytes(stored).subspan(at, size));
    store_le<u16>(d, 8, static_cast<u16>(size));
    store_le<u16>(d, 10, status.checksum);
    d[12] = static_cast<std::byte>(kStatusDd | (last ? kStatusEop | status.status : 0));
    d[13] = static_cast<std::byte>(last ? status.errors : 0);
    store_le<u16>(d, 14, last ? status.special : u16{0});
    (void)dma_write(GuestAddr{address}, d);
    head = head + 1 == count ? 0 : head + 1;
  }
  regs_.set(Reg::Rdh, head);
  receive_done(total);
}

// Interrupts: at once for small frames or without delays, else when it has been quiet or too long.
void E1000::receive_done(size_t size) {
  u32 causes = 0;
  const u32 count = get(Reg::Rdlen) / kDescriptorSize;
  const u32 threshold = count >> (1 + (get(Reg::Rctl) >> rctl::kRdmtsShift & 3));
  if (free_receive_descriptors() == threshold) causes |= irq::kRxdmt0;
  if (size <= get(Reg::Rsrpd)) causes |= irq::kSrpd;
  const u32 delay = get(Reg::Rdtr);
  if (causes != 0) raise(causes);
  if (delay == 0 || (causes & irq::kSrpd)) return receive_waited();
  const i64 now = time_.now_ns();
  receive_delay_.arm(now + delay * kDelayUnitNs);
  if (const u32 limit = get(Reg::Radv); limit != 0 && !receive_limit_.armed())
    receive_limit_.arm(now + limit * kDelayUnitNs);
}

void E1000::receive_waited() {
  receive_delay_.cancel();
  receive_limit_.cancel();
  raise(irq::kRxt0);
}

}  // namespace menura
