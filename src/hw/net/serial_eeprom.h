// SerialEeprom: a 93C46-like memory of 64 words behind four wires, as network cards keep their
// address and settings in.
//
// Owner: the card (a member). Threads: under the machine lock. Source: Microchip 93C46 data sheet
// DS20001749, x16 organisation. The contents are read-only. Example:
//   eeprom_.drive(chip_select, clock, data_in);   bool data_out = eeprom_.data_out();
#pragma once

#include <array>

#include "base/types.h"
#include "state/visitor.h"

namespace menura {

class SerialEeprom {
 public:
  static constexpr unsigned kWords = 64;

  std::array<u16, kWords>& words() { return words_; }
  u16 word(unsigned at) const { return words_[at % kWords]; }
  void reset() {
    clock_ = out_ = false;
    count_ = shift_ = 0;
  }
  void drive(bool chip_select, bool clock, bool data_in);
  bool data_out() const { return out_; }
  void describe(StateVisitor& v);

 private:
  // Configuration
  std::array<u16, kWords> words_{};
  // State
  bool clock_ = false;
  bool out_ = false;
  u8 count_ = 0;   // bits of the command so far, from its start bit; then of the word going out
  u16 shift_ = 0;  // those bits
};

}  // namespace menura
