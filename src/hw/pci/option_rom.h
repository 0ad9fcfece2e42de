// OptionRom: the boot ROM of a card: an image, in a region of the size that a ROM's BAR can have.
//
// Owner: the card (a member). Threads: under the machine lock. Source: PCI 3.0 §6.3.
// Example: `OptionRom rom = TRY(OptionRom::load("net0", image));  if (rom) add_rom(rom.region());`
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "memory/region.h"

namespace menura {

class OptionRom {
 public:
  static constexpr size_t kMost = 16 * 1024 * 1024;

  OptionRom() = default;
  // The image begins with 55h AAh; InvalidArgument otherwise.
  static Result<OptionRom> load(const std::string& name, ConstBytes image);
  explicit operator bool() const { return region_ != nullptr; }
  Region& region() { return *region_; }

 private:
  std::shared_ptr<RamBlock> block_;
  std::unique_ptr<Region> region_;
};

}  // namespace menura
