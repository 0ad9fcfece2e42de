// PcMemory: a PC's RAM around the PCI hole, its ROMs, and the space behind the host bridge.
//
// Owner: PcBoard. Threads: under the machine lock. RAM lies from 0 and, what does not fit below the
// hole, from 4 GiB; both are aliases of "pc.ram", one block or those of the NUMA nodes. Example:
//   PcMemory memory(machine);  TRY(memory.build(options));
#pragma once

#include <concepts>
#include <memory>
#include <vector>

#include "base/result.h"
#include "machine/machine.h"
#include "memory/region.h"

namespace menura {

// All of the RAM as one piece from offset 0 on, whatever blocks it is made of.
class PcRam {
 public:
  struct Part {
    std::shared_ptr<RamBlock> block;
    u64 offset = 0;  // of its first byte
    u64 size = 0;
    u32 node = 0;
    std::unique_ptr<Region> region = {};
  };
  void add(std::shared_ptr<RamBlock> block, u32 node);
  const std::vector<Part>& parts() const { return parts_; }
  // Each part as a region, which stays ours.
  void map_into(Region& container);
  u64 size() const { return size_; }

  // Inside of the RAM; a T inside of a page.
  template <std::integral T>
  T load(u64 at) const {
    const Part& part = part_at(at);
    return part.block->load<T>(at - part.offset);
  }
  template <std::integral T>
  void store(u64 at, T value) {
    const Part& part = part_at(at);
    part.block->store<T>(at - part.offset, value);
  }
  void write(u64 at, ConstBytes from);
  void fill(u64 at, u64 length, std::byte value);

 private:
  const Part& part_at(u64 at) const;

  std::vector<Part> parts_;
  u64 size_ = 0;
};

// How much RAM lies below 4 GiB: at most so much, and less when there is more in all.
struct PcRamLayout {
  u64 most_below_4g = 0;
  u64 below_4g_if_more = 0;
};

class PcMemory {
 public:
  PcMemory(Machine& machine, const PcRamLayout& layout) : machine_(machine), layout_(layout) {}

  Result<void> build();
  // The firmware image, mapped so that it ends at 4 GiB.
  Result<void> load_firmware();
  // Its end, as the BIOS area below 1 MiB shows it: the last 128 KiB of this block.
  void show_isa_bios(std::shared_ptr<RamBlock> firmware);

  u64 below_4g() const { return below_4g_; }
  u64 above_4g() const { return above_4g_; }
  PcRam& ram() { return ram_; }
  const PcRam& ram() const { return ram_; }
  // All of it, from its first byte on; not on the map itself.
  Region& ram_region() { return *ram_region_; }
  // What PCI and ISA answer, from address 0; lies under the RAM.
  Region& pci_memory() { return pci_memory_; }
  // A20 closed: the RAM at 0 shows at 1 MiB, too (as far as conventional memory goes).
  void set_a20(bool open);

  // The size of the RAM below 4 GiB for a whole size and a user's limit (0: none).
  static u64 split_at(u64 size, u64 limit, const PcRamLayout& layout);

 private:
  Result<void> build_ram();
  Result<void> choose_blocks();
  Result<void> take_nodes(const std::vector<NumaNode>& nodes);

  // Wiring
  Machine& machine_;
  Region pci_memory_ = Region::container("pci", Region::kWholeSpace);
  PcRam ram_;
  std::unique_ptr<Region> ram_region_, isa_bios_target_;  // targets of the aliases below
  std::unique_ptr<Region> bios_region_;
  std::unique_ptr<Region> low_ram_, high_ram_, isa_bios_, wrap_;

  // Configuration
  const PcRamLayout layout_;
  u64 below_4g_ = 0;
  u64 above_4g_ = 0;
};

}  // namespace menura
