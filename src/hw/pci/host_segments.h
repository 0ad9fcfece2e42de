// HostSegments: what answers in a PC's first 16 MiB: DRAM, PCI, or one for reads and the other for
// writes, segment by segment; and SMRAM, for the processor in system-management mode and before it.
//
// Owner: a host bridge (a member), which knows the registers. Threads: under the machine lock.
// Source: the PAM, SMRAM and hole registers of the 82441FX (data sheet 290549 §3.2) and of the
// 82Q35 (316966 §5.1), which agree. In a segment that reads DRAM and writes PCI, writes are dropped
// (the ROMs there drop them too). Example:
//   HostSegments segments("i440fx", wiring);   segments.set({.pam = pam, .smram = smram});
#pragma once

#include <array>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "hw/core/window.h"
#include "memory/address_space.h"

namespace menura {

// Bits of the SMRAM register.
namespace smram {
inline constexpr u8 kOpen = 1 << 6, kClosed = 1 << 5, kLock = 1 << 4, kEnable = 1 << 3;
inline constexpr u8 kBase = 0x02;  // read-only: A0000h
inline constexpr u8 kWritable = kOpen | kClosed | kLock | kEnable;
// What a write comes to: D_LCK clears D_OPEN, and neither they nor G_SMRAME change until a reset.
u8 written(u8 before, u8 value);
}  // namespace smram

class HostSegments {
 public:
  struct Wiring {
    AddressSpace& memory;
    // DRAM lies here at priority 0 or below; what hides it is laid above, at priority 1.
    Region& system_memory;
    // All that PCI and ISA answer in memory space, from address 0; lies below the DRAM.
    Region& pci_memory;
    std::shared_ptr<RamBlock> ram;  // offset = address, for the first MiB at least
    // What CPUs in system-management mode see, filled here; null: there is no SMM. D_CLS, which
    // would keep their data accesses out of SMRAM but not their fetches, changes nothing.
    Region* smm = nullptr;
  };
  enum class Hole : u8 { None, At512K, At15M };
  struct Routes {
    std::array<u8, 7> pam{};  // the registers PAM0 to PAM6
    u8 smram = 0;             // the register
    Hole hole = Hole::None;
  };

  HostSegments(std::string owner, const Wiring& wiring);
  HostSegments(const HostSegments&) = delete;
  HostSegments& operator=(const HostSegments&) = delete;

  void set(const Routes& routes);

  static constexpr int kPriority = 1;

 private:
  // As PAM's read and write enable bits have it.
  enum class Route : u8 { Pci = 0, DramReads = 1, DramWrites = 2, Dram = 3 };
  // What hides or filters a piece of the DRAM.
  struct Overlay {
    Overlay(HostSegments& owner, Region& target, u64 first, u64 size);
    Region region;
  };
  // What CPUs in system-management mode see: the system's memory, and SMRAM in front of it.
  struct SmmView {
    SmmView(HostSegments& owner, Region& root);
    Region system, smram;
  };
  // One piece with a register field of its own.
  struct Segment {
    std::optional<Overlay> abort;  // under pci: nobody there answers
    std::optional<Overlay> pci;
    std::optional<Overlay> dram_reads;  // PAM's segments only
    std::optional<Overlay> dram_writes;
  };

  u64 read_abort(Access) { return ~u64{0}; }
  void write_abort(Access, u64) {}
  u64 read_split(Access access);
  void write_split(Access access, u64 value);
  static Route route_of(unsigned segment, const Routes& routes);

  // Wiring
  const std::string owner_;
  const Wiring wiring_;
  AddressSpace pci_space_;  // the PCI side alone, for segments that read it and write DRAM
  Region dram_;             // the target of aliases, not on the map itself
  Window<HostSegments> split_window_{*this, &HostSegments::read_split, &HostSegments::write_split};
  Region split_;
  // What a cycle that no PCI function takes reads as. An alias of PCI's side alone would show the
  // DRAM through its gaps.
  Window<HostSegments> abort_window_{*this, &HostSegments::read_abort, &HostSegments::write_abort};
  Region abort_;
  std::list<Segment> segments_;
  std::optional<SmmView> smm_view_;  // with SMM
};

}  // namespace menura
