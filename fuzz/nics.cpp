// Every network card on a test machine: random register and configuration accesses, rings in RAM that
// the input fills, frames from a cable that takes some, time passing, and loads of damaged states.
// Nothing may crash or hang, nor reach beyond the RAM.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <memory>

#include "damaged_state.h"
#include "hw/core/test_machine.h"
#include "hw/net/e1000.h"
#include "hw/net/ne2000.h"
#include "hw/net/pcnet.h"
#include "hw/net/rtl8139.h"
#include "hw/net/test_cable.h"
#include "hw/pci/pci_bus.h"

namespace menura {
namespace {

constexpr unsigned kOperations = 400;
constexpr u64 kRamSize = 1 << 20;
constexpr u64 kBar = 0xfe00'0000;
constexpr u16 kPorts = 0xc000, kIsaPorts = 0x300;
constexpr u8 kDevfn = PciBus::devfn(3, 0);
constexpr MacAddress kMac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

struct Bench {
  explicit Bench(unsigned kind) : machine(kRamSize) {
    TimerQueue& time = machine.time;
    switch (kind) {
      case 0: plug(std::make_unique<E1000>("net0", kMac, cable, time), 0, 2); break;
      case 1: plug(std::make_unique<Rtl8139>("net0", kMac, cable, time), 1, 0); break;
      case 2: plug(std::make_unique<Pcnet>("net0", kMac, cable, time), 1, 0); break;
      case 3: plug(std::make_unique<Ne2kPci>("net0", kMac, cable, time), 1, 0); break;
      default: {
        auto isa = std::make_unique<Ne2kIsa>("net0", kMac, cable, machine.pin(9));
        machine.io_root.map(kIsaPorts, isa->ports());
        device = std::move(isa);
      }
    }
    device->reset(ResetKind::PowerOn);
    if (kind > 3) return;
    bus.config_write({0, kDevfn}, 0x10 + 4 * memory_bar, 4, kBar);
    bus.config_write({0, kDevfn}, 0x10 + 4 * port_bar, 4, kPorts);
    bus.config_write({0, kDevfn}, 0x04, 2, 7);
  }
  template <class Card>
  void plug(std::unique_ptr<Card> card, unsigned memory, unsigned port) {
    memory_bar = memory;
    port_bar = port;
    bus.add(*card, kDevfn).value();
    device = std::move(card);
  }

  TestMachine machine;
  PciBus bus{"pci.0",
             {.memory = machine.memory,
              .io = machine.io,
              .memory_window = machine.memory_root,
              .io_window = machine.io_root,
              .intx = &machine,
              .msi = &machine}};
  TestCable cable;
  std::unique_ptr<Device> device;
  unsigned memory_bar = 0, port_bar = 0;
};

Frame make_frame(FuzzedDataProvider& data) {
  Frame frame(data.ConsumeIntegralInRange<size_t>(60, 9018));
  const auto head = data.ConsumeBytes<u8>(data.ConsumeIntegralInRange<size_t>(0, 80));
  std::transform(head.begin(), head.end(), frame.begin(), [](u8 b) { return std::byte{b}; });
  if (data.ConsumeBool()) std::fill_n(frame.begin(), 6, std::byte{0xff});
  return frame;
}

// Values that mean something to a driver: addresses in RAM, single bits, small counts.
u32 make_value(FuzzedDataProvider& data) {
  switch (data.ConsumeIntegralInRange(0, 4)) {
    case 0: return data.ConsumeIntegralInRange<u32>(0, 0xfffff) & ~0xfu;
    case 1: return 1u << data.ConsumeIntegralInRange(0, 31);
    case 2: return data.ConsumeIntegralInRange<u32>(0, 64);
    case 3: return 0xffffffff;
    default: return data.ConsumeIntegral<u32>();
  }
}

void step(Bench& bench, FuzzedDataProvider& data) {
  TestMachine& m = bench.machine;
  static constexpr unsigned kSizes[] = {1, 2, 4};
  const unsigned size = kSizes[data.ConsumeIntegralInRange(0, 2)];
  const auto port = static_cast<u16>((data.ConsumeBool() ? kPorts : kIsaPorts) +
                                     data.ConsumeIntegralInRange(0, 255));
  const u64 offset = kBar + data.ConsumeIntegralInRange<u32>(0, 0x5fff);
  switch (data.ConsumeIntegralInRange(0, 9)) {
    case 0: m.memory.load({offset}, size); break;
    case 1:
    case 2: m.memory.store({offset & ~3ull}, 4, make_value(data)); break;
    case 3: m.io.load({port}, size); break;
    case 4:
    case 5: m.io.store({port}, size, make_value(data)); break;
    case 6: {
      const auto bytes = data.ConsumeBytes<std::byte>(data.ConsumeIntegralInRange<size_t>(1, 64));
      (void)m.memory.write(GuestAddr{data.ConsumeIntegralInRange<u64>(0, kRamSize)}, bytes);
      break;
    }
    case 7: bench.cable.arrive(make_frame(data)); break;
    case 8:
      bench.cable.room = data.ConsumeIntegralInRange<size_t>(0, 4);
      bench.cable.sink->writable();
      break;
    default:
      if (data.ConsumeBool()) bench.cable.set_link(data.ConsumeBool());
      m.step_ns(data.ConsumeIntegralInRange<i64>(0, 100'000));
  }
  bench.cable.sent.clear();
}

}  // namespace
}  // namespace menura

extern "C" int LLVMFuzzerTestOneInput(const menura::u8* bytes, size_t size) {
  using namespace menura;
  FuzzedDataProvider data(bytes, size);
  Bench bench(data.ConsumeIntegralInRange(0u, 4u));
  for (unsigned i = 0; i < kOperations && data.remaining_bytes() > 0; i++) step(bench, data);
  load_damaged(data, *bench.device);
  for (unsigned i = 0; i < 50 && data.remaining_bytes() > 0; i++) step(bench, data);
  return 0;
}
