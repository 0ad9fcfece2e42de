// HostSegments: what answers in a PC's first 16 MiB: DRAM, PCI, or one for reads and the other for
// writes, segment by segment; and SMRAM, for the processor in system-management mode and before it.
//
// Owner: a host bridge (a member), which says where the registers are. Threads: under the machine lock.
// Source: the PAM, SMRAM and hole registers of the 82441FX (data sheet 290549 §3.2) and of the
// 82Q35 (316966 §5.1), which agree. In a segment that reads DRAM and writes PCI, writes are dropped
// (the ROMs there drop them too). Example:
//   HostSegments segments("i440fx", wiring, {.pam0 = 0x59, .smram = 0x72});
//   segments.written(config(), HostSegments::Hole::None);
#pragma once

#include <array>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "hw/core/window.h"
#include "hw/pci/config_space.h"
#include "hw/pci/host_root.h"
#include "memory/address_space.h"

namespace menura {

// Bits of the SMRAM register.
namespace smram {
inline constexpr u8 kOpen = 1 << 6, kClosed = 1 << 5, kLock = 1 << 4, kEnable = 1 << 3;
inline constexpr u8 kBase = 0x02;  // read-only: A0000h
inline constexpr u8 kWritable = kOpen | kClosed | kLock | kEnable;
}  // namespace smram

class HostSegments {
 public:
  // The bridge's registers PAM0 (PAM1 to PAM6 follow) and SMRAM, in configuration space.
  struct Registers {
    unsigned pam0;
    unsigned smram;
  };
  enum class Hole : u8 { None, At512K, At15M };

  // DRAM lies in system_memory at priority 0 or below; what hides it is laid above, at priority 1.
  // pci_memory: all that PCI and ISA answer from address 0; lies below the DRAM. ram: offset =
  // address, for the first MiB at least. smm: what CPUs in system-management mode see, filled here;
  // null: there is no SMM. D_CLS, which would keep their data accesses out of SMRAM but not their
  // fetches, changes nothing.
  HostSegments(std::string owner, const HostBridgeWiring& wiring, const Registers& registers);
  HostSegments(const HostSegments&) = delete;
  HostSegments& operator=(const HostSegments&) = delete;

  // After a guest's write to the registers: puts back what D_LCK keeps, then routes.
  void written(ConfigSpace& config, Hole hole);
  // After a reset or a load, which no lock resists.
  void follow(const ConfigSpace& config, Hole hole);
  // D_LCK, as it was before a write in progress.
  bool locked() const { return (smram_ & smram::kLock) != 0; }

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
  void route(const ConfigSpace& config, Hole hole);

  // Wiring
  const std::string owner_;
  const HostBridgeWiring wiring_;
  const Registers registers_;
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

  // Derived from configuration space
  u8 smram_ = smram::kBase;
};

}  // namespace menura
