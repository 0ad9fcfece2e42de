// E1000Transmitter: the transmit side of Intel's 8254x and 82574: descriptors become frames, with
// checksums, VLAN tags and TCP segmentation done on the way.
//
// Owner: the card (a member). Threads: under the machine lock. Source: Intel SDM 317453 §3.3 to §3.5.
// Work stops when the wire takes no more or a budget is spent, wherever in a packet that is.
// Example: `switch (transmitter_.run(ring, *this)) { case E1000Transmitter::Outcome::Empty: ... }`
#pragma once

#include <array>
#include <vector>

#include "io/net_backend.h"
#include "memory/address_space.h"
#include "state/visitor.h"

namespace menura {

class E1000Transmitter {
 public:
  struct Ring {
    u64 base = 0;
    u32 count = 0;  // descriptors
    u32 head = 0;   // moves
    u32 tail = 0;
  };
  // The card.
  class Host {
   public:
    virtual ~Host() = default;
    virtual AccessStatus fetch(GuestAddr addr, Bytes to) = 0;
    virtual AccessStatus store(GuestAddr addr, ConstBytes from) = 0;
    // False: the wire takes none now.
    virtual bool transmit(ConstBytes frame) = 0;
    // A descriptor that asked for a report is done; delayed: its interrupt may wait.
    virtual void reported(bool delayed) = 0;
    virtual u16 vlan_type() const = 0;
  };
  enum class Outcome : u8 { Empty, WireBusy, BudgetSpent };

  Outcome run(Ring& ring, Host& host);
  // Segments cut so far.
  u32 take_segmented_packets() { return std::exchange(segmented_packets_, 0); }
  void reset() { *this = {}; }
  void describe(StateVisitor& v);
  // A loaded state that could not have come about is an Error.
  Result<void> check() const;

 private:
  using Descriptor = std::array<std::byte, 16>;
  // What a context descriptor says (§3.3.6).
  struct Context {
    u8 ipcss = 0, ipcso = 0;
    u16 ipcse = 0;
    u8 tucss = 0, tucso = 0;
    u16 tucse = 0;
    u8 hdrlen = 0;
    u16 mss = 0;
    bool tcp = false;
    bool ipv4 = false;
    void describe(StateVisitor& v);
  };
  // Of the packet under way, from its first descriptor.
  struct Packet {
    bool begun = false;
    bool segment = false;  // cut it
    bool ip_checksum = false;
    bool payload_checksum = false;
    bool legacy_checksum = false;
    u8 legacy_start = 0;
    u8 legacy_offset = 0;
    bool vlan = false;
    u16 tag = 0;
    bool too_long = false;
    u32 segments = 0;
    void describe(StateVisitor& v);
  };
  // The data descriptor under way.
  struct Source {
    bool active = false;
    u64 address = 0;
    u32 left = 0;
    bool end_of_packet = false;
    bool report = false;
    bool delayed = false;
    void describe(StateVisitor& v);
  };

  void begin(const Descriptor& d);
  void load_context(const Descriptor& d);
  void gather(Ring& ring, Host& host);
  void retire(Ring& ring, Host& host);
  void finish_segment(bool last, Host& host);
  void fix_headers(bool last);
  void store_checksum(size_t start, size_t at, size_t end, u32 sum);
  const Context& context() const { return packet_.segment ? segment_context_ : plain_context_; }
  size_t capacity() const;

  // State
  Context plain_context_;
  Context segment_context_;
  Packet packet_;
  Source source_;
  std::vector<std::byte> buffer_;  // of the segment or frame under way, or ready to go
  std::vector<std::byte> header_;  // of a packet to cut, as the driver wrote it
  bool ready_ = false;             // buffer_ waits for the wire
  bool ready_last_ = false;        // and ends its packet
  u32 segmented_packets_ = 0;
};

}  // namespace menura
