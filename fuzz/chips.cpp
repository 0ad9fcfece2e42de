// The PC's interrupt and timer chips, wired as on a board: random accesses, pins, time, CPUs that
// take interrupts, and loads of damaged states. Nothing may crash or hang, and a state that was
// just saved must load and describe itself the same again.
#include <fuzzer/FuzzedDataProvider.h>

#include <deque>
#include <string>

#include "damaged_state.h"
#include "hw/core/test_machine.h"
#include "hw/intc/apic_bus.h"
#include "hw/intc/gsi_routing.h"
#include "hw/intc/ioapic.h"
#include "hw/intc/lapic.h"
#include "hw/intc/pic.h"
#include "hw/rtc/rtc.h"
#include "hw/timer/hpet.h"
#include "hw/timer/pit.h"

namespace menura {
namespace {

constexpr unsigned kCpus = 3;
constexpr unsigned kOperations = 400;
constexpr i64 kLongestStepNs = 2'000'000;

struct Pins final : CpuInterrupts {
  void set_intr(bool pending) override { intr = pending; }
  void nmi() override {}
  void smi() override {}
  void init() override {}
  void sipi(u8) override {}
  bool intr = false;
};

struct Board {
  Board() {
    bus.add(ioapic);
    bus.set_extint(pic);
    gsi.set_default_pc();
    m.memory_root.map(0xfec0'0000, ioapic.registers());
    m.memory_root.map(0xfed0'0000, hpet.registers());
    m.memory_root.map(0xfee0'0000, bus.messages());
    m.io_root.map(0x20, pic.master_ports());
    m.io_root.map(0xa0, pic.slave_ports());
    m.io_root.map(0x4d0, pic.elcr_ports());
    m.io_root.map(0x40, pit.ports());
    m.io_root.map(0x70, rtc.ports());
    for (unsigned i = 0; i < kCpus; i++) {
      lapics.emplace_back("lapic" + std::to_string(i),
                          Lapic::Config{.apic_id = i, .bootstrap = i == 0}, bus, m.time);
      lapics.back().connect(pins[i]);
    }
    for (Device* device : devices()) device->reset(ResetKind::PowerOn);
  }
  std::vector<Device*> devices() {
    return {&pic, &ioapic, &hpet, &pit, &rtc, &lapics[0], &lapics[1], &lapics[2]};
  }

  TestMachine m{1 << 20};
  ApicBus bus;
  Ioapic ioapic{"ioapic", {}, bus};
  Pic pic{"pic", IrqLine{bus, 0}};
  GsiRouting gsi{{.pic = &pic, .ioapic = &ioapic, .msi = &bus}};
  Hpet hpet{"hpet", {.routes = 0xff'0104, .fsb = true}, m.time, gsi, &bus};
  Pit pit{"pit", {}, m.time, {IrqLine{hpet, Hpet::kPitInput}, {}, m.pin(2)}};
  Rtc rtc{"rtc",
          {.clock = RtcClock::Virtual, .date = 0, .lost_ticks = RtcLostTicks::Slew},
          m.time,
          m.tape,
          IrqLine{hpet, Hpet::kRtcInput}};
  Pins pins[kCpus];
  std::deque<Lapic> lapics;
};

u16 pick_port(FuzzedDataProvider& in) {
  return in.PickValueInArray<u16>(
      {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x41, 0x42, 0x43, 0x70, 0x71});
}

u64 pick_register(FuzzedDataProvider& in) {
  switch (in.ConsumeIntegralInRange(0, 3)) {
    case 0: return 0xfec0'0000 + in.PickValueInArray<u64>({0, 0x10, 0x40});
    case 1: return 0xfed0'0000 + in.ConsumeIntegralInRange<u64>(0, 0x17f);
    case 2: return 0xfee0'0000 + in.ConsumeIntegralInRange<u64>(0, 0xf'ffff);
    default: return 0xfec0'0000 + in.ConsumeIntegralInRange<u64>(0, 0x3f'ffff);
  }
}

unsigned pick_size(FuzzedDataProvider& in) { return 1u << in.ConsumeIntegralInRange(0, 3); }

u64 pick_value(FuzzedDataProvider& in) {
  return in.ConsumeBool() ? in.ConsumeIntegral<u8>() : in.ConsumeIntegral<u64>();
}

void use_lapic(FuzzedDataProvider& in, Lapic& lapic) {
  u64 value = pick_value(in);
  switch (in.ConsumeIntegralInRange(0, 6)) {
    case 0: lapic.write({in.ConsumeIntegralInRange<u64>(0, 0xff) << 4, 4}, value); break;
    case 1: lapic.write({in.ConsumeIntegralInRange<u64>(0, 0xfff), pick_size(in)}, value); break;
    case 2: lapic.read({in.ConsumeIntegralInRange<u64>(0, 0xfff), pick_size(in)}); break;
    case 3: lapic.write_msr(0x800 + in.ConsumeIntegral<u8>(), value); break;
    case 4:
      lapic.read_msr(0x800 + in.ConsumeIntegral<u8>(), value);
      lapic.set_tsc(value);
      break;
    case 5: lapic.write_msr(in.PickValueInArray<u32>({0x1b, 0x6e0}), value); break;
    case 6: lapic.set_cr8(value & 15); break;
  }
}

void operate(FuzzedDataProvider& in, Board& board) {
  TestMachine& m = board.m;
  switch (in.ConsumeIntegralInRange(0, 11)) {
    case 0:
    case 1: m.out8(pick_port(in), in.ConsumeIntegral<u8>()); break;
    case 2: m.in8(pick_port(in)); break;
    case 3: m.io.store({pick_port(in)}, pick_size(in), pick_value(in)); break;
    case 4: m.write_mem(pick_register(in), pick_size(in), pick_value(in)); break;
    case 5: m.read_mem(pick_register(in), pick_size(in)); break;
    case 6: board.gsi.set_irq(in.ConsumeIntegralInRange(0u, 30u), in.ConsumeBool()); break;
    case 7: board.pit.set_irq(in.ConsumeIntegralInRange(0u, 2u), in.ConsumeBool()); break;
    case 8: use_lapic(in, board.lapics[in.ConsumeIntegralInRange(0u, kCpus - 1)]); break;
    case 9: {
      const unsigned cpu = in.ConsumeIntegralInRange(0u, kCpus - 1);
      ensure(board.pins[cpu].intr == board.lapics[cpu].pending(), "INTR tells what is pending");
      board.lapics[cpu].acknowledge();
      break;
    }
    case 10: m.step_ns(in.ConsumeIntegralInRange<i64>(0, kLongestStepNs)); break;
    case 11: {
      const std::vector<Device*> all = board.devices();
      load_damaged(in, *all[in.ConsumeIntegralInRange<size_t>(0, all.size() - 1)]);
      break;
    }
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
