// The interrupt controllers against KVM's own: the same random script of register accesses, pin
// changes and acknowledges goes to both, and every value read must be the same.
//
// The guest is a loop of 72 bytes that carries out the script's steps; pins are moved from outside
// when it stops at one. Skipped where there is no /dev/kvm. Where KVM and a data sheet differ, the
// data sheet stands and the script keeps away from it (each place says so).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cstring>
#include <random>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/format.h"
#include "hw/intc/apic_test_machine.h"

namespace menura {
namespace {

enum class Op : u32 { WriteMem = 1, ReadMem, Out, In, Interrupt, Pin, End };

struct Step {
  Op op;
  u32 address = 0;  // or the pin
  u32 value = 0;    // written; or what was read, or the vector that came (none: as before)
};
constexpr u32 kNoVector = 0xffff;
constexpr size_t kStepSize = 12;

std::string describe(const Step& s) {
  constexpr std::string_view kNames[] = {"",   "write",     "read", "out",
                                         "in", "interrupt", "pin",  "end"};
  return fmt::format("{} {:#x} {:#x}", kNames[static_cast<u32>(s.op)], s.address, s.value);
}

// A VM in flat 32-bit protected mode with KVM's PIC, IOAPIC and LAPIC.
class KvmPeer {
 public:
  static constexpr u32 kCode = 0x1000, kGdt = 0x1800, kIdt = 0x2000, kStubs = 0x4000;
  static constexpr u32 kStack = 0x9000, kScript = 0x10000;
  static constexpr size_t kRam = 1 << 20;
  static constexpr size_t kMaxSteps = 10'000;

  bool open() {
    kvm_ = UniqueFd(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
    if (!kvm_) return false;
    vm_ = UniqueFd(::ioctl(kvm_.get(), KVM_CREATE_VM, 0));
    if (!vm_) return false;
    (void)::ioctl(vm_.get(), KVM_SET_TSS_ADDR, 0xfffbd000);
    if (::ioctl(vm_.get(), KVM_CREATE_IRQCHIP, 0) != 0) return false;
    ram_ = static_cast<std::byte*>(
        ::mmap(nullptr, kRam, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    const kvm_userspace_memory_region slot{.memory_size = kRam,
                                           .userspace_addr = reinterpret_cast<u64>(ram_)};
    if (::ioctl(vm_.get(), KVM_SET_USER_MEMORY_REGION, &slot) != 0) return false;
    cpu_ = UniqueFd(::ioctl(vm_.get(), KVM_CREATE_VCPU, 0));
    const int size = ::ioctl(kvm_.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
    run_ = static_cast<kvm_run*>(::mmap(nullptr, static_cast<size_t>(size), PROT_READ | PROT_WRITE,
                                        MAP_SHARED, cpu_.get(), 0));
    write_program();
    return start();
  }

  // Carries out the script in place; false: KVM cannot run the guest.
  bool carry_out(std::vector<Step>& script) {
    const Bytes ram(ram_, kRam);
    for (size_t i = 0; i < script.size(); i++) {
      const size_t at = kScript + i * kStepSize;
      store_le(ram, at, static_cast<u32>(script[i].op));
      store_le(ram, at + 4, script[i].address);
      store_le(ram, at + 8, script[i].value);
    }
    kvm_regs regs{};
    regs.rip = kCode;
    regs.rsi = kScript;
    regs.rsp = kStack;
    regs.rflags = 2;
    if (::ioctl(cpu_.get(), KVM_SET_REGS, &regs) != 0) return false;
    while (true) {
      if (::ioctl(cpu_.get(), KVM_RUN, 0) != 0 && errno != EINTR) return false;
      if (run_->exit_reason != KVM_EXIT_IO) return false;
      if (::ioctl(cpu_.get(), KVM_GET_REGS, &regs) != 0) return false;
      const Step& step = script[(regs.rsi - kScript) / kStepSize];
      if (step.op == Op::End) break;
      if (step.op == Op::Interrupt) continue;  // only to make KVM look for one
      const kvm_irq_level line{{step.address}, step.value};
      if (::ioctl(vm_.get(), KVM_IRQ_LINE, &line) != 0) return false;
    }
    for (size_t i = 0; i < script.size(); i++)
      script[i].value = load_le<u32>(ram, kScript + i * kStepSize + 8);
    return true;
  }
  u32 exit_reason() const { return run_->exit_reason; }

  ~KvmPeer() {
    if (ram_) ::munmap(ram_, kRam);
  }

 private:
  void write_program() {
    // esi walks the steps: eax op, edx address, ecx value.
    constexpr u8 kLoop[] = {
        0x8b, 0x06, 0x8b, 0x56, 0x04, 0x8b, 0x4e, 0x08,  // mov eax,[esi]; edx,[esi+4]; ecx,[esi+8]
        0x83, 0xf8, 0x01, 0x75, 0x04, 0x89, 0x0a, 0xeb, 0x32,              // 1: mov [edx],ecx
        0x83, 0xf8, 0x02, 0x75, 0x07, 0x8b, 0x0a, 0x89, 0x4e, 0x08, 0xeb,  // 2: mov ecx,[edx]
        0x26, 0x83, 0xf8, 0x03, 0x75, 0x05, 0x88, 0xc8, 0xee, 0xeb, 0x1c,  // 3: out dx,al
        0x83, 0xf8, 0x04, 0x75, 0x09, 0xec, 0x0f, 0xb6, 0xc8, 0x89, 0x4e,  // 4: in al,dx
        0x08, 0xeb, 0x0e, 0x83, 0xf8, 0x05, 0x75, 0x07,                    // 5: sti; nop;
        0xfb, 0x90, 0xe6, 0xf5, 0xfa, 0xeb, 0x02,                          //    out 0xf5,al; cli
        0xe6, 0xf4, 0x83, 0xc6, 0x0c, 0xeb, 0xb8};                         // others: out 0xf4,al
    constexpr u32 kNext = kCode + sizeof kLoop - 5;
    std::memcpy(ram_ + kCode, kLoop, sizeof kLoop);
    const Bytes ram(ram_, kRam);
    store_le(ram, kGdt + 8, u64{0x00cf'9b00'0000'ffff});
    store_le(ram, kGdt + 16, u64{0x00cf'9300'0000'ffff});
    for (u32 vector = 0; vector < 256; vector++) {
      const u32 stub = kStubs + 32 * vector;
      // mov dword [esi+8],vector; mov esp,kStack; jmp next: no IRET, which KVM may not emulate.
      const u8 head[] = {0xc7, 0x46, 0x08};
      std::memcpy(ram_ + stub, head, sizeof head);
      store_le(ram, stub + 3, vector);
      store_le(ram, stub + 7, u8{0xbc});
      store_le(ram, stub + 8, kStack);
      store_le(ram, stub + 12, u8{0xe9});
      store_le(ram, stub + 13, kNext - (stub + 17));
      // A 32-bit interrupt gate.
      store_le(ram, kIdt + 8 * vector, u64{stub} | 0x0008'0000 | u64{0x8e00} << 32);
    }
  }

  bool start() {
    kvm_sregs sregs{};
    if (::ioctl(cpu_.get(), KVM_GET_SREGS, &sregs) != 0) return false;
    kvm_segment code{
        .limit = 0xffff'ffff, .selector = 8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1};
    kvm_segment data = code;
    data.selector = 16;
    data.type = 3;
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.gdt.base = kGdt;
    sregs.gdt.limit = 23;
    sregs.idt.base = kIdt;
    sregs.idt.limit = 0x7ff;
    sregs.cr0 |= 1;
    return ::ioctl(cpu_.get(), KVM_SET_SREGS, &sregs) == 0;
  }

  UniqueFd kvm_, vm_, cpu_;
  std::byte* ram_ = nullptr;
  kvm_run* run_ = nullptr;
};

struct KvmChips : testing::Test {
  void SetUp() override {
    if (!KvmPeer().open()) GTEST_SKIP() << "KVM's interrupt controllers are not available here";
  }

  static void carry_out(ApicMachine& a, Step& s) {
    Lapic& lapic = a.lapics[0];
    const bool own = s.op <= Op::ReadMem && lapic.claims({s.address});
    switch (s.op) {
      case Op::WriteMem:
        own ? lapic.write({s.address & 0xfff, 4}, s.value) : a.m.write_mem(s.address, 4, s.value);
        break;
      case Op::ReadMem:
        s.value =
            static_cast<u32>(own ? lapic.read({s.address & 0xfff, 4}) : a.m.read_mem(s.address, 4));
        break;
      case Op::Out: a.m.out8(static_cast<u16>(s.address), static_cast<u8>(s.value)); break;
      case Op::In: s.value = a.m.in8(static_cast<u16>(s.address)); break;
      case Op::Interrupt:
        if (lapic.pending())
          if (const int vector = lapic.acknowledge(); vector >= 0)
            s.value = static_cast<u32>(vector);
        break;
      case Op::Pin:
        a.pic.set_irq(s.address, s.value);
        a.ioapic.set_irq(s.address, s.value);
        break;
      case Op::End: break;
    }
  }

  // Both carry out the script; the first difference is told with what led to it.
  void compare(std::vector<Step> script) {
    script.push_back({Op::End});
    KvmPeer peer;
    ASSERT_TRUE(peer.open());
    ApicMachine a{1, 0, 0x11};
    a.m.io_root.map(0x4d0, a.pic.elcr_ports());
    std::vector<Step> theirs = script;
    ASSERT_TRUE(peer.carry_out(theirs)) << "KVM stopped the guest: exit " << peer.exit_reason();
    for (size_t i = 0; i < script.size(); i++) {
      carry_out(a, script[i]);
      if (script[i].value == theirs[i].value) continue;
      std::string story;
      for (size_t j = i < 25 ? 0 : i - 25; j < i; j++) story += describe(script[j]) + "\n";
      FAIL() << story << describe(script[i]) << ", but KVM has " << describe(theirs[i]);
    }
  }

  unsigned roll(unsigned n) { return static_cast<unsigned>(random() % n); }

  std::mt19937 random{20};
};

// Without polls (KVM leaves ISR clear after one), special modes and rotation while masked, which the
// room's own tests take from the data sheet.
TEST_F(KvmChips, Pic) {
  for (int round = 0; round < 30 && !HasFatalFailure(); round++) {
    std::vector<Step> script;
    const auto out = [&](u32 port, u32 value) { script.push_back({Op::Out, port, value}); };
    const auto in = [&](u32 port) { script.push_back({Op::In, port}); };
    out(0x4d0, roll(256) & 0xf8), out(0x4d1, roll(256) & 0xde);
    for (const u32 port : {0x20u, 0xa0u}) {
      out(port, 0x11);
      out(port + 1, port == 0x20 ? 0x20 : 0x28);
      out(port + 1, port == 0x20 ? 4 : 2);
      out(port + 1, port == 0x20 && roll(4) == 0 ? 3 : 1);
    }
    for (int step = 0; step < 80; step++) {
      const u32 port = roll(2) ? 0x20 : 0xa0;
      const u32 pin = roll(16);
      switch (roll(6)) {
        case 0:
        case 1:
        case 2: script.push_back({Op::Pin, pin == 2 ? 3 : pin, roll(2)}); break;
        case 3: out(port + 1, roll(3) ? 0 : roll(256)); break;
        case 4: out(port, roll(8) << 5 | roll(8)); break;
        case 5: script.push_back({Op::Interrupt, 0, kNoVector}); break;
      }
      for (const u32 chip : {0x20u, 0xa0u}) {
        out(chip, 0x0a), in(chip);
        out(chip, 0x0b), in(chip);
        in(chip + 1);
      }
    }
    compare(script);
  }
}

// What software writes, pins and IPIs leave in the registers. No interrupt is taken: not every KVM
// keeps a delivered one in service where the guest can see it.
TEST_F(KvmChips, Apics) {
  constexpr u32 kLapic = 0xfee0'0000, kIoregsel = 0xfec0'0000, kIowin = 0xfec0'0010;
  constexpr u32 kPins[] = {4, 5, 11, 19};
  for (int round = 0; round < 30 && !HasFatalFailure(); round++) {
    std::vector<Step> script;
    const auto write = [&](u32 at, u32 value) { script.push_back({Op::WriteMem, at, value}); };
    const auto read = [&](u32 at) { script.push_back({Op::ReadMem, at}); };
    const auto lapic = [&](u32 offset, u32 value) { write(kLapic + offset, value); };
    const auto vector = [&] { return 0x20 + roll(0xd0); };
    script.push_back({Op::Out, 0x21, 0xff});  // the PIC keeps out of the way
    script.push_back({Op::Out, 0xa1, 0xff});
    lapic(0xf0, 0x1ff);
    lapic(0xe0, roll(2) ? 0xffff'ffff : 0x0fff'ffff);
    lapic(0xd0, (0x10 | 1u << roll(4)) << 24);
    for (int step = 0; step < 60; step++) {
      const u32 pin = kPins[roll(4)];
      switch (roll(8)) {
        case 0:
        case 1: script.push_back({Op::Pin, pin, roll(2)}); break;
        case 2:
          // Pins 11 and 19 are levels. One is programmed while its pin is high, too.
          write(kIoregsel, 0x10 + 2 * pin);
          write(kIowin, (pin >= 11 ? 0x8000 : 0) | vector() | (roll(4) == 0 ? 0x10000 : 0));
          break;
        case 3: lapic(0x80, roll(256)); break;
        case 4: lapic(0x300, 0x40000 | vector()); break;
        case 5: lapic(0x310, 0), lapic(0x300, vector()); break;
        case 6: lapic(0x310, roll(256) << 24), lapic(0x300, 0x800 | vector()); break;
        case 7: lapic(0x340 + 0x10 * roll(4), (vector() | roll(2) << 16) & 0x100ff); break;
      }
      for (const u32 offset : {0x20, 0x80, 0xa0, 0xd0, 0xe0, 0xf0, 0x300, 0x310})
        read(kLapic + offset);
      for (u32 offset = 0x100; offset < 0x280; offset += 0x10) read(kLapic + offset);
      for (u32 offset = 0x320; offset < 0x380; offset += 0x10) read(kLapic + offset);
      for (const u32 shown : kPins) write(kIoregsel, 0x10 + 2 * shown), read(kIowin);
    }
    compare(script);
  }
}

}  // namespace
}  // namespace menura
