#include "hw/net/mii_phy.h"

namespace menura {

namespace {

enum : unsigned {
  kControl = 0,
  kStatus = 1,
  kId1 = 2,
  kId2 = 3,
  kAdvertise = 4,
  kPartner = 5,
  kExpansion = 6,
  kControl1000 = 9,
  kStatus1000 = 10,
  kExtendedStatus = 15,
};

constexpr u16 kControlReset = 1 << 15;
constexpr u16 kControlLoopback = 1 << 14;
constexpr u16 kControlSpeed100 = 1 << 13;
constexpr u16 kControlAuto = 1 << 12;
constexpr u16 kControlPowerDown = 1 << 11;
constexpr u16 kControlRestart = 1 << 9;
constexpr u16 kControlDuplex = 1 << 8;
constexpr u16 kControlSpeed1000 = 1 << 6;
constexpr u16 kStatusAutoDone = 1 << 5;
constexpr u16 kStatusLink = 1 << 2;
constexpr u16 kStatusExtended = 1 << 8;
// 10 and 100 Mb/s in both duplexes, preamble suppression, negotiation, extended registers.
constexpr u16 kStatusAbilities = 0x7849;
// All of 10 and 100 Mb/s, with pause, acknowledged by the partner.
constexpr u16 kAdvertiseAll = 0x0de1;
constexpr u16 kPartnerAll = 0x4de1;
constexpr u16 kExpansionNegotiated = 0x000b;  // pages were exchanged with an able partner
constexpr u16 kControl1000All = 0x0300;
constexpr u16 kStatus1000All = 0x3c00;
constexpr u16 kExtendedAbilities = 0x3000;

}  // namespace

void MiiPhy::reset() {
  const bool up = link();
  registers_ = {};
  registers_[kControl] = static_cast<u16>(
      kControlAuto | kControlDuplex | (identity_.gigabit ? kControlSpeed1000 : kControlSpeed100));
  registers_[kStatus] =
      static_cast<u16>(kStatusAbilities | (identity_.gigabit ? kStatusExtended : 0));
  registers_[kId1] = identity_.id1;
  registers_[kId2] = identity_.id2;
  registers_[kAdvertise] = kAdvertiseAll;
  if (identity_.gigabit) {
    registers_[kControl1000] = kControl1000All;
    registers_[kExtendedStatus] = kExtendedAbilities;
  }
  set_link(up);
}

bool MiiPhy::link() const { return (registers_[kStatus] & kStatusLink) != 0; }
bool MiiPhy::loopback() const { return (registers_[kControl] & kControlLoopback) != 0; }

void MiiPhy::set_link(bool up) {
  registers_[kStatus] &= static_cast<u16>(~(kStatusLink | kStatusAutoDone));
  if (up) registers_[kStatus] |= kStatusLink | kStatusAutoDone;
  registers_[kPartner] = up ? kPartnerAll : u16{0};
  registers_[kExpansion] = up ? kExpansionNegotiated : u16{0};
  registers_[kStatus1000] = up && identity_.gigabit ? kStatus1000All : u16{0};
}

u16 MiiPhy::read(unsigned reg) { return registers_[reg % kRegisters]; }

bool MiiPhy::write(unsigned reg, u16 value) {
  switch (reg % kRegisters) {
    case kControl: {
      if (value & kControlReset) {
        reset();
        return true;
      }
      registers_[kControl] = static_cast<u16>(value & ~kControlRestart);
      return (value & kControlRestart) && (value & kControlAuto) && !(value & kControlPowerDown);
    }
    case kAdvertise:
    case kControl1000:
    case 7:  // next page
      registers_[reg % kRegisters] = value;
      return false;
    default:
      // Above the standard's, the chip's own: plain storage.
      if (reg % kRegisters >= 16) registers_[reg % kRegisters] = value;
      return false;
  }
}

}  // namespace menura
