// What a user says about SMBIOS and ACPI tables: -smbios and -acpitable.
//
// Owner: PcBoard. Threads: none. Source: DMTF DSP0134 §6 and §7; ACPI 6.4 §5.2.6 (headers). Files are
// read here. Example:
//   SmbiosConfig said = TRY(read_smbios_options(config.firmware.smbios));
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "machine/tables/smbios.h"

namespace menura {

// "type=1,serial=S1", "file=structures.bin". What nobody says is as SmbiosConfig has it; a UUID of
// zeroes was not said.
Result<SmbiosConfig> read_smbios_options(const std::vector<std::string>& options);

// "file=table.aml" or "sig=OEM1,data=a.bin:b.bin": each a whole table, whose length and checksum are
// set when it is placed.
Result<std::vector<std::vector<std::byte>>> read_acpi_tables(
    const std::vector<std::string>& options);

}  // namespace menura
