#include "hw/pci/q35_mch.h"

#include <algorithm>

#include "base/bits.h"
#include "base/units.h"
#include "hw/pci/pci_regs.h"

namespace menura {

namespace {

constexpr PciIdentity kIdentity{.vendor = 0x8086,
                                .device = 0x29c0,
                                .class_code = 0x060000,
                                .revision = 0x02,
                                .subsystem_vendor = 0x1af4,
                                .subsystem = 0x1100};

constexpr unsigned kPciexbar = 0x60;
constexpr unsigned kPam0 = 0x90;
constexpr unsigned kLac = 0x97;
constexpr unsigned kSmram = 0x9d;
constexpr unsigned kEsmramc = 0x9e;
constexpr unsigned kTolud = 0xb0;

constexpr u32 kEcamEnable = 1;
constexpr u8 kHoleEnable = 1 << 7;
constexpr u8 kTsegEnable = 1 << 0;
constexpr u8 kTsegWritable = 1 << 7 | 3 << 1 | kTsegEnable;
constexpr u64 kTsegLargest = 8 * MiB;

// §5.1.
constexpr ConfigRegister kRegisters[] = {
    {.offset = pci::kCommand, .size = 2, .name = "pcicmd", .reset = 0x0006, .writable = 0x0100},
    {.offset = pci::kStatus, .size = 2, .name = "pcists", .reset = 0x0080, .w1c = 0xf100},
    {.offset = pci::kCacheLineSize, .name = "reserved"},
    {.offset = pci::kLatencyTimer, .name = "reserved"},
    {.offset = pci::kInterruptLine, .name = "reserved"},
    {.offset = 0x40, .size = 4, .name = "epbar", .writable = 0xffff'f001},
    {.offset = 0x44, .size = 4, .name = "epbar_upper", .writable = 0xf},
    {.offset = 0x48, .size = 4, .name = "mchbar", .writable = 0xffff'c001},
    {.offset = 0x4c, .size = 4, .name = "mchbar_upper", .writable = 0xf},
    {.offset = 0x50, .size = 2, .name = "scratch", .writable = 0xffff},
    {.offset = kPciexbar,
     .size = 4,
     .name = "pciexbar",
     .reset = 0xe000'0000,
     .writable = 0xfc00'0007},
    {.offset = kPciexbar + 4, .size = 4, .name = "pciexbar_upper", .writable = 0xf},
    {.offset = 0x68, .size = 4, .name = "dmibar", .writable = 0xffff'f001},
    {.offset = 0x6c, .size = 4, .name = "dmibar_upper", .writable = 0xf},
    {.offset = 0x90, .name = "pam0", .writable = 0x30},
    {.offset = 0x91, .name = "pam1", .writable = 0x33},
    {.offset = 0x92, .name = "pam2", .writable = 0x33},
    {.offset = 0x93, .name = "pam3", .writable = 0x33},
    {.offset = 0x94, .name = "pam4", .writable = 0x33},
    {.offset = 0x95, .name = "pam5", .writable = 0x33},
    {.offset = 0x96, .name = "pam6", .writable = 0x33},
    {.offset = kLac, .name = "lac", .writable = kHoleEnable},
    {.offset = kSmram, .name = "smram", .reset = smram::kBase, .writable = smram::kWritable},
};

// Bits 2:1 of PCIEXBAR: 256, 128 or 64 MiB; the fourth value is reserved.
constexpr u64 kEcamSizes[] = {256 * MiB, 128 * MiB, 64 * MiB, 0};
// TSEG_SZ.
constexpr u64 kTsegSizes[] = {1 * MiB, 2 * MiB, 8 * MiB, 0};

}  // namespace

Q35Mch::Tseg::Tseg(Region& all_ram, Region& nobody, u64 first, u64 size)
    : first(first),
      size(size),
      memory(Region::alias("tseg", all_ram, first, size)),
      hidden(Region::alias("tseg-hidden", nobody, 0, size)) {}

Q35Mch::Q35Mch(std::string id, const Q35MchWiring& wiring, Device* parent)
    : PciFunction(std::move(id), kIdentity, parent),
      wiring_(wiring),
      root_("pcie.0", wiring.host, &Q35Mch::pirq_of),
      segments_(this->id(), wiring.host, {.pam0 = kPam0, .smram = kSmram}),
      nobody_(Region::mmio("tseg-nobody", kTsegLargest, nobody_window_)),
      ecam_regions_{make_ecam(kEcamSizes[0]), make_ecam(kEcamSizes[1]), make_ecam(kEcamSizes[2])} {
  for (Region& region : ecam_regions_) region.set_owner(this->id());
  config().define(kRegisters);
  config().define({.offset = kEsmramc,
                   .name = "esmramc",
                   .reset = 0x38,  // the SMRAM caches are always said to be enabled
                   .writable = wiring_.host.smm ? kTsegWritable : 0u});
  config().define({.offset = kTolud,
                   .size = 2,
                   .name = "tolud",
                   .reset = static_cast<u32>(wiring_.low_ram / MiB << 4) & 0xfff0});
  root_bus().add(*this, PciBus::devfn(0, 0)).value();
  esmramc_ = config().get8(kEsmramc);
  segments_.follow(config(), hole());
}

Region Q35Mch::make_ecam(u64 size) {
  return Region::mmio("pcie-ecam", size, ecam_window_, {.handler_max = 4});
}

// A conventional function has no more than its 256 bytes.
u64 Q35Mch::read_ecam(Access access) {
  const unsigned offset = access.offset & 0xfff;
  if (offset + access.size > ConfigSpace::kSize) return ~u64{0};
  const PciAddress target{.bus = static_cast<u8>(access.offset >> 20),
                          .devfn = static_cast<u8>(access.offset >> 12)};
  return root_bus().config_read(target, offset, access.size);
}

void Q35Mch::write_ecam(Access access, u64 value) {
  const unsigned offset = access.offset & 0xfff;
  if (offset + access.size > ConfigSpace::kSize) return;
  const PciAddress target{.bus = static_cast<u8>(access.offset >> 20),
                          .devfn = static_cast<u8>(access.offset >> 12)};
  root_bus().config_write(target, offset, access.size, static_cast<u32>(value));
}

std::optional<Q35Mch::Ecam> Q35Mch::ecam() const {
  const u64 value = config().get32(kPciexbar) | u64{config().get32(kPciexbar + 4)} << 32;
  const u64 size = kEcamSizes[bits(value, 2, 1)];
  if ((value & kEcamEnable) == 0 || size == 0) return {};
  return Ecam{.base = value & ~(size - 1), .size = size};
}

void Q35Mch::update_ecam() {
  std::optional<Ecam> wanted = ecam();
  if (wanted && wanted->base == 0) wanted.reset();
  const auto of_size = [&](const Region& region) { return region.last() == wanted->size - 1; };
  Region* const next = wanted ? &*std::ranges::find_if(ecam_regions_, of_size) : nullptr;
  if (next == ecam_mapped_ && (!next || next->address() == wanted->base)) return;
  Transaction transaction(wiring_.host.memory);
  if (ecam_mapped_) wiring_.host.pci_memory.unmap(*ecam_mapped_);
  if (next) wiring_.host.pci_memory.map(wanted->base, *next, PciBus::kPriority);
  ecam_mapped_ = next;
}

HostSegments::Hole Q35Mch::hole() const {
  return (config().get8(kLac) & kHoleEnable) != 0 ? HostSegments::Hole::At15M
                                                  : HostSegments::Hole::None;
}

void Q35Mch::update_tseg() {
  if (!wiring_.host.smm) return;
  const u64 size = (esmramc_ & kTsegEnable) != 0 ? kTsegSizes[bits(esmramc_, 2, 1)] : 0;
  const bool fits = size != 0 && wiring_.low_ram > size;
  if (tseg_ ? fits && tseg_->size == size : !fits) return;
  Transaction transaction(wiring_.host.memory);
  tseg_.reset();
  if (!fits) return;
  tseg_.emplace(wiring_.all_ram, nobody_, wiring_.low_ram - size, size);
  wiring_.host.system_memory.map(tseg_->first, tseg_->hidden, HostSegments::kPriority);
  wiring_.host.smm->map(tseg_->first, tseg_->memory, HostSegments::kPriority);
}

void Q35Mch::config_written(unsigned offset, unsigned size) {
  if (offset < kPciexbar + 8 && offset + size > kPciexbar) update_ecam();
  if (offset > kEsmramc || offset + size <= kPam0) return;
  // D_LCK holds ESMRAMC, too.
  if (segments_.locked()) config().set(kEsmramc, 1, esmramc_);
  esmramc_ = config().get8(kEsmramc);
  segments_.written(config(), hole());
  update_tseg();
}

void Q35Mch::follow_registers() {
  esmramc_ = config().get8(kEsmramc);
  segments_.follow(config(), hole());
  update_tseg();
  update_ecam();
}

void Q35Mch::reset_chip(ResetKind) {
  root_.config_ports().reset();
  follow_registers();
}

void Q35Mch::describe_chip(StateVisitor& v) { v.field("config_ports", root_.config_ports()); }

Result<void> Q35Mch::restored_chip() {
  follow_registers();
  return {};
}

}  // namespace menura
