// Memory slots, dirty pages, doorbells and queued writes.

#include <sys/eventfd.h>

#include <atomic>
#include <bit>
#include <set>
#include <thread>

#include "accel/kvm/kvm_test_machine.h"
#include "accel/vcpu_thread.h"

namespace menura {
namespace {

using Write = RecordingHandler::Write;

constexpr u16 kEnd = KvmTestMachine::kPorts + 15;

// Views of a tree, without any accelerator.
class Planner {
 public:
  std::vector<KvmSlot> plan() const { return plan_slots(*space.view()); }
  std::shared_ptr<RamBlock> block = RamBlock::create({.name = "block", .size = 64 * KiB}).value();
  Region root = Region::container("root", Region::kWholeSpace);
  AddressSpace space{"planner", root};
};

TEST(KvmSlotPlan, NeighboursOnOneBlockMerge) {
  Planner p;
  Region ram = Region::ram("ram", p.block);
  Region low = Region::alias("low", ram, 0, 0x3000);
  Region high = Region::alias("high", ram, 0x3000, 0xd000);
  p.root.map(0x10000, low);
  p.root.map(0x13000, high);
  ASSERT_EQ(p.plan().size(), 1u);
  EXPECT_EQ(p.plan()[0].guest, 0x10000u);
  EXPECT_EQ(p.plan()[0].size, 0x10000u);
  high.set_readonly(true);
  ASSERT_EQ(p.plan().size(), 2u);
  EXPECT_FALSE(p.plan()[0].readonly);
  EXPECT_TRUE(p.plan()[1].readonly);
  EXPECT_EQ(p.plan()[1].offset, 0x3000u);
  high.set_readonly(false);
  high.set_alias_offset(0x2000);  // adjacent for the guest only
  EXPECT_EQ(p.plan().size(), 2u);
  p.root.unmap(low);
  p.root.unmap(high);
}

TEST(KvmSlotPlan, PartsOfPagesAreLeftToTheDispatch) {
  Planner p;
  RecordingHandler device;
  Region ram = Region::ram("ram", p.block);
  Region hole = Region::mmio("hole", 0x10, device);
  p.root.map(0, ram);
  p.root.map(0x2800, hole, 1);  // in the middle of page 2
  const std::vector<KvmSlot> slots = p.plan();
  ASSERT_EQ(slots.size(), 2u);
  EXPECT_EQ(slots[0].guest, 0u);
  EXPECT_EQ(slots[0].size, 0x2000u);
  EXPECT_EQ(slots[1].guest, 0x3000u);
  EXPECT_EQ(slots[1].offset, 0x3000u);
  EXPECT_EQ(slots[1].size, 0xd000u);
  p.root.unmap(hole);
  p.root.unmap(ram);
  Region crooked = Region::alias("crooked", ram, 0x800, 0x4000);  // pages do not coincide
  p.root.map(0x1000, crooked);
  EXPECT_TRUE(p.plan().empty());
  Region tiny = Region::alias("tiny", ram, 0x100, 0x200);
  p.root.unmap(crooked);
  p.root.map(0x100, tiny);
  EXPECT_TRUE(p.plan().empty());
  p.root.unmap(tiny);
}

class KvmMemory : public ::testing::Test {
 protected:
  void SetUp() override { MENURA_NEEDS_KVM(); }
  static KvmOptions split() { return {.irqchip = IrqchipMode::Split}; }
};

// Stores r15 into `pages` pages from kData on, `step` pages apart.
void write_pages(KvmPayload& code, u32 pages, u32 step) {
  code.mov(code.rbx, KvmLayout::kData);
  code.mov(code.ecx, pages);
  code.L("next");
  code.mov(code.qword[code.rbx], code.r15);
  code.add(code.rbx, static_cast<u32>(step * kPageSize));
  code.dec(code.ecx);
  code.jnz("next");
  code.out8(kEnd, 1);
}

std::set<u64> dirty_pages(KvmTestMachine& m) {
  const MachineLock::Guard guard(m.lock);
  m.accel().sync_dirty();
  const std::vector<u64> bitmap =
      m.ram->take_dirty(DirtyClient::Migration, 0, KvmTestMachine::kRamSize);
  std::set<u64> pages;
  for (size_t i = 0; i < bitmap.size() * 64; i++)
    if (bitmap[i / 64] >> (i % 64) & 1) pages.insert(i);
  return pages;
}

void expect_logged(const KvmOptions& options, u32 pages, bool ring_fills) {
  KvmTestMachine m(options);
  ASSERT_TRUE(m.ok()) << m.error();
  {
    const MachineLock::Guard guard(m.lock);
    m.ram_region().track_dirty(DirtyClient::Migration, true);
  }
  KvmPayload code;
  write_pages(code, pages, 2);
  m.load(code);
  KvmVcpu& cpu = m.add_cpu();
  m.enter(cpu, Ring::User);
  (void)dirty_pages(m);  // what the loading wrote
  for (int round = 0; round < 2; round++) {
    x86::State state;
    cpu.get(state);
    state.rip = KvmLayout::kCode;
    cpu.set(state);
    ASSERT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
    const std::set<u64> dirty = dirty_pages(m);
    const u64 first = KvmLayout::kData / kPageSize;
    for (u64 i = 0; i < pages; i++) {
      EXPECT_TRUE(dirty.contains(first + 2 * i)) << i;
      EXPECT_FALSE(dirty.contains(first + 2 * i + 1)) << i;
    }
    // Page tables may be among them (accessed bits) and the code that a shadowing KVM maps writable.
    for (const u64 page : dirty) EXPECT_TRUE(page >= first || page <= 0x20) << page;
    EXPECT_TRUE(dirty_pages(m).empty());  // taken means clean
  }
  if (ring_fills) {
    EXPECT_GT(cpu.exit_count(KVM_EXIT_DIRTY_RING_FULL), 0u);
  }
  const MachineLock::Guard guard(m.lock);
  m.ram_region().track_dirty(DirtyClient::Migration, false);
  EXPECT_FALSE(m.accel().info().slots[0].dirty_log);
}

TEST_F(KvmMemory, DirtyBitmap) { expect_logged(split(), 100, false); }
TEST_F(KvmMemory, DirtyBitmapWithoutChips) {
  expect_logged({.irqchip = IrqchipMode::User}, 3, false);
}
TEST_F(KvmMemory, DirtyRing) {
  expect_logged({.irqchip = IrqchipMode::Split, .dirty_ring = 4096}, 100, false);
}
TEST_F(KvmMemory, DirtyRingThatFillsUp) {
  expect_logged({.irqchip = IrqchipMode::Kernel, .dirty_ring = 1024}, 1900, true);
}

TEST_F(KvmMemory, PagesWrittenBeforeASlotGoesAreNotLost) {
  for (const u32 ring : {0u, 4096u}) {
    KvmTestMachine m({.irqchip = IrqchipMode::Split, .dirty_ring = ring});
    ASSERT_TRUE(m.ok()) << m.error();
    KvmPayload code;
    write_pages(code, 5, 1);
    m.load(code);
    KvmVcpu& cpu = m.add_cpu();
    m.enter(cpu, Ring::User);
    {
      const MachineLock::Guard guard(m.lock);
      m.ram_region().track_dirty(DirtyClient::Migration, true);
    }
    ASSERT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
    const MachineLock::Guard guard(m.lock);
    m.memory_root.unmap(m.ram_region());
    EXPECT_TRUE(m.ram->is_dirty(DirtyClient::Migration, KvmLayout::kData + 4 * kPageSize));
    EXPECT_FALSE(m.ram->is_dirty(DirtyClient::Migration, KvmLayout::kData + 5 * kPageSize));
    m.memory_root.map(0, m.ram_region());
    m.ram_region().track_dirty(DirtyClient::Migration, false);
  }
}

TEST_F(KvmMemory, RomIsReadDirectlyAndWritesGoToItsHandler) {
  KvmTestMachine m(split());
  ASSERT_TRUE(m.ok()) << m.error();
  auto block = RamBlock::create({.name = "flash", .size = 64 * KiB}).value();
  block->store<u64>(0x100, 0x1234'5678'9abc'def0);
  RecordingHandler handler;
  handler.answers = {0x77};
  Region flash = Region::rom_device("flash", block, handler);
  Region rom = Region::rom("rom", block);
  {
    const MachineLock::Guard guard(m.lock);
    m.memory_root.map(0x8000'0000, flash);
    m.memory_root.map(0x9000'0000, rom);
  }
  KvmPayload code;
  code.mov(code.rbx, 0x8000'0000);
  code.mov(code.rsi, code.qword[code.rbx + 0x100]);
  code.mov(code.dword[code.rbx + 0x104], 0xaabb);
  code.mov(code.rbx, 0x9000'0000);
  code.mov(code.rdi, code.qword[code.rbx + 0x100]);
  code.mov(code.qword[code.rbx + 0x100], code.rbx);
  code.mov(code.r8, code.qword[code.rbx + 0x100]);
  code.out8(kEnd, 1);
  code.mov(code.rbx, 0x8000'0000);
  code.mov(code.r9, code.qword[code.rbx + 0x100]);
  code.out8(kEnd, 1);
  m.load(code);
  KvmVcpu& cpu = m.add_cpu();
  m.enter(cpu, Ring::User);
  ASSERT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  x86::State state;
  cpu.get(state);
  EXPECT_EQ(state.gpr[x86::Rsi], 0x1234'5678'9abc'def0u);
  EXPECT_EQ(state.gpr[x86::Rdi], 0x1234'5678'9abc'def0u);
  EXPECT_EQ(state.gpr[x86::R8], 0x1234'5678'9abc'def0u);  // dropped
  EXPECT_EQ(handler.writes, (std::vector<Write>{{0x104, 4, 0xaabb}}));
  EXPECT_TRUE(handler.reads.empty());
  {
    const MachineLock::Guard guard(m.lock);
    flash.set_direct_reads(false);  // as in a command mode
  }
  ASSERT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  cpu.get(state);
  EXPECT_EQ(state.gpr[x86::R9] & 0xffff'ffff, 0x77u);
  const MachineLock::Guard guard(m.lock);
  m.memory_root.unmap(flash);
  m.memory_root.unmap(rom);
}

// A guest runs from RAM whose slots are split and joined under it, by another thread and by itself.
TEST_F(KvmMemory, SlotsChangeUnderARunningGuest) {
  KvmTestMachine m(split());
  ASSERT_TRUE(m.ok()) << m.error();
  Region shadow = Region::alias("shadow", m.ram_region(), 0x40000, 0x4000);
  {
    const MachineLock::Guard guard(m.lock);
    m.memory_root.map(0x40000, shadow, 1);
  }
  KvmPayload code;
  code.mov(code.rbx, KvmLayout::kData);
  code.L("spin");
  code.inc(code.rax);
  code.mov(code.qword[code.rbx], code.rax);
  code.mov(code.qword[code.rbx + 0x40000 - KvmLayout::kData], code.rax);
  code.jmp("spin");
  m.load(code);
  std::atomic<bool> failed = false;
  auto cpu = VcpuThread::start(
      m.accel(), m.lock, {.name = "CPU 0/KVM", .vcpu = {}, .on_exit = [&](VcpuThread& c, Exit) {
                            ADD_FAILURE() << c.vcpu().failure();
                            failed = true;
                          }});
  ASSERT_TRUE(cpu.ok()) << cpu.error().text;
  x86::State state;
  (*cpu)->vcpu().get(state);
  (*cpu)->vcpu().set(KvmTestMachine::long_mode(Ring::User, state));
  (*cpu)->resume();
  for (int i = 0; i < 200 && !failed; i++) {
    {
      const MachineLock::Guard guard(m.lock);
      shadow.set_readonly(i % 2 == 0);
      EXPECT_EQ(m.accel().info().slots.size(), i % 2 == 0 ? 3u : 1u);
    }
    const u64 before = m.ram->load<u64>(KvmLayout::kData);
    for (int ms = 0; ms < 5000 && m.ram->load<u64>(KvmLayout::kData) == before && !failed; ms++)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_NE(m.ram->load<u64>(KvmLayout::kData), before) << i;
  }
  cpu->reset();
  EXPECT_FALSE(m.accel().vm().failed());
  const MachineLock::Guard guard(m.lock);
  m.memory_root.unmap(shadow);
}

TEST_F(KvmMemory, RamComesAndGoesAtRunTime) {
  KvmTestMachine m(split());
  auto block = RamBlock::create({.name = "dimm", .size = 2 * MiB}).value();
  Region dimm = Region::ram("dimm", block);
  KvmPayload code;
  code.mov(code.rbx, 0x5000'0000);
  code.mov(code.rsi, code.qword[code.rbx]);
  code.mov(code.qword[code.rbx + 8], code.rsi);
  code.out8(kEnd, 1);
  code.mov(code.rsi, code.qword[code.rbx]);
  code.out8(kEnd, 1);
  m.load(code);
  KvmVcpu& cpu = m.add_cpu();
  m.enter(cpu, Ring::User);
  block->store<u64>(0, 42);
  {
    const MachineLock::Guard guard(m.lock);
    m.memory_root.map(0x5000'0000, dimm);
  }
  ASSERT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  EXPECT_EQ(block->load<u64>(8), 42u);
  {
    const MachineLock::Guard guard(m.lock);
    m.memory_root.unmap(dimm);
  }
  ASSERT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  x86::State state;
  cpu.get(state);
  EXPECT_EQ(state.gpr[x86::Rsi], ~u64{0});
}

TEST_F(KvmMemory, DoorbellsRingWithoutAnExit) {
  for (const Ring ring : {Ring::Kernel, Ring::User}) {
    KvmTestMachine m(split());
    ASSERT_TRUE(m.ok()) << m.error();
    const UniqueFd any = make_eventfd().value(), matching = make_eventfd().value(),
                   port = make_eventfd().value();
    {
      const MachineLock::Guard guard(m.lock);
      m.device_region().add_io_event({.offset = 0x100, .size = 0, .value = {}, .fd = any.get()});
      m.device_region().add_io_event(
          {.offset = 0x200, .size = 4, .value = 7, .fd = matching.get()});
      m.port_region().add_io_event({.offset = 4, .size = 2, .value = {}, .fd = port.get()});
    }
    EXPECT_EQ(m.accel().info().doorbells, 3u);
    KvmPayload code;
    code.mov(code.rbx, KvmTestMachine::kMmio);
    code.mov(code.dword[code.rbx + 0x100], 1);
    code.mov(code.word[code.rbx + 0x100], 2);
    code.mov(code.dword[code.rbx + 0x200], 7);
    code.mov(code.dword[code.rbx + 0x200], 8);  // no match: to the device
    code.mov(code.dx, KvmTestMachine::kPorts + 4);
    code.mov(code.eax, 5);
    code.out_(code.dx, code.ax);
    code.out8(kEnd, 1);
    m.load(code);
    KvmVcpu& cpu = m.add_cpu();
    m.enter(cpu, ring);
    ASSERT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
    const auto count = [](const UniqueFd& fd) {
      eventfd_t value = 0;
      return eventfd_read(fd.get(), &value) == 0 ? value : 0;
    };
    EXPECT_EQ(count(any), 2u);
    EXPECT_EQ(count(matching), 1u);
    EXPECT_EQ(count(port), 1u);
    EXPECT_EQ(m.device.writes, (std::vector<Write>{{0x200, 4, 8}}));
    EXPECT_EQ(cpu.exit_count(KVM_EXIT_MMIO), 1u);
    EXPECT_EQ(cpu.exit_count(KVM_EXIT_IO), 1u);  // the end
    const MachineLock::Guard guard(m.lock);
    m.device_region().remove_io_event({.offset = 0x100, .size = 0, .value = {}, .fd = any.get()});
    EXPECT_EQ(m.accel().info().doorbells, 2u);
  }
}

TEST_F(KvmMemory, QueuedWritesArriveInOrderBeforeTheNextAccess) {
  KvmTestMachine m(split());
  ASSERT_TRUE(m.ok()) << m.error();
  {
    const MachineLock::Guard guard(m.lock);
    m.device_region().add_coalesced(0x1000, 0x1000);
    m.port_region().add_coalesced(8, 2);
  }
  KvmPayload code;
  code.mov(code.rbx, KvmTestMachine::kMmio + 0x1000);
  for (u32 i = 0; i < 10; i++) code.mov(code.dword[code.rbx + 4 * i], i);
  code.mov(code.dx, KvmTestMachine::kPorts + 8);
  code.mov(code.eax, 0x33);
  code.out_(code.dx, code.al);
  code.mov(code.dword[code.rbx - 0x1000], 0x99);  // an ordinary exit
  code.mov(code.dword[code.rbx], 0x55);
  code.out8(kEnd, 1);
  m.load(code);
  KvmVcpu& cpu = m.add_cpu();
  m.enter(cpu, Ring::User);
  ASSERT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  std::vector<Write> expected;
  for (u64 i = 0; i < 10; i++) expected.push_back({0x1000 + 4 * i, 4, i});
  expected.push_back({0, 4, 0x99});
  expected.push_back({0x1000, 4, 0x55});
  EXPECT_EQ(m.device.writes, expected);
  EXPECT_EQ(m.ports.writes, (std::vector<Write>{{8, 1, 0x33}, {15, 1, 1}}));
  EXPECT_EQ(cpu.exit_count(KVM_EXIT_MMIO), 1u);
  EXPECT_EQ(m.accel().info().coalesced_writes, 12u);
  const MachineLock::Guard guard(m.lock);
  m.device_region().clear_coalesced();
  m.port_region().clear_coalesced();
}

TEST_F(KvmMemory, AHostsReadSeesWhatIsQueued) {
  KvmTestMachine m(split());
  {
    const MachineLock::Guard guard(m.lock);
    m.device_region().add_coalesced(0x1000, 0x1000);
  }
  KvmPayload code;
  code.mov(code.rbx, KvmTestMachine::kMmio + 0x1000);
  code.mov(code.dword[code.rbx], 0x77);
  code.mov(code.rcx, KvmLayout::kData);
  code.mov(code.qword[code.rcx], 1);
  code.L("spin");
  code.jmp("spin");
  m.load(code);
  std::thread reader;
  KvmVcpu& cpu = m.add_cpu();
  m.enter(cpu, Ring::User);
  reader = std::thread([&] {
    for (int ms = 0; ms < 10'000 && m.ram->load<u64>(KvmLayout::kData) == 0; ms++)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    {
      const MachineLock::Guard guard(m.lock);
      (void)m.memory.load({KvmTestMachine::kMmio}, 4);  // the vCPU is still inside KVM_RUN
      EXPECT_EQ(m.device.writes, (std::vector<Write>{{0x1000, 4, 0x77}}));
    }
    cpu.kick();
  });
  EXPECT_EQ(cpu.run(), Exit::Kicked);
  reader.join();
}

TEST_F(KvmMemory, InfoShowsWhatThereIs) {
  KvmTestMachine m(split());
  m.add_cpu();
  const std::string text = print_kvm_info(m.accel().info());
  EXPECT_NE(text.find("USER_MEMORY                    1  guest RAM in memory of ours (needed)"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("0000000000000000-0000000000ffffff -> 0x"), std::string::npos);
  EXPECT_NE(text.find("KVM_SET_USER_MEMORY_REGION"), std::string::npos);
}

}  // namespace
}  // namespace menura
