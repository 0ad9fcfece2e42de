// The chips of a q35 board: the MCH with ECAM, PAM, SMRAM and TSEG, the ICH9's LPC bridge and SMBus
// controller, and a card that has every kind of BAR: random configuration by both mechanisms, ports,
// memory as seen by a CPU and by one in SMM, interrupts, time, and loads of damaged states. Nothing
// may crash or hang.
#include <fuzzer/FuzzedDataProvider.h>

#include "base/units.h"
#include "damaged_state.h"
#include "hw/acpi/ich9_lpc.h"
#include "hw/acpi/ich9_smbus.h"
#include "hw/acpi/smbus.h"
#include "hw/core/test_machine.h"
#include "hw/pci/q35_mch.h"
#include "hw/pci/test_card.h"

namespace menura {
namespace {

constexpr unsigned kOperations = 200;
constexpr u64 kRam = 16 * MiB;
constexpr u64 kEcam = 0xb000'0000;
constexpr u16 kPm = 0x600, kSmbus = 0x700;

struct Board {
  explicit Board(bool with_smm)
      : mch("mch", {.host = {.memory = m.memory,
                             .io = m.io,
                             .system_memory = m.memory_root,
                             .pci_memory = pci,
                             .io_window = m.io_root,
                             .ram = m.ram,
                             .msi = &m,
                             .smm = with_smm ? &smm_root : nullptr},
                    .all_ram = ram_region,
                    .low_ram = kRam}),
        lpc("lpc", lpc_wiring(with_smm), {}) {
    m.memory_root.map(0, pci, -1);
    m.io_root.map(0xcf8, mch.config_ports());
    mch.set_reset_control(lpc.reset_control());
    mch.set_pirqs(lpc);
    m.io_root.map(0xb2, lpc.apm_ports());
    smbus.host().attach(0x50, eeprom);
    PciBus& bus = mch.root_bus();
    bus.add(lpc, PciBus::devfn(31, 0)).value();
    bus.add(smbus, PciBus::devfn(31, 3)).value();
    bus.add(card, PciBus::devfn(3, 1)).value();
    for (Device* device : devices()) device->reset(ResetKind::PowerOn);
    mch.config_write(0x60, 4, kEcam | 1);
    lpc.config_write(0x40, 4, kPm | 1);
    lpc.config_write(0x44, 1, 0x80);
    smbus.config_write(0x20, 4, kSmbus);
    smbus.config_write(0x04, 2, 1);
    smbus.config_write(0x40, 1, 1);
  }
  ~Board() {
    for (PciFunction* function : std::array<PciFunction*, 3>{&lpc, &smbus, &card})
      mch.root_bus().remove(*function);
    m.memory_root.unmap(pci);
  }
  Ich9LpcWiring lpc_wiring(bool with_smm) {
    Ich9LpcWiring wiring{.time = m.time, .isa_irqs = {}, .gsis = {}, .sci = m.pin(9)};
    for (unsigned i = 0; i < 16; i++) wiring.isa_irqs[i] = m.pin(100 + i);
    for (unsigned i = 0; i < 8; i++) wiring.gsis[i] = m.pin(16 + i);
    wiring.on_sleep = [](SleepState) {};
    if (with_smm) wiring.smi = [] {};
    wiring.request_reset = [](ResetControl::Kind) {};
    return wiring;
  }
  std::array<Device*, 5> devices() { return {&mch, &lpc, &smbus, &eeprom, &card}; }

  TestMachine m{kRam};
  Region pci = Region::container("pci", Region::kWholeSpace);
  Region ram_region = Region::ram("all", m.ram);
  Region smm_root = Region::container("smm", Region::kWholeSpace);
  AddressSpace smm{"smm", smm_root};
  Q35Mch mch;
  Ich9Lpc lpc;
  Ich9Smbus smbus{"smbus"};
  SmbusEeprom eeprom{"spd", {}};
  TestCard card{"card"};
};

// Registers that mean something, and any.
unsigned pick_register(FuzzedDataProvider& in) {
  constexpr u16 kKnown[] = {0x04, 0x10, 0x20, 0x30, 0x40, 0x44, 0x50, 0x60, 0x64,
                            0x68, 0x90, 0x96, 0x97, 0x9d, 0x9e, 0xa0, 0xb0, 0xb8};
  return in.ConsumeBool() ? in.PickValueInArray(kKnown) : in.ConsumeIntegralInRange(0u, 0xffu);
}

u8 pick_devfn(FuzzedDataProvider& in) {
  return in.PickValueInArray<u8>({PciBus::devfn(0, 0), PciBus::devfn(31, 0), PciBus::devfn(31, 3),
                                  PciBus::devfn(3, 1), PciBus::devfn(7, 0)});
}

u64 pick_address(FuzzedDataProvider& in) {
  switch (in.ConsumeIntegralInRange(0, 4)) {
    case 0: return 0xa0000 + in.ConsumeIntegralInRange<u64>(0, 0x5ffff);
    case 1: return kRam - in.ConsumeIntegralInRange<u64>(0, 8 * MiB);
    case 2: return 15 * MiB + in.ConsumeIntegralInRange<u64>(0, MiB);
    case 3: return kEcam + in.ConsumeIntegralInRange<u64>(0, 2 * MiB);
    default: return in.ConsumeIntegral<u64>();
  }
}

void configure(FuzzedDataProvider& in, Board& board, unsigned size) {
  const unsigned at = pick_register(in);
  const u8 devfn = pick_devfn(in);
  if (in.ConsumeBool()) {
    board.m.write_mem(kEcam + (u64{devfn} << 12) + at, size, in.ConsumeIntegral<u64>());
    return;
  }
  board.m.out32(0xcf8, 0x8000'0000 | u32{devfn} << 8 | (at & 0xfc));
  board.m.io.store({0xcfc + (at & 3)}, std::min(size, 4u), in.ConsumeIntegral<u32>());
}

u16 pick_port(FuzzedDataProvider& in) {
  const u16 at = in.ConsumeIntegralInRange<u16>(0, 0x7f);
  switch (in.ConsumeIntegralInRange(0, 3)) {
    case 0: return static_cast<u16>(kPm + at);
    case 1: return static_cast<u16>(kSmbus + at % 16);
    case 2: return static_cast<u16>(0xb2 + at % 2);
    default: return static_cast<u16>(0xcf8 + at % 8);
  }
}

void operate(FuzzedDataProvider& in, Board& board) {
  TestMachine& m = board.m;
  const unsigned size = 1u << in.ConsumeIntegralInRange(0, 3);
  switch (in.ConsumeIntegralInRange(0, 9)) {
    case 0:
    case 1: return configure(in, board, size);
    case 2: m.io.store({pick_port(in)}, std::min(size, 4u), in.ConsumeIntegral<u32>()); return;
    case 3: (void)m.io.load({pick_port(in)}, std::min(size, 4u)); return;
    case 4: return m.write_mem(pick_address(in), size, in.ConsumeIntegral<u64>());
    case 5: (void)m.read_mem(pick_address(in), size); return;
    case 6: (void)board.smm.load({pick_address(in)}, size); return;
    case 7:
      (void)board.lpc.set_irq(in.ConsumeIntegralInRange(0u, Ich9Lpc::kPirqs - 1), in.ConsumeBool());
      return;
    case 8:
      if (in.ConsumeBool()) board.lpc.pm1().press_power_button();
      return m.step_ns(in.ConsumeIntegralInRange<i64>(0, 5'000'000'000));
    default: return load_damaged(in, *board.devices()[in.ConsumeIntegralInRange<size_t>(0, 4)]);
  }
}

}  // namespace
}  // namespace menura

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider in(data, size);
  menura::Board board(in.ConsumeBool());
  for (unsigned i = 0; i < menura::kOperations && in.remaining_bytes() > 0; i++)
    menura::operate(in, board);
  return 0;
}
