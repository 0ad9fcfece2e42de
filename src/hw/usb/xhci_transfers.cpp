// Transfers of the xHCI (§4.10, §4.11): from the blocks of an endpoint's ring to the device and back.
#include <algorithm>

#include "base/bytes.h"
#include "base/trace.h"
#include "base/units.h"
#include "hw/usb/xhci.h"

namespace menura {

using namespace xhci;

namespace {

TRACE_EVENT(kTransferDone, "xhci.transfer", "slot {} endpoint {} size {} -> code {} moved {}");

constexpr unsigned kMostBlocks = 4096;   // of a transfer, and
constexpr u64 kMostBytes = 16 * MiB;     // what they may hold
constexpr unsigned kMostTransfers = 64;  // of an endpoint in one turn
constexpr u32 kEventDataLength = 0xff'ffff;

}  // namespace

struct Xhci::Transfer {
  std::vector<XhciTrb> blocks;
  u64 size = 0;
};

// A transfer whose end is not there yet is left where it is.
bool Xhci::fetch(Endpoint& endpoint, Transfer& transfer) {
  XhciRing ring = endpoint.ring;
  for (;;) {
    XhciTrb block;
    switch (ring.next(dma_, block)) {
      case XhciRing::Fetch::Empty: return false;
      case XhciRing::Fetch::Bad: fail_host(); return false;
      case XhciRing::Fetch::Block: break;
    }
    if (block.type() != trb::kEventData && block.type() != trb::kNoOp)
      transfer.size += block.length();
    transfer.blocks.push_back(block);
    if (transfer.blocks.size() > kMostBlocks || transfer.size > kMostBytes) {
      fail_host();
      return false;
    }
    if (!(block.control & trb::kChain)) break;
  }
  endpoint.ring = ring;
  return true;
}

void Xhci::run_endpoint(u8 slot_number, unsigned index) {
  Slot& slot = slots_[slot_number - 1];
  for (unsigned done = 0;; done++) {
    // Events and commands may have taken slot or endpoint away.
    if (!running() || !slot.enabled) return;
    Endpoint& endpoint = slot.endpoints[index - 1];
    endpoint.waits = false;
    if (endpoint.state != EndpointState::Running) return;
    if (done == kMostTransfers) {
      endpoint.waits = true;
      return timer_.arm(time_.now_ns());
    }
    const XhciRing before = endpoint.ring;
    Transfer transfer;
    if (!fetch(endpoint, transfer)) return;
    switch (execute(slot_number, index, transfer)) {
      case Outcome::Done: break;
      case Outcome::Waits:
        endpoint.ring = before;
        endpoint.waits = true;
        return;
      case Outcome::Stopped:
        if (!running()) return;
        endpoint.ring = before;
        endpoint.state = EndpointState::Halted;
        return write_endpoint_state(slot, index);
    }
  }
}

void Xhci::run_waiting() {
  for (unsigned number = 1; number <= kSlots; number++) {
    if (!slots_[number - 1].enabled) continue;
    for (unsigned index = 1; index <= kEndpoints; index++)
      if (slots_[number - 1].enabled && slots_[number - 1].endpoints[index - 1].waits)
        run_endpoint(static_cast<u8>(number), index);
  }
}

Xhci::Outcome Xhci::execute(u8 slot, unsigned index, Transfer& transfer) {
  const XhciTrb& first = transfer.blocks.front();
  const auto over = [&](u8 code, u64 moved) {
    trace(kTransferDone, slot, index, transfer.size, code, moved);
    report(slot, index, transfer, code, moved);
    return code == trb::kSuccess || code == trb::kShortPacket ? Outcome::Done : Outcome::Stopped;
  };
  if (first.type() == trb::kNoOp || first.type() == trb::kEventData) return over(trb::kSuccess, 0);
  UsbDevice* device = device_of(slots_[slot - 1]);
  if (!device) return over(trb::kTransactionError, 0);
  const bool control = index == 1;
  const bool known = control ? first.type() >= trb::kSetup && first.type() <= trb::kStatus
                             : first.type() == trb::kNormal || first.type() == trb::kIsoch;
  if (!known) return over(trb::kTrbError, 0);
  const u8 number = static_cast<u8>(index / 2);
  const bool to_host = control ? (first.control & trb::kDirectionIn) != 0 : (index & 1) != 0;
  if (first.type() == trb::kStatus) transfer.size = 0;

  std::vector<std::byte> data(transfer.size);
  UsbAnswer answer;
  if (to_host && first.type() != trb::kSetup) {
    answer = device->in(number, data);
    if (answer.status == UsbStatus::Ack &&
        !scatter(transfer, ConstBytes(data).first(answer.length))) {
      fail_host();
      return Outcome::Stopped;
    }
  } else {
    if (!gather(transfer, data)) {
      fail_host();
      return Outcome::Stopped;
    }
    answer = first.type() == trb::kSetup ? device->setup(data) : device->out(number, data);
    answer.length = data.size();
  }
  switch (answer.status) {
    case UsbStatus::Nak: return Outcome::Waits;
    case UsbStatus::Stall: return over(trb::kStall, 0);
    case UsbStatus::Ack: break;
  }
  return over(answer.length < transfer.size ? trb::kShortPacket : trb::kSuccess, answer.length);
}

bool Xhci::scatter(const Transfer& transfer, ConstBytes data) {
  for (const XhciTrb& block : transfer.blocks) {
    if (data.empty()) break;
    if (block.type() == trb::kEventData) continue;
    const size_t size = std::min<size_t>(data.size(), block.length());
    if (!dma_.write_ok(block.parameter, data.first(size))) return false;
    data = data.subspan(size);
  }
  return true;
}

bool Xhci::gather(const Transfer& transfer, Bytes data) {
  for (const XhciTrb& block : transfer.blocks) {
    if (data.empty()) break;
    if (block.type() == trb::kEventData) continue;
    const size_t size = std::min<size_t>(data.size(), block.length());
    if (block.control & trb::kImmediateData) {
      // The bytes themselves stand in place of their address.
      std::array<std::byte, 8> bytes;
      store_le(Bytes(bytes), 0, block.parameter);
      if (size > bytes.size()) return false;
      std::copy_n(bytes.begin(), size, data.begin());
    } else if (!dma_.read_ok(block.parameter, data.first(size))) {
      return false;
    }
    data = data.subspan(size);
  }
  return true;
}

// Which blocks of a finished transfer the driver hears of: those that ask, the one where a short
// packet came, the first one of a failure (§4.10.1, §4.11.3.1).
void Xhci::report(u8 slot, unsigned index, const Transfer& transfer, u8 code, u64 moved) {
  const bool failed = code != trb::kSuccess && code != trb::kShortPacket;
  u64 left = moved, since_event = 0;
  bool short_told = false;
  for (const XhciTrb& block : transfer.blocks) {
    const bool event_data = block.type() == trb::kEventData;
    const u64 size = event_data || block.type() == trb::kStatus ? 0 : block.length();
    const u64 part = std::min(left, size);
    left -= part;
    since_event += part;
    const bool is_short = code == trb::kShortPacket && part < size;
    bool tell = (block.control & trb::kInterruptOnCompletion) != 0;
    if (is_short && !short_told && (block.control & trb::kInterruptOnShort)) tell = true;
    if (short_told && !event_data) tell = false;
    if (failed && &block == &transfer.blocks.front()) tell = true;
    if (is_short && tell) short_told = true;
    if (!tell) continue;
    const bool short_so_far =
        code == trb::kShortPacket && (is_short || left == 0) && moved < transfer.size;
    const u8 told = failed ? code : short_so_far ? u8{trb::kShortPacket} : u8{trb::kSuccess};
    const u32 length = event_data ? static_cast<u32>(since_event) & kEventDataLength
                                  : static_cast<u32>(size - part);
    if (event_data) since_event = 0;
    post(block.interrupter(),
         {.parameter = event_data ? block.parameter : block.at,
          .status = u32{told} << 24 | length,
          .control = u32{trb::kTransferEvent} << 10 | u32{slot} << 24 | u32{index} << 16 |
                     (event_data ? 4u : 0u)},
         !(block.control & trb::kBlockEventInterrupt));
    if (failed) return;
  }
}

}  // namespace menura
