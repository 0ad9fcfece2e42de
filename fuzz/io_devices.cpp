// The PC's IDE interface with a disk and a CD drive, its firmware channel, serial port and keyboard
// controller: random accesses and commands, descriptors in RAM, host input, slow disks, and loads of
// damaged states. Nothing may crash or hang, nor reach beyond a medium.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <deque>

#include "damaged_state.h"
#include "hw/core/test_machine.h"
#include "hw/fw_cfg/fw_cfg.h"
#include "hw/ide/ata_disk.h"
#include "hw/ide/atapi_cd.h"
#include "hw/ide/piix3_ide.h"
#include "hw/input/i8042.h"
#include "hw/input/ps2_keyboard.h"
#include "hw/input/ps2_mouse.h"
#include "hw/pci/pci_bus.h"
#include "hw/serial/uart16550.h"

namespace menura {
namespace {

constexpr unsigned kOperations = 300;
constexpr u64 kRamSize = 1 << 20;
constexpr u16 kBusMaster = 0xc000;

// Completes when told to, never inside submit(), as io/disk.h promises.
class SlowDisk final : public Disk {
 public:
  SlowDisk(size_t size, bool read_only) : content_(size), read_only_(read_only) {}
  u64 size() const override { return content_.size(); }
  bool read_only() const override { return read_only_; }
  bool medium_present() const override { return present; }
  void submit(DiskRequest request) override {
    const bool moves = request.op == DiskOp::Read || request.op == DiskOp::Write;
    const u64 length = moves ? request.data.size() : request.length;
    ensure(request.op == DiskOp::Flush ||
               (length > 0 && request.offset <= size() && length <= size() - request.offset),
           "requests lie on the medium");
    ensure(!read_only_ || request.op == DiskOp::Read || request.op == DiskOp::Flush,
           "a read-only medium is not written");
    waiting_.push_back(std::move(request));
  }
  bool complete_one() {
    if (waiting_.empty()) return false;
    const DiskRequest request = std::move(waiting_.front());
    waiting_.pop_front();
    const Bytes at = Bytes(content_).subspan(request.offset);
    if (request.op == DiskOp::Read)
      std::copy_n(at.begin(), request.data.size(), request.data.begin());
    if (request.op == DiskOp::Write) std::ranges::copy(request.data, at.begin());
    request.done(broken ? Result<void>(fail(Errc::Io, "Broken on purpose")) : Result<void>());
    return true;
  }
  void drain() override {
    while (complete_one()) {}
  }
  bool present = true, broken = false;

 private:
  std::vector<std::byte> content_;
  bool read_only_;
  std::deque<DiskRequest> waiting_;
};

// Takes as much as it is told to.
class FickleChardev final : public Chardev {
 public:
  size_t write(ConstBytes bytes) override { return std::min(bytes.size(), takes); }
  void attach(CharSink* sink) override { sink_ = sink; }
  void accept_input() override {}
  void deliver(std::vector<std::byte> bytes) {
    bytes.resize(std::min(bytes.size(), sink_->room()));
    if (!bytes.empty()) sink_->receive(bytes);
  }
  CharSink& sink() { return *sink_; }
  size_t takes = ~size_t{0};

 private:
  CharSink* sink_ = nullptr;
};

struct Board {
  Board() {
    ide.channel(0).plug(0, disk);
    ide.channel(0).plug(1, second);
    ide.channel(1).plug(0, cd);
    bus.add(ide, PciBus::devfn(1, 1)).value();
    m.io_root.map(0x510, fw_cfg.control_ports());
    m.io_root.map(0x514, fw_cfg.dma_ports());
    m.io_root.map(0x3f8, uart.ports());
    m.io_root.map(0x60, i8042.data_port());
    m.io_root.map(0x64, i8042.command_port());
    (void)fw_cfg.add_file("etc/table", std::vector<std::byte>(300));
    (void)fw_cfg.add_writable_file("etc/answer", std::vector<std::byte>(20), [](ConstBytes) {});
    for (Device* device : devices()) device->reset(ResetKind::PowerOn);
    ide.config_write(0x40, 4, 0x8000'8000);
    ide.config_write(0x20, 4, kBusMaster);
    ide.config_write(0x04, 2, 0x0005);
  }
  std::vector<Device*> devices() {
    return {&ide, &disk, &second, &cd, &fw_cfg, &uart, &keyboard, &mouse, &i8042};
  }

  TestMachine m{kRamSize};
  SlowDisk image{600 * 512, false}, second_image{64 * 512 + 100, true}, cd_image{80 * 2048, true};
  AtaDisk disk{"disk", image, {}}, second{"second", second_image, {}};
  AtapiCd cd{"cd", cd_image, {}};
  Piix3Ide ide{"ide", {m.pin(14), m.pin(15)}, m.io_root};
  PciBus bus{
      "pci.0",
      PciRootWiring{
          .memory = m.memory, .io = m.io, .memory_window = m.memory_root, .io_window = m.io_root}};
  FwCfg fw_cfg{"fw_cfg", m.memory};
  FickleChardev chardev;
  Uart16550 uart{"com1", m.time, m.pin(4), &chardev};
  Ps2Keyboard keyboard{"keyboard"};
  Ps2Mouse mouse{"mouse"};
  I8042 i8042{"i8042", keyboard, mouse, {m.pin(1), m.pin(12), [](bool) {}, [] {}}};
};

u16 pick_port(FuzzedDataProvider& in) {
  constexpr u16 kFirst[] = {0x1f0, 0x170, 0x3f6, 0x376, kBusMaster, 0x510, 0x3f8, 0x60, 0x64};
  return static_cast<u16>(in.PickValueInArray(kFirst) + in.ConsumeIntegralInRange(0, 15));
}

u32 ram_address(FuzzedDataProvider& in) {
  return in.ConsumeBool() ? in.ConsumeIntegralInRange<u32>(0, 0x40) * 0x100
                          : in.ConsumeIntegral<u32>();
}

// A command as a driver gives it: task file, code, and for ATAPI a packet.
void give_command(FuzzedDataProvider& in, Board& board) {
  const u16 base = in.ConsumeBool() ? 0x1f0 : 0x170;
  const u16 device = static_cast<u16>(base + 6), code = static_cast<u16>(base + 7);
  board.m.out8(device, static_cast<u8>(0xe0 | in.ConsumeIntegralInRange(0, 1) << 4));
  for (u16 reg = 1; reg <= 5; reg++) {
    if (in.ConsumeBool()) board.m.out8(static_cast<u16>(base + reg), 0);
    board.m.out8(static_cast<u16>(base + reg), in.ConsumeIntegralInRange<u8>(0, 3));
  }
  if (base == 0x1f0 || in.ConsumeBool()) return board.m.out8(code, in.ConsumeIntegral<u8>());
  board.m.out8(code, 0xa0);
  constexpr u16 kOpcodes[] = {0x00, 0x03, 0x12, 0x25, 0x28, 0x2b, 0x43, 0x46,
                              0x4a, 0x51, 0x5a, 0xa8, 0xbd, 0xbe, 0x1b, 0x1e};
  board.m.out16(base, in.PickValueInArray(kOpcodes));
  for (int i = 0; i < 5; i++) board.m.out16(base, in.ConsumeBool() ? 0 : in.ConsumeIntegral<u16>());
}

// A descriptor table somewhere, and the bus master started on it.
void start_dma(FuzzedDataProvider& in, Board& board) {
  const u32 table = ram_address(in) & ~u32{3};
  for (unsigned i = in.ConsumeIntegralInRange(0u, 4u); i > 0; i--) {
    const u64 length = in.ConsumeIntegral<u16>() & (in.ConsumeBool() ? 0xfe00 : 0xffff);
    const u64 end = in.ConsumeBool() ? 0x8000'0000 : 0;
    board.m.write_mem(table + 8 * (i - 1), 8, (end | length) << 32 | ram_address(in));
  }
  const u16 base = in.ConsumeBool() ? kBusMaster : kBusMaster + 8;
  board.m.out8(base, 0);
  board.m.out32(static_cast<u16>(base + 4), table);
  board.m.out8(base, in.ConsumeBool() ? 0x09 : 0x01);
}

void firmware_dma(FuzzedDataProvider& in, Board& board) {
  const u32 at = ram_address(in);
  std::array<std::byte, 16> descriptor{};
  const u32 key = in.PickValueInArray<u32>({0, 1, 0x19, 0x20, 0x21, 0xffff});
  store_be(Bytes(descriptor), 0, key << 16 | in.ConsumeIntegralInRange<u32>(0, 31));
  store_be(Bytes(descriptor), 4, in.ConsumeBool() ? in.ConsumeIntegral<u32>() : key);
  store_be(Bytes(descriptor), 8, u64{ram_address(in)});
  (void)board.m.memory.write({at}, descriptor);
  board.m.out32(0x514, 0);
  board.m.out32(0x518, __builtin_bswap32(at));
}

void host_side(FuzzedDataProvider& in, Board& board) {
  switch (in.ConsumeIntegralInRange(0, 6)) {
    case 0: {
      const std::vector<u8> text = in.ConsumeBytes<u8>(in.ConsumeIntegralInRange<size_t>(0, 40));
      const ConstBytes bytes = std::as_bytes(std::span(text));
      return board.chardev.deliver({bytes.begin(), bytes.end()});
    }
    case 1:
      board.chardev.takes = in.ConsumeIntegralInRange<size_t>(0, 3);
      return board.chardev.sink().writable();
    case 2:
      return board.chardev.sink().event(static_cast<CharEvent>(in.ConsumeIntegralInRange(0, 4)));
    case 3: board.image.broken = !board.image.broken; return;
    case 4: board.cd_image.present = !board.cd_image.present; return;
    case 5:
      for (SlowDisk* each : {&board.image, &board.second_image, &board.cd_image})
        (void)each->complete_one();
      return;
    case 6:
      for (Device* device : board.devices()) device->pause();
      return;
  }
}

void operate(FuzzedDataProvider& in, Board& board) {
  TestMachine& m = board.m;
  const unsigned size = 1u << in.ConsumeIntegralInRange(0, 2);
  switch (in.ConsumeIntegralInRange(0, 10)) {
    case 0:
    case 1: m.io.store({pick_port(in)}, size, in.ConsumeIntegral<u32>()); break;
    case 2: m.io.load({pick_port(in)}, size); break;
    case 3: {
      const u16 port = in.ConsumeBool() ? 0x1f0 : 0x170;
      for (int i = in.ConsumeIntegralInRange(0, 600); i > 0; i--) m.in32(port);
      break;
    }
    case 4: {
      const u16 port = in.ConsumeBool() ? 0x1f0 : 0x170;
      for (int i = in.ConsumeIntegralInRange(0, 600); i > 0; i--) m.out32(port, 0x10001);
      break;
    }
    case 5: give_command(in, board); break;
    case 6: start_dma(in, board); break;
    case 7: firmware_dma(in, board); break;
    case 8: host_side(in, board); break;
    case 9: m.step_ns(in.ConsumeIntegralInRange<i64>(0, 2'000'000)); break;
    case 10: {
      // A machine is saved while it is paused.
      for (Device* device : board.devices()) device->pause();
      load_damaged(in, *board.devices()[in.ConsumeIntegralInRange<size_t>(0, 8)]);
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
