// A Linux kernel offered to the firmware: fw_cfg's items, and an option ROM of ours (kernel_rom.S)
// from which a BIOS boots it by its real-mode entry. UEFI firmware reads the same items itself.
//
// Owner: PcBoard calls it once. Threads: under the machine lock. Source: the public fw_cfg
// specification; "The Linux/x86 Boot Protocol"; BIOS Boot Specification 1.01. Example:
//   TRY(offer_kernel({.machine = m, .memory = memory, .fw_cfg = fw_cfg, .rtc = rtc}, files));
#pragma once

#include "machine/pc/pc_firmware.h"
#include "machine/pc/pc_kernel_boot.h"

namespace menura {

// Errors: no Linux kernel, does not fit.
Result<void> offer_kernel(const PcFirmwareContext& context, const KernelFiles& files);

}  // namespace menura
