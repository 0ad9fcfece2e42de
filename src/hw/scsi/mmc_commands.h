// MmcCommands: the packet commands of a CD-ROM drive, apart from how its bytes travel.
//
// Owner: a drive (a member). Threads: under the machine lock. Source: INCITS MMC-5 and SPC-3.
// A command ends at once with data or a sense code, or asks for sectors of the medium.
// Example: `MmcReply reply = mmc.execute(packet);`
#pragma once

#include <array>
#include <string>
#include <vector>

#include "io/disk.h"
#include "state/visitor.h"

namespace menura {

struct Sense {
  u8 key = 0, asc = 0, ascq = 0;
  void describe(StateVisitor& v);
  bool operator==(const Sense&) const = default;
};

struct MmcIdentity {
  enum class Transport : u8 { Atapi, Scsi } transport = Transport::Atapi;
  std::string vendor = "MENURA";
  std::string product;
  std::string version = "1.0";
};

struct MmcReply {
  enum class Kind : u8 { Good, Data, Sectors, Failed } kind = Kind::Good;
  std::vector<std::byte> data = {};  // Data
  u64 lba = 0;                       // Sectors, of 2048 bytes
  u64 count = 0;
};

class MmcCommands {
 public:
  static constexpr size_t kPacket = 12;
  static constexpr u64 kSector = 2048;
  using Packet = std::array<u8, kPacket>;

  MmcCommands(Disk& disk, MmcIdentity identity) : disk_(disk), identity_(std::move(identity)) {}

  MmcReply execute(const Packet& packet);
  // Ends a command whose sectors could not be read.
  void medium_error() { sense_ = {0x03, 0x11, 0x00}; }
  const Sense& sense() const { return sense_; }
  // After a reset of the drive: the next command learns of it.
  void reset();
  void describe(StateVisitor& v);

 private:
  MmcReply fail(Sense sense);
  MmcReply good() { return {}; }
  // At most what the command allows.
  MmcReply data(std::vector<std::byte> bytes, u64 allocation);
  bool ready();
  // In a tray that is open nothing is read.
  bool medium_present() const { return !tray_open_ && disk_.medium_present(); }
  u64 sectors() const { return medium_present() ? disk_.size() / kSector : 0; }

  MmcReply inquiry(const Packet& p);
  MmcReply request_sense(const Packet& p);
  MmcReply mode_sense(const Packet& p);
  MmcReply start_stop(const Packet& p);
  MmcReply read(u64 lba, u64 count);
  MmcReply read_cd(const Packet& p);
  MmcReply read_capacity();
  MmcReply read_toc(const Packet& p);
  MmcReply read_disc_information(const Packet& p);
  MmcReply get_configuration(const Packet& p);
  MmcReply get_event_status(const Packet& p);
  MmcReply mechanism_status(const Packet& p);

  // Wiring
  Disk& disk_;
  // Configuration
  MmcIdentity identity_;
  // State
  Sense sense_;
  bool unit_attention_ = true;
  bool locked_ = false;
  bool tray_open_ = false;
  bool medium_changed_ = false;  // the tray was closed: the next command learns of it
  u8 event_ = 0;                 // of media, still to be told
};

}  // namespace menura
