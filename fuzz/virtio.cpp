// Virtio devices on a PCI bus: a driver of sorts that negotiates, builds rings of its own making and
// rings doorbells, between random accesses to registers and RAM, slow disks, input from the host, and
// loads of damaged states. Nothing may crash or hang, nor reach beyond RAM and disk.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "damaged_state.h"
#include "hw/core/test_machine.h"
#include "hw/pci/pci_bus.h"
#include "hw/scsi/scsi_disk.h"
#include "hw/scsi/test_disk.h"
#include "hw/virtio/virtio_balloon.h"
#include "hw/virtio/virtio_blk.h"
#include "hw/virtio/virtio_pci.h"
#include "hw/virtio/virtio_rng.h"
#include "hw/virtio/virtio_scsi.h"
#include "hw/virtio/virtio_serial.h"

namespace menura {
namespace {

constexpr unsigned kOperations = 300;
constexpr u64 kRamSize = 1 << 20;
constexpr u64 kBars = 0xc000'0000, kBarStep = 0x10000;
constexpr u16 kPorts = 0xc000, kPortStep = 0x200;
// Rings and buffers lie close together, so that they meet.
constexpr u64 kRing = 0x1000;

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

VirtioPciOptions options(bool all) {
  VirtioPciOptions o{.vectors = all ? 4u : 0u};
  o.virtio.packed = o.virtio.in_order = all;
  return o;
}

struct Board {
  Board() {
    for (unsigned n = 0; n < cards.size(); n++) {
      bus.add(*cards[n], PciBus::devfn(n + 1, 0)).value();
      cards[n]->reset(ResetKind::PowerOn);
      cards[n]->config_write(0x10, 4, static_cast<u32>(kPorts + n * kPortStep));
      cards[n]->config_write(0x14, 4, static_cast<u32>(kBars + n * kBarStep + 0x8000));
      cards[n]->config_write(0x20, 4, static_cast<u32>(kBars + n * kBarStep));
      cards[n]->config_write(0x04, 2, 7);
    }
  }
  ~Board() {
    for (auto& card : cards) bus.remove(*card);
  }
  std::unique_ptr<VirtioPci> card(const char* id, std::unique_ptr<VirtioDevice> device, bool all) {
    return std::make_unique<VirtioPci>(id, std::move(device), options(all),
                                       VirtioPciWiring{.time = m.time});
  }

  TestMachine m{kRamSize};
  PciBus bus{
      "pci.0",
      PciRootWiring{
          .memory = m.memory, .io = m.io, .memory_window = m.memory_root, .io_window = m.io_root}};
  SlowDisk disk{256 * 512};
  FickleChardev first, second;
  std::unique_ptr<VirtioSerial> serial_owner = std::make_unique<VirtioSerial>(3u);
  VirtioSerial& serial = *serial_owner;
  std::unique_ptr<VirtioScsi> scsi_owner = std::make_unique<VirtioScsi>(VirtioScsiConfig{});
  VirtioScsi& scsi = *scsi_owner;
  std::vector<std::unique_ptr<VirtioPci>> cards = [this] {
    std::vector<std::unique_ptr<VirtioPci>> made;
    made.push_back(
        card("blk", std::make_unique<VirtioBlk>(disk, VirtioBlkConfig{.queue_size = 8}), true));
    made.push_back(
        card("rng", std::make_unique<VirtioRng>(m.tape, VirtioRngConfig{.max_bytes = 999}), false));
    made.push_back(card("serial", std::move(serial_owner), true));
    made.push_back(card(
        "balloon",
        std::make_unique<VirtioBalloon>(VirtioBalloonConfig{.free_page_reporting = true}, kRamSize,
                                        VirtioBalloon::Wiring{.discard = [](u64, u64) {}}),
        true));
    made.push_back(card("scsi", std::move(scsi_owner), true));
    return made;
  }();
  SlowDisk scsi_medium{64 * 512};
  ScsiDisk scsi_disk{"disk", scsi, {}, scsi_medium};
  VirtioSerialPort console{"console", serial, {.console = true, .number = 0}, &first};
  VirtioSerialPort agent{"agent", serial, {.number = 1, .name = "agent"}, &second};
};

u64 near(FuzzedDataProvider& in) {
  return in.ConsumeIntegralInRange<u64>(0, 15) * kRing + in.ConsumeIntegralInRange<u64>(0, 7) * 16;
}

// Through features, queues and DRIVER_OK, mostly as it should be.
void drive(FuzzedDataProvider& in, Board& board) {
  const u64 bar = kBars + kBarStep * in.ConsumeIntegralInRange<u64>(0, board.cards.size() - 1);
  TestMachine& m = board.m;
  m.write_mem(bar + 0x14, 1, 0);
  m.write_mem(bar + 0x14, 1, 3);
  for (u64 half = 0; half < 2; half++) {
    m.write_mem(bar, 4, half);
    const u64 offered = m.read_mem(bar + 4, 4);
    m.write_mem(bar + 8, 4, half);
    m.write_mem(bar + 12, 4, offered & (in.ConsumeIntegral<u32>() | (half ? 1 : 0)));
  }
  m.write_mem(bar + 0x14, 1, 11);
  for (u16 queue = 0; queue < 5; queue++) {
    m.write_mem(bar + 0x16, 2, queue);
    m.write_mem(bar + 0x18, 2, in.ConsumeBool() ? 4 : in.ConsumeIntegralInRange(0, 9));
    for (const u64 area : {0x20, 0x28, 0x30})
      m.write_mem(bar + area, 8, in.ConsumeBool() ? near(in) : in.ConsumeIntegral<u64>());
    m.write_mem(bar + 0x1a, 2, in.ConsumeIntegralInRange(0, 5));
    m.write_mem(bar + 0x1c, 2, 1);
  }
  m.write_mem(bar + 0x14, 1, 15);
}

void write_descriptor(FuzzedDataProvider& in, Board& board) {
  const u64 at = near(in);
  board.m.write_mem(at, 8, in.ConsumeBool() ? near(in) : in.ConsumeIntegral<u64>());
  board.m.write_mem(at + 8, 4,
                    in.ConsumeBool() ? 16 * in.ConsumeIntegral<u8>() : in.ConsumeIntegral<u32>());
  board.m.write_mem(at + 12, 2, in.ConsumeIntegralInRange(0, 9));
  board.m.write_mem(at + 14, 2,
                    in.ConsumeBool() ? in.ConsumeIntegralInRange(0, 9) : in.ConsumeIntegral<u16>());
}

void host_side(FuzzedDataProvider& in, Board& board) {
  FickleChardev& chardev = in.ConsumeBool() ? board.first : board.second;
  switch (in.ConsumeIntegralInRange(0, 6)) {
    case 0: return chardev.deliver(std::vector<std::byte>(in.ConsumeIntegralInRange(0, 99)));
    case 1:
      chardev.takes = in.ConsumeIntegralInRange<size_t>(0, 9);
      return chardev.sink().writable();
    case 2: return chardev.sink().event(in.ConsumeBool() ? CharEvent::Opened : CharEvent::Closed);
    case 3: board.disk.broken = !board.disk.broken; return;
    case 4:
      if (board.disk.waiting() > 0)
        board.disk.complete(in.ConsumeIntegralInRange<size_t>(0, board.disk.waiting() - 1));
      return;
    case 5:
      for (auto& card : board.cards) card->pause();
      return;
    default:
      for (auto& card : board.cards) card->resume();
  }
}

void operate(FuzzedDataProvider& in, Board& board) {
  TestMachine& m = board.m;
  const u64 n = in.ConsumeIntegralInRange<u64>(0, board.cards.size() - 1);
  const u64 bar = kBars + kBarStep * n;
  const unsigned size = 1u << in.ConsumeIntegralInRange(0, 3);
  switch (in.ConsumeIntegralInRange(0, 10)) {
    case 0: return drive(in, board);
    case 1:
    case 2: return write_descriptor(in, board);
    case 3:
      m.write_mem(near(in) + in.ConsumeIntegralInRange(0, 15), size, in.ConsumeIntegral<u64>());
      return;
    case 4:
    case 5: m.write_mem(bar + 0x3000 + 4 * in.ConsumeIntegralInRange(0, 5), 2, 0); return;
    case 6:
      m.write_mem(bar + in.ConsumeIntegralInRange(0, 0x3f), size, in.ConsumeIntegral<u64>());
      return;
    case 7: {
      const u64 at = bar + 0x1000 * in.ConsumeIntegralInRange(0, 3) + in.ConsumeIntegral<u8>();
      if (in.ConsumeBool()) m.write_mem(at, size, in.ConsumeIntegral<u64>());
      (void)m.read_mem(at, size);
      return;
    }
    case 8: {
      const u16 port = static_cast<u16>(kPorts + n * kPortStep + in.ConsumeIntegralInRange(0, 31));
      if (in.ConsumeBool()) m.io.store({port}, std::min(size, 4u), in.ConsumeIntegral<u32>());
      (void)m.io.load({port}, std::min(size, 4u));
      return;
    }
    case 9: m.step_ns(in.ConsumeIntegralInRange<i64>(0, 2'000'000)); return host_side(in, board);
    default:
      // A machine is saved while it is paused.
      for (auto& card : board.cards) card->pause();
      load_damaged(in, *board.cards[n]);
      for (auto& card : board.cards) card->resume();
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
