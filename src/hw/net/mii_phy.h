// MiiPhy: the registers of an Ethernet transceiver, as a card's management interface reads them.
//
// Owner: the card (a member). Threads: under the machine lock. Source: IEEE 802.3 §22.2.4 and §28.2.4;
// negotiation is over at once, with a partner that can do everything.
// Example: `u16 value = phy_.read(1);  phy_.set_link(true);`
#pragma once

#include <array>

#include "base/types.h"
#include "state/visitor.h"

namespace menura {

class MiiPhy {
 public:
  static constexpr unsigned kRegisters = 32;
  struct Identity {
    u16 id1 = 0;
    u16 id2 = 0;
    bool gigabit = false;
  };

  explicit MiiPhy(const Identity& identity) : identity_(identity) { reset(); }

  void reset();
  u16 read(unsigned reg);
  // True when the link was negotiated anew.
  bool write(unsigned reg, u16 value);
  void set_link(bool up);
  bool link() const;
  bool loopback() const;
  void describe(StateVisitor& v) { v.field("registers", registers_); }

 private:
  // Configuration
  const Identity identity_;
  // State
  std::array<u16, kRegisters> registers_{};
};

}  // namespace menura
