#include "machine/pc/pc_memory.h"

#include <algorithm>

#include "base/bits.h"
#include "base/fd.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr u64 kMinimumRam = 1 * MiB;
constexpr u64 kMaximumRam = 1 * TiB;
constexpr u64 kBiosLimit = 16 * MiB;
constexpr u64 kIsaBiosSize = 128 * KiB;
constexpr u64 kConventional = 640 * KiB;
constexpr int kAboveAll = 10;
constexpr std::string_view kDefaultBios = "bios-256k.bin";

}  // namespace

// With 3.5 GiB or more the hole begins at 3 GiB, so that both parts are aligned to 1 GiB.
u64 PcMemory::split_at(u64 size, u64 limit) {
  constexpr u64 kHole = 0xe000'0000;
  const u64 low = size >= kHole ? 3 * GiB : kHole;
  return std::min({size, low, limit ? limit : low});
}

Result<void> PcMemory::build() {
  TRY(build_ram());
  machine_.memory_root().map(0, pci_memory_, -1);
  return build_firmware();
}

Result<void> PcMemory::build_ram() {
  const MemoryOptions& options = machine_.config().memory;
  const u64 size = align_up(options.size.bytes, kPageSize);
  if (size < kMinimumRam || size > kMaximumRam)
    return fail(Errc::OutOfRange, "-m: a PC takes 1 MiB to 1 TiB of RAM, not {}",
                format_size(options.size.bytes));
  const u64 limit = machine_.config().machine.max_ram_below_4g.value_or(Size{0}).bytes;
  if (limit > 4 * GiB || limit % kPageSize)
    return fail(Errc::OutOfRange, "-machine max-ram-below-4g must be at most 4G and whole pages");
  below_4g_ = split_at(size, limit);
  above_4g_ = size - below_4g_;
  ram_ = TRY(
      RamBlock::create({.name = "pc.ram",
                        .size = size,
                        .path = options.path,
                        .share = options.share || options.path.empty(),
                        .preallocate = options.preallocate,
                        .huge = options.path.empty() ? HugePages::Transparent : HugePages::None}),
      "Making {} of guest RAM", format_size(size));
  ram_region_.reset(new Region(Region::ram("pc.ram", ram_)));
  low_ram_.reset(new Region(Region::alias("ram-below-4g", *ram_region_, 0, below_4g_)));
  machine_.memory_root().map(0, *low_ram_);
  wrap_.reset(new Region(
      Region::alias("a20-wrap", *ram_region_, 0, std::min<u64>(below_4g_, kConventional))));
  wrap_->set_enabled(false);
  machine_.memory_root().map(1 * MiB, *wrap_, kAboveAll);
  if (above_4g_) {
    high_ram_.reset(new Region(Region::alias("ram-above-4g", *ram_region_, below_4g_, above_4g_)));
    machine_.memory_root().map(4 * GiB, *high_ram_);
  }
  return {};
}

void PcMemory::set_a20(bool open) { wrap_->set_enabled(!open); }

Result<void> PcMemory::build_firmware() {
  const std::string& wanted = machine_.config().firmware.bios;
  const std::string path = TRY(find_firmware(wanted.empty() ? std::string(kDefaultBios) : wanted));
  const std::string image = TRY(read_file(path, kBiosLimit), "Loading firmware");
  if (image.empty() || image.size() % (64 * KiB) != 0)
    return fail(Errc::InvalidArgument,
                "Firmware '{}' has {} bytes; a BIOS image is a multiple of 64 KiB", path,
                image.size());
  bios_ = TRY(RamBlock::create({.name = "pc.bios", .size = image.size()}));
  bios_->write(0, bytes_of(image));
  bios_region_.reset(new Region(Region::rom("pc.bios", bios_)));
  pci_memory_.map(4 * GiB - image.size(), *bios_region_);
  const u64 low = std::min<u64>(image.size(), kIsaBiosSize);
  isa_bios_.reset(new Region(Region::alias("isa-bios", *bios_region_, image.size() - low, low)));
  pci_memory_.map(1 * MiB - low, *isa_bios_, 1);
  return {};
}

}  // namespace menura
