#include "hw/net/serial_eeprom.h"

#include <algorithm>

namespace menura {

namespace {

constexpr unsigned kCommandBits = 9;  // start bit, two of opcode, six of address
constexpr unsigned kWordBits = 16;
constexpr unsigned kRead = 2;

}  // namespace

void SerialEeprom::drive(bool chip_select, bool clock, bool data_in) {
  const bool rises = clock && !clock_;
  clock_ = clock;
  if (!chip_select) {
    count_ = shift_ = 0;
    out_ = true;  // ready
    return;
  }
  if (!rises) return;
  if (count_ < kCommandBits) {
    if (count_ == 0 && !data_in) return;  // before the start bit
    shift_ = static_cast<u16>(shift_ << 1 | data_in);
    count_++;
    // A zero comes first.
    if (count_ == kCommandBits) out_ = (shift_ >> 6 & 3) != kRead;
    return;
  }
  if ((shift_ >> 6 & 3) != kRead) return;
  // Word after word, as long as the clock goes on.
  const unsigned bit = count_ - kCommandBits;
  out_ = word(shift_) >> (kWordBits - 1 - bit) & 1;
  if (bit + 1 < kWordBits) {
    count_++;
  } else {
    count_ = kCommandBits;
    shift_ = static_cast<u16>((shift_ & ~u16{0x3f}) | ((shift_ + 1) & 0x3f));
  }
}

void SerialEeprom::describe(StateVisitor& v) {
  v.field("clock", clock_);
  v.field("out", out_);
  v.field("count", count_);
  v.field("shift", shift_);
  if (v.loading()) count_ = std::min<u8>(count_, kCommandBits + kWordBits - 1);
}

}  // namespace menura
