// The SMBIOS tables of a virtual PC.
//
// Owner: machine/tables. Threads: pure functions. Source: DMTF DSP0134 version 2.8. Strings left
// empty are absent (string number 0). Example:
//   SmbiosTables t = build_smbios({.memory_below_4g = 2 * GiB, .sockets = 1});
//   fw_cfg.add_file("etc/smbios/smbios-tables", t.structures);
#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/types.h"

namespace menura {

struct SmbiosConfig {
  std::string bios_vendor = "menura";
  std::string bios_version = {};
  std::string bios_date = "01/01/2026";
  std::string manufacturer = "menura";
  std::string product = {};  // the machine's versioned name
  std::string version = {};
  std::string serial = {};
  std::string sku = {};
  std::string family = {};
  std::array<u8, 16> uuid{};  // RFC 4122 order
  std::string cpu_name = {};
  u64 cpu_id = 0;  // CPUID.1 EDX:EAX
  unsigned sockets = 1;
  unsigned cores_per_socket = 1;
  unsigned threads_per_core = 1;
  u64 memory_below_4g = 0;  // bytes
  u64 memory_above_4g = 0;
};

struct SmbiosTables {
  std::vector<std::byte> structures;  // "etc/smbios/smbios-tables"
  std::vector<std::byte> anchor;      // "etc/smbios/smbios-anchor": 31 bytes, address zero

  // Fills in the anchor's address and checksums for structures placed at address (below 4 GiB).
  void place(u32 address);
};

SmbiosTables build_smbios(const SmbiosConfig& config);

}  // namespace menura
