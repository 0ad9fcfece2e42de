// Payloads in every mode of interrupt chips: port and memory-mapped I/O, kicks, failures, state.

#include <sys/resource.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "accel/kvm/kvm_test_machine.h"
#include "accel/vcpu_thread.h"

namespace menura {
namespace {

using Write = RecordingHandler::Write;

class KvmRun : public ::testing::TestWithParam<IrqchipMode> {
 protected:
  void SetUp() override { MENURA_NEEDS_KVM(); }
  KvmOptions options() const { return {.irqchip = GetParam()}; }
};

std::string mode_name(const ::testing::TestParamInfo<IrqchipMode>& info) {
  switch (info.param) {
    case IrqchipMode::User: return "User";
    case IrqchipMode::Split: return "Split";
    case IrqchipMode::Kernel: return "Kernel";
  }
  return "";
}

INSTANTIATE_TEST_SUITE_P(Irqchip, KvmRun,
                         ::testing::Values(IrqchipMode::User, IrqchipMode::Split,
                                           IrqchipMode::Kernel),
                         mode_name);

constexpr u16 kEnd = KvmTestMachine::kPorts + 15;

TEST_P(KvmRun, PortsOfEverySizeAtBothRings) {
  for (const Ring ring : {Ring::Kernel, Ring::User}) {
    KvmTestMachine m(options());
    ASSERT_TRUE(m.ok()) << m.error();
    m.ports.answers = {0x11, 0x2233, 0x4455'6677};
    KvmPayload code;
    code.mov(code.dx, KvmTestMachine::kPorts);
    code.xor_(code.eax, code.eax);
    code.in_(code.al, code.dx);
    code.mov(code.rsi, code.rax);
    code.in_(code.ax, code.dx);
    code.mov(code.rdi, code.rax);
    code.in_(code.eax, code.dx);
    code.out_(code.dx, code.eax);
    code.mov(code.eax, code.esi);
    code.out_(code.dx, code.al);
    code.mov(code.eax, code.edi);
    code.out_(code.dx, code.ax);
    code.out8(kEnd, 1);
    m.load(code);
    KvmVcpu& cpu = m.add_cpu();
    m.enter(cpu, ring);
    EXPECT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
    EXPECT_EQ(m.ports.writes,
              (std::vector<Write>{{0, 4, 0x4455'6677}, {0, 1, 0x11}, {0, 2, 0x2233}, {15, 1, 1}}));
    EXPECT_GE(cpu.exit_count(KVM_EXIT_IO), 7u);
  }
}

TEST_P(KvmRun, StringPortInstructionsCarryEveryElement) {
  KvmTestMachine m(options());
  const std::string text = "the quick brown fox jumps over the lazy dog, 0123456789 times";
  m.ram->write(KvmLayout::kData, std::as_bytes(std::span(text)));
  for (u64 i = 0; i < 8; i++) m.ports.answers.push_back(0x0101 * (i + 1));
  KvmPayload code;
  code.mov(code.dx, KvmTestMachine::kPorts);
  code.mov(code.rsi, KvmLayout::kData);
  code.mov(code.ecx, static_cast<u32>(text.size()));
  code.cld();
  code.bytes({0xf3, 0x6e});  // rep outsb
  code.mov(code.rdi, KvmLayout::kData + 0x1000);
  code.mov(code.ecx, 8);
  code.bytes({0xf3, 0x66, 0x6d});  // rep insw
  code.out8(kEnd, 1);
  m.load(code);
  KvmVcpu& cpu = m.add_cpu();
  m.enter(cpu, Ring::Kernel);
  ASSERT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  std::string heard;
  for (const Write& w : m.ports.writes) heard += static_cast<char>(w.value);
  EXPECT_EQ(heard, text + '\1');
  for (u64 i = 0; i < 8; i++)
    EXPECT_EQ(m.ram->load<u16>(KvmLayout::kData + 0x1000 + 2 * i), 0x0101 * (i + 1));
}

TEST_P(KvmRun, MmioOfEverySizeAtBothRings) {
  for (const Ring ring : {Ring::Kernel, Ring::User}) {
    KvmTestMachine m(options());
    m.device.answers = {0x1122'3344'5566'7788};
    KvmPayload code;
    code.mov(code.rbx, KvmTestMachine::kMmio);
    code.mov(code.rax, code.qword[code.rbx + 8]);
    code.mov(code.byte[code.rbx], code.al);
    code.mov(code.word[code.rbx + 2], code.ax);
    code.mov(code.dword[code.rbx + 4], code.eax);
    code.mov(code.qword[code.rbx + 16], code.rax);
    code.out8(kEnd, 1);
    m.load(code);
    KvmVcpu& cpu = m.add_cpu();
    m.enter(cpu, ring);
    ASSERT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
    EXPECT_EQ(m.device.reads.size(), 1u);
    EXPECT_EQ(
        m.device.writes,
        (std::vector<Write>{
            {0, 1, 0x88}, {2, 2, 0x7788}, {4, 4, 0x5566'7788}, {16, 8, 0x1122'3344'5566'7788}}));
  }
}

TEST_P(KvmRun, UnmappedReadsAreAllOnes) {
  KvmTestMachine m(options());
  KvmPayload code;
  code.mov(code.rbx, 0xe000'0000);
  code.mov(code.rsi, code.qword[code.rbx]);
  code.mov(code.dx, 0x1234);
  code.in_(code.eax, code.dx);
  code.out8(kEnd, 1);
  m.load(code);
  KvmVcpu& cpu = m.add_cpu();
  m.enter(cpu, Ring::Kernel);
  ASSERT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  x86::State state;
  cpu.get(state);
  EXPECT_EQ(state.gpr[x86::Rsi], ~u64{0});
}

TEST_P(KvmRun, AnAnswerReachesTheGuestBeforeItsStateIsRead) {
  KvmTestMachine m(options());
  m.ports.answers = {0x5a};
  KvmPayload code;
  code.mov(code.dx, KvmTestMachine::kPorts);
  code.in_(code.al, code.dx);
  code.nop();
  code.jmp("@f");
  code.L("@@");
  code.jmp("@b");
  m.load(code);
  KvmVcpu& cpu = m.add_cpu();
  m.enter(cpu, Ring::Kernel);
  // Kicked from inside the device's read.
  struct Kicking final : MmioHandler {
    u64 read(Access) override {
      cpu->kick();
      return 0x5a;
    }
    void write(Access, u64) override {}
    KvmVcpu* cpu = nullptr;
  } kicking;
  kicking.cpu = &cpu;
  Region region = Region::mmio("kicking", 1, kicking);
  {
    const MachineLock::Guard guard(m.lock);
    m.io_root.map(KvmTestMachine::kPorts, region, 1);
  }
  EXPECT_EQ(cpu.run(), Exit::Kicked);
  x86::State state;
  cpu.get(state);
  EXPECT_EQ(state.gpr[x86::Rax] & 0xff, 0x5au);
  EXPECT_EQ(state.rip, KvmLayout::kCode + 5);  // past IN
  const MachineLock::Guard guard(m.lock);
  m.io_root.unmap(region);
}

TEST_P(KvmRun, ASpinningGuestIsKickedAndGoesOn) {
  for (const Ring ring : {Ring::Kernel, Ring::User}) {
    KvmTestMachine m(options());
    KvmPayload code;
    code.mov(code.rbx, KvmLayout::kData);
    code.L("spin");
    code.inc(code.rax);
    code.mov(code.qword[code.rbx], code.rax);
    code.jmp("spin");
    m.load(code);
    KvmVcpu& cpu = m.add_cpu();
    m.enter(cpu, ring);
    cpu.kick();
    EXPECT_EQ(cpu.run(), Exit::Kicked);  // a kick before run() is not lost
    u64 last = 0;
    for (int i = 0; i < 20; i++) {
      std::thread kicker([&] {
        for (int ms = 0; ms < 10'000 && m.ram->load<u64>(KvmLayout::kData) <= last; ms++)
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        cpu.kick();
      });
      EXPECT_EQ(cpu.run(), Exit::Kicked);
      kicker.join();
      x86::State state;
      cpu.get(state);
      EXPECT_GT(state.gpr[x86::Rax], last);
      last = m.ram->load<u64>(KvmLayout::kData);
      EXPECT_LE(state.gpr[x86::Rax] - last, 1u);
    }
  }
}

TEST_P(KvmRun, EmulationFailureSaysWhereAndWhat) {
  KvmTestMachine m(options());
  if (!m.accel().system().interprets_kernel_code())
    GTEST_SKIP() << "NEEDS A KVM THAT CANNOT EMULATE FWAIT";
  KvmPayload code;
  code.nop();
  code.db(0x9b);  // fwait
  code.nop();
  m.load(code);
  KvmVcpu& cpu = m.add_cpu();
  m.enter(cpu, Ring::Kernel);
  ASSERT_EQ(cpu.run(), Exit::Failed);
  EXPECT_NE(cpu.failure().find("it cannot emulate an instruction"), std::string::npos)
      << cpu.failure();
  EXPECT_NE(
      cpu.failure().find("at RIP 0x20001, CS 0x0008 base 0x0, 64-bit mode, CPL 0, bytes 9b 90"),
      std::string::npos)
      << cpu.failure();
  EXPECT_NE(cpu.failure().find("CR3=0000000000001000"), std::string::npos);
}

TEST_P(KvmRun, TripleFaultAsksForAReset) {
  KvmTestMachine m(options());
  KvmPayload code;
  code.ud2();  // with an IDT of zeros
  m.load(code);
  KvmVcpu& cpu = m.add_cpu();
  m.enter(cpu, Ring::Kernel);
  EXPECT_EQ(cpu.run(), Exit::Reset);
  // And the CPU can be reset and used again.
  KvmPayload good;
  good.out8(kEnd, 1);
  m.load(good);
  x86::State state;
  cpu.get(state);
  state.reset(x86::State::ResetCause::PowerOn, 0, true);
  cpu.set(KvmTestMachine::long_mode(Ring::Kernel, state));
  EXPECT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
}

TEST_P(KvmRun, FaultsAtUserLevelReachAKernelHandlerAndReturn) {
  KvmTestMachine m(options());
  KvmPayload code;
  code.mov(code.rcx, 3);
  code.ud2();
  code.add(code.rcx, 1);
  code.mov(code.eax, code.ecx);
  code.mov(code.dx, KvmTestMachine::kPorts);
  code.out_(code.dx, code.al);
  code.out8(kEnd, 1);
  m.load(code);
  KvmPayload handler;
  handler.add(handler.qword[handler.rsp], 2);  // past UD2
  handler.add(handler.rcx, 0x10);
  handler.iretq();
  m.load(handler, 0x30000);
  m.set_handler(x86::kUd, 0x30000);
  KvmVcpu& cpu = m.add_cpu();
  m.enter(cpu, Ring::User);
  ASSERT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  EXPECT_EQ(m.ports.writes.front(), (Write{0, 1, 0x14}));
}

TEST_P(KvmRun, RealModeStartsAtTheResetVector) {
  KvmTestMachine m(options());
  // The top of the 4 GiB, as a BIOS would have it: far jump to 2000:0000.
  auto rom = RamBlock::create({.name = "bios", .size = 64 * KiB}).value();
  const std::array<u8, 5> jump{0xea, 0x00, 0x00, 0x00, 0x20};
  rom->write(0xfff0, std::as_bytes(std::span(jump)));
  Region region = Region::rom("bios", rom);
  {
    const MachineLock::Guard guard(m.lock);
    m.memory_root.map(0xffff'0000, region);
  }
  const std::array<u8, 12> code{0xba, 0x00, 0x0e,  // mov dx, 0e00h
                                0x8c, 0xc8,        // mov ax, cs
                                0xef,              // out dx, ax
                                0xb2, 0x0f,        // mov dl, 0fh
                                0xee,              // out dx, al
                                0xeb, 0xfe};       // jmp $
  m.ram->write(0x20000, std::as_bytes(std::span(code)));
  KvmVcpu& cpu = m.add_cpu();  // at its reset state
  ASSERT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  EXPECT_EQ(m.ports.writes.front(), (Write{0, 2, 0x2000}));
  const MachineLock::Guard guard(m.lock);
  m.memory_root.unmap(region);
}

TEST_P(KvmRun, StateIsReadOnceAndOnlyDifferencesAreWritten) {
  auto owned = std::make_unique<KvmIoctl>();
  KvmIoctl& ioctls = *owned;
  KvmTestMachine m(options(), std::move(owned));
  KvmPayload code;
  code.out8(kEnd, 1);
  code.L("spin");
  code.jmp("spin");
  m.load(code);
  KvmVcpu& cpu = m.add_cpu();
  m.enter(cpu, Ring::Kernel);
  ASSERT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  const u64 reads = ioctls.count_of(KVM_GET_REGS);
  const u64 msr_writes = ioctls.count_of(KVM_SET_MSRS);
  const u64 system_writes = ioctls.count_of(KVM_SET_SREGS2) + ioctls.count_of(KVM_SET_SREGS);
  x86::State state;
  for (int i = 0; i < 10; i++) cpu.get(state);
  EXPECT_EQ(ioctls.count_of(KVM_GET_REGS), reads + 1);
  const u64 writes = ioctls.count_of(KVM_SET_REGS);
  state.gpr[x86::R15] = 0x1234;
  cpu.set(state);
  cpu.kick();
  EXPECT_EQ(cpu.run(), Exit::Kicked);
  cpu.get(state);
  EXPECT_EQ(state.gpr[x86::R15], 0x1234u);
  ASSERT_TRUE(cpu.flush().ok());
  EXPECT_EQ(ioctls.count_of(KVM_SET_REGS), writes + 1);
  EXPECT_EQ(ioctls.count_of(KVM_SET_MSRS), msr_writes);
  EXPECT_EQ(ioctls.count_of(KVM_SET_SREGS2) + ioctls.count_of(KVM_SET_SREGS), system_writes);
}

TEST_P(KvmRun, NonMaskableInterruptsReachTheHandler) {
  KvmTestMachine m(options());
  KvmPayload code;
  code.L("spin");
  code.jmp("spin");
  m.load(code);
  KvmPayload handler;
  handler.out8(kEnd, 2);
  m.load(handler, 0x30000);
  m.set_handler(x86::kNmi, 0x30000);
  KvmVcpu& cpu = m.add_cpu();
  m.enter(cpu, Ring::Kernel);
  std::thread sender([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    cpu.nmi();
  });
  EXPECT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  sender.join();
  EXPECT_EQ(m.ports.writes.back(), (Write{15, 1, 2}));
}

TEST_P(KvmRun, ThreadsRunPauseAndEnd) {
  KvmTestMachine m(options());
  KvmPayload code;
  code.L("spin");
  code.lock();
  code.inc(code.qword[code.rbx]);
  code.jmp("spin");
  m.load(code);
  std::vector<std::unique_ptr<VcpuThread>> cpus;
  for (unsigned i = 0; i < 4; i++) {
    auto made = VcpuThread::start(
        m.accel(), m.lock,
        {.name = format("CPU {}/KVM", i), .vcpu = {.index = i, .apic_id = i}, .on_exit = {}});
    ASSERT_TRUE(made.ok()) << made.error().text;
    cpus.push_back(std::move(made).value());
    cpus.back()->wait_paused();
    x86::State state;
    cpus.back()->vcpu().get(state);
    state = KvmTestMachine::long_mode(Ring::User, state);
    state.gpr[x86::Rbx] = KvmLayout::kData + 64 * i;
    cpus.back()->vcpu().set(state);
  }
  for (int round = 0; round < 20; round++) {
    resume_all(cpus);
    const auto all_ran = [&] {
      for (u64 i = 0; i < 4; i++)
        if (m.ram->load<u64>(KvmLayout::kData + 64 * i) == 0) return false;
      return true;
    };
    for (int ms = 0; ms < 20'000 && !all_ran(); ms++)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    pause_all(cpus);
    const u64 before = m.ram->load<u64>(KvmLayout::kData);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(m.ram->load<u64>(KvmLayout::kData), before);  // nobody runs
  }
  for (unsigned i = 0; i < 4; i++) EXPECT_GT(m.ram->load<u64>(KvmLayout::kData + 64 * i), 0u) << i;
  cpus.clear();
}

TEST_P(KvmRun, CreationAndDestructionLeakNothing) {
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                         std::filesystem::directory_iterator{});
  };
  const auto before = descriptors();
  for (int i = 0; i < 5; i++) {
    KvmTestMachine m(options());
    ASSERT_TRUE(m.ok()) << m.error();
    for (int c = 0; c < 3; c++) m.add_cpu();
  }
  EXPECT_EQ(descriptors(), before);
}

TEST_P(KvmRun, AnUnpluggedCpuParksItsDescriptorForTheNext) {
  auto owned = std::make_unique<KvmIoctl>();
  KvmIoctl& ioctls = *owned;
  KvmTestMachine m(options(), std::move(owned));
  KvmPayload code;
  code.out8(kEnd, 1);
  m.load(code);
  m.enter(m.add_cpu(), Ring::User);
  EXPECT_EQ(m.run_to_end(*m.cpus[0]), Exit::Kicked);
  EXPECT_EQ(ioctls.count_of(KVM_CREATE_VCPU), 1u);
  m.remove_cpus();
  EXPECT_EQ(m.accel().info().parked_vcpus, 1u);
  KvmVcpu& again = m.add_cpu();
  EXPECT_EQ(ioctls.count_of(KVM_CREATE_VCPU), 1u);
  EXPECT_EQ(m.accel().info().parked_vcpus, 0u);
  x86::State state;
  again.get(state);
  EXPECT_EQ(state.rip, 0xfff0u);
  m.enter(again, Ring::User);
  EXPECT_EQ(m.run_to_end(again), Exit::Kicked) << again.failure();
}

}  // namespace
}  // namespace menura
