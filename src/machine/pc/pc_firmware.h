// What a PC's firmware is told: fw_cfg items and files, CMOS bytes, ACPI and SMBIOS tables.
//
// Owner: PcBoard calls it once, when all else is built. Threads: under the machine lock.
// Source: SeaBIOS's documentation of its fw_cfg files and CMOS bytes. Example:
//   describe_to_firmware({.machine = m, .memory = memory, .fw_cfg = fw_cfg, .rtc = rtc});
#pragma once

#include <array>

#include "hw/fw_cfg/fw_cfg.h"
#include "hw/rtc/cmos.h"
#include "hw/rtc/rtc.h"
#include "machine/machine.h"
#include "machine/pc/pc_chipset.h"
#include "machine/pc/pc_memory.h"
#include "machine/tables/acpi.h"
#include "machine/tables/smbios.h"

namespace menura {

struct PcFirmwareContext {
  Machine& machine;
  const PcMemory& memory;
  FwCfg& fw_cfg;
  Rtc& rtc;
  const PcChipset& chipset;
  std::string_view product;
  SleepConfig sleep = {};
  bool smm = false;
  bool has_hpet = true;
  // What the user says of the tables.
  SmbiosConfig smbios = {};
  std::vector<std::vector<std::byte>> acpi_tables = {};
  std::optional<AcpiMemorySpeeds> speeds = {};
};

// -boot once= holds for the first start only, -boot order= for all that follow. An Error for either
// is found at the first.
enum class BootTurn : u8 { First, Later };
Result<std::array<BootDevice, 3>> boot_order(const BootOptions& boot, BootTurn turn);

Result<void> describe_to_firmware(const PcFirmwareContext& context);

// HMAT's contents; nothing without -machine hmat=on. Errors: values that no unit fits.
Result<std::optional<AcpiMemorySpeeds>> pc_memory_speeds(Machine& machine);

// The tables, for those who place them without firmware.
AcpiConfig pc_acpi_config(const PcFirmwareContext& context);
SmbiosConfig pc_smbios_config(const PcFirmwareContext& context);

}  // namespace menura
