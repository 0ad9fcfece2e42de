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

u64 PcMemory::split_at(u64 size, u64 limit, const PcRamLayout& layout) {
  const u64 low = size >= layout.most_below_4g ? layout.below_4g_if_more : layout.most_below_4g;
  return std::min({size, low, limit ? limit : low});
}

Result<void> PcMemory::build() {
  TRY(build_ram());
  machine_.memory_root().map(0, pci_memory_, -1);
  return {};
}

void PcRam::add(std::shared_ptr<RamBlock> block, u32 node) {
  const u64 size = block->size();
  parts_.push_back({std::move(block), size_, size, node});
  size_ += size;
}

const PcRam::Part& PcRam::part_at(u64 at) const {
  const auto after = std::ranges::upper_bound(parts_, at, {}, &Part::offset);
  ensure(at < size_ && after != parts_.begin(), "an address inside of the RAM");
  return *std::prev(after);
}

void PcRam::write(u64 at, ConstBytes from) {
  while (!from.empty()) {
    const Part& part = part_at(at);
    const u64 here = std::min<u64>(from.size(), part.offset + part.size - at);
    part.block->write(at - part.offset, from.first(here));
    from = from.subspan(here);
    at += here;
  }
}

void PcRam::fill(u64 at, u64 length, std::byte value) {
  while (length > 0) {
    const Part& part = part_at(at);
    const u64 here = std::min(length, part.offset + part.size - at);
    part.block->fill(at - part.offset, here, value);
    length -= here;
    at += here;
  }
}

void PcRam::map_into(Region& container) {
  for (Part& part : parts_) {
    part.region.reset(new Region(Region::ram(part.block->name(), part.block)));
    container.map(part.offset, *part.region);
  }
}

// The nodes' memory objects in the order of the nodes, the machine's object, or a block of our own.
Result<void> PcMemory::choose_blocks() {
  const MachineConfig& config = machine_.config();
  const MemoryOptions& options = config.memory;
  const std::string& object = config.machine.memory_backend;
  if (!config.numa.nodes.empty()) {
    if (!object.empty())
      return fail(Errc::InvalidArgument,
                  "-machine memory-backend= and -numa node,memdev= exclude each other");
    return take_nodes(config.numa.nodes);
  }
  if (!object.empty()) {
    ram_.add(TRY(machine_.memory_backends().take(object), "-machine memory-backend"), 0);
    return {};
  }
  const u64 size = align_up(options.size.bytes, kPageSize);
  if (size < kMinimumRam || size > kMaximumRam) return {};  // build_ram() says so
  ram_.add(TRY(RamBlock::create(
                   {.name = "pc.ram",
                    .size = size,
                    .path = options.path,
                    .share = options.share || options.path.empty(),
                    .preallocate = options.preallocate,
                    .huge = options.path.empty() ? HugePages::Transparent : HugePages::None}),
               "Making {} of guest RAM", format_size(size)),
           0);
  return {};
}

Result<void> PcMemory::take_nodes(const std::vector<NumaNode>& nodes) {
  for (u32 id = 0; id < nodes.size(); id++) {
    const auto node = std::ranges::find(nodes, id, &NumaNode::id);
    if (node->memdev.empty()) continue;
    ram_.add(TRY(machine_.memory_backends().take(node->memdev), "-numa node,nodeid={}", id), id);
  }
  if (ram_.parts().empty())
    return fail(Errc::InvalidArgument, "-numa node: no node has memory; give them a memdev=");
  if (ram_.parts().front().size < kMinimumRam)
    return fail(Errc::OutOfRange, "-numa node: the first memory object must have 1 MiB at least");
  return {};
}

Result<void> PcMemory::build_ram() {
  const MachineConfig& config = machine_.config();
  TRY(choose_blocks());
  const u64 size = ram_.parts().empty() ? config.memory.size.bytes : ram_.size();
  if (size < kMinimumRam || size > kMaximumRam)
    return fail(Errc::OutOfRange, "-m: a PC takes 1 MiB to 1 TiB of RAM, not {}",
                format_size(size));
  if (config.memory.size_given && align_up(config.memory.size.bytes, kPageSize) != size)
    return fail(Errc::InvalidArgument, "-m: {} of RAM, but the memory objects have {}",
                format_size(config.memory.size.bytes), format_size(size));
  const u64 limit = config.machine.max_ram_below_4g.value_or(Size{0}).bytes;
  if (limit > 4 * GiB || limit % kPageSize)
    return fail(Errc::OutOfRange, "-machine max-ram-below-4g must be at most 4G and whole pages");
  below_4g_ = split_at(size, limit, layout_);
  above_4g_ = size - below_4g_;
  ram_region_.reset(new Region(Region::container("pc.ram", size)));
  ram_.map_into(*ram_region_);
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

Result<void> PcMemory::load_firmware() {
  const std::string& wanted = machine_.config().firmware.bios;
  const std::string path = TRY(find_firmware(wanted.empty() ? std::string(kDefaultBios) : wanted));
  const std::string image = TRY(read_file(path, kBiosLimit), "Loading firmware");
  if (image.empty() || image.size() % (64 * KiB) != 0)
    return fail(Errc::InvalidArgument,
                "Firmware '{}' has {} bytes; a BIOS image is a multiple of 64 KiB", path,
                image.size());
  std::shared_ptr<RamBlock> bios = TRY(RamBlock::create({.name = "pc.bios", .size = image.size()}));
  bios->write(0, bytes_of(image));
  bios_region_.reset(new Region(Region::rom("pc.bios", bios)));
  pci_memory_.map(4 * GiB - image.size(), *bios_region_);
  show_isa_bios(std::move(bios));
  return {};
}

void PcMemory::show_isa_bios(std::shared_ptr<RamBlock> firmware) {
  const u64 size = firmware->size(), low = std::min(size, kIsaBiosSize);
  isa_bios_target_.reset(new Region(Region::rom("isa-bios", std::move(firmware))));
  isa_bios_.reset(new Region(Region::alias("isa-bios", *isa_bios_target_, size - low, low)));
  pci_memory_.map(1 * MiB - low, *isa_bios_, 1);
}

}  // namespace menura
