// Vbe: the Bochs display interface (DISPI): modes without a VGA's registers, in a linear framebuffer.
//
// Owner: the card. Threads: under the machine lock. Source: Bochs "VBE Display API" (index port 1CEh,
// data port 1CFh), version 5; it also defines the register window of QEMU's and Bochs' PCI cards.
// Sizes that do not fit the memory are cut to it. Example:
//   Vbe vbe(16 * MiB, [this] { update(); });   vbe.write(Vbe::kEnable, Vbe::kOn | Vbe::kLinear);
#pragma once

#include <array>
#include <functional>

#include "state/visitor.h"

namespace menura {

class Vbe {
 public:
  enum Index : u8 {
    kId,
    kXres,
    kYres,
    kBpp,
    kEnable,
    kBank,
    kVirtWidth,
    kVirtHeight,
    kXOffset,
    kYOffset,
    kMemory64K,
    kCount
  };
  enum : u16 {
    kOn = 0x01,
    kGetCapabilities = 0x02,
    kWideDac = 0x20,
    kLinear = 0x40,
    kKeepMemory = 0x80
  };
  static constexpr u16 kVersion = 0xb0c5;
  static constexpr u16 kMaxXres = 16000, kMaxYres = 12000, kMaxBpp = 32;

  // changed() hears of every write that matters to the picture; cleared() wants the memory zeroed.
  Vbe(u64 memory, std::function<void()> changed, std::function<void(u64 bytes)> clear)
      : memory_(memory), changed_(std::move(changed)), clear_(std::move(clear)) {}

  u16 read(unsigned index) const;
  void write(unsigned index, u16 value);
  u16 index() const { return index_; }
  void set_index(u16 index) { index_ = index; }

  void reset();
  void describe(StateVisitor& v);
  // After a load: values that no write would have left are put right.
  void restored();

  bool enabled() const { return registers_[kEnable] & kOn; }
  bool wide_dac() const { return registers_[kEnable] & kWideDac; }
  u32 width() const { return registers_[kXres]; }
  u32 height() const { return registers_[kYres]; }
  u32 bits() const { return registers_[kBpp]; }
  u64 pitch() const;  // bytes
  u64 start() const;  // bytes
  u64 bank() const { return u64{registers_[kBank]} << 16; }

 private:
  void enable(u16 value);
  void fit();
  u64 line_bytes(u64 pixels) const;

  // Configuration
  u64 memory_;
  // Wiring
  std::function<void()> changed_;
  std::function<void(u64)> clear_;
  // State
  u16 index_ = 0;
  std::array<u16, kCount> registers_{};
};

}  // namespace menura
