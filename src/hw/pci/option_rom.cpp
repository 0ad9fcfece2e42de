#include "hw/pci/option_rom.h"

#include <algorithm>
#include <bit>

#include "base/bytes.h"

namespace menura {

namespace {

constexpr u16 kSignature = 0xaa55;
constexpr size_t kLeast = 4096;  // a page, so that it can be mapped

}  // namespace

Result<OptionRom> OptionRom::load(const std::string& name, ConstBytes image) {
  if (image.size() < 2 || image.size() > kMost || load_le<u16>(image) != kSignature)
    return fail(Errc::InvalidArgument,
                "This is not the image of a boot ROM: it must begin with "
                "55h AAh and have at most {} bytes",
                kMost);
  OptionRom rom;
  rom.block_ = TRY(RamBlock::create(
      {.name = name + ".rom", .size = std::bit_ceil(std::max(image.size(), kLeast))}));
  rom.block_->write(0, image);
  rom.region_.reset(new Region(Region::rom(name + ".rom", rom.block_)));
  return rom;
}

}  // namespace menura
