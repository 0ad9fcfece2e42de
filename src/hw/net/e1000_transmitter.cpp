#include "hw/net/e1000_transmitter.h"

#include <algorithm>

#include "hw/net/frames.h"

namespace menura {

namespace {

// Descriptors and frames handled before others get their turn.
constexpr unsigned kBudget = 512;
constexpr u32 kDescriptorSize = 16;

// Third and fourth words of a descriptor (§3.3.3, §3.3.6, §3.3.7).
constexpr u32 kDext = 1u << 29;
constexpr u32 kEop = 1u << 24;
constexpr u32 kLegacyIc = 1u << 26;
constexpr u32 kTse = 1u << 26;
constexpr u32 kRs = 1u << 27;
constexpr u32 kRps = 1u << 28;
constexpr u32 kVle = 1u << 30;
constexpr u32 kIde = 1u << 31;
constexpr u32 kTucmdTcp = 1u << 24;
constexpr u32 kTucmdIp = 1u << 25;
constexpr unsigned kDtypShift = 20;
constexpr u32 kDtypContext = 0;
constexpr u32 kPoptsIxsm = 1u << 8;
constexpr u32 kPoptsTxsm = 1u << 9;
constexpr u32 kStaDd = 1;

constexpr u8 kTcpFin = 0x01;
constexpr u8 kTcpPsh = 0x08;

}  // namespace

void E1000Transmitter::Context::describe(StateVisitor& v) {
  v.field("ipcss", ipcss);
  v.field("ipcso", ipcso);
  v.field("ipcse", ipcse);
  v.field("tucss", tucss);
  v.field("tucso", tucso);
  v.field("tucse", tucse);
  v.field("hdrlen", hdrlen);
  v.field("mss", mss);
  v.field("tcp", tcp);
  v.field("ipv4", ipv4);
}

void E1000Transmitter::Packet::describe(StateVisitor& v) {
  v.field("begun", begun);
  v.field("segment", segment);
  v.field("ip_checksum", ip_checksum);
  v.field("payload_checksum", payload_checksum);
  v.field("legacy_checksum", legacy_checksum);
  v.field("legacy_start", legacy_start);
  v.field("legacy_offset", legacy_offset);
  v.field("vlan", vlan);
  v.field("tag", tag);
  v.field("too_long", too_long);
  v.field("segments", segments);
}

void E1000Transmitter::Source::describe(StateVisitor& v) {
  v.field("active", active);
  v.field("address", address);
  v.field("left", left);
  v.field("end_of_packet", end_of_packet);
  v.field("report", report);
  v.field("delayed", delayed);
}

void E1000Transmitter::describe(StateVisitor& v) {
  v.field("plain_context", plain_context_);
  v.field("segment_context", segment_context_);
  v.field("packet", packet_);
  v.field("source", source_);
  v.field("buffer", buffer_);
  v.field("header", header_);
  v.field("ready", ready_);
  v.field("ready_last", ready_last_);
  v.field("segmented_packets", segmented_packets_);
}

Result<void> E1000Transmitter::check() const {
  if (buffer_.size() > kMaxFrame + kVlanTag || header_.size() > 255 || source_.left > 0xfffff)
    return fail(Errc::Corrupt, "A frame being sent is longer than it may be");
  if (packet_.segment && (segment_context_.mss == 0 || segment_context_.hdrlen == 0))
    return fail(Errc::Corrupt, "A packet is being cut into nothing");
  return {};
}

E1000Transmitter::Outcome E1000Transmitter::run(Ring& ring, Host& host) {
  for (unsigned budget = kBudget; budget > 0; budget--) {
    if (ready_) {
      if (!host.transmit(buffer_)) return Outcome::WireBusy;
      ready_ = false;
      if (ready_last_) packet_ = {};
      // The next segment begins with the header again.
      buffer_ = ready_last_ ? std::vector<std::byte>() : header_;
      continue;
    }
    if (source_.active) {
      gather(ring, host);
      continue;
    }
    if (ring.head == ring.tail) return Outcome::Empty;
    Descriptor d{};
    // One that cannot be read is as good as empty.
    (void)host.fetch(GuestAddr{ring.base + u64{ring.head} * kDescriptorSize}, d);
    begin(d);
    if (!source_.active) retire(ring, host);
  }
  return Outcome::BudgetSpent;
}

void E1000Transmitter::load_context(const Descriptor& d) {
  const u32 command = load_le<u32>(d, 8);
  const u32 last = load_le<u32>(d, 12);
  Context& c = command & kTse ? segment_context_ : plain_context_;
  c = {.ipcss = static_cast<u8>(d[0]),
       .ipcso = static_cast<u8>(d[1]),
       .ipcse = load_le<u16>(d, 2),
       .tucss = static_cast<u8>(d[4]),
       .tucso = static_cast<u8>(d[5]),
       .tucse = load_le<u16>(d, 6),
       .hdrlen = static_cast<u8>(last >> 8),
       .mss = static_cast<u16>(last >> 16),
       .tcp = (command & kTucmdTcp) != 0,
       .ipv4 = (command & kTucmdIp) != 0};
}

void E1000Transmitter::begin(const Descriptor& d) {
  const u32 command = load_le<u32>(d, 8);
  const u32 last = load_le<u32>(d, 12);
  const bool extended = (command & kDext) != 0;
  source_ = {.report = (command & (kRs | (extended ? 0 : kRps))) != 0,
             .delayed = (command & kIde) != 0};
  if (extended && (command >> kDtypShift & 0xf) == kDtypContext) return load_context(d);
  source_.active = true;
  source_.address = load_le<u64>(d, 0);
  source_.left = command & (extended ? 0xfffff : 0xffff);
  source_.end_of_packet = (command & kEop) != 0;
  if (packet_.begun) return;
  packet_.begun = true;
  packet_.vlan = (command & kVle) != 0;
  packet_.tag = static_cast<u16>(last >> 16);
  if (extended) {
    packet_.segment = (command & kTse) && segment_context_.mss != 0 && segment_context_.hdrlen != 0;
    packet_.ip_checksum = (last & kPoptsIxsm) != 0;
    packet_.payload_checksum = (last & kPoptsTxsm) != 0;
  } else if (command & kLegacyIc) {
    packet_.legacy_checksum = true;
    packet_.legacy_offset = static_cast<u8>(command >> 16);
    packet_.legacy_start = static_cast<u8>(last >> 8);
  }
}

size_t E1000Transmitter::capacity() const {
  if (!packet_.segment) return kMaxFrame;
  return std::min<size_t>(size_t{segment_context_.hdrlen} + segment_context_.mss, kMaxFrame);
}

// Takes bytes of the descriptor under way, up to the end of a segment.
void E1000Transmitter::gather(Ring& ring, Host& host) {
  const size_t room = capacity() - std::min(buffer_.size(), capacity());
  if (source_.left > 0 && room == 0 && packet_.segment) return finish_segment(false, host);
  const size_t size = std::min<size_t>(source_.left, room);
  packet_.too_long |= source_.left > 0 && room == 0;
  if (size > 0) {
    const size_t at = buffer_.size();
    buffer_.resize(at + size);
    (void)host.fetch(GuestAddr{source_.address}, Bytes(buffer_).subspan(at));
    source_.address += size;
    source_.left -= static_cast<u32>(size);
  } else {
    source_.left = 0;  // of a frame that is too long already
  }
  if (source_.left > 0) return;
  if (source_.end_of_packet) finish_segment(true, host);
  retire(ring, host);
}

// Reports the descriptor at the head as done.
void E1000Transmitter::retire(Ring& ring, Host& host) {
  const Source source = std::exchange(source_, {});
  const u64 at = ring.base + u64{ring.head} * kDescriptorSize;
  if (++ring.head >= ring.count) ring.head = 0;
  if (!source.report) return;
  std::array<std::byte, 1> sta{};
  (void)host.fetch(GuestAddr{at + 12}, sta);
  sta[0] |= std::byte{kStaDd};
  (void)host.store(GuestAddr{at + 12}, sta);
  host.reported(source.delayed);
}

void E1000Transmitter::store_checksum(size_t start, size_t at, size_t end, u32 sum) {
  end = std::min(end, buffer_.size());
  if (start >= end || at + 2 > buffer_.size()) return;
  store_be<u16>(buffer_, at, ones_checksum(ConstBytes(buffer_).subspan(start, end - start), sum));
}

// What differs between the segments of a packet (§3.5.7).
void E1000Transmitter::fix_headers(bool last) {
  const Context& c = segment_context_;
  const Bytes frame = buffer_;
  const auto add16 = [&](size_t at, u32 value) {
    if (at + 2 <= frame.size())
      store_be<u16>(frame, at, static_cast<u16>(load_be<u16>(frame, at) + value));
  };
  const auto put16 = [&](size_t at, size_t value) {
    if (at + 2 <= frame.size()) store_be<u16>(frame, at, static_cast<u16>(value));
  };
  const size_t ip_size = frame.size() - std::min<size_t>(c.ipcss, frame.size());
  const size_t payload_size = frame.size() - std::min<size_t>(c.tucss, frame.size());
  if (c.ipv4) {
    put16(c.ipcss + 2u, ip_size);
    add16(c.ipcss + 4u, packet_.segments);
  } else {
    put16(c.ipcss + 4u, ip_size - std::min<size_t>(40, ip_size));
  }
  if (!c.tcp) return put16(c.tucss + 4u, payload_size);
  if (c.tucss + 14u > frame.size()) return;
  store_be<u32>(frame, c.tucss + 4u, load_be<u32>(frame, c.tucss + 4u) + packet_.segments * c.mss);
  if (!last) frame[c.tucss + 13u] &= static_cast<std::byte>(~(kTcpFin | kTcpPsh));
}

void E1000Transmitter::finish_segment(bool last, Host& host) {
  const Context& c = context();
  ready_last_ = last;
  if (packet_.too_long || buffer_.size() < kEthernetHeader) {
    buffer_.clear();
    packet_ = {};
    return;
  }
  if (packet_.segment) {
    if (packet_.segments == 0) {
      const auto header =
          buffer_.begin() +
          std::min<std::ptrdiff_t>(c.hdrlen, static_cast<std::ptrdiff_t>(buffer_.size()));
      header_.assign(buffer_.begin(), header);
      segmented_packets_++;
    }
    fix_headers(last);
  }
  const auto end_of = [](u16 end) { return end == 0 ? ~size_t{0} : size_t{end} + 1; };
  if (packet_.ip_checksum) store_checksum(c.ipcss, c.ipcso, end_of(c.ipcse), 0);
  if (packet_.payload_checksum) {
    // A pseudo header's sum stands there; of a packet to be cut, without the length.
    const size_t size = buffer_.size() - std::min<size_t>(c.tucss, buffer_.size());
    store_checksum(c.tucss, c.tucso, end_of(c.tucse), packet_.segment ? static_cast<u32>(size) : 0);
  }
  if (packet_.legacy_checksum)
    store_checksum(packet_.legacy_start, packet_.legacy_offset, ~size_t{0}, 0);
  packet_.segments++;
  if (packet_.vlan) {
    std::array<std::byte, kVlanTag> tag;
    store_be<u16>(tag, 0, host.vlan_type());
    store_be<u16>(tag, 2, packet_.tag);
    buffer_.insert(buffer_.begin() + 12, tag.begin(), tag.end());
  }
  ready_ = true;
}

}  // namespace menura
