// What network cards know of the frames they carry: addresses, VLAN tags, checksums and segments.
//
// Owner: hw/net. Threads: pure functions. Sources: IEEE 802.3 §3, 802.1Q §9, RFC 791, 8200, 793,
// 768, 1071 (checksums). Frames have no FCS; every function takes frames of any size.
// Example: `if (is_multicast(frame)) ...;  store_be<u16>(frame, at, checksum(frame, start, end));`
#pragma once

#include <optional>

#include "base/bytes.h"
#include "io/net_backend.h"

namespace menura {

inline constexpr size_t kEthernetHeader = 14;
inline constexpr size_t kVlanTag = 4;
inline constexpr size_t kFcs = 4;
// Of a frame without FCS: 1500 bytes behind the header, four more with a VLAN tag.
inline constexpr size_t kMaxPlainFrame = 1514;

inline MacAddress destination_of(ConstBytes frame) {
  MacAddress mac{};
  for (size_t i = 0; i < mac.size() && i < frame.size(); i++) mac[i] = static_cast<u8>(frame[i]);
  return mac;
}
inline bool is_broadcast(const MacAddress& mac) {
  return mac == MacAddress{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
}
inline bool is_multicast(const MacAddress& mac) { return (mac[0] & 1) != 0; }

// The type or length field; 0 of a frame that is too short.
u16 ethertype_of(ConstBytes frame);

// The CRC-32 of IEEE 802.3 §3.2.9 over an address, most significant bit first, as multicast hash
// filters take it.
u32 address_crc(const MacAddress& mac);

// The ones' complement sum of 16-bit words, not yet complemented; an odd last byte counts as a
// word's upper half. Folded to 16 bits.
u16 ones_sum(ConstBytes bytes, u32 start = 0);
// What such a sum is stored as.
inline u16 ones_checksum(ConstBytes bytes, u32 start = 0) {
  return static_cast<u16>(~ones_sum(bytes, start));
}

// Where the headers of an IP packet lie in a frame.
struct IpLayout {
  u8 version = 4;         // or 6
  u8 protocol = 0;        // of the payload
  bool fragment = false;  // then the payload's checksum covers more than is here
  size_t ip = 0;
  size_t payload = 0;
  size_t end = 0;  // of the packet: padding may follow
};
inline constexpr u8 kTcp = 6;
inline constexpr u8 kUdp = 17;
// Nothing for frames that hold no whole IP packet; looks behind one VLAN tag.
std::optional<IpLayout> find_ip(ConstBytes frame);

// Whether the header's checksum is right (IPv6 has none: true).
bool ip_checksum_good(ConstBytes frame, const IpLayout& layout);
// Whether that of TCP or UDP is right; nothing when there is none to check.
std::optional<bool> payload_checksum_good(ConstBytes frame, const IpLayout& layout);

}  // namespace menura
