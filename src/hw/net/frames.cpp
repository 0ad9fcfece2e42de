#include "hw/net/frames.h"

#include <algorithm>

namespace menura {

namespace {

constexpr u16 kEtherIpv4 = 0x0800;
constexpr u16 kEtherIpv6 = 0x86dd;
constexpr u16 kEtherVlan = 0x8100;
constexpr u8 kHopByHop = 0;
constexpr u8 kRouting = 43;
constexpr u8 kFragment = 44;
constexpr u8 kDestination = 60;
constexpr u32 kCrcPolynomial = 0x04c11db7;

u8 byte_at(ConstBytes bytes, size_t at) { return static_cast<u8>(bytes[at]); }

std::optional<IpLayout> find_ipv4(ConstBytes frame, size_t ip) {
  if (frame.size() < ip + 20) return {};
  const size_t header = (byte_at(frame, ip) & 0xf) * 4u;
  const size_t length = load_be<u16>(frame, ip + 2);
  if (header < 20 || length < header || ip + length > frame.size()) return {};
  return IpLayout{.version = 4,
                  .protocol = byte_at(frame, ip + 9),
                  .fragment = (load_be<u16>(frame, ip + 6) & 0x3fff) != 0,
                  .ip = ip,
                  .payload = ip + header,
                  .end = ip + length};
}

std::optional<IpLayout> find_ipv6(ConstBytes frame, size_t ip) {
  if (frame.size() < ip + 40) return {};
  IpLayout layout{.version = 6,
                  .protocol = byte_at(frame, ip + 6),
                  .ip = ip,
                  .payload = ip + 40,
                  .end = ip + 40 + load_be<u16>(frame, ip + 4)};
  if (layout.end > frame.size()) return {};
  // Extension headers, each at least 8 bytes: the packet's end bounds the walk.
  for (;;) {
    const u8 kind = layout.protocol;
    if (kind != kHopByHop && kind != kRouting && kind != kFragment && kind != kDestination)
      return layout;
    if (layout.payload + 8 > layout.end) return {};
    layout.protocol = byte_at(frame, layout.payload);
    if (kind == kFragment) {
      layout.fragment = true;
      layout.payload += 8;
    } else {
      layout.payload += 8 + byte_at(frame, layout.payload + 1) * size_t{8};
    }
    if (layout.payload > layout.end) return {};
  }
}

}  // namespace

u16 ethertype_of(ConstBytes frame) {
  return frame.size() < kEthernetHeader ? u16{0} : load_be<u16>(frame, 12);
}

u32 address_crc(const MacAddress& mac) {
  u32 crc = 0xffffffff;
  for (u8 byte : mac)
    for (int bit = 0; bit < 8; bit++, byte >>= 1) {
      const bool carry = (crc >> 31) != (byte & 1u);
      crc = crc << 1 ^ (carry ? kCrcPolynomial : 0);
    }
  return crc;
}

u16 ones_sum(ConstBytes bytes, u32 start) {
  // Words may be added in any byte order, the result then swapped (RFC 1071 §2 B).
  u64 sum = 0;
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    const u64 word = load_le<u64>(bytes, at);
    sum += (word & 0xffffffff) + (word >> 32);
  }
  for (; at + 2 <= bytes.size(); at += 2) sum += load_le<u16>(bytes, at);
  if (at < bytes.size()) sum += byte_at(bytes, at);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  u32 whole = byte_swap(static_cast<u16>(sum)) + (start & 0xffff) + (start >> 16);
  while (whole >> 16) whole = (whole & 0xffff) + (whole >> 16);
  return static_cast<u16>(whole);
}

std::optional<IpLayout> find_ip(ConstBytes frame) {
  size_t at = 12;
  if (frame.size() < kEthernetHeader) return {};
  if (load_be<u16>(frame, at) == kEtherVlan) at += kVlanTag;
  if (frame.size() < at + 3) return {};
  const u16 type = load_be<u16>(frame, at);
  const u8 version = byte_at(frame, at + 2) >> 4;
  if (type == kEtherIpv4 && version == 4) return find_ipv4(frame, at + 2);
  if (type == kEtherIpv6 && version == 6) return find_ipv6(frame, at + 2);
  return {};
}

bool ip_checksum_good(ConstBytes frame, const IpLayout& layout) {
  return layout.version == 6 ||
         ones_sum(frame.subspan(layout.ip, layout.payload - layout.ip)) == 0xffff;
}

std::optional<bool> payload_checksum_good(ConstBytes frame, const IpLayout& layout) {
  const size_t size = layout.end - layout.payload;
  const bool udp = layout.protocol == kUdp;
  if (layout.fragment || (!udp && layout.protocol != kTcp) || size < (udp ? 8u : 20u)) return {};
  if (udp && layout.version == 4 && load_be<u16>(frame, layout.payload + 6) == 0) return {};
  const ConstBytes addresses =
      layout.version == 4 ? frame.subspan(layout.ip + 12, 8) : frame.subspan(layout.ip + 8, 32);
  const u32 pseudo = u32{ones_sum(addresses)} + layout.protocol + static_cast<u32>(size);
  return ones_sum(frame.subspan(layout.payload, size), pseudo) == 0xffff;
}

}  // namespace menura
