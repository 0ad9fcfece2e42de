// What holds for every device, over the PC's chips: reset, wild guests, save and load, hostile
// streams (hw/core/device_conformance.h). PCI functions have theirs beside them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hw/core/device_conformance.h"
#include "hw/display/vga_card.h"
#include "hw/fw_cfg/fw_cfg.h"
#include "hw/ide/ata_disk.h"
#include "hw/ide/atapi_cd.h"
#include "hw/ide/piix3_ide.h"
#include "hw/input/i8042.h"
#include "hw/input/ps2_keyboard.h"
#include "hw/input/ps2_mouse.h"
#include "hw/intc/apic_bus.h"
#include "hw/intc/ioapic.h"
#include "hw/intc/lapic.h"
#include "hw/intc/pic.h"
#include "hw/isa/debug_ports.h"
#include "hw/isa/system_ports.h"
#include "hw/pci/pci_conformance.h"
#include "hw/rtc/cmos.h"
#include "hw/rtc/rtc.h"
#include "hw/serial/uart16550.h"
#include "hw/timer/hpet.h"
#include "hw/timer/pit.h"

namespace menura {
namespace {

using testing::IsEmpty;

// Devices that are one chip to the guest.
class Group final : public Device {
 public:
  explicit Group(std::vector<Device*> members) : Device("group"), members_(std::move(members)) {}
  std::string_view type() const override { return "test-group"; }
  void reset(ResetKind kind) override {
    for (Device* member : members_) member->reset(kind);
  }
  void describe(StateVisitor& v) override {
    for (Device* member : members_) v.field(member->id(), *member);
  }
  Result<void> restored() override {
    for (Device* member : members_) TRY(member->restored());
    return {};
  }

 private:
  std::vector<Device*> members_;
};

// Takes everything and sends nothing.
class QuietChardev final : public Chardev {
 public:
  size_t write(ConstBytes bytes) override { return bytes.size(); }
  void attach(CharSink*) override {}
  void accept_input() override {}
};

class MemoryDisk final : public Disk {
 public:
  explicit MemoryDisk(size_t size) : content_(size, std::byte{0x5a}) {}
  u64 size() const override { return content_.size(); }
  bool read_only() const override { return false; }
  bool medium_present() const override { return true; }
  void submit(DiskRequest request) override {
    const Bytes at = Bytes(content_).subspan(request.offset);
    if (request.op == DiskOp::Read)
      std::copy_n(at.begin(), request.data.size(), request.data.begin());
    if (request.op == DiskOp::Write) std::ranges::copy(request.data, at.begin());
    request.done({});
  }
  void drain() override {}

 private:
  std::vector<std::byte> content_;
};

struct QuietCpu final : CpuInterrupts {
  void set_intr(bool) override {}
  void nmi() override {}
  void smi() override {}
  void init() override {}
  void sipi(u8) override {}
};

struct PicRig final : ConformanceRig {
  PicRig() {
    machine.io_root.map(0x20, pic.master_ports());
    machine.io_root.map(0xa0, pic.slave_ports());
    machine.io_root.map(0x4d0, pic.elcr_ports());
  }
  Device& device() override { return pic; }
  Pic pic{"pic", machine.pin(0)};
};

struct PitRig final : ConformanceRig {
  PitRig() { machine.io_root.map(0x40, pit.ports()); }
  Device& device() override { return pit; }
  Pit pit{"pit", {}, machine.time, {machine.pin(0), machine.pin(1), machine.pin(2)}};
};

struct HpetRig final : ConformanceRig {
  HpetRig() { machine.memory_root.map(0xfed0'0000, hpet.registers(), 1); }
  Device& device() override { return hpet; }
  Hpet hpet{"hpet", {.fsb = true}, machine.time, machine, &machine};
};

struct RtcRig final : ConformanceRig {
  RtcRig() {
    machine.io_root.map(0x70, rtc.ports());
    store_cmos(rtc, {.memory_below_4g = u64{1} << 27});
  }
  Device& device() override { return rtc; }
  std::vector<std::string> battery_backed() override {
    return {".cmos", ".offset_s", ".seen_second"};
  }
  Rtc rtc{"rtc", {.clock = RtcClock::Virtual}, machine.time, machine.tape, machine.pin(8)};
};

struct IoapicRig final : ConformanceRig {
  IoapicRig() { machine.memory_root.map(0xfec0'0000, ioapic.registers(), 1); }
  Device& device() override { return ioapic; }
  Ioapic ioapic{"ioapic", {}, machine};
};

// The local APIC's page and its MSRs, which a vCPU reaches without the memory map, as two regions.
struct LapicRig final : ConformanceRig {
  LapicRig() {
    lapic.connect(cpu);
    machine.memory_root.map(0xfee0'0000, page, 1);
    machine.memory_root.map(0xfef0'0000, msrs, 1);
  }
  Device& device() override { return lapic; }
  u64 read_msr(Access access) {
    u64 value = 0;
    (void)lapic.read_msr(msr_of(access), value);
    return value;
  }
  void write_msr(Access access, u64 value) { (void)lapic.write_msr(msr_of(access), value); }
  static u32 msr_of(Access access) {
    constexpr u32 kOthers[] = {0x1b, 0x6e0};
    const u64 index = access.offset / 8;
    return index < 2 ? kOthers[index] : static_cast<u32>(0x800 + index - 2);
  }
  struct Page final : MmioHandler {
    explicit Page(Lapic& lapic) : lapic_(lapic) {}
    u64 read(Access access) override { return lapic_.read(access); }
    void write(Access access, u64 value) override { lapic_.write(access, value); }
    Lapic& lapic_;
  };
  QuietCpu cpu;
  ApicBus bus;
  Lapic lapic{"lapic", {.bootstrap = true}, bus, machine.time};
  Page page_handler{lapic};
  Region page = Region::mmio("lapic", 0x1000, page_handler);
  Window<LapicRig> msr_window{*this, &LapicRig::read_msr, &LapicRig::write_msr};
  Region msrs = Region::mmio("msrs", 8 * 0x42, msr_window,
                             {.valid_min = 8, .valid_unaligned = false, .handler_max = 8});
};

struct InputRig final : ConformanceRig {
  InputRig() {
    machine.io_root.map(0x60, i8042.data_port());
    machine.io_root.map(0x64, i8042.command_port());
  }
  Device& device() override { return all; }
  Ps2Keyboard keyboard{"keyboard"};
  Ps2Mouse mouse{"mouse"};
  I8042 i8042{"i8042", keyboard, mouse, {machine.pin(1), machine.pin(12), [](bool) {}, [] {}}};
  Group all{{&keyboard, &mouse, &i8042}};
};

struct SerialRig final : ConformanceRig {
  SerialRig() { machine.io_root.map(0x3f8, uart.ports()); }
  Device& device() override { return uart; }
  QuietChardev chardev;
  Uart16550 uart{"com1", machine.time, machine.pin(4), &chardev};
};

struct SystemPortsRig final : ConformanceRig {
  SystemPortsRig() {
    machine.io_root.map(0x61, ports.port61());
    machine.io_root.map(0x92, ports.port92());
    machine.io_root.map(0x80, ports.port80());
  }
  Device& device() override { return ports; }
  SystemPorts ports{"ports",
                    machine.time,
                    {.set_gate2 = [](bool) {},
                     .out2 = [] { return false; },
                     .set_a20 = [](bool) {},
                     .reset = [] {}}};
};

struct DebugRig final : ConformanceRig {
  DebugRig() {
    machine.io_root.map(0x402, console.ports());
    machine.io_root.map(0xf4, exit.ports());
  }
  Device& device() override { return all; }
  QuietChardev chardev;
  DebugConsole console{"debugcon", 0xe9, chardev};
  DebugExit exit{"exit", 4, [](int) {}};
  Group all{{&console, &exit}};
};

struct FwCfgRig final : ConformanceRig {
  FwCfgRig() {
    machine.io_root.map(0x510, fw_cfg.control_ports());
    machine.io_root.map(0x514, fw_cfg.dma_ports());
    (void)fw_cfg.add_file("etc/a", std::vector<std::byte>(100));
    (void)fw_cfg.add_writable_file("etc/b", std::vector<std::byte>(10), [](ConstBytes) {});
  }
  Device& device() override { return fw_cfg; }
  FwCfg fw_cfg{"fw_cfg", machine.memory};
};

struct IdeRig final : PciConformanceRig {
  IdeRig() {
    ide.channel(0).plug(0, disk);
    ide.channel(1).plug(0, cd);
    plug(ide, PciBus::devfn(1, 1));
  }
  Device& device() override { return all; }
  void program() override {
    PciConformanceRig::program();
    ide.config_write(0x40, 4, 0x8000'8000);
  }
  MemoryDisk image{2048 * 512};
  MemoryDisk cd_image{64 * 2048};
  AtaDisk disk{"disk", image, {}};
  AtapiCd cd{"cd", cd_image, {}};
  Piix3Ide ide{"ide", {machine.pin(14), machine.pin(15)}, machine.io_root};
  Group all{{&ide, &disk, &cd}};
};

// Video memory is RAM and saved as such; here it must move with the card.
struct VideoMemory final : Device {
  VideoMemory() : Device("vram") {}
  std::string_view type() const override { return "vram"; }
  void reset(ResetKind) override { block->fill(0, block->size(), std::byte{0}); }
  void describe(StateVisitor& v) override {
    std::vector<std::byte> bytes(block->size());
    block->read(0, bytes);
    v.field("bytes", bytes);
    if (!v.loading()) return;
    bytes.resize(block->size());
    block->write(0, bytes);
  }
  std::shared_ptr<RamBlock> block = RamBlock::create({.size = 64 * 1024}).value();
};

struct VgaRig final : PciConformanceRig {
  VgaRig() { plug(vga, PciBus::devfn(2, 0)); }
  Device& device() override { return all; }
  VideoMemory memory;
  Displays displays;
  VgaCard vga{"vga",
              {},
              {machine.io_root, machine.memory_root, machine.time, displays, {}},
              memory.block,
              nullptr};
  Group all{{&vga, &memory}};
};

template <class Rig>
struct Conformance : testing::Test {};
using Rigs = testing::Types<PicRig, PitRig, HpetRig, RtcRig, IoapicRig, LapicRig, InputRig,
                            SerialRig, SystemPortsRig, DebugRig, FwCfgRig, IdeRig, VgaRig>;
TYPED_TEST_SUITE(Conformance, Rigs);

TYPED_TEST(Conformance, ResetWildGuestAndTwin) {
  EXPECT_THAT(conformance_problems<TypeParam>(), IsEmpty());
}

TYPED_TEST(Conformance, HostileStates) { survive_hostile_states<TypeParam>(); }

}  // namespace
}  // namespace menura
