#include "hw/acpi/ich9_smbus.h"

namespace menura {

namespace {

constexpr PciIdentity kIdentity{.vendor = 0x8086,
                                .device = 0x2930,
                                .class_code = 0x0c0500,
                                .revision = 0x02,
                                .subsystem_vendor = 0x1af4,
                                .subsystem = 0x1100};
constexpr unsigned kHostc = 0x40;
constexpr u8 kHostEnable = 1 << 0;
constexpr unsigned kSmbBase = 4;
constexpr u64 kPorts = 32;
constexpr ConfigRegister kConfig[] = {{.offset = kHostc, .name = "hostc", .writable = 0x0f}};

}  // namespace

Ich9Smbus::Ich9Smbus(std::string id, Device* parent)
    : PciFunction(std::move(id), kIdentity, parent),
      region_(Region::mmio("ich9-smbus", kPorts, window_)),
      host_([this] { set_intx(host_.interrupt()); }) {
  config().define(kConfig);
  add_bar(kSmbBase, BarKind::Io, region_).value();
  set_interrupt_pin(IntxPin::B);
}

u64 Ich9Smbus::read(Access access) {
  const bool on = (config().get8(kHostc) & kHostEnable) != 0;
  return on ? host_.read(access) : ~u64{0};
}

void Ich9Smbus::write(Access access, u64 value) {
  if ((config().get8(kHostc) & kHostEnable) != 0) host_.write(access, value);
}

}  // namespace menura
