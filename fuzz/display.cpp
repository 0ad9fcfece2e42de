// The standard VGA: random ports, registers in memory, writes through its window and to its
// framebuffer, pictures drawn in between, and loads of damaged states. Nothing may crash or hang.
#include <fuzzer/FuzzedDataProvider.h>

#include "damaged_state.h"
#include "hw/core/test_machine.h"
#include "hw/display/vga_card.h"
#include "hw/pci/pci_bus.h"

namespace menura {
namespace {

constexpr unsigned kOperations = 300;
constexpr u32 kFramebuffer = 0xe000'0000, kRegisters = 0xf000'0000;
// A picture of the largest size takes long to draw.
constexpr u64 kMemory = 256 * 1024;

struct Watcher final : DisplayViewer {
  explicit Watcher(Display& d) : display(d) {}
  void changed(const Rect& rect) override {
    ensure(rect.x + rect.width <= display.surface().width() &&
               rect.y + rect.height <= display.surface().height(),
           "changes lie on the surface");
  }
  void resized() override {}
  Display& display;
};

struct Guest {
  Guest() {
    bus.add(vga, PciBus::devfn(2, 0)).value();
    vga.reset(ResetKind::PowerOn);
    vga.config_write(0x10, 4, kFramebuffer);
    vga.config_write(0x18, 4, kRegisters);
    vga.config_write(0x04, 2, 0x0003);
    vga.display().attach(watcher);
  }
  ~Guest() { vga.display().detach(watcher); }
  TestMachine m;
  PciBus bus{"pci.0", {m.memory, m.io, m.memory_root, m.io_root}};
  Displays displays;
  std::shared_ptr<RamBlock> vram = RamBlock::create({.size = kMemory}).value();
  VgaCard vga{"vga", {}, {m.io_root, m.memory_root, m.time, displays, {}}, vram, nullptr};
  Watcher watcher{vga.display()};
};

void act(Guest& guest, FuzzedDataProvider& data) {
  TestMachine& m = guest.m;
  const unsigned size = 1u << data.ConsumeIntegralInRange(0, 2);
  switch (data.ConsumeIntegralInRange(0, 9)) {
    case 0:
    case 1:
    case 2:
      m.io.store({data.ConsumeIntegralInRange<u16>(0x3b0, 0x3df)}, size,
                 data.ConsumeIntegral<u32>());
      return;
    case 3: m.io.load({data.ConsumeIntegralInRange<u16>(0x3b0, 0x3df)}, size); return;
    case 4:
      m.out16(0x1ce, data.ConsumeIntegralInRange<u16>(0, 12));
      m.out16(0x1cf, data.ConsumeIntegral<u16>());
      return;
    case 5:
      m.write_mem(0xa0000 + data.ConsumeIntegralInRange<u32>(0, 0x1ffff), size,
                  data.ConsumeIntegral<u32>());
      return;
    case 6: m.read_mem(0xa0000 + data.ConsumeIntegralInRange<u32>(0, 0x1ffff), size); return;
    case 7:
      m.write_mem(kRegisters + data.ConsumeIntegralInRange<u32>(0, 0xfff), size,
                  data.ConsumeIntegral<u32>());
      return;
    case 8:
      m.write_mem(kFramebuffer + data.ConsumeIntegralInRange<u32>(0, kMemory - 1), 1,
                  data.ConsumeIntegral<u8>());
      return;
    case 9:
      guest.vga.display().refresh();
      guest.vga.display().text();
      return;
  }
}

}  // namespace
}  // namespace menura

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace menura;
  FuzzedDataProvider data(bytes, size);
  Guest guest;
  for (unsigned i = 0; i < kOperations && data.remaining_bytes() > 0; i++) {
    act(guest, data);
    if (i % 64 == 63) load_damaged(data, guest.vga);
  }
  guest.vga.display().refresh();
  return 0;
}
