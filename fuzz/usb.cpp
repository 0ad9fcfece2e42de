// The PIIX3's USB controller with a keyboard and a tablet: schedules in RAM of the input's making,
// whole control transfers, registers, the user's input, devices that come and go, and loads of damaged
// states. Nothing may crash or hang, nor reach beyond RAM.
#include <fuzzer/FuzzedDataProvider.h>

#include <array>

#include "damaged_state.h"
#include "hw/core/test_machine.h"
#include "hw/pci/pci_bus.h"
#include "hw/usb/uhci.h"
#include "hw/usb/usb_hid.h"

namespace menura {
namespace {

constexpr unsigned kOperations = 200;
constexpr u16 kPorts = 0xc000;
constexpr u64 kRamSize = 1 << 20;
constexpr u32 kFrames = 0x1000, kFrameEntries = 32;
// Queue heads, transfer descriptors and their buffers, close together so that they meet.
constexpr u32 kHeads = 0x4000, kTransfers = 0x4100, kBuffers = 0x4400;
constexpr u8 kIn = 0x69, kOut = 0xe1, kSetup = 0x2d;

struct Board {
  Board() {
    bus.add(usb, PciBus::devfn(1, 2)).value();
    usb.ports().plug(keyboard).value();
    usb.ports().plug(tablet).value();
    for (Device* device : devices()) device->reset(ResetKind::PowerOn);
    usb.config_write(0x20, 4, kPorts);
    usb.config_write(0x04, 2, 0x0005);
    for (u32 i = 0; i < kFrameEntries; i++) m.ram->store<u32>(kFrames + 4 * i, kHeads | 2);
    m.ram->store<u32>(kHeads, 1);
    m.ram->store<u32>(kHeads + 4, 1);
    start();
  }
  ~Board() { bus.remove(usb); }
  std::array<Device*, 3> devices() { return {&usb, &keyboard, &tablet}; }
  void start() {
    m.out16(kPorts, 0);
    m.out16(kPorts + 6, 0);
    m.out32(kPorts + 8, kFrames);
    for (const u16 port : {0x10, 0x12}) {
      m.out16(kPorts + port, 0x0200);
      m.out16(kPorts + port, 0);
      m.out16(kPorts + port, 0x000e);
    }
    m.out16(kPorts, 0x0001);
  }

  TestMachine m{kRamSize};
  PciBus bus{"pci.0", {m.memory, m.io, m.memory_root, m.io_root}};
  Inputs inputs{m.tape};
  UsbHid keyboard{"keyboard", UsbHid::Kind::Keyboard, inputs};
  UsbHid tablet{"tablet", UsbHid::Kind::Tablet, inputs};
  Uhci usb{"usb", m.time};
};

u32 pick_link(FuzzedDataProvider& in) {
  const u32 flags = in.ConsumeIntegralInRange<u32>(0, 15);
  switch (in.ConsumeIntegralInRange(0, 3)) {
    case 0: return in.ConsumeIntegral<u32>();
    case 1: return (kHeads + 16 * in.ConsumeIntegralInRange<u32>(0, 7)) | flags;
    default: return (kTransfers + 16 * in.ConsumeIntegralInRange<u32>(0, 15)) | (flags & 5);
  }
}

void write_transfer(FuzzedDataProvider& in, Board& board) {
  const u32 at = kTransfers + 16 * in.ConsumeIntegralInRange<u32>(0, 15);
  const u8 pid = in.ConsumeIntegralInRange(0, 15) ? in.PickValueInArray({kIn, kOut, kSetup})
                                                  : in.ConsumeIntegral<u8>();
  const u32 length = in.ConsumeBool() ? 7 : in.ConsumeIntegralInRange<u32>(0, 0x7ff);
  board.m.ram->store<u32>(at, pick_link(in));
  board.m.ram->store<u32>(at + 4, in.ConsumeBool() ? 0x1880'0000 : in.ConsumeIntegral<u32>());
  board.m.ram->store<u32>(at + 8, length << 21 | in.ConsumeIntegralInRange<u32>(0, 3) << 15 |
                                      in.ConsumeIntegralInRange<u32>(0, 3) << 8 | pid);
  board.m.ram->store<u32>(at + 12, in.ConsumeBool() ? kBuffers + 8 * in.ConsumeIntegral<u8>()
                                                    : in.ConsumeIntegral<u32>());
}

// Setup, data and status, as a driver gives them; some requests are the standard ones.
void transfer(FuzzedDataProvider& in, Board& board) {
  const u32 address = in.ConsumeIntegralInRange<u32>(0, 3);
  const u8 type = in.PickValueInArray<u8>({0x00, 0x80, 0x81, 0x21, 0xa1, 0x02, 0x82});
  const u8 request = in.ConsumeIntegralInRange<u8>(0, 12);
  const u16 value = in.ConsumeBool() ? in.ConsumeIntegralInRange<u16>(0, 3)
                                     : static_cast<u16>(in.ConsumeIntegral<u8>() << 8);
  const u16 length = in.ConsumeBool() ? 0 : in.ConsumeIntegralInRange<u16>(0, 40);
  board.m.ram->store<u32>(kBuffers, u32{type} | u32{request} << 8 | u32{value} << 16);
  board.m.ram->store<u32>(kBuffers + 4, in.ConsumeIntegralInRange<u32>(0, 2) | u32{length} << 16);
  u32 at = kTransfers;
  const auto put = [&](u8 pid, u32 bytes, u32 buffer) {
    board.m.ram->store<u32>(at, (at + 16) | 4);
    board.m.ram->store<u32>(at + 4, 0x1980'0000);
    board.m.ram->store<u32>(at + 8, ((bytes - 1) & 0x7ff) << 21 | address << 8 | pid);
    board.m.ram->store<u32>(at + 12, buffer);
    at += 16;
  };
  put(kSetup, 8, kBuffers);
  const u8 data = type & 0x80 ? kIn : kOut;
  for (u32 done = 0; done < length; done += 8)
    put(data, std::min<u32>(8, length - done), kBuffers + 0x40 + done);
  put(length && data == kIn ? kOut : kIn, 0, 0);
  board.m.ram->store<u32>(at - 16, 1);
  board.m.ram->store<u32>(kHeads + 4, kTransfers);
  board.m.step_ns(8'000'000);
}

void user(FuzzedDataProvider& in, Board& board) {
  switch (in.ConsumeIntegralInRange(0, 4)) {
    case 0: {
      const auto last = static_cast<u8>(Key::kCount) - 1;
      const auto key = static_cast<Key>(in.ConsumeIntegralInRange<u8>(0, last));
      board.inputs.key(key, in.ConsumeBool());
      break;
    }
    case 1: board.inputs.move_to(in.ConsumeIntegral<u16>(), in.ConsumeIntegral<u16>()); break;
    case 2: board.inputs.button(PointerButton::Left, in.ConsumeBool()); break;
    case 3: board.inputs.wheel(in.ConsumeIntegral<i32>(), in.ConsumeIntegral<i32>()); break;
    default: board.inputs.release_all();
  }
  board.inputs.sync();
}

void operate(FuzzedDataProvider& in, Board& board) {
  TestMachine& m = board.m;
  const u16 port = static_cast<u16>(kPorts + in.ConsumeIntegralInRange(0, 31));
  const unsigned size = 1u << in.ConsumeIntegralInRange(0, 2);
  switch (in.ConsumeIntegralInRange(0, 10)) {
    case 0: return m.io.store({port}, size, in.ConsumeIntegral<u32>());
    case 1: (void)m.io.load({port}, size); return;
    case 2:
    case 3: return write_transfer(in, board);
    case 4:
      return m.ram->store<u32>(kHeads + 4 * in.ConsumeIntegralInRange<u64>(0, 15), pick_link(in));
    case 5:
      return m.ram->store<u32>(kFrames + 4 * in.ConsumeIntegralInRange<u64>(0, kFrameEntries - 1),
                               pick_link(in));
    case 6: return transfer(in, board);
    case 7: return user(in, board);
    case 8: {
      UsbHid& device = in.ConsumeBool() ? board.keyboard : board.tablet;
      board.usb.ports().unplug(device);
      if (in.ConsumeBool()) m.step_ns(2'000'000);
      return board.usb.ports().plug(device).value();
    }
    case 9: return load_damaged(in, *board.devices()[in.ConsumeIntegralInRange<size_t>(0, 2)]);
    default:
      if (in.ConsumeBool()) board.start();
      m.step_ns(in.ConsumeIntegralInRange<i64>(0, 5'000'000));
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
