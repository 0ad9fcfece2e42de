// NetBackend: the other end of a network card's cable: Ethernet frames to and from the host.
//
// Owner: the machine. Threads: in the loop and under the machine lock. Frames come without their
// FCS; from the back end they have at least kMinFrame bytes. Neither side queues for the other: a
// frame that send() does not take is offered again after NetSink::writable(); a sink that is not
// ready() says accept_input() when it is again. Frames reach the sink through the Tape's door for
// host input, never while the machine is stopped. While the cable is unplugged, frames are taken
// and dropped. Source of the offloads: VIRTIO 1.2 §5.1.6, whose header Linux' tap speaks too.
// Example: `if (!net.send({.frame = frame})) waiting_ = true;`
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "base/types.h"

namespace menura {

using MacAddress = std::array<u8, 6>;

inline constexpr size_t kMinFrame = 60;
// A segment to be split may have 64 KiB behind its Ethernet and VLAN headers.
inline constexpr size_t kMaxFrame = 65535 + 18;

enum class Segmentation : u8 { None, TcpV4, TcpV6, Udp };

// What is left to do on a frame before it is good for a wire.
struct NetOffload {
  // The Internet checksum from checksum_start to the end is to be stored checksum_offset bytes
  // behind the start, where the sum of the pseudo header stands.
  bool needs_checksum = false;
  bool checksum_good = false;  // on arrival: somebody has checked it
  u16 checksum_start = 0;
  u16 checksum_offset = 0;
  // To be split into segments with segment_size bytes of payload each, behind copies of the
  // header_size bytes of headers (a hint: 0 when not known). Needs the checksum, too.
  Segmentation segmentation = Segmentation::None;
  bool ecn = false;  // TCP segments with CWR: only the first keeps it
  u16 segment_size = 0;
  u16 header_size = 0;

  bool none() const { return !needs_checksum && segmentation == Segmentation::None; }
  bool operator==(const NetOffload&) const = default;
};

struct NetPacket {
  ConstBytes frame;  // valid during the call
  NetOffload offload = {};
};

// Which of NetOffload's work a side does for the other.
struct NetOffloads {
  bool checksum = false;
  bool tcp4 = false;
  bool tcp6 = false;
  bool udp = false;
  bool ecn = false;
  bool operator==(const NetOffloads&) const = default;
};

// What a card lets in, for query-rx-filter.
struct NetFilter {
  enum class Mode : u8 { None, Normal, All };
  bool promiscuous = false;
  Mode multicast = Mode::Normal;
  Mode unicast = Mode::Normal;
  Mode vlan = Mode::All;
  bool broadcast = true;
  bool multicast_overflow = false;
  bool unicast_overflow = false;
  MacAddress main_mac{};
  std::vector<MacAddress> unicast_table;
  std::vector<MacAddress> multicast_table;
  std::vector<u16> vlan_table;
};

// The card's side.
class NetSink {
 public:
  virtual ~NetSink() = default;
  // Whether it takes a frame now. A card that drops what it has no descriptors for is always ready.
  virtual bool ready() = 0;
  // A frame, while ready(). With offloads only after NetBackend::accept_offloads().
  virtual void receive(const NetPacket& packet) = 0;
  virtual void writable() {}  // after a send() that was not taken
  // The cable was plugged or unplugged; NetBackend::link_up() tells already.
  virtual void link_changed() {}
  // Nothing for a card that lets its driver filter alone.
  virtual std::optional<NetFilter> filter() const { return std::nullopt; }
};

class NetBackend {
 public:
  virtual ~NetBackend() = default;
  // False: no room now; the same frame is to be offered again after NetSink::writable(). At most
  // kMaxFrame bytes; frames too short or long for an Ethernet are dropped. Offloads only as
  // offered().
  virtual bool send(const NetPacket& packet) = 0;
  // One sink at a time; null detaches. Frames wait or are lost while there is none.
  virtual void attach(NetSink* sink) = 0;
  // The sink is ready() again after it was not.
  virtual void accept_input() = 0;
  virtual bool link_up() const = 0;

  // What it does to frames that are sent: none unless the host's kernel can (tap with vnet_hdr).
  virtual NetOffloads offered() const { return {}; }
  // What the sink does to frames that it receives, a subset of offered(); none at first.
  virtual void accept_offloads(const NetOffloads& /*offloads*/) {}
};

}  // namespace menura
