#include "hw/rtc/cmos.h"

#include <algorithm>

#include "base/units.h"
#include "hw/rtc/rtc.h"

namespace menura {

namespace {

enum Index : u8 {
  kFloppies = 0x10,
  kEquipment = 0x14,
  kBaseMemory = 0x15,       // KiB, two bytes
  kExtendedMemory = 0x17,   // KiB above 1 MiB, up to 63 MiB, two bytes
  kExtendedMemory2 = 0x30,  // the same
  kMemoryAbove16M = 0x34,   // 64 KiB units below 4 GiB, two bytes
  kBootOptions = 0x38,      // bits 7:4 third boot device, bit 0 skips the floppy's signature
  kBootDevices = 0x3d,      // bits 3:0 first, 7:4 second
  kMemoryAbove4G = 0x5b,    // 64 KiB units, three bytes
  kCpus = 0x5f,             // less one
};

void store(Rtc& rtc, u8 index, u64 value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; i++)
    rtc.set_cmos(static_cast<u8>(index + i), static_cast<u8>(value >> (8 * i)));
}

u64 units_above(u64 size, u64 start, u64 unit, u64 limit) {
  return size > start ? std::min((size - start) / unit, limit) : 0;
}

u8 code(BootDevice device) { return static_cast<u8>(device); }

}  // namespace

void store_boot_order(Rtc& rtc, const std::array<BootDevice, 3>& boot,
                      bool check_floppy_signature) {
  store(rtc, kBootDevices, code(boot[0]) | code(boot[1]) << 4, 1);
  store(rtc, kBootOptions, code(boot[2]) << 4 | (check_floppy_signature ? 0 : 1), 1);
}

void store_cmos(Rtc& rtc, const CmosContents& contents) {
  const u64 low = contents.memory_below_4g;
  store(rtc, kBaseMemory, std::min<u64>(low / KiB, 640), 2);
  const u64 extended = units_above(low, MiB, KiB, 63 * 1024);
  store(rtc, kExtendedMemory, extended, 2);
  store(rtc, kExtendedMemory2, extended, 2);
  store(rtc, kMemoryAbove16M, units_above(low, 16 * MiB, 64 * KiB, 0xffff), 2);
  store(rtc, kMemoryAbove4G, units_above(contents.memory_above_4g, 0, 64 * KiB, 0xff'ffff), 3);
  store(rtc, kCpus, std::clamp(contents.cpus, 1u, 256u) - 1, 1);

  store_boot_order(rtc, contents.boot, contents.check_floppy_signature);

  const auto& drives = contents.floppies;
  store(rtc, kFloppies, static_cast<u8>(drives[0]) << 4 | static_cast<u8>(drives[1]), 1);
  const auto present =
      std::ranges::count_if(drives, [](FloppyDrive d) { return d != FloppyDrive::None; });
  // Bits 7:6 drives less one, 2 mouse, 1 coprocessor, 0 any drive.
  store(rtc, kEquipment,
        (present > 0 ? (present - 1) << 6 | 1 : 0) | contents.ps2_mouse << 2 | contents.fpu << 1,
        1);
}

}  // namespace menura
