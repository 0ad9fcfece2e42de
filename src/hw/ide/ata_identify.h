// The 512 bytes of IDENTIFY DEVICE and IDENTIFY PACKET DEVICE.
//
// Owner: hw/ide. Threads: pure functions. Source: ATA/ATAPI-7 volume 1, tables 16 and 17.
// Example: `std::vector<std::byte> data = build_disk_identify(facts);`
#pragma once

#include <string>
#include <vector>

#include "base/types.h"

namespace menura {

// What a drive calls itself; what is left empty is filled in by its kind.
struct DriveNames {
  std::string serial, firmware, model;
  DriveNames filled_from(const DriveNames& usual) const;
};

struct DiskIdentity {
  DriveNames names;
  u64 sectors = 0;
  u8 heads = 16, sectors_per_track = 63;  // the current translation
  u8 max_multiple = 16, multiple = 0;
  u8 dma_mode = 0;  // as SET FEATURES names it
  bool write_cache = true, read_ahead = true;
  bool serial_link = false;  // Serial ATA, with queued commands
};
std::vector<std::byte> build_disk_identify(const DiskIdentity& identity);

std::vector<std::byte> build_packet_identify(const DriveNames& names, u8 dma_mode,
                                             bool serial_link);

}  // namespace menura
