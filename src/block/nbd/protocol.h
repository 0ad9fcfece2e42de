// The NBD protocol's numbers and messages, once for client and server: fixed newstyle negotiation,
// simple and structured replies, metadata contexts. All integers travel big-endian.
//
// Owner: block/nbd. Threads: pure functions. Specification: the NBD project's doc/proto.md; the
// contexts named qemu: are described in QEMU's docs/interop/nbd.txt.
// Example: `const NbdRequest request = TRY(NbdRequest::decode(header));`
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/types.h"
#include "base/units.h"

namespace menura {

inline constexpr std::string_view kNbdPort = "10809";

// --- Negotiation
inline constexpr u64 kNbdMagic = 0x4e42444d41474943;        // "NBDMAGIC"
inline constexpr u64 kNbdOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr u64 kNbdOldstyleMagic = 0x00420281861253;  // before 2010: not spoken here
inline constexpr u64 kNbdOptionReplyMagic = 0x3e889045565a9;
inline constexpr u16 kNbdFixedNewstyle = 1, kNbdNoZeroes = 2;  // of both sides' first flags
inline constexpr size_t kNbdZeroes = 124;                      // after NBD_OPT_EXPORT_NAME's answer

enum class NbdOption : u32 {
  ExportName = 1,
  Abort = 2,
  List = 3,
  StartTls = 5,
  Info = 6,
  Go = 7,
  StructuredReply = 8,
  ListMetaContext = 9,
  SetMetaContext = 10,
};

enum class NbdOptionReply : u32 {
  Ack = 1,
  Server = 2,
  Info = 3,
  MetaContext = 4,
  Unsupported = 0x80000001,
  Policy = 0x80000002,
  Invalid = 0x80000003,
  Platform = 0x80000004,
  TlsRequired = 0x80000005,
  Unknown = 0x80000006,
  Shutdown = 0x80000007,
  BlockSizeRequired = 0x80000008,
  TooBig = 0x80000009,
};
constexpr bool is_error(NbdOptionReply reply) { return static_cast<u32>(reply) >> 31; }

enum class NbdInfo : u16 { Export = 0, Name = 1, Description = 2, BlockSize = 3 };

// --- Transmission
// What an export can do (its 16 bits of flags).
inline constexpr u16 kNbdHasFlags = 1 << 0, kNbdReadOnly = 1 << 1, kNbdSendFlush = 1 << 2,
                     kNbdSendFua = 1 << 3, kNbdRotational = 1 << 4, kNbdSendTrim = 1 << 5,
                     kNbdSendWriteZeroes = 1 << 6, kNbdSendDf = 1 << 7, kNbdCanMultiConn = 1 << 8,
                     kNbdSendResize = 1 << 9, kNbdSendCache = 1 << 10, kNbdSendFastZero = 1 << 11;

inline constexpr u32 kNbdRequestMagic = 0x25609513;
inline constexpr u32 kNbdSimpleReplyMagic = 0x67446698;
inline constexpr u32 kNbdStructuredReplyMagic = 0x668e33ef;

enum class NbdCommand : u16 {
  Read = 0,
  Write = 1,
  Disconnect = 2,
  Flush = 3,
  Trim = 4,
  Cache = 5,
  WriteZeroes = 6,
  BlockStatus = 7,
};
// Flags of commands.
inline constexpr u16 kNbdFua = 1 << 0, kNbdNoHole = 1 << 1, kNbdDontFragment = 1 << 2,
                     kNbdReqOne = 1 << 3, kNbdFastZero = 1 << 4;

enum class NbdChunk : u16 {
  None = 0,
  OffsetData = 1,
  OffsetHole = 2,
  BlockStatus = 5,
  Error = 0x8001,
  ErrorOffset = 0x8002,
};
constexpr bool is_error(NbdChunk chunk) { return static_cast<u16>(chunk) >> 15; }
inline constexpr u16 kNbdChunkDone = 1;

// The numbers of errors on the wire: Linux's errno values, the same everywhere.
inline constexpr u32 kNbdEperm = 1, kNbdEio = 5, kNbdEnomem = 12, kNbdEinval = 22, kNbdEnospc = 28,
                     kNbdEoverflow = 75, kNbdEnotsup = 95, kNbdEshutdown = 108;
u32 nbd_error_of(const Error& error);
Error error_of_nbd(u32 number, std::string what);

// Extents of base:allocation.
inline constexpr u32 kNbdHole = 1, kNbdZero = 2;
// Extents of qemu:dirty-bitmap:NAME; those of qemu:allocation-depth are numbers: 0 nowhere, 1 here.
inline constexpr u32 kNbdDirty = 1;
inline constexpr std::string_view kNbdAllocation = "base:allocation";
inline constexpr std::string_view kNbdAllocationDepth = "qemu:allocation-depth";
inline constexpr std::string_view kNbdDirtyBitmap = "qemu:dirty-bitmap:";  // and the bitmap's name

// --- Limits of ours, and of everybody who wants to be understood
inline constexpr u32 kNbdLargestRequest = 32 * MiB;  // the payload of a read or write
inline constexpr u32 kNbdLongestString = 4096;
inline constexpr u32 kNbdLongestOption = 64 * KiB;  // its data

struct NbdOptionHeader {
  static constexpr size_t kSize = 16;
  NbdOption option{};
  u32 length = 0;
  std::array<std::byte, kSize> encode() const;
  static Result<NbdOptionHeader> decode(ConstBytes from);
};

struct NbdOptionReplyHeader {
  static constexpr size_t kSize = 20;
  NbdOption option{};
  NbdOptionReply reply{};
  u32 length = 0;
  std::array<std::byte, kSize> encode() const;
  static Result<NbdOptionReplyHeader> decode(ConstBytes from);
};

struct NbdRequest {
  static constexpr size_t kSize = 28;
  u16 flags = 0;
  NbdCommand command{};
  u64 cookie = 0;
  u64 offset = 0;
  u32 length = 0;
  std::array<std::byte, kSize> encode() const;
  static Result<NbdRequest> decode(ConstBytes from);
};

struct NbdSimpleReply {
  static constexpr size_t kSize = 16;
  u32 error = 0;
  u64 cookie = 0;
  std::array<std::byte, kSize> encode() const;
};

struct NbdChunkHeader {
  static constexpr size_t kSize = 20;
  u16 flags = 0;
  NbdChunk type{};
  u64 cookie = 0;
  u32 length = 0;
  std::array<std::byte, kSize> encode() const;
};

// A message's data, written and read field by field. Reading beyond the end is an error.
class NbdWriter {
 public:
  template <class T>
  NbdWriter& add(T value) {
    const size_t at = bytes_.size();
    bytes_.resize(at + sizeof value);
    store_be(Bytes(bytes_), at, value);
    return *this;
  }
  NbdWriter& text(std::string_view text);
  NbdWriter& counted(std::string_view text);  // its length in front
  ConstBytes bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

class NbdReader {
 public:
  explicit NbdReader(ConstBytes bytes) : bytes_(bytes) {}
  template <class T>
  Result<T> take() {
    if (bytes_.size() < sizeof(T)) return too_short();
    const T value = load_be<T>(bytes_);
    bytes_ = bytes_.subspan(sizeof(T));
    return value;
  }
  Result<std::string> text(u32 length);  // at most kNbdLongestString
  Result<std::string> counted();
  std::string rest();
  size_t left() const { return bytes_.size(); }

 private:
  static Error too_short();
  ConstBytes bytes_;
};

}  // namespace menura
