// Names of NVM Express: registers, opcodes, status codes, and the 64 bytes of a command.
//
// Owner: hw/nvme. Threads: constants and values. Source: NVM Express Base 1.4 §3.1 (registers), §4.2
// (commands), §4.5 (PRP, SGL), §5 and §6 (opcodes), figure 127 and after (status). Example:
//   const NvmeCommand command = NvmeCommand::parse(bytes);   if (command.opcode == nvme::kRead) ...
#pragma once

#include <array>

#include "base/bytes.h"
#include "base/types.h"

namespace menura {

namespace nvme {

// Registers.
enum : u32 {
  kCap = 0x00,
  kVs = 0x08,
  kIntms = 0x0c,
  kIntmc = 0x10,
  kCc = 0x14,
  kCsts = 0x1c,
  kAqa = 0x24,
  kAsq = 0x28,
  kAcq = 0x30,
  kDoorbells = 0x1000
};
inline constexpr u32 kVersion14 = 0x0001'0400;
inline constexpr u32 kCcEnable = 1;
inline constexpr u32 kCstsReady = 1, kCstsFatal = 2, kCstsShutdownDone = 2 << 2;

enum AdminOpcode : u8 {
  kDeleteSq = 0x00,
  kCreateSq = 0x01,
  kGetLogPage = 0x02,
  kDeleteCq = 0x04,
  kCreateCq = 0x05,
  kIdentify = 0x06,
  kAbort = 0x08,
  kSetFeatures = 0x09,
  kGetFeatures = 0x0a,
  kAsyncEvent = 0x0c,
  kFormat = 0x80
};
enum IoOpcode : u8 {
  kFlush = 0x00,
  kWrite = 0x01,
  kRead = 0x02,
  kCompare = 0x05,
  kWriteZeroes = 0x08,
  kDatasetManagement = 0x09
};
enum FeatureId : u8 {
  kArbitration = 0x01,
  kPowerManagement = 0x02,
  kTemperatureThreshold = 0x04,
  kErrorRecovery = 0x05,
  kVolatileWriteCache = 0x06,
  kNumberOfQueues = 0x07,
  kInterruptCoalescing = 0x08,
  kInterruptVector = 0x09,
  kWriteAtomicity = 0x0a,
  kAsyncEventConfig = 0x0b
};

// The code in bits 7:0, its type in bits 10:8.
enum Status : u16 {
  kSuccess = 0x000,
  kInvalidOpcode = 0x001,
  kInvalidField = 0x002,
  kDataTransferError = 0x004,
  kInternalError = 0x006,
  kAbortRequested = 0x007,
  kInvalidNamespace = 0x00b,
  kInvalidSglSegment = 0x00d,
  kInvalidSglCount = 0x00e,
  kSglLengthInvalid = 0x00f,
  kSglTypeInvalid = 0x011,
  kPrpOffsetInvalid = 0x013,
  kLbaOutOfRange = 0x080,
  kCqInvalid = 0x100,
  kInvalidQueueId = 0x101,
  kInvalidQueueSize = 0x102,
  kAsyncLimitExceeded = 0x105,
  kInvalidVector = 0x108,
  kInvalidLogPage = 0x109,
  kInvalidFormat = 0x10a,
  kInvalidQueueDeletion = 0x10c,
  kNotSaveable = 0x10d,
  kReadOnlyRange = 0x182,
  kWriteFault = 0x280,
  kUnrecoveredRead = 0x281,
  kCompareFailure = 0x285
};
// The same command would fail again.
constexpr u16 no_retry(Status status) { return static_cast<u16>(status | 1 << 14); }

inline constexpr u32 kEveryNamespace = 0xffff'ffff;
inline constexpr u64 kIdentifySize = 4096;

}  // namespace nvme

// A submission queue entry.
struct NvmeCommand {
  static constexpr size_t kSize = 64;

  u8 opcode = 0;
  u8 flags = 0;  // bits 1:0 fused, 7:6 PRP or SGL
  u16 id = 0;
  u32 nsid = 0;
  u64 prp1 = 0;
  u64 prp2 = 0;
  std::array<u32, 6> cdw{};  // CDW10 to CDW15

  u32 dword(unsigned number) const { return cdw[number - 10]; }
  u64 qword(unsigned number) const { return dword(number) | u64{dword(number + 1)} << 32; }
  bool uses_sgl() const { return (flags & 0xc0) != 0; }

  static NvmeCommand parse(ConstBytes entry) {
    NvmeCommand c;
    c.opcode = static_cast<u8>(entry[0]);
    c.flags = static_cast<u8>(entry[1]);
    c.id = load_le<u16>(entry, 2);
    c.nsid = load_le<u32>(entry, 4);
    c.prp1 = load_le<u64>(entry, 24);
    c.prp2 = load_le<u64>(entry, 32);
    for (size_t i = 0; i < c.cdw.size(); i++) c.cdw[i] = load_le<u32>(entry, 40 + 4 * i);
    return c;
  }
};

}  // namespace menura
