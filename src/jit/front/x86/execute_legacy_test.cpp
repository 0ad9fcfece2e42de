// Decimal arithmetic and its neighbours against the host's CPU, which runs them in a 32-bit code
// segment of this process (Linux keeps one at selector 23h).
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "cpu/x86/test_bus.h"
#include "jit/front/x86/execute.h"
#include "jit/front/x86/insn.h"
#include "jit/front/x86/print.h"

extern "C" void menura_run_compat(menura::u64* state);

// state: RAX, RFLAGS, address of the 32-bit code (which comes back through menura_compat_back, with
// the upper half of RSP lost), and room for RSP.
asm(R"(
.intel_syntax noprefix
.text
.global menura_run_compat, menura_compat_back
menura_run_compat:
  push rbx
  mov rbx, rdi
  mov [rbx + 24], rsp
  push 0x23
  push qword ptr [rbx + 16]
  mov rax, [rbx]
  push qword ptr [rbx + 8]
  popfq
  lretq
menura_compat_back:
  mov rsp, [rbx + 24]
  mov [rbx], rax
  pushfq
  pop qword ptr [rbx + 8]
  pop rbx
  ret
.att_syntax
)");
extern "C" void menura_compat_back();

namespace menura::jit::x86 {
namespace {

class Compat {
 public:
  Compat()
      : page_(static_cast<u8*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0))) {}
  ~Compat() { munmap(page_, 4096); }
  // The instruction, a far jump to 64-bit code, and a jump from there.
  void load(const std::vector<u8>& code) {
    std::memcpy(page_, code.data(), code.size());
    u8* at = page_ + code.size();
    const u32 target = static_cast<u32>(reinterpret_cast<u64>(page_ + 64));
    *at++ = 0xea;
    std::memcpy(at, &target, 4);
    const u16 selector = 0x33;
    std::memcpy(at + 4, &selector, 2);
    const u8 jump[] = {0xff, 0x25, 0, 0, 0, 0};
    std::memcpy(page_ + 64, jump, sizeof jump);
    void (*back)() = menura_compat_back;
    std::memcpy(page_ + 64 + sizeof jump, &back, sizeof back);
  }
  void run(u64& rax, u64& flags) {
    u64 state[] = {rax, flags, reinterpret_cast<u64>(page_), 0};
    menura_run_compat(state);
    rax = state[0];
    flags = state[1];
  }

 private:
  u8* page_;
};

u64 defined_flags(const Insn& insn) {
  constexpr u64 kBits[] = {menura::x86::kCf, menura::x86::kPf, menura::x86::kAf,
                           menura::x86::kZf, menura::x86::kSf, menura::x86::kOf};
  u64 mask = 0;
  for (unsigned i = 0; i < 6; i++)
    if (row_of(insn).flags.written >> i & 1) mask |= kBits[i];
  return mask;
}

TEST(ExecuteLegacy, DecimalInstructionsMatchTheHost) {
  const std::vector<std::vector<u8>> kCodes = {
      {0x27},       {0x2f},       {0x37},       {0x3f}, {0xd4, 0x0a}, {0xd4, 0x07},
      {0xd4, 0xff}, {0xd5, 0x0a}, {0xd5, 0x91}, {0xd6}, {0x98},       {0x99}};
  Compat host;
  menura::x86::FlatBus bus{0x1000};
  for (const std::vector<u8>& code : kCodes) {
    const Insn insn = Decoder{Mode::Bits32, FeatureSet::all()}.decode(code);
    if (lowering(row_of(insn)) == Lowering::Native) continue;
    const u64 mask = defined_flags(insn);
    host.load(code);
    for (u64 ax = 0; ax < 0x10000; ax += ax % 256 == 255 ? 1 + 256 * 6 : 1)
      for (u64 in : {0u, 1u, 0x10u, 0x11u}) {
        u64 rax = 0x1234'0000 | ax, flags = 0x202 | in;
        menura::x86::State s;
        s.reset(menura::x86::State::ResetCause::PowerOn, 0x600, true);
        s.gpr[menura::x86::Rax] = rax;
        s.rflags = flags;
        host.run(rax, flags);
        const Outcome outcome = execute(s, insn, bus);
        ASSERT_EQ(outcome.what, Outcome::Done) << print(insn, 0);
        ASSERT_EQ(s.gpr[menura::x86::Rax], rax) << print(insn, 0) << std::hex << " of " << ax;
        ASSERT_EQ(s.rflags & mask, flags & mask) << print(insn, 0) << std::hex << " of " << ax;
      }
  }
}

}  // namespace
}  // namespace menura::jit::x86
