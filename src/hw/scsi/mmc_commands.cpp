#include "hw/scsi/mmc_commands.h"

#include <algorithm>

#include "base/bytes.h"

namespace menura {

namespace {

enum : u8 {
  kTestUnitReady = 0x00,
  kRequestSense = 0x03,
  kInquiry = 0x12,
  kModeSense6 = 0x1a,
  kStartStop = 0x1b,
  kPreventRemoval = 0x1e,
  kReadCapacity = 0x25,
  kRead10 = 0x28,
  kSeek = 0x2b,
  kReadToc = 0x43,
  kGetConfiguration = 0x46,
  kGetEventStatus = 0x4a,
  kReadDiscInformation = 0x51,
  kModeSense10 = 0x5a,
  kRead12 = 0xa8,
  kSetSpeed = 0xbb,
  kMechanismStatus = 0xbd,
  kReadCd = 0xbe,
};

constexpr Sense kNoSense{0x00, 0x00, 0x00};
constexpr Sense kNoMedium{0x02, 0x3a, 0x00};
constexpr Sense kInvalidOpcode{0x05, 0x20, 0x00};
constexpr Sense kOutOfRange{0x05, 0x21, 0x00};
constexpr Sense kInvalidField{0x05, 0x24, 0x00};
constexpr Sense kPowerOnReset{0x06, 0x29, 0x00};
constexpr Sense kMediumChanged{0x06, 0x28, 0x00};
constexpr Sense kTrayOpen{0x02, 0x3a, 0x02};
constexpr Sense kLocked{0x05, 0x53, 0x02};

// A minute-second-frame address has 150 frames before the first sector.
constexpr u64 kLeadIn = 150;

u16 be16(const MmcCommands::Packet& p, size_t at) {
  return static_cast<u16>(p[at] << 8 | p[at + 1]);
}
u32 be32(const MmcCommands::Packet& p, size_t at) {
  return u32{be16(p, at)} << 16 | be16(p, at + 2);
}

class Bytes8 {
 public:
  std::vector<std::byte> out;
  Bytes8& put(std::initializer_list<u32> values) {
    for (const u32 v : values) out.push_back(static_cast<std::byte>(v));
    return *this;
  }
  Bytes8& be16(u64 v) { return put({u32(v >> 8) & 0xff, u32(v) & 0xff}); }
  Bytes8& be32(u64 v) { return be16(v >> 16).be16(v); }
  Bytes8& text(std::string_view s, size_t width) {
    for (size_t i = 0; i < width; i++)
      out.push_back(static_cast<std::byte>(i < s.size() ? s[i] : ' '));
    return *this;
  }
};

}  // namespace

void Sense::describe(StateVisitor& v) {
  v.field("key", key);
  v.field("asc", asc);
  v.field("ascq", ascq);
}

void MmcCommands::describe(StateVisitor& v) {
  v.field("sense", sense_);
  v.field("unit_attention", unit_attention_);
  v.field("locked", locked_);
  v.field("tray_open", tray_open_);
  v.field("medium_changed", medium_changed_);
  v.field("event", event_);
}

void MmcCommands::reset() {
  sense_ = kNoSense;
  unit_attention_ = true;
  locked_ = medium_changed_ = false;  // the tray stays as it is
}

MmcReply MmcCommands::fail(Sense sense) {
  sense_ = sense;
  return {.kind = MmcReply::Kind::Failed};
}

MmcReply MmcCommands::data(std::vector<std::byte> bytes, u64 allocation) {
  bytes.resize(std::min<u64>(bytes.size(), allocation));
  if (bytes.empty()) return good();
  return {.kind = MmcReply::Kind::Data, .data = std::move(bytes)};
}

bool MmcCommands::ready() {
  if (medium_present()) return true;
  sense_ = tray_open_ ? kTrayOpen : kNoMedium;
  return false;
}

MmcReply MmcCommands::execute(const Packet& p) {
  const bool informs = p[0] == kInquiry || p[0] == kRequestSense || p[0] == kGetConfiguration ||
                       p[0] == kGetEventStatus;
  if (!informs && std::exchange(unit_attention_, false)) return fail(kPowerOnReset);
  if (!informs && std::exchange(medium_changed_, false)) return fail(kMediumChanged);
  if (p[0] != kRequestSense) sense_ = kNoSense;
  const MmcReply not_ready{.kind = MmcReply::Kind::Failed};
  switch (p[0]) {
    case kInquiry: return inquiry(p);
    case kRequestSense: return request_sense(p);
    case kModeSense6:
    case kModeSense10: return mode_sense(p);
    case kGetConfiguration: return get_configuration(p);
    case kGetEventStatus: return get_event_status(p);
    case kMechanismStatus: return mechanism_status(p);
    case kPreventRemoval: locked_ = p[4] & 1; return good();
    case kStartStop: return start_stop(p);
    case kSetSpeed: return good();
    case kTestUnitReady: return ready() ? good() : not_ready;
    case kReadCapacity: return ready() ? read_capacity() : not_ready;
    case kRead10: return ready() ? read(be32(p, 2), be16(p, 7)) : not_ready;
    case kRead12: return ready() ? read(be32(p, 2), be32(p, 6)) : not_ready;
    case kReadCd: return ready() ? read_cd(p) : not_ready;
    case kReadToc: return ready() ? read_toc(p) : not_ready;
    case kReadDiscInformation: return ready() ? read_disc_information(p) : not_ready;
    case kSeek:
      if (!ready()) return not_ready;
      return be32(p, 2) < sectors() ? good() : fail(kOutOfRange);
    default: return fail(kInvalidOpcode);
  }
}

MmcReply MmcCommands::inquiry(const Packet& p) {
  if (p[1] & 1) return fail(kInvalidField);  // no vital product data
  Bytes8 b;
  // CD device, removable; ATAPI claims no version and has a response format of its own.
  const bool scsi = identity_.transport == MmcIdentity::Transport::Scsi;
  b.put({0x05, 0x80, scsi ? 0x05u : 0x00u, scsi ? 0x02u : 0x21u, 31, 0, 0, 0});
  b.text(identity_.vendor, 8).text(identity_.product, 16).text(identity_.version, 4);
  return data(std::move(b.out), p[4]);
}

MmcReply MmcCommands::request_sense(const Packet& p) {
  if (std::exchange(unit_attention_, false) && sense_ == kNoSense) sense_ = kPowerOnReset;
  Bytes8 b;
  b.put({0x70, 0, sense_.key, 0, 0, 0, 0, 10, 0, 0, 0, 0, sense_.asc, sense_.ascq, 0, 0, 0, 0});
  sense_ = kNoSense;
  return data(std::move(b.out), p[4]);
}

MmcReply MmcCommands::mode_sense(const Packet& p) {
  enum : u8 { kErrorRecovery = 0x01, kCapabilities = 0x2a, kAll = 0x3f };
  const u8 page = p[2] & 0x3f;
  if (page != kErrorRecovery && page != kCapabilities && page != kAll) return fail(kInvalidField);
  Bytes8 pages;
  if (page != kCapabilities) pages.put({kErrorRecovery, 6, 0, 5, 0, 0, 0, 0});
  if (page != kErrorRecovery) {
    // Reads CD-R and CD-RW; loads a tray, which can be locked; 16x.
    pages.put({kCapabilities, 18, 0x03, 0x00, 0x71, 0x60, 0x29u | (locked_ ? 2u : 0u), 0x00});
    pages.be16(2816).put({0, 2}).be16(512).be16(2816).put({0, 0, 0, 0});
  }
  Bytes8 b;
  const u32 medium = medium_present() ? 0x01u : tray_open_ ? 0x71u : 0x70u;
  const bool six = p[0] == kModeSense6;
  if (six)
    b.put({static_cast<u32>(pages.out.size() + 3), medium, 0, 0});
  else
    b.be16(pages.out.size() + 6).put({medium, 0, 0, 0, 0, 0});
  b.out.insert(b.out.end(), pages.out.begin(), pages.out.end());
  return data(std::move(b.out), six ? p[4] : be16(p, 7));
}

// MMC-5 6.42: the tray moves when LoEj is set, out unless it is to start.
MmcReply MmcCommands::start_stop(const Packet& p) {
  enum : u8 { kMediaNew = 2, kMediaRemoved = 3 };
  if (!(p[4] & 2)) return good();
  const bool opens = !(p[4] & 1);
  if (opens && locked_) return fail(kLocked);
  if (opens == tray_open_) return good();
  tray_open_ = opens;
  event_ = opens ? kMediaRemoved : kMediaNew;
  if (!opens) medium_changed_ = disk_.medium_present();
  return good();
}

MmcReply MmcCommands::read(u64 lba, u64 count) {
  if (lba >= sectors() || count > sectors() - lba)
    return count == 0 && lba <= sectors() ? good() : fail(kOutOfRange);
  if (count == 0) return good();
  return {.kind = MmcReply::Kind::Sectors, .lba = lba, .count = count};
}

// Only user data, the 2048 bytes of READ (10), is to be had.
MmcReply MmcCommands::read_cd(const Packet& p) {
  const u64 count = u64{p[6]} << 16 | be16(p, 7);
  const u8 parts = p[9] & 0xf8;
  if (count == 0 || parts == 0) return good();
  if (parts != 0x10) return fail(kInvalidField);
  return read(be32(p, 2), count);
}

MmcReply MmcCommands::read_capacity() {
  Bytes8 b;
  b.be32(sectors() ? sectors() - 1 : 0).be32(kSector);
  return data(std::move(b.out), 8);
}

// One session with one data track.
MmcReply MmcCommands::read_toc(const Packet& p) {
  const bool msf = p[1] & 2;
  const auto address = [&](Bytes8& b, u64 lba) {
    if (!msf) return void(b.be32(lba));
    const u64 frame = lba + kLeadIn;
    b.put({0, u32(frame / 75 / 60), u32(frame / 75 % 60), u32(frame % 75)});
  };
  // The format stands in two places, depending on the age of the driver.
  const u8 format = p[2] & 0x0f ? p[2] & 0x0f : p[9] >> 6;
  Bytes8 entries;
  if (format == 0) {
    if (p[6] > 1 && p[6] != 0xaa) return fail(kInvalidField);
    if (p[6] <= 1) {
      entries.put({0, 0x14, 1, 0});
      address(entries, 0);
    }
    entries.put({0, 0x14, 0xaa, 0});  // lead-out
    address(entries, sectors());
  } else if (format == 1) {
    entries.put({0, 0x14, 1, 0});
    address(entries, 0);
  } else {
    return fail(kInvalidField);
  }
  Bytes8 b;
  b.be16(entries.out.size() + 2).put({1, 1});
  b.out.insert(b.out.end(), entries.out.begin(), entries.out.end());
  return data(std::move(b.out), be16(p, 7));
}

MmcReply MmcCommands::read_disc_information(const Packet& p) {
  if (p[1] & 7) return fail(kInvalidField);
  Bytes8 b;
  b.be16(32).put({0x0e, 1, 1, 1, 1, 0x20, 0, 0, 0, 0});  // finalized, unrestricted use
  b.out.resize(34);
  return data(std::move(b.out), be16(p, 7));
}

MmcReply MmcCommands::get_configuration(const Packet& p) {
  constexpr u16 kCdRomProfile = 0x0008;
  Bytes8 b;
  b.be32(0).put({0, 0}).be16(medium_present() ? kCdRomProfile : u16{0});
  const u16 first = be16(p, 2);
  const u8 which = p[1] & 3;
  const auto wanted = [&](u16 feature) { return which == 2 ? feature == first : feature >= first; };
  if (wanted(0)) b.be16(0).put({0x03, 4}).be16(kCdRomProfile).put({medium_present(), 0});
  if (wanted(1)) b.be16(1).put({0x0b, 8}).be32(2).put({1, 0, 0, 0});  // core, ATAPI
  if (wanted(3)) b.be16(3).put({0x03, 4, 0x29, 0, 0, 0});             // removable, tray
  if (wanted(0x1e)) b.be16(0x1e).put({0x09, 4, 0, 0, 0, 0});          // reads CDs
  store_be(Bytes(b.out), 0, static_cast<u32>(b.out.size() - 4));
  return data(std::move(b.out), be16(p, 7));
}

MmcReply MmcCommands::get_event_status(const Packet& p) {
  if (!(p[1] & 1)) return fail(kInvalidField);  // only polled
  constexpr u8 kMedia = 4;
  Bytes8 b;
  if (p[4] & (1 << kMedia)) {
    b.be16(6).put({kMedia, 1 << kMedia, std::exchange(event_, u8{0}),
                   (medium_present() ? 0x02u : 0x00u) | (tray_open_ ? 0x01u : 0x00u), 0, 0});
  } else {
    b.be16(2).put({0x80, 1 << kMedia});  // no event of the classes asked for
  }
  return data(std::move(b.out), be16(p, 7));
}

MmcReply MmcCommands::mechanism_status(const Packet& p) {
  Bytes8 b;
  b.put({0, 0, 0, 0, 0, 1, 0, 0});
  return data(std::move(b.out), be16(p, 8));
}

}  // namespace menura
