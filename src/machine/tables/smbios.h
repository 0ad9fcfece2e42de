// The SMBIOS tables of a virtual PC.
//
// Owner: machine/tables. Threads: pure functions. Source: DMTF DSP0134 version 2.8. Strings left
// empty are absent (string number 0). Example:
//   SmbiosTables t = build_smbios({.memory_below_4g = 2 * GiB, .sockets = 1});
//   fw_cfg.add_file("etc/smbios/smbios-tables", t.structures);
#pragma once

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/types.h"

namespace menura {

// What people may say of a thing: empty texts are absent, except those that SmbiosConfig has a word for.
struct SmbiosNames {
  std::string manufacturer = {};
  std::string product = {};
  std::string version = {};
  std::string serial = {};
  std::string asset = {};
  std::string part = {};
  std::string sku = {};
};

struct SmbiosConfig {
  struct {
    std::string vendor = "menura";
    std::string version = {};
    std::string date = "01/01/2026";
    std::optional<std::pair<u8, u8>> release = {};  // major, minor
    bool uefi = false;
  } bios = {};
  std::string manufacturer = "menura";  // of all that names no other
  SmbiosNames system = {};              // product: the machine's versioned name
  std::string family = {};
  std::array<u8, 16> uuid{};  // RFC 4122 order
  struct Baseboard {
    SmbiosNames names = {};
    std::string location = {};
  };
  std::optional<Baseboard> board = {};
  SmbiosNames chassis = {};
  struct {
    std::string socket_prefix = "CPU ";
    SmbiosNames names = {};  // version: its name
    u16 max_mhz = 2000;
    u16 current_mhz = 2000;
    u64 id = 0;  // CPUID.1 EDX:EAX
  } processor = {};
  std::vector<std::string> oem_strings = {};
  struct {
    std::string locator_prefix = "DIMM ";
    std::string bank = {};
    SmbiosNames names = {};
    u16 speed = 0;  // MT/s; 0: unknown
  } memory = {};
  // Whole structures, with their strings; in place of those that would be made of the same type.
  std::vector<std::vector<std::byte>> structures = {};
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

// The structures of a file, each with its strings. Empty: a length is wrong, or an end is missing.
std::vector<std::vector<std::byte>> split_smbios(ConstBytes file);

}  // namespace menura
