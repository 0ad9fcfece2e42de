// The ACPI tables of a PC, as blobs with the links between them, ready for firmware (the table
// loader's script) or for a place in memory of our own (direct kernel start).
//
// Owner: machine/tables. Threads: pure functions. Source: ACPI 6.4 chapter 5; the loader's commands
// from the public fw_cfg documentation. Example:
//   AcpiTables tables = build_pc_acpi(config);
//   fw_cfg.add_file("etc/acpi/tables", tables.tables); ...
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "base/types.h"

namespace menura {

struct AcpiNumaNode {
  u64 memory_base = 0;
  u64 memory_size = 0;
  u32 node = 0;
};

// HMAT, §5.2.27. Only with NUMA nodes.
struct AcpiMemorySpeeds {
  struct Target {
    u32 node = 0;
    std::optional<u32> initiator = {};
  };
  // One quantity for every pair of nodes.
  struct Matrix {
    u8 hierarchy = 0;
    u8 data_type = 0;
    u64 unit = 1;  // ps, or MB/s
    std::vector<u32> initiators = {};
    std::vector<u32> targets = {};
    std::vector<u16> entries = {};  // initiators x targets, in units; 0: not said
  };
  struct Cache {
    u32 node = 0;
    u64 size = 0;
    u32 attributes = 0;
  };
  std::vector<Target> targets = {};
  std::vector<Matrix> matrices = {};
  std::vector<Cache> caches = {};
};

enum class AcpiChipset : u8 { I440fx, Q35 };

// The general purpose event of an i440FX's hot-plugged cards.
inline constexpr unsigned kPciHotplugEvent = 9;

struct AcpiConfig {
  AcpiChipset chipset = AcpiChipset::I440fx;
  std::vector<u32> apic_ids = {};   // of the CPUs present, in order of their index
  std::vector<u32> cpu_nodes = {};  // NUMA node per CPU; empty: no SRAT
  std::vector<AcpiNumaNode> memory_nodes = {};
  std::vector<std::vector<u8>> distances = {};  // SLIT; empty: none
  std::optional<AcpiMemorySpeeds> speeds = {};  // HMAT
  // Whole tables besides, as a user has them.
  std::vector<std::vector<std::byte>> extra = {};
  // The Virtual Machine Generation ID; nothing: the guest is not told of any.
  std::optional<std::array<u8, 16>> generation_id = {};
  bool hpet = true;
  bool smm = true;  // SMI_CMD switches ACPI on
  u16 pm_base = 0x600;
  struct {
    u16 offset = 0x0c;  // from pm_base
    u8 length = 4;      // bytes of status and enable together
  } gpe0;
  struct {
    u64 base = 0;
    u64 size = 0;                    // 1 MiB a bus; 0: there is none
  } ecam;                            // PCI Express's configuration space
  u64 pci_hole_start = 0xe000'0000;  // 32-bit window, up to the IOAPIC
  u64 pci_hole_end = 0xfebf'ffff;
  u64 pci_hole64_start = 0;  // 0: no 64-bit window
  u64 pci_hole64_size = 0;
  std::optional<u16> pvpanic_port = {};
  bool has_s3 = true;
  bool has_s4 = true;
  std::string oem_id = "MENURA";          // 6 characters
  std::string oem_table_id = "MENURAPC";  // 8 characters
};

struct AcpiTables {
  std::vector<std::byte> rsdp;    // "etc/acpi/rsdp"
  std::vector<std::byte> tables;  // "etc/acpi/tables": FACS first, then the rest
  std::vector<std::byte> loader;  // "etc/table-loader": commands of 128 bytes
  // The same links for those who place the tables themselves.
  struct Pointer {
    bool in_rsdp = false;
    u32 offset = 0;
    u8 size = 4;  // bytes; the place holds the target's offset in `tables`
  };
  struct Checksum {
    bool in_rsdp = false;
    u32 offset = 0;  // of the checksum byte
    u32 start = 0;
    u32 length = 0;
  };
  std::vector<Pointer> pointers;
  std::vector<Checksum> checksums;
  // Where the generation ID lies in `tables`.
  std::optional<u32> generation_id;

  // Fills in pointers and checksums for tables at tables_address (16-byte aligned).
  void place(u64 tables_address);
};

AcpiTables build_pc_acpi(const AcpiConfig& config);

}  // namespace menura
