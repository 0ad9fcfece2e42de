// The memory model at the size of a PC: rebuilding its map, and what one access costs.
#include <benchmark/benchmark.h>

#include "base/units.h"
#include "memory/address_space.h"

namespace menura {
namespace {

struct Quiet final : MmioHandler {
  u64 read(Access) override { return 0; }
  void write(Access, u64) override {}
};

// RAM around the hole, 13 PAM segments, VGA, firmware, interrupt controllers, and 32 BARs.
struct PcMap {
  PcMap() {
    root.map(0, below);
    root.map(4 * GiB, above);
    root.map(0, pci, -1);
    for (u64 i = 0; i < 13; i++) {
      pams.emplace_back(new Region(Region::alias("pam", ram, 0xc0000 + i * 0x4000, 0x4000)));
      root.map(0xc0000 + i * 0x4000, *pams.back(), 1);
      if (i % 2) pams.back()->set_readonly(true);
    }
    for (u64 i = 0; i < 32; i++) {
      bars.emplace_back(new Region(Region::mmio("bar", 0x1000, handler)));
      pci.map(0xfe000000 + i * 0x1000, *bars.back(), 1);
    }
    pci.map(0xa0000, vga, 1);
    root.map(0xfec00000, ioapic);
    root.map(0xfee00000, lapic);
  }
  Quiet handler;
  Region root = Region::container("system", Region::kWholeSpace);
  Region ram = Region::ram("pc.ram", RamBlock::create({.size = 64 * MiB}).value());
  Region below = Region::alias("below", ram, 0, 48 * MiB);
  Region above = Region::alias("above", ram, 48 * MiB, 16 * MiB);
  Region pci = Region::container("pci", Region::kWholeSpace);
  Region vga = Region::mmio("vga", 0x20000, handler);
  Region ioapic = Region::mmio("ioapic", 0x1000, handler);
  Region lapic = Region::mmio("lapic", 0x1000, handler);
  std::vector<std::unique_ptr<Region>> pams;
  std::vector<std::unique_ptr<Region>> bars;
  AddressSpace space{"memory", root};
};

void move_bar(benchmark::State& state) {
  PcMap map;
  u64 at = 0;
  for (auto _ : state) map.bars[0]->set_address(0xfd000000 + (at++ % 16) * 0x1000);
  state.counters["ranges"] = static_cast<double>(map.space.view()->ranges().size());
}
BENCHMARK(move_bar);

void load_ram(benchmark::State& state) {
  PcMap map;
  u64 at = 0;
  for (auto _ : state) benchmark::DoNotOptimize(map.space.load({at++ * 64 % (32 * MiB)}, 4));
}
BENCHMARK(load_ram)->ThreadRange(1, 2);

void load_ram_by_view(benchmark::State& state) {
  PcMap map;
  const View view = map.space.view();
  u64 at = 0;
  for (auto _ : state) {
    const GuestAddr addr{at++ * 64 % (32 * MiB)};
    const FlatRange* range = view->find(addr);
    benchmark::DoNotOptimize(range->ram->load<u32>(range->offset_of(addr)));
  }
}
BENCHMARK(load_ram_by_view);

void load_register(benchmark::State& state) {
  PcMap map;
  for (auto _ : state) benchmark::DoNotOptimize(map.space.load({0xfee00020}, 4));
}
BENCHMARK(load_register);

void dma_write_4k(benchmark::State& state) {
  PcMap map;
  const std::vector<std::byte> page(4096);
  for (auto _ : state) benchmark::DoNotOptimize(map.space.dma_write({0x200000}, page));
}
BENCHMARK(dma_write_4k);

}  // namespace
}  // namespace menura
