// The xHCI with a tablet, a memory stick and a keyboard behind a hub: command, transfer and event rings
// of the input's making close together in RAM, registers, doorbells, slow and broken disks, devices that
// come and go, and loads of damaged states. Nothing may crash or hang, nor reach beyond RAM and disk.
#include "hw/usb/xhci.h"

#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <array>

#include "damaged_state.h"
#include "hw/core/test_machine.h"
#include "hw/pci/pci_bus.h"
#include "hw/scsi/scsi_disk.h"
#include "hw/scsi/test_disk.h"
#include "hw/usb/usb_hid.h"
#include "hw/usb/usb_hub.h"
#include "hw/usb/usb_storage.h"

namespace menura {
namespace {

constexpr unsigned kOperations = 200;
constexpr u64 kRamSize = 1 << 20;
constexpr u64 kBase = 0xfe00'0000, kOp = kBase + 0x40, kPorts = kBase + 0x440,
              kRun = kBase + 0x1000, kDoorbell = kBase + 0x2000;
constexpr u64 kDcbaa = 0x1000, kTable = 0x1800, kCommands = 0x2000, kEvents = 0x3000,
              kInput = 0x4000, kContexts = 0x5000, kRings = 0x8000, kData = 0x10000;
constexpr unsigned kSlots = 3, kRingsEach = 4;

struct Board {
  Board() {
    bus.add(usb, PciBus::devfn(3, 0)).value();
    stick.set_drive(std::make_unique<ScsiDisk>("stick.drive", stick, ScsiDiskConfig{}, disk));
    usb.ports().plug(tablet, 0).value();
    usb.ports().plug(stick, 1).value();
    usb.ports().plug(hub, 2).value();
    hub.downstream()->plug(keyboard).value();
    for (Device* device : devices()) device->reset(ResetKind::PowerOn);
    usb.config_write(0x10, 4, kBase);
    usb.config_write(0x04, 2, 0x0006);
    start();
  }
  ~Board() { bus.remove(usb); }
  std::array<Device*, 5> devices() { return {&usb, &tablet, &stick, &hub, &keyboard}; }
  void write64(u64 at, u64 value) {
    m.write_mem(at, 4, static_cast<u32>(value));
    m.write_mem(at + 4, 4, value >> 32);
  }
  void start() {
    m.write_mem(kOp, 4, 2);
    m.write_mem(kOp + 0x38, 4, 32);
    write64(kOp + 0x30, kDcbaa);
    write64(kOp + 0x18, kCommands | 1);
    m.write_mem(kTable, 8, kEvents);
    m.write_mem(kTable + 8, 4, 64);
    m.write_mem(kRun + 0x28, 4, 1);
    write64(kRun + 0x38, kEvents);
    write64(kRun + 0x30, kTable);
    m.write_mem(kRun + 0x20, 4, 2);
    m.write_mem(kOp, 4, 5);
    for (u64 slot = 1; slot <= kSlots; slot++)
      m.write_mem(kDcbaa + 8 * slot, 8, kContexts + 0x400 * slot);
    command_at = kCommands;
    ring_at = {kRings, kRings + 0x1000, kRings + 0x2000, kRings + 0x3000};
  }
  void put(u64& at, u64 parameter, u32 status, u32 control) {
    m.write_mem(at, 8, parameter);
    m.write_mem(at + 8, 4, status);
    m.write_mem(at + 12, 4, control);
    at += 16;
  }

  TestMachine m{kRamSize};
  PciBus bus{"pci.0",
             {.memory = m.memory,
              .io = m.io,
              .memory_window = m.memory_root,
              .io_window = m.io_root,
              .intx = &m,
              .msi = &m}};
  Inputs inputs{m.tape};
  SlowDisk disk{64 * 512};
  UsbHid tablet{"tablet", UsbHid::Kind::Tablet, inputs};
  UsbStorage stick{"stick", "1"};
  UsbHid keyboard{"keyboard", UsbHid::Kind::Keyboard, inputs};
  UsbHub hub{"hub"};
  Xhci usb{"usb", m.time, {}};
  u64 command_at = kCommands;
  std::array<u64, kRingsEach> ring_at{};
};

u64 pick_address(FuzzedDataProvider& in) {
  switch (in.ConsumeIntegralInRange(0, 3)) {
    case 0: return in.ConsumeIntegral<u64>();
    case 1: return kRings + 16 * in.ConsumeIntegralInRange<u64>(0, 0x3ff);
    default: return kData + 8 * in.ConsumeIntegral<u8>();
  }
}

// A device gets its slot, and with Configure Endpoint two bulk or interrupt endpoints.
void prepare(FuzzedDataProvider& in, Board& board) {
  TestMachine& m = board.m;
  const u32 slot = in.ConsumeIntegralInRange<u32>(1, kSlots);
  const u32 port = in.ConsumeIntegralInRange<u32>(1, 8);
  m.write_mem(kPorts + 16 * (port - 1), 4, 0x210);
  m.write_mem(kInput, 4, in.ConsumeBool() ? 0 : in.ConsumeIntegral<u32>());
  m.write_mem(kInput + 4, 4, 3 | (in.ConsumeBool() ? 0x18 : in.ConsumeIntegral<u32>()));
  m.write_mem(kInput + 32, 4, in.ConsumeBool() ? 0 : in.ConsumeIntegralInRange<u32>(0, 0x41));
  m.write_mem(kInput + 36, 4, u64{port} << 16);
  for (u64 ring = 0; ring < kRingsEach; ring++) {
    const u64 at = kInput + 64 + 32 * ring;
    m.write_mem(at + 4, 4, 3u << 1 | in.ConsumeIntegralInRange<u32>(0, 7) << 3 | 64 << 16);
    m.write_mem(at + 8, 8, board.ring_at[ring] | 1);
  }
  board.put(board.command_at, 0, 0, u32{trb::kEnableSlot} << 10 | 1);
  board.put(board.command_at, kInput, 0, slot << 24 | u32{trb::kAddressDevice} << 10 | 1);
  board.put(board.command_at, kInput, 0, slot << 24 | u32{trb::kConfigureEndpoint} << 10 | 1);
  m.write_mem(kDoorbell, 4, 0);
}

void command(FuzzedDataProvider& in, Board& board) {
  const u32 type = in.ConsumeIntegralInRange<u32>(5, 24);
  const u64 parameter = in.ConsumeBool() ? kInput : pick_address(in);
  board.put(board.command_at, parameter, in.ConsumeBool() ? 0 : in.ConsumeIntegral<u32>(),
            in.ConsumeIntegralInRange<u32>(0, kSlots) << 24 |
                in.ConsumeIntegralInRange<u32>(0, 5) << 16 | type << 10 |
                (in.ConsumeBool() ? 1 : in.ConsumeIntegralInRange<u32>(0, 0x3ff)));
  board.m.write_mem(kDoorbell, 4, 0);
}

// A request to the control endpoint, or blocks of any kind to any.
void transfer(FuzzedDataProvider& in, Board& board) {
  const u64 ring = in.ConsumeIntegralInRange<u64>(0, kRingsEach - 1);
  u64& at = board.ring_at[ring];
  if (ring == 0 && in.ConsumeBool()) {
    const u32 length = in.ConsumeIntegralInRange<u32>(0, 64);
    const u32 type = in.PickValueInArray<u8>({0x00, 0x80, 0x81, 0x21, 0xa1, 0x02, 0x23, 0xa3});
    const u64 setup = type | in.ConsumeIntegralInRange<u64>(0, 12) << 8 |
                      u64{in.ConsumeIntegral<u16>()} << 16 |
                      in.ConsumeIntegralInRange<u64>(0, 4) << 32 | u64{length} << 48;
    const u32 into = type & 0x80 ? u32{trb::kDirectionIn} : 0;
    board.put(at, setup, 8, 2u << 10 | 0x41);
    if (length) board.put(at, kData, length, 3u << 10 | into | 5);
    board.put(at, 0, 0, 4u << 10 | (into && length ? 0 : u32{trb::kDirectionIn}) | 0x21);
  } else {
    for (unsigned i = in.ConsumeIntegralInRange(1u, 4u); i > 0; i--)
      board.put(at, pick_address(in),
                in.ConsumeBool() ? in.ConsumeIntegral<u8>() : in.ConsumeIntegral<u32>(),
                (in.ConsumeBool() ? u32{trb::kNormal} : in.ConsumeIntegralInRange<u32>(0, 9))
                        << 10 |
                    in.ConsumeIntegralInRange<u32>(0, 0x7f) |
                    (in.ConsumeBool() ? u32{trb::kDirectionIn} : 0));
  }
  const u32 slot = in.ConsumeIntegralInRange<u32>(1, kSlots);
  board.m.write_mem(kDoorbell + 4 * slot, 4, ring + 1);
}

// What the stick takes for a command.
void command_block(FuzzedDataProvider& in, Board& board) {
  const u64 at = kData + 8 * in.ConsumeIntegral<u8>();
  board.m.write_mem(at, 8, 0x0000'0001'4342'5355);
  board.m.write_mem(at + 8, 4, in.ConsumeBool() ? 512 : in.ConsumeIntegral<u32>());
  board.m.write_mem(at + 12, 4, (in.ConsumeBool() ? 0x80 : 0) | 0x0a'0000);
  constexpr u8 kCodes[] = {0x00, 0x03, 0x12, 0x1a, 0x25, 0x28, 0x2a, 0x35, 0x42, 0x5a, 0x9e, 0xa0};
  board.m.write_mem(at + 15, 1, in.PickValueInArray(kCodes));
  for (u64 i = 1; i < 16; i++)
    board.m.write_mem(at + 15 + i, 1, in.ConsumeBool() ? 0 : in.ConsumeIntegralInRange<u8>(0, 8));
}

void host_side(FuzzedDataProvider& in, Board& board) {
  switch (in.ConsumeIntegralInRange(0, 4)) {  // the last: the driver has seen events
    case 0: board.disk.broken = !board.disk.broken; return;
    case 1: return board.disk.drain();
    case 2:
      board.inputs.move_to(in.ConsumeIntegral<u16>(), in.ConsumeIntegral<u16>());
      return board.inputs.sync();
    case 3: {
      UsbDevice& device = in.ConsumeBool() ? static_cast<UsbDevice&>(board.stick) : board.hub;
      board.usb.ports().unplug(device);
      if (in.ConsumeBool()) board.m.step_ns(1000);
      return board.usb.ports().plug(device).value();
    }
    default: board.write64(kRun + 0x38, kEvents + 16 * in.ConsumeIntegralInRange<u64>(0, 63) + 8);
  }
}

void operate(FuzzedDataProvider& in, Board& board) {
  TestMachine& m = board.m;
  constexpr u64 kFirst[] = {kBase, kOp, kPorts, kRun, kDoorbell};
  const u64 at = in.PickValueInArray(kFirst) + in.ConsumeIntegralInRange<u64>(0, 0x7f);
  switch (in.ConsumeIntegralInRange(0, 11)) {
    case 0: return m.write_mem(at & ~u64{3}, 4, in.ConsumeIntegral<u32>());
    case 1: (void)m.read_mem(at, 1u << in.ConsumeIntegralInRange(0, 3)); return;
    case 2: return prepare(in, board);
    case 3:
    case 4: return command(in, board);
    case 5:
    case 6:
    case 7: return transfer(in, board);
    case 8: return command_block(in, board);
    case 9: return host_side(in, board);
    case 10:
      for (Device* device : board.devices()) device->pause();
      load_damaged(in, *board.devices()[in.ConsumeIntegralInRange<size_t>(0, 4)]);
      for (Device* device : board.devices()) device->resume();
      return;
    default:
      if (in.ConsumeIntegralInRange(0, 3) == 0) board.start();
      m.step_ns(in.ConsumeIntegralInRange<i64>(0, 2'000'000));
  }
}

}  // namespace
}  // namespace menura

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider in(data, size);
  menura::Board board;
  for (unsigned i = 0; i < menura::kOperations && in.remaining_bytes() > 0; i++)
    menura::operate(in, board);
  return 0;
}
