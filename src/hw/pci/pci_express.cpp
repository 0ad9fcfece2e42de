#include "hw/pci/pci_express.h"

#include "hw/pci/pci_regs.h"

namespace menura {

namespace {

constexpr unsigned kSize = 0x3c;

// §7.8, offsets from the capability.
enum : u8 {
  kCapabilities = 0x02,
  kDeviceCapabilities = 0x04,
  kDeviceControl = 0x08,
  kDeviceStatus = 0x0a,
  kLinkCapabilities = 0x0c,
  kLinkControl = 0x10,
  kLinkStatus = 0x12,
  kSlotCapabilities = 0x14,
  kSlotControl = 0x18,
  kSlotStatus = 0x1a,
  kRootControl = 0x1c,
  kDeviceControl2 = 0x28,
  kLinkControl2 = 0x30,
};
constexpr u16 kVersion = 2, kTypeShift = 4, kSlotImplemented = 1 << 8;
constexpr u32 kRoleBasedErrors = 1 << 15;
constexpr u32 kOneLane25 = 0x11;  // speed 1, width 1
constexpr u32 kActiveReporting = 1 << 20, kLinkActive = 1 << 13;
// A button, a power controller, both indicators; no latch; commands take no time.
constexpr u32 kSlot = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 18;
constexpr u16 kSlotControlWritable = 0x17ff, kSlotEvents = 0x011f;

}  // namespace

PciExpress::PciExpress(PciFunction& function, Type type, const Port& port)
    : PciCapability(function, pci::kCapExpress, kSize) {
  const auto define = [this](u8 at, u8 size, std::string_view name, u32 reset, u32 writable = 0) {
    config().define({.offset = static_cast<u8>(offset() + at),
                     .size = size,
                     .name = name,
                     .reset = reset,
                     .writable = writable});
  };
  const bool has_link = type != Type::IntegratedEndpoint, is_port = type == Type::RootPort;
  define(kCapabilities, 2, "pcie_cap",
         kVersion | static_cast<u32>(type) << kTypeShift | (is_port ? kSlotImplemented : 0u));
  define(kDeviceCapabilities, 4, "dev_cap", kRoleBasedErrors);
  define(kDeviceControl, 2, "dev_ctl", 0x2810, 0x7fff);
  define(kDeviceControl2, 2, "dev_ctl2", 0, 0x001f);
  if (has_link) {
    define(kLinkCapabilities, 4, "lnk_cap",
           kOneLane25 | (is_port ? kActiveReporting : 0) | u32{port.number} << 24);
    define(kLinkControl, 2, "lnk_ctl", 0, 0x00db);
    config().define({.offset = static_cast<u8>(offset() + kLinkStatus),
                     .size = 2,
                     .name = "lnk_sta",
                     .reset = kOneLane25,
                     .hardware = is_port ? kLinkActive : 0u});
    define(kLinkControl2, 2, "lnk_ctl2", 1, 0x000f);
  }
  if (!is_port) return;
  define(kRootControl, 2, "root_ctl", 0, 0x001f);
  define(kSlotCapabilities, 4, "slot_cap", kSlot | u32{port.slot} << 19);
  define(kSlotControl, 2, "slot_ctl", 0, kSlotControlWritable);
  config().define({.offset = static_cast<u8>(offset() + kSlotStatus),
                   .size = 2,
                   .name = "slot_sta",
                   .w1c = kSlotEvents,
                   .hardware = kPresent});
}

u16 PciExpress::slot_control() const { return config().get16(offset() + kSlotControl); }
void PciExpress::set_slot_control(u16 value) { config().set(offset() + kSlotControl, 2, value); }
u16 PciExpress::slot_status() const { return config().get16(offset() + kSlotStatus); }
void PciExpress::report(u16 changes) {
  config().set(offset() + kSlotStatus, 2, slot_status() | changes);
}

void PciExpress::set_present(bool present) {
  const u16 status = static_cast<u16>(slot_status() & ~kPresent);
  config().set(offset() + kSlotStatus, 2, status | (present ? u32{kPresent} : 0u));
  config().set(offset() + kLinkStatus, 2, kOneLane25 | (present ? kLinkActive : 0));
}

}  // namespace menura
