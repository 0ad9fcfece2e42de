// What an xHCI and its driver share in guest memory: transfer request blocks, the rings they are
// queued in, and the rings that events come back by.
//
// Owner: Xhci. Threads: under the machine lock. Source: xHCI 1.2 §4.9, §6.4, §6.5. Everything is
// copied before it is looked at. Example:
//   XhciTrb trb;  if (ring.next(dma, trb) == XhciRing::Fetch::Block) ...
#pragma once

#include <functional>

#include "memory/address_space.h"
#include "state/visitor.h"

namespace menura {

// How the controller reaches guest memory: a PCI function's checked DMA.
struct XhciDma {
  std::function<AccessStatus(GuestAddr, Bytes)> read;
  std::function<AccessStatus(GuestAddr, ConstBytes)> write;
  bool read_ok(u64 at, Bytes to) const { return read({at}, to) == AccessStatus::Ok; }
  bool write_ok(u64 at, ConstBytes from) const { return write({at}, from) == AccessStatus::Ok; }
};

namespace trb {
enum Type : u8 {
  kNormal = 1,
  kSetup = 2,
  kData = 3,
  kStatus = 4,
  kIsoch = 5,
  kLink = 6,
  kEventData = 7,
  kNoOp = 8,
  kEnableSlot = 9,
  kDisableSlot = 10,
  kAddressDevice = 11,
  kConfigureEndpoint = 12,
  kEvaluateContext = 13,
  kResetEndpoint = 14,
  kStopEndpoint = 15,
  kSetDequeue = 16,
  kResetDevice = 17,
  kNoOpCommand = 23,
  kTransferEvent = 32,
  kCommandCompletion = 33,
  kPortStatusChange = 34,
  kHostController = 37,
};
enum Code : u8 {
  kSuccess = 1,
  kTransactionError = 4,
  kTrbError = 5,
  kStall = 6,
  kNoSlots = 9,
  kSlotNotEnabled = 11,
  kEndpointNotEnabled = 12,
  kShortPacket = 13,
  kParameterError = 17,
  kContextState = 19,
  kEventRingFull = 21,
};
enum Flag : u32 {
  kCycle = 1u << 0,
  kToggle = 1u << 1,  // of a link
  kInterruptOnShort = 1u << 2,
  kChain = 1u << 4,
  kInterruptOnCompletion = 1u << 5,
  kImmediateData = 1u << 6,
  kBlockEventInterrupt = 1u << 9,
  kDirectionIn = 1u << 16,
};
}  // namespace trb

struct XhciTrb {
  static constexpr u64 kSize = 16;
  u64 at = 0;  // where it stood
  u64 parameter = 0;
  u32 status = 0, control = 0;
  u8 type() const { return (control >> 10) & 0x3f; }
  u8 slot() const { return static_cast<u8>(control >> 24); }
  u8 endpoint() const { return (control >> 16) & 0x1f; }
  u32 length() const { return status & 0x1ffff; }
  unsigned interrupter() const { return status >> 22; }
};

// The consumer's end of a command or transfer ring.
struct XhciRing {
  enum class Fetch : u8 { Block, Empty, Bad };
  u64 dequeue = 0;
  bool cycle = false;
  // The next block, past links, of which but a few may follow each other.
  Fetch next(const XhciDma& dma, XhciTrb& block);
  void describe(StateVisitor& v);
};

// An interrupter's registers, and the producer's end of its event ring.
struct XhciInterrupter {
  u32 iman = 0, imod = 4000, erstsz = 0;
  u64 erstba = 0, erdp = 0;
  // Where the next event goes.
  u32 segment = 0, index = 0, segment_size = 0;
  u64 segment_base = 0;
  bool cycle = true, full = false;

  bool begin(const XhciDma& dma);  // at segment 0 of the table
  u64 enqueue() const { return segment_base + u64{index} * XhciTrb::kSize; }
  bool empty() const { return enqueue() == (erdp & ~u64{0xf}); }
  enum class Post : u8 { Posted, Lost, Bad };
  Post post(const XhciDma& dma, XhciTrb event);
  void describe(StateVisitor& v);

 private:
  bool load_segment(const XhciDma& dma, u32 number, u64& base, u32& size) const;
  bool write(const XhciDma& dma, const XhciTrb& event) const;
};

}  // namespace menura
