// What a PC's firmware expects in CMOS memory: sizes of memory, boot order, drives.
//
// Owner: hw/rtc; the board calls it before the first reset. Threads: under the machine lock.
// Source: the CMOS map of the IBM AT technical reference, with SeaBIOS's additions (its
// documentation of runtime configuration): 34h/35h, 38h, 3Dh, 5Bh-5Fh.
// Example: `store_cmos(rtc, {.memory_below_4g = 128 * MiB, .boot = {BootDevice::Disk}});`
#pragma once

#include <array>

#include "base/types.h"

namespace menura {

class Rtc;

enum class BootDevice : u8 { None, Floppy, Disk, Cdrom, Network };

// As register 10h has it.
enum class FloppyDrive : u8 { None = 0, F1200k = 2, F720k = 3, F1440k = 4, F2880k = 5 };

struct CmosContents {
  u64 memory_below_4g = 0;  // bytes
  u64 memory_above_4g = 0;
  unsigned cpus = 1;  // 1-256: how many start
  std::array<BootDevice, 3> boot{};
  bool check_floppy_signature = true;
  std::array<FloppyDrive, 2> floppies{};
  bool ps2_mouse = true;
  bool fpu = true;
};

void store_cmos(Rtc& rtc, const CmosContents& contents);
// The boot order alone.
void store_boot_order(Rtc& rtc, const std::array<BootDevice, 3>& boot, bool check_floppy_signature);

// Written by an operating system before it sleeps or resets: FEh wakes from S3.
inline constexpr u8 kCmosShutdown = 0x0f;

}  // namespace menura
