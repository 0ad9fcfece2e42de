// The xHCI's command ring (§4.6) and the contexts that commands work on (§6.2).
#include <bit>

#include "base/bytes.h"
#include "base/trace.h"
#include "hw/usb/xhci.h"

namespace menura {

using namespace xhci;

namespace {

TRACE_EVENT(kCommand, "xhci.command", "type {} slot {} parameter {:#x} -> slot {} code {}");

constexpr unsigned kMostCommands = 256;  // at one doorbell, as many as a ring may have
// Slot states, in the last word of a slot context.
enum : u8 { kDefault = 1, kAddressed = 2, kConfigured = 3 };
constexpr unsigned kSlotStateShift = 27;
constexpr u32 kBlockSetAddress = 1u << 9;  // of Address Device
constexpr u32 kDeconfigure = 1u << 9;      // of Configure Endpoint
constexpr u32 kStateMask = 7;              // of an endpoint context
constexpr u32 kExitLatency = 0xffff;

}  // namespace

void Xhci::run_commands() {
  for (unsigned done = 0; done < kMostCommands && running() && commands_run_; done++) {
    XhciTrb command;
    switch (commands_.next(dma_, command)) {
      case XhciRing::Fetch::Empty: return;
      case XhciRing::Fetch::Bad: return fail_host();
      case XhciRing::Fetch::Block: break;
    }
    u8 slot = command.slot();
    const u8 code = run_command(command, slot);
    trace(kCommand, command.type(), command.slot(), command.parameter, slot, code);
    if (!running()) return;
    post(0, {.parameter = command.at,
             .status = u32{code} << 24,
             .control = u32{trb::kCommandCompletion} << 10 | u32{slot} << 24});
  }
}

u8 Xhci::run_command(const XhciTrb& command, u8& number) {
  if (command.type() == trb::kNoOpCommand) return trb::kSuccess;
  if (command.type() == trb::kEnableSlot) return enable_slot(number);
  if (command.type() < trb::kDisableSlot || command.type() > trb::kResetDevice)
    return trb::kTrbError;
  if (number == 0 || number > kSlots || !slots_[number - 1].enabled) return trb::kSlotNotEnabled;
  Slot& slot = slots_[number - 1];
  switch (command.type()) {
    case trb::kDisableSlot: slot = {}; return trb::kSuccess;
    case trb::kAddressDevice: return address_device(slot, number, command);
    case trb::kConfigureEndpoint: return configure_endpoint(slot, command);
    case trb::kEvaluateContext: return evaluate_context(slot, command);
    case trb::kResetDevice: return reset_device(slot);
    default: return endpoint_command(slot, command);
  }
}

u8 Xhci::enable_slot(u8& number) {
  for (unsigned n = 0; n < kSlots; n++) {
    if (slots_[n].enabled) continue;
    slots_[n] = {.enabled = true, .endpoints = std::vector<Endpoint>(kEndpoints)};
    number = static_cast<u8>(n + 1);
    return trb::kSuccess;
  }
  return trb::kNoSlots;
}

// By its port and, behind hubs, four bits of the route for each.
UsbDevice* Xhci::device_of(const Slot& slot) const {
  if (slot.port == 0) return nullptr;
  UsbDevice* device = device_on(slot.port - 1u);
  for (u32 route = slot.route & 0xfffff; device && route != 0; route >>= 4) {
    const UsbBus* hub = device->downstream();
    const unsigned port = route & 0xf;
    device = hub && port >= 1 && port <= hub->ports() ? hub->device(port - 1) : nullptr;
  }
  return device;
}

bool Xhci::set_slot_state(Slot& slot, u8 state) {
  u32 word = 0;
  if (!read32(slot.context + 12, word)) return false;
  word = (word & ((1u << kSlotStateShift) - 1)) | u32{state} << kSlotStateShift;
  return write32(slot.context + 12, word);
}

// The state and the place in its ring, as the driver sees them.
void Xhci::write_endpoint_state(Slot& slot, unsigned index) {
  const Endpoint& endpoint = slot.endpoints[index - 1];
  const u64 at = slot.context + index * kContext;
  u32 word = 0;
  std::array<std::byte, 8> dequeue;
  store_le<u64>(Bytes(dequeue), 0, endpoint.ring.dequeue | (endpoint.ring.cycle ? 1u : 0u));
  const bool good = read32(at, word) &&
                    write32(at, (word & ~kStateMask) | static_cast<u32>(endpoint.state)) &&
                    dma_.write_ok(at + 8, dequeue);
  if (!good) fail_host();
}

// From the input's endpoint context to the device's.
bool Xhci::begin_endpoint(Slot& slot, unsigned index, u64 input) {
  std::array<std::byte, kContext> raw;
  if (!dma_.read_ok(input, raw) || !dma_.write_ok(slot.context + index * kContext, raw))
    return false;
  const u64 dequeue = load_le<u64>(raw, 8);
  slot.endpoints[index - 1] = {
      .state = EndpointState::Running,
      .ring = {.dequeue = dequeue & ~u64{0xf}, .cycle = (dequeue & 1) != 0}};
  write_endpoint_state(slot, index);
  return true;
}

u8 Xhci::address_device(Slot& slot, u8 number, const XhciTrb& command) {
  const u64 input = command.parameter & ~u64{0xf};
  std::array<std::byte, kContext> control, context;
  std::array<std::byte, 8> entry;
  if (!dma_.read_ok(input, control) || !dma_.read_ok(input + kContext, context) ||
      !dma_.read_ok(dcbaap_ + 8u * number, entry)) {
    fail_host();
    return trb::kTrbError;
  }
  if ((load_le<u32>(control, 4) & 3) != 3) return trb::kParameterError;
  slot.context = load_le<u64>(entry, 0) & ~u64{0x3f};
  slot.route = load_le<u32>(context, 0) & 0xfffff;
  slot.port = load_le<u8>(context, 6);
  UsbDevice* device = device_of(slot);
  if (!device) return trb::kTransactionError;
  const bool addresses = !(command.control & kBlockSetAddress);
  store_le<u32>(
      Bytes(context), 12,
      u32{addresses ? kAddressed : kDefault} << kSlotStateShift | (addresses ? number : 0u));
  if (!dma_.write_ok(slot.context, context) || !begin_endpoint(slot, 1, input + 2 * kContext)) {
    fail_host();
    return trb::kTrbError;
  }
  if (addresses) {
    constexpr u8 kSetAddress = 5;
    const std::array<u8, 8> request{0, kSetAddress, number, 0, 0, 0, 0, 0};
    (void)device->setup(bytes_of(request));
    (void)device->in(0, {});
  }
  return trb::kSuccess;
}

u8 Xhci::configure_endpoint(Slot& slot, const XhciTrb& command) {
  if (slot.port == 0) return trb::kContextState;
  const u64 input = command.parameter & ~u64{0xf};
  std::array<std::byte, kContext> control{}, context{}, present{};
  const bool all = command.control & kDeconfigure;
  bool good = dma_.read_ok(slot.context, present);
  if (!all) good = good && dma_.read_ok(input, control) && dma_.read_ok(input + kContext, context);
  const u32 drop = all ? ~3u : load_le<u32>(control, 0), add = load_le<u32>(control, 4);
  bool any = false;
  for (unsigned index = 2; good && index <= kEndpoints; index++) {
    Endpoint& endpoint = slot.endpoints[index - 1];
    if (drop >> index & 1) {
      endpoint = {};
      good = write32(slot.context + index * kContext, 0);
    }
    if (good && (add >> index & 1))
      good = begin_endpoint(slot, index, input + (index + 1) * kContext);
    any |= endpoint.state != EndpointState::Disabled;
  }
  if (good && (add & 1)) {  // a hub tells more of itself
    std::copy_n(context.begin(), 12, present.begin());
    good = dma_.write_ok(slot.context, present);
  }
  if (!good || !set_slot_state(slot, any ? kConfigured : kAddressed)) fail_host();
  return trb::kSuccess;
}

u8 Xhci::evaluate_context(Slot& slot, const XhciTrb& command) {
  const u64 input = command.parameter & ~u64{0xf};
  u32 add = 0, from = 0, to = 0;
  // Nothing is done with these values: the driver finds them where it expects them.
  const auto take = [&](u64 input_at, u64 at, u32 mask) {
    return read32(input_at, from) && read32(at, to) && write32(at, (to & ~mask) | (from & mask));
  };
  bool good = read32(input + 4, add);
  if (good && (add & 1))
    good = take(input + kContext + 4, slot.context + 4, kExitLatency) &&
           take(input + kContext + 8, slot.context + 8, 0xffc0'0000);
  if (good && (add & 2))
    good = take(input + 2 * kContext + 4, slot.context + kContext + 4, 0xffff'0000);
  if (!good) fail_host();
  return trb::kSuccess;
}

u8 Xhci::reset_device(Slot& slot) {
  if (slot.port == 0) return trb::kContextState;
  bool good = true;
  for (unsigned index = 2; index <= kEndpoints; index++) {
    Endpoint& endpoint = slot.endpoints[index - 1];
    if (endpoint.state == EndpointState::Disabled) continue;
    endpoint = {};
    good = good && write32(slot.context + index * kContext, 0);
  }
  // Its address goes, too.
  if (!good || !write32(slot.context + 12, u32{kDefault} << kSlotStateShift)) fail_host();
  return trb::kSuccess;
}

u8 Xhci::endpoint_command(Slot& slot, const XhciTrb& command) {
  const unsigned index = command.endpoint();
  if (index == 0 || index > kEndpoints) return trb::kTrbError;
  Endpoint& endpoint = slot.endpoints[index - 1];
  switch (command.type()) {
    case trb::kResetEndpoint:
      if (endpoint.state != EndpointState::Halted) return trb::kContextState;
      break;
    case trb::kStopEndpoint:
      if (endpoint.state != EndpointState::Running) return trb::kContextState;
      break;
    case trb::kSetDequeue:
      if (endpoint.state != EndpointState::Stopped && endpoint.state != EndpointState::Error)
        return trb::kContextState;
      endpoint.ring = {.dequeue = command.parameter & ~u64{0xf},
                       .cycle = (command.parameter & 1) != 0};
      break;
    default: return trb::kTrbError;
  }
  endpoint.state = EndpointState::Stopped;
  endpoint.waits = false;
  write_endpoint_state(slot, index);
  return trb::kSuccess;
}

}  // namespace menura
