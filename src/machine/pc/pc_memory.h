// PcMemory: a PC's RAM around the PCI hole, its ROMs, and the space behind the host bridge.
//
// Owner: PcBoard. Threads: under the machine lock. RAM lies from 0 and, what does not fit below the
// hole, from 4 GiB; both are aliases of the one block "pc.ram". Example:
//   PcMemory memory(machine);  TRY(memory.build(options));
#pragma once

#include <memory>

#include "base/result.h"
#include "machine/machine.h"
#include "memory/region.h"

namespace menura {

class PcMemory {
 public:
  explicit PcMemory(Machine& machine) : machine_(machine) {}

  // RAM and the firmware image (mapped so that it ends at 4 GiB, its last 128 KiB also at 1 MiB).
  Result<void> build();

  u64 below_4g() const { return below_4g_; }
  u64 above_4g() const { return above_4g_; }
  const std::shared_ptr<RamBlock>& ram() const { return ram_; }
  // What PCI and ISA answer, from address 0; lies under the RAM.
  Region& pci_memory() { return pci_memory_; }
  // A20 closed: the RAM at 0 shows at 1 MiB, too (as far as conventional memory goes).
  void set_a20(bool open);

  // The size of the RAM below 4 GiB for a whole size and a user's limit (0: none).
  static u64 split_at(u64 size, u64 limit);

 private:
  Result<void> build_ram();
  Result<void> build_firmware();

  // Wiring
  Machine& machine_;
  Region pci_memory_ = Region::container("pci", Region::kWholeSpace);
  std::shared_ptr<RamBlock> ram_;
  std::shared_ptr<RamBlock> bios_;
  std::unique_ptr<Region> ram_region_, bios_region_;  // targets of the aliases below
  std::unique_ptr<Region> low_ram_, high_ram_, isa_bios_, wrap_;

  // Configuration
  u64 below_4g_ = 0;
  u64 above_4g_ = 0;
};

}  // namespace menura
