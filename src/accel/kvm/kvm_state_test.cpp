// x86::State through KVM's structures and through the kernel, CPUID, MSRs and breakpoints.

#include "accel/kvm/kvm_state.h"

#include <cpuid.h>

#include "accel/kvm/kvm_cpuid.h"
#include "accel/kvm/kvm_test_machine.h"
#include "base/bytes.h"
#include "state/tree.h"

namespace menura {
namespace {

constexpr u16 kEnd = KvmTestMachine::kPorts + 15;

x86::State patterned() {
  x86::State s;
  u64 next = 0x0123'4567'89ab'cd00;
  for (u64& r : s.gpr) r = next++;
  s.rip = next++;
  s.rflags = 0x246;
  s.x87 = {.fcw = 0x27f, .fsw = 0x3800, .ftw = 0x80, .fop = 0x123, .fip = 0x1111, .fdp = 0x2222};
  for (u8 i = 0; i < 8; i++) s.x87.st[i] = {i, 1, 2, 3, 4, 5, 6, 0x80, 0xff, 0x3f};
  s.mxcsr = 0x1fa0;
  for (x86::VectorRegister& v : s.vec) v.qwords = {next++, next++, next++, next++};
  for (u64& k : s.avx512.opmask) k = next++;
  for (x86::VectorRegister& v : s.avx512.zmm_high) v.qwords = {next++, next++, next++, next++};
  for (auto& z : s.avx512.zmm16)
    for (u64& q : z) q = next++;
  s.pkru = 0x5555'5550;
  s.dr = {1, 2, 3, 4};
  s.dr6 = 0xffff'0ff1;
  s.dr7 = 0x401;
  return s;
}

TEST(KvmConversion, RegistersRoundTrip) {
  const x86::State s = patterned();
  x86::State t;
  kvm::from_regs(t, kvm::to_regs(s));
  EXPECT_EQ(t.gpr, s.gpr);
  EXPECT_EQ(t.rip, s.rip);
  EXPECT_EQ(t.rflags, s.rflags);
  EXPECT_EQ(kvm::to_regs(s).rsp, s.gpr[x86::Rsp]);
  kvm::from_debugregs(t, kvm::to_debugregs(s));
  EXPECT_EQ(t.dr, s.dr);
  EXPECT_EQ(t.dr6, s.dr6);
  EXPECT_EQ(t.dr7, s.dr7);
}

TEST(KvmConversion, SystemRegistersRoundTrip) {
  x86::State s = KvmTestMachine::long_mode(Ring::User, patterned());
  s.cr2 = 0x1234;
  s.cr8 = 5;
  s.apic_base = 0xfee0'0900;
  s.seg[x86::Fs].base = 0xffff'8000'0000'0000;
  const kvm_sregs2 k = kvm::to_sregs2(s);
  EXPECT_EQ(k.cs.type, 0xb);
  EXPECT_EQ(k.cs.l, 1);
  EXPECT_EQ(k.cs.dpl, 3);
  EXPECT_EQ(k.ldt.unusable, 1);
  x86::State t, u;
  kvm::from_sregs2(t, k);
  kvm::from_sregs(u, kvm::to_sregs(s));
  for (const x86::State* loaded : {&t, &u}) {
    EXPECT_EQ(loaded->seg, s.seg);
    EXPECT_EQ(loaded->tr, s.tr);
    EXPECT_EQ(loaded->ldtr, s.ldtr);
    EXPECT_EQ(loaded->gdtr, s.gdtr);
    EXPECT_EQ(loaded->idtr, s.idtr);
    EXPECT_EQ(loaded->cr0, s.cr0);
    EXPECT_EQ(loaded->cr2, s.cr2);
    EXPECT_EQ(loaded->cr3, s.cr3);
    EXPECT_EQ(loaded->cr4, s.cr4);
    EXPECT_EQ(loaded->cr8, s.cr8);
    EXPECT_EQ(loaded->efer, s.efer);
    EXPECT_EQ(loaded->apic_base, s.apic_base);
  }
}

// The host's own XSAVE and XRSTOR are the judge of the area's form.
TEST(KvmConversion, TheXsaveAreaIsTheProcessors) {
  const kvm::XsaveLayout layout = kvm::XsaveLayout::of_host();
  const x86::State s = patterned();
  std::vector<std::byte> area(16384);
  kvm::to_xsave(s, layout, area);
  x86::State t;
  kvm::from_xsave(t, layout, area);
  EXPECT_EQ(t.x87, s.x87);
  EXPECT_EQ(t.mxcsr, s.mxcsr);
  for (size_t i = 0; i < x86::kVectorCount; i++) {
    EXPECT_EQ(t.vec[i].qwords[0], s.vec[i].qwords[0]) << i;
    if (layout.avx != 0) {
      EXPECT_EQ(t.vec[i], s.vec[i]) << i;
    }
  }
  if (layout.zmm16 != 0) {
    EXPECT_EQ(t.avx512, s.avx512);
  }
  if (layout.pkru != 0) {
    EXPECT_EQ(t.pkru, s.pkru);
  }
  u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
  ASSERT_TRUE(__get_cpuid(1, &eax, &ebx, &ecx, &edx));
  if (!(ecx >> 27 & 1)) GTEST_SKIP() << "NO XSAVE ON THIS HOST";
  // Load the area (SSE and AVX parts) into the processor and store one register by an instruction.
  alignas(64) static std::array<std::byte, 16384> aligned;
  alignas(64) static std::array<std::byte, 16384> saved;
  std::ranges::copy(area, aligned.begin());
  const u32 mask = 6;
  alignas(32) std::array<u64, 4> ymm9{};
  if (layout.avx != 0)
    asm volatile(
        "xsave64 (%[saved])\n xrstor64 (%[area])\n vmovdqu %%ymm9, (%[out])\n xrstor64 (%[saved])"
        :
        : [saved] "r"(saved.data()), [area] "r"(aligned.data()), [out] "r"(ymm9.data()), "a"(mask),
          "d"(0)
        : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
          "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  if (layout.avx != 0) {
    EXPECT_EQ(ymm9, s.vec[9].qwords);
  }
}

TEST(KvmConversion, OnlyUsedComponentsAreMarked) {
  const kvm::XsaveLayout layout = kvm::XsaveLayout::of_host();
  std::vector<std::byte> area(16384);
  x86::State s;
  s.x87.fcw = 0x37f;
  kvm::to_xsave(s, layout, area);
  EXPECT_EQ(load_le<u64>(area, 512), 0u);
  s.vec[3].qwords[0] = 1;
  kvm::to_xsave(s, layout, area);
  EXPECT_EQ(load_le<u64>(area, 512), 2u);
}

TEST(KvmConversion, FpuWithoutXsave) {
  const x86::State s = patterned();
  x86::State t;
  kvm::from_fpu(t, kvm::to_fpu(s));
  EXPECT_EQ(t.x87, s.x87);
  EXPECT_EQ(t.mxcsr, s.mxcsr);
  for (size_t i = 0; i < x86::kVectorCount; i++) EXPECT_EQ(t.vec[i].qwords[1], s.vec[i].qwords[1]);
}

TEST(KvmConversion, EventsRoundTrip) {
  const auto round_trip = [](const x86::State& s, kvm::Smm smm) {
    x86::State t;
    kvm::from_events(t, kvm::to_events(s, smm));
    return t;
  };
  x86::State s;
  s.event = {
      .valid = true, .vector = 14, .is_exception = true, .has_error_code = true, .error_code = 6};
  s.nmi_pending = s.nmi_blocked = s.interrupt_shadow = true;
  s.sipi_vector = 0x99;
  x86::State t = round_trip(s, kvm::Smm::Absent);
  EXPECT_EQ(t.event, s.event);
  EXPECT_TRUE(t.nmi_pending && t.nmi_blocked && t.interrupt_shadow && !t.nmi_injected);
  EXPECT_EQ(t.sipi_vector, 0x99);
  s.event = {.valid = true, .vector = 0x80, .is_software = true};
  s.nmi_injected = true;
  s.in_smm = s.smi_pending = true;
  t = round_trip(s, kvm::Smm::Present);
  EXPECT_EQ(t.event, s.event);
  EXPECT_TRUE(t.in_smm && t.smi_pending && t.nmi_injected);
  EXPECT_FALSE(round_trip(s, kvm::Smm::Absent).in_smm);
  // An external interrupt in flight shows in the old structure's bitmap.
  s.event = {.valid = true, .vector = 0x41};
  EXPECT_EQ(kvm::to_sregs(s).interrupt_bitmap[1], 2u);
}

class KvmState : public ::testing::Test {
 protected:
  void SetUp() override { MENURA_NEEDS_KVM(); }
};

// Everything a CPU holds goes to the kernel, stays there over a run, and comes back.
TEST_F(KvmState, TheKernelKeepsEveryField) {
  for (const IrqchipMode mode : {IrqchipMode::User, IrqchipMode::Kernel}) {
    KvmTestMachine m({.irqchip = mode});
    KvmPayload code;
    code.L("spin");
    code.jmp("spin");
    m.load(code);
    KvmVcpu& cpu = m.add_cpu();
    x86::State initial;
    cpu.get(initial);
    x86::State s = KvmTestMachine::long_mode(Ring::User, initial);
    const x86::State p = patterned();
    s.gpr = p.gpr;
    s.x87 = p.x87;
    s.x87.fop = 0;  // AMD's processors keep these three only while an exception is pending
    s.x87.fip = s.x87.fdp = 0;
    s.mxcsr = p.mxcsr;
    for (size_t i = 0; i < x86::kVectorCount; i++)
      for (size_t q = 0; q < 2; q++) s.vec[i].qwords[q] = p.vec[i].qwords[q];
    s.dr = {0x1000, 0x2000, 0x3000, 0x4000};
    s.star = 0x0023'0010'0000'0000;
    s.lstar = 0x1234'5000;
    s.cstar = 0x1234'6000;
    s.fmask = 0x4'7700;
    s.kernel_gs_base = 0xffff'8880'0000'0000;
    s.sysenter_cs = 0x10;
    s.sysenter_esp = 0x7000;
    s.sysenter_eip = 0x8000;
    s.pat = 0x0007'0106'0007'0106;
    s.mtrr.def_type = 0xc06;
    s.mtrr.base[0] = 0x8000'0000;
    s.mtrr.mask[0] = 0xf'8000'0800;
    s.mtrr.fixed[3] = 0x0606'0606'0606'0606;
    s.mcg_status = 0;
    s.mce[4 * 2 + 2] = 0x1234'5000;  // ADDR of bank 2
    s.seg[x86::Fs].base = 0x7000'0000;
    cpu.set(s);
    ASSERT_TRUE(cpu.flush().ok());
    std::thread kicker([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
      cpu.kick();
    });
    EXPECT_EQ(cpu.run(), Exit::Kicked) << cpu.failure();
    kicker.join();
    x86::State t;
    cpu.get(t);
    EXPECT_GE(t.tsc, s.tsc);
    t.tsc = s.tsc;
    t.tsc_adjust = s.tsc_adjust;
    for (const StateDifference& d : compare(save_state(s), save_state(t)))
      ADD_FAILURE() << d.path << ": " << d.left << " became " << d.right;
  }
}

TEST_F(KvmState, VectorRegistersOfTheGuestAreSeen) {
  KvmTestMachine m;
  KvmPayload code;  // at CPL3, which runs on the processor itself everywhere
  code.mov(code.rax, 0x1122'3344'5566'7788);
  code.movq(code.xmm5, code.rax);
  code.fninit();  // at power-on no register is empty
  code.fld1();
  code.out8(kEnd, 1);
  m.load(code);
  KvmVcpu& cpu = m.add_cpu();
  m.enter(cpu, Ring::User);
  ASSERT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  x86::State s;
  cpu.get(s);
  EXPECT_EQ(s.vec[5].qwords[0], 0x1122'3344'5566'7788u);
  EXPECT_EQ(s.x87.st[0], (std::array<u8, 10>{0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f}));
  EXPECT_EQ(s.x87.fsw >> 11 & 7, 7);
}

TEST_F(KvmState, SingleStepsAndBreakpoints) {
  KvmTestMachine m;
  KvmPayload code;
  for (int i = 0; i < 8; i++) code.nop();
  code.out8(kEnd, 1);
  m.load(code);
  KvmVcpu& cpu = m.add_cpu();
  m.enter(cpu, Ring::Kernel);
  ASSERT_TRUE(cpu.flush().ok());
  ASSERT_TRUE(cpu.set_debug({.single_step = true}).ok());
  x86::State s;
  for (u64 i = 1; i <= 3; i++) {
    ASSERT_EQ(cpu.run(), Exit::Debug) << cpu.failure();
    cpu.get(s);
    EXPECT_EQ(s.rip, KvmLayout::kCode + i);
    EXPECT_EQ(cpu.debug_exit().pc, s.rip);
    EXPECT_EQ(cpu.debug_exit().exception, u32{x86::kDb});
  }
  ASSERT_TRUE(cpu.set_debug({.points = {{.address = KvmLayout::kCode + 6}}}).ok());
  ASSERT_EQ(cpu.run(), Exit::Debug) << cpu.failure();
  cpu.get(s);
  EXPECT_EQ(s.rip, KvmLayout::kCode + 6);
  EXPECT_TRUE(cpu.debug_exit().dr6 & 1);
  ASSERT_TRUE(cpu.set_debug({}).ok());
  EXPECT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
  EXPECT_EQ(cpu.set_debug({.points = std::vector<DebugControl::Point>(5)}).error().code,
            Errc::OutOfRange);
  EXPECT_EQ(cpu.set_debug({.points = {{.size = 3}}}).error().code, Errc::InvalidArgument);
}

TEST_F(KvmState, TheTscHasAFrequencyThatCannotBeChosenFreely) {
  KvmTestMachine m;
  const u64 khz = m.accel().tsc_khz();
  EXPECT_GT(khz, 100'000u);
  {
    VcpuConfig same{.tsc_khz = khz};
    KvmVcpu& cpu = m.add_cpu(same);
    EXPECT_EQ(cpu.tsc_khz(), khz);
  }
  if (m.accel().system().has(KVM_CAP_TSC_CONTROL)) return;
  auto other = m.accel().create_vcpu({.index = 1, .apic_id = 1, .tsc_khz = 1'000'000});
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(
      other.error().text,
      format("Setting the TSC to 1000000 kHz: this host's processor cannot scale it from {} kHz",
             khz));
}

const CpuidEntry* find(const std::vector<CpuidEntry>& table, u32 leaf) {
  for (const CpuidEntry& e : table)
    if (e.leaf == leaf) return &e;
  return nullptr;
}

TEST_F(KvmState, CpuidIsLimitedToTheOffer) {
  KvmIoctl ioctls;
  const KvmSystem system = KvmSystem::open("/dev/kvm", ioctls).value();
  const auto offer = offered_cpuid(system, {.irqchip = IrqchipMode::Kernel});
  const auto user = offered_cpuid(system, {.irqchip = IrqchipMode::User});
  EXPECT_TRUE(find(offer, 1)->ecx & 1u << 31);
  EXPECT_FALSE(find(user, 1)->ecx & 1u << 24);  // no TSC deadline without KVM's LAPIC
  EXPECT_EQ(find(offer, 0x4000'0000), nullptr);

  VcpuConfig config{.apic_id = 3};
  config.cpuid = {{.leaf = 1, .eax = 0x806f8, .ebx = 0x0302'0800, .ecx = ~0u, .edx = ~0u},
                  {.leaf = 7, .subleaf = 0, .ebx = ~0u, .ecx = ~0u, .edx = ~0u}};
  const auto paravirt = paravirt_cpuid(system, {});
  ASSERT_TRUE(paravirt.ok());
  const auto table = vcpu_cpuid(config, offer, *paravirt);
  ASSERT_EQ(table.size(), 4u);
  EXPECT_EQ(table[0].ecx, find(offer, 1)->ecx);
  EXPECT_EQ(table[0].edx, find(offer, 1)->edx | 1u << 28);  // HTT describes the topology
  EXPECT_EQ(table[0].ebx, 0x0302'0800u);                    // the model's own
  EXPECT_EQ(table[1].ebx, find(offer, 7)->ebx);
  EXPECT_EQ(table[2].function, 0x4000'0000u);
  EXPECT_EQ(cpu_signature(table), 0x806f8u);
  // All of the offer, with this CPU's APIC ID.
  EXPECT_EQ(vcpu_cpuid({.apic_id = 5}, offer, {})[1].ebx >> 24, 5u);
}

TEST_F(KvmState, ParavirtualLeaves) {
  KvmIoctl ioctls;
  const KvmSystem system = KvmSystem::open("/dev/kvm", ioctls).value();
  const auto kvm = paravirt_cpuid(system, {}).value();
  ASSERT_EQ(kvm.size(), 2u);
  EXPECT_EQ(kvm[0], (CpuidEntry{.leaf = 0x4000'0000,
                                .eax = 0x4000'0001,
                                .ebx = 0x4b4d'564b,
                                .ecx = 0x564b'4d56,
                                .edx = 0x4d}));
  EXPECT_TRUE(kvm[1].eax & 1u << 3);  // KVM_FEATURE_CLOCKSOURCE2
  EXPECT_TRUE(paravirt_cpuid(system, {.expose = false}).value().empty());
  EXPECT_EQ(paravirt_cpuid(system, {.features = {{"kvmclock", false}}}).value()[1].eax,
            kvm[1].eax & ~9u);
  EXPECT_EQ(paravirt_cpuid(system, {.features = {{"kvmclock", true}}}).value(), kvm);
  EXPECT_NE(paravirt_cpuid(system, {.features = {{"kvm-pv-eio", true}}})
                .error()
                .text.find("did you mean 'kvm-pv-eoi'"),
            std::string::npos);
  // Features that need KVM's LAPIC (PV EOI, bit 6) go without it.
  EXPECT_FALSE(paravirt_cpuid(system, {.irqchip = IrqchipMode::User}).value()[1].eax & 1u << 6);
}

// A KVM with Hyper-V support, whatever the host's has.
class HypervIoctl final : public KvmIoctl {
 public:
  int issue(int fd, unsigned long request, unsigned long argument) override {
    if (request == KVM_CHECK_EXTENSION && argument == KVM_CAP_SYS_HYPERV_CPUID) return 1;
    if (request != KVM_GET_SUPPORTED_HV_CPUID) return KvmIoctl::issue(fd, request, argument);
    auto* table = reinterpret_cast<kvm_cpuid2*>(argument);
    table->nent = 2;
    table->entries[0] = {.function = 0x4000'0003,
                         .index = 0,
                         .flags = 0,
                         .eax = 0x0a7f,
                         .ebx = 0,
                         .ecx = 0,
                         .edx = 1u << 8 | 1u << 10,
                         .padding = {}};
    table->entries[1] = {.function = 0x4000'0004,
                         .index = 0,
                         .flags = 0,
                         .eax = 0x0828,
                         .ebx = 0,
                         .ecx = 0,
                         .edx = 0,
                         .padding = {}};
    return 0;
  }
};

TEST_F(KvmState, HypervLeavesComeFirstAndOnlyAsOffered) {
  HypervIoctl ioctls;
  const KvmSystem system = KvmSystem::open("/dev/kvm", ioctls).value();
  const auto leaves = paravirt_cpuid(system, {.hyperv = {"hv-relaxed", "hv-time", "hv-vapic"}});
  ASSERT_TRUE(leaves.ok()) << leaves.error().text;
  const CpuidEntry* first = find(*leaves, 0x4000'0000);
  EXPECT_EQ(first->ebx, 0x7263'694du);  // "Micr"
  EXPECT_EQ(first->edx, 0x7648'2074u);  // "t Hv"
  EXPECT_EQ(find(*leaves, 0x4000'0001)->eax, 0x3123'7648u);
  EXPECT_EQ(find(*leaves, 0x4000'0003)->eax, 1u << 1 | 1u << 4 | 1u << 5 | 1u << 9);
  EXPECT_EQ(find(*leaves, 0x4000'0004)->eax, 1u << 3 | 1u << 5);
  EXPECT_EQ(find(*leaves, 0x4000'0100)->ebx, 0x4b4d'564bu);  // KVM's signature, moved up
  const auto spin = paravirt_cpuid(system, {.hyperv_spinlocks = 0x1fff, .hyperv_vendor = "menura"});
  EXPECT_EQ(find(*spin, 0x4000'0004)->ebx, 0x1fffu);
  EXPECT_EQ(find(*spin, 0x4000'0000)->ebx, 0x756e'656du);  // "menu"
  EXPECT_EQ(paravirt_cpuid(system, {.hyperv = {"hv-synic"}}).error().text,
            "The enlightenment 'hv-synic' needs 'hv-vpindex'");
  EXPECT_TRUE(paravirt_cpuid(system, {.hyperv = {"hv-synic", "hv-vpindex"}}).ok());
  const auto refused = paravirt_cpuid(system, {.hyperv = {"hv-ipi"}});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().text, "This host's KVM does not offer the enlightenment 'hv-ipi'");
}

}  // namespace
}  // namespace menura
