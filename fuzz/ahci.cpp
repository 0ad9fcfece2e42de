// An AHCI controller with a disk and a CD drive: random registers, command lists, tables and packets
// in RAM, slow and broken disks, resets in between, loads of damaged states.
#include "hw/ide/ahci.h"

#include <fuzzer/FuzzedDataProvider.h>

#include "damaged_state.h"
#include "hw/core/test_machine.h"
#include "hw/ide/ata_disk.h"
#include "hw/ide/atapi_cd.h"
#include "hw/pci/pci_bus.h"
#include "io/memory_disk.h"

namespace menura {
namespace {

constexpr unsigned kOperations = 200;
constexpr u64 kRamSize = 1 << 20;
constexpr u64 kAbar = 0xfebf'0000;
constexpr u64 kList = 0x1000, kReceived = 0x2000, kTable = 0x3000;

struct Board {
  Board() {
    image.immediate = cd_image.immediate = false;
    ahci.port(0).plug(0, disk);
    ahci.port(1).plug(0, cd);
    bus.add(ahci, PciBus::devfn(3, 0)).value();
    for (Device* device : devices()) device->reset(ResetKind::PowerOn);
    ahci.config_write(0x24, 4, kAbar);
    ahci.config_write(0x04, 2, 0x0006);
    m.write_mem(kAbar + 4, 4, 0x8000'0002);
    for (unsigned port = 0; port < 2; port++) {
      reg(port, 0x00, kList);
      reg(port, 0x08, kReceived);
      reg(port, 0x14, ~0u);
      reg(port, 0x18, 0x11);
    }
  }
  ~Board() { bus.remove(ahci); }
  void reg(unsigned port, u64 at, u32 value) {
    m.write_mem(kAbar + 0x100 + 0x80 * port + at, 4, value);
  }
  std::array<Device*, 3> devices() { return {&ahci, &disk, &cd}; }

  TestMachine m{kRamSize};
  MemoryDisk image{600 * 512}, cd_image{80 * 2048};
  AtaDisk disk{"disk", image, {}};
  AtapiCd cd{"cd", cd_image, {}};
  Ahci ahci{"ahci", "ide"};
  PciBus bus{"pci.0",
             {.memory = m.memory,
              .io = m.io,
              .memory_window = m.memory_root,
              .io_window = m.io_root,
              .intx = &m,
              .msi = &m}};
};

// A command as a driver gives it: header, FIS, packet, regions; each field may be anything.
void give_command(FuzzedDataProvider& in, Board& board) {
  const unsigned slot = in.ConsumeIntegralInRange(0u, 3u);
  const unsigned regions = in.ConsumeIntegralInRange(0u, 5u);
  const bool atapi = in.ConsumeBool();
  board.m.ram->store<u32>(kList + 32 * slot, regions << 16 | (atapi ? 0x20 : 0) | 5);
  board.m.ram->store<u64>(kList + 32 * slot + 8,
                          in.ConsumeIntegralInRange(0, 15) ? kTable : in.ConsumeIntegral<u64>());
  constexpr u8 kCodes[] = {0x60, 0x61, 0x25, 0x35, 0x20, 0x30, 0xec, 0xa0, 0xa1, 0x2f, 0x06, 0xea};
  for (u64 i = 0; i < 20; i++)
    board.m.ram->store<u8>(kTable + i, in.ConsumeBool() ? 0 : in.ConsumeIntegral<u8>());
  board.m.ram->store<u16>(kTable, in.ConsumeIntegralInRange(0, 7) ? 0x8027 : 0x0027);
  board.m.ram->store<u8>(kTable + 2, in.PickValueInArray(kCodes));
  for (u64 i = 0; i < 16; i++) board.m.ram->store<u8>(kTable + 0x40 + i, in.ConsumeIntegral<u8>());
  for (u64 i = 0; i < regions; i++) {
    board.m.ram->store<u64>(kTable + 0x80 + 16 * i, in.ConsumeIntegral<u32>() & 0xf'ffff);
    board.m.ram->store<u32>(kTable + 0x8c + 16 * i, in.ConsumeIntegral<u16>());
  }
  const unsigned port = in.ConsumeIntegralInRange(0u, 1u);
  board.reg(port, 0x34, u32{1} << slot);
  board.reg(port, 0x38, u32{1} << slot);
}

void operate(FuzzedDataProvider& in, Board& board) {
  MemoryDisk& disk = in.ConsumeBool() ? board.image : board.cd_image;
  switch (in.ConsumeIntegralInRange(0, 9)) {
    case 0:
      return board.m.write_mem(kAbar + in.ConsumeIntegralInRange<u64>(0, 0x1ff),
                               in.PickValueInArray<unsigned>({1, 2, 4, 8}),
                               in.ConsumeIntegral<u64>());
    case 1: (void)board.m.read_mem(kAbar + in.ConsumeIntegralInRange<u64>(0, 0xfff), 4); return;
    case 2: return disk.pump();
    case 3: disk.broken = !disk.broken; return;
    case 4: return load_damaged(in, *board.devices()[in.ConsumeIntegralInRange(0, 2)]);
    case 5:
      board.reg(in.ConsumeIntegralInRange(0u, 1u), 0x18, in.ConsumeBool() ? 0x11 : 0x10);
      return;
    case 6:
      for (Device* device : board.devices()) device->pause();
      return;
    default: return give_command(in, board);
  }
}

}  // namespace
}  // namespace menura

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace menura;
  FuzzedDataProvider in(data, size);
  Board board;
  for (unsigned i = 0; i < kOperations && in.remaining_bytes() > 0; i++) operate(in, board);
  return 0;
}
