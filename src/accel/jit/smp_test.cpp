// Several vCPUs over the same memory: what Intel SDM vol. 3 §9.2 promises of memory ordering, locked
// operations, code that one vCPU changes under another (§9.1.3), and a code cache too small for all.
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "accel/jit/test_machine.h"

// Programs for the guest, taken from this binary. All begin by waiting for each other: rdi = the
// counter of arrivals, r8d = how many are awaited. rcx = rounds.
asm(R"(
.intel_syntax noprefix
.macro arrive
  lock inc dword ptr [rdi]
77: pause
  cmp dword ptr [rdi], r8d
  jb 77b
.endm
.macro program name
.global jit_smp_\name, jit_smp_\name\()_end
jit_smp_\name:
.endm
.text
program store_fence_load       # [rbx + 4i] = 1; fence; [r9 + 4i] = [rbp + 4i]
  arrive
  xor eax, eax
1: mov dword ptr [rbx + rax * 4], 1
  mfence
  mov edx, [rbp + rax * 4]
  mov [r9 + rax * 4], edx
  inc eax
  cmp eax, ecx
  jb 1b
  hlt
jit_smp_store_fence_load_end:
program store_lock_load        # the same with a locked operation in the fence's place
  arrive
  xor eax, eax
1: mov dword ptr [rbx + rax * 4], 1
  lock or dword ptr [rsp], 0
  mov edx, [rbp + rax * 4]
  mov [r9 + rax * 4], edx
  inc eax
  cmp eax, ecx
  jb 1b
  hlt
jit_smp_store_lock_load_end:
program publish                # [rbx + 8i] = i, then [rbp] = i
  arrive
  mov eax, 1
1: mov [rbx + rax * 8], rax
  mov [rbp], eax
  inc eax
  cmp eax, ecx
  jbe 1b
  hlt
jit_smp_publish_end:
program observe                # whatever i [rbp] shows, [rbx + 8i] is there; rsi counts lies
  arrive
  xor esi, esi
1: mov eax, [rbp]
  test eax, eax
  jz 1b
  mov rdx, [rbx + rax * 8]
  cmp rdx, rax
  je 2f
  inc esi
2: cmp eax, ecx
  jb 1b
  hlt
jit_smp_observe_end:
program advance                # [rbx] = 1, 2, 3 ...
  arrive
  mov eax, 1
1: mov [rbx], eax
  inc eax
  cmp eax, ecx
  jbe 1b
  hlt
jit_smp_advance_end:
program sample                 # pairs of [rbx], then [rbp], to r9
  arrive
  xor eax, eax
1: mov edx, [rbx]
  mov esi, [rbp]
  mov [r9 + rax * 8], edx
  mov [r9 + rax * 8 + 4], esi
  inc eax
  cmp eax, ecx
  jb 1b
  hlt
jit_smp_sample_end:
program add_locked             # lock add, xadd, cmpxchg and a lock of xchg around a plain counter
  arrive
1: lock add qword ptr [rbx], 1
  mov eax, 1
  lock xadd qword ptr [rbx + 64], rax
  mov rax, [rbx + 128]
2: lea rdx, [rax + 1]
  lock cmpxchg [rbx + 128], rdx
  jne 2b
3: mov eax, 1
  xchg eax, dword ptr [rbx + 192]
  test eax, eax
  jz 4f
  pause
  jmp 3b
4: inc qword ptr [rbx + 256]
  mov dword ptr [rbx + 192], 0
  dec ecx
  jnz 1b
  hlt
jit_smp_add_locked_end:
program add_split              # where rbx crosses a line or a page
  arrive
1: lock add qword ptr [rbx], 1
  mov eax, 1
  lock xadd qword ptr [rbx], rax
  dec ecx
  jnz 1b
  hlt
jit_smp_add_split_end:
program pairs                  # both halves of [rbx] count together; rsi counts when they do not
  arrive
  mov r14, rbx
  mov r13d, ecx
  xor esi, esi
1: mov rax, [r14]
  mov rdx, [r14 + 8]
2: lea rbx, [rax + 1]
  lea rcx, [rdx + 1]
  lock cmpxchg16b [r14]
  jne 2b
  cmp rax, rdx
  je 3f
  inc esi
3: dec r13d
  jnz 1b
  hlt
jit_smp_pairs_end:
program patch                  # writes i into the instruction at rbx, tells [rbp], waits for [rbp + 64]
  arrive
  mov eax, 1
1: mov [rbx + 1], eax
  mov [rbp], eax
2: pause
  cmp [rbp + 64], eax
  jne 2b
  inc eax
  cmp eax, ecx
  jbe 1b
  hlt
jit_smp_patch_end:
program call_patched           # the other side: serializes, calls; rsi counts stale answers
  arrive
  mov r13d, ecx
  mov r14, rbx
  xor esi, esi
  mov r12d, 1
1: pause
  cmp [rbp], r12d
  jne 1b
  xor eax, eax
  cpuid
  call r14
  cmp eax, r12d
  je 2f
  inc esi
2: mov [rbp + 64], r12d
  inc r12d
  cmp r12d, r13d
  jbe 1b
  hlt
jit_smp_call_patched_end:
program patch_freely           # i into the aligned immediate at rbx, again and again; then [rbp] = 1
  arrive
  mov eax, 1
1: mov [rbx], eax
  inc eax
  cmp eax, ecx
  jbe 1b
  mov dword ptr [rbp], 1
  hlt
jit_smp_patch_freely_end:
program call_freely            # calls r14 meanwhile; rsi counts answers beyond rcx; rdi = the last one
  arrive
  mov r13d, ecx
  xor esi, esi
1: call r14
  cmp eax, r13d
  jbe 2f
  inc esi
2: cmp dword ptr [rbp], 0
  je 1b
  xor eax, eax
  cpuid
  call r14
  mov edi, eax
  hlt
jit_smp_call_freely_end:
.att_syntax
)");

#define PROGRAM(name)                                                   \
  extern "C" const menura::u8 jit_smp_##name[], jit_smp_##name##_end[]; \
  static const std::span<const menura::u8> name(jit_smp_##name, jit_smp_##name##_end)
PROGRAM(store_fence_load);
PROGRAM(store_lock_load);
PROGRAM(publish);
PROGRAM(observe);
PROGRAM(advance);
PROGRAM(sample);
PROGRAM(add_locked);
PROGRAM(add_split);
PROGRAM(pairs);
PROGRAM(patch);
PROGRAM(call_patched);
PROGRAM(patch_freely);
PROGRAM(call_freely);

namespace menura::engine {
namespace {

using Registers = std::array<u64, 16>;

class Smp : public testing::Test {
 protected:
  static constexpr u64 kData = 4 << 20, kCode = 1 << 20, kStacks = 0x8000;
  explicit Smp(size_t code_size = 8 << 20)
      : m_({.code_size = code_size}, {.cpus = 4, .code = kCode, .data = kData}) {}

  u64 at(u64 offset) const { return m_.data() + kStacks + offset; }
  template <class T>
  T value(u64 offset) {
    T v;
    std::memcpy(&v, m_.data_bytes() + kStacks + offset, sizeof v);
    return v;
  }

  struct Part {
    std::span<const u8> program;
    Registers gpr = {};
  };
  // Runs each part on its vCPU; the registers afterwards.
  std::vector<Registers> run(std::vector<Part> parts, u64 rounds) {
    std::vector<std::thread> threads;
    std::vector<Registers> results(parts.size());
    unsigned running = static_cast<unsigned>(parts.size());
    std::mutex mutex;
    std::condition_variable done;
    for (unsigned i = 0; i < parts.size(); i++) {
      m_.load(i * 0x1000, parts[i].program);
      x86::State s = flat_state(m_.code() + i * 0x1000);
      s.gpr = parts[i].gpr;
      s.gpr[x86::Rdi] = at(0);
      s.gpr[x86::R8] = parts.size();
      s.gpr[x86::Rcx] = rounds;
      s.gpr[x86::Rsp] = m_.data() + (i + 1) * 0x1000;
      if (watched_) {
        s.dr[0] = watched_;
        s.dr7 = 1 | 1 << 16;  // L0, writes of a byte
      }
      m_.cpu(i).set(s);
    }
    for (unsigned i = 0; i < parts.size(); i++)
      threads.emplace_back([&, i] {
        EXPECT_EQ(m_.cpu(i).run(), Exit::Halted) << "vCPU " << i;
        x86::State s;
        m_.cpu(i).get(s);
        results[i] = s.gpr;
        const std::lock_guard guard(mutex);
        running--;
        done.notify_all();
      });
    {
      std::unique_lock guard(mutex);
      if (!done.wait_for(guard, std::chrono::seconds(120), [&] { return running == 0; }))
        for (unsigned i = 0; i < parts.size(); i++) m_.cpu(i).kick();
    }
    for (std::thread& t : threads) t.join();
    return results;
  }

  TestMachine m_;
  u64 watched_ = 0;  // a byte that every vCPU has a breakpoint on
};

Registers with(std::initializer_list<std::pair<unsigned, u64>> values) {
  Registers gpr{};
  for (auto [number, value] : values) gpr[number] = value;
  return gpr;
}

TEST_F(Smp, StoresAreNotHeldBackBeyondAFence) {
  constexpr u32 kRounds = 20000;
  u64 place = 0x1000;
  for (std::span<const u8> program : {store_fence_load, store_lock_load}) {
    std::memset(m_.data_bytes() + kStacks, 0, 64);
    const u64 x = place, y = x + 4 * kRounds, r0 = y + 4 * kRounds, r1 = r0 + 4 * kRounds;
    run({{program, with({{x86::Rbx, at(x)}, {x86::Rbp, at(y)}, {x86::R9, at(r0)}})},
         {program, with({{x86::Rbx, at(y)}, {x86::Rbp, at(x)}, {x86::R9, at(r1)}})}},
        kRounds);
    for (u64 i = 0; i < kRounds; i++)
      ASSERT_FALSE(value<u32>(r0 + 4 * i) == 0 && value<u32>(r1 + 4 * i) == 0) << "round " << i;
    place = r1 + 4 * kRounds;
  }
}

TEST_F(Smp, StoresAppearInOrder) {
  const Registers gpr = with({{x86::Rbx, at(0x1000)}, {x86::Rbp, at(0x100)}});
  const auto after = run({{publish, gpr}, {observe, gpr}, {observe, gpr}, {observe, gpr}}, 100000);
  for (unsigned i = 1; i < 4; i++) EXPECT_EQ(after[i][x86::Rsi], 0u) << "vCPU " << i;
}

// Independent reads of independent writes: all agree in which order two others wrote.
TEST_F(Smp, AllSeeOneOrderOfStores) {
  constexpr u32 kRounds = 4000;
  const u64 x = at(0x100), y = at(0x200), a = 0x1000, b = a + 8 * kRounds;
  run({{advance, with({{x86::Rbx, x}})},
       {advance, with({{x86::Rbx, y}})},
       {sample, with({{x86::Rbx, x}, {x86::Rbp, y}, {x86::R9, at(a)}})},
       {sample, with({{x86::Rbx, y}, {x86::Rbp, x}, {x86::R9, at(b)}})}},
      kRounds);
  // One saw x at xa while y was still ya, the other y at yb while x was still xb.
  for (u64 i = 0; i < kRounds; i++) {
    const u32 xa = value<u32>(a + 8 * i), ya = value<u32>(a + 8 * i + 4);
    for (u64 k = 0; k < kRounds; k += 3) {
      const u32 yb = value<u32>(b + 8 * k), xb = value<u32>(b + 8 * k + 4);
      ASSERT_FALSE(xa > xb && yb > ya) << xa << " " << ya << ", " << xb << " " << yb;
    }
  }
}

TEST_F(Smp, LockedOperationsLoseNothing) {
  constexpr u64 kRounds = 20000;
  const Registers gpr = with({{x86::Rbx, at(0x100)}});
  run({{add_locked, gpr}, {add_locked, gpr}, {add_locked, gpr}, {add_locked, gpr}}, kRounds);
  for (u64 offset : {0, 64, 128, 256}) EXPECT_EQ(value<u64>(0x100 + offset), 4 * kRounds) << offset;
}

TEST_F(Smp, LockedOperationsAcrossLinesAndPages) {
  constexpr u64 kRounds = 3000;
  for (u64 place : {0x103c, 0x1ffc, 0x2fff}) {
    std::memset(m_.data_bytes() + kStacks, 0, 64);
    const Registers gpr = with({{x86::Rbx, at(place)}});
    run({{add_split, gpr}, {add_split, gpr}, {add_split, gpr}, {add_split, gpr}}, kRounds);
    EXPECT_EQ(value<u64>(place), 8 * kRounds) << place;
  }
  // Pages under a watch are never written to directly, nor are two pages then written in one go.
  watched_ = at(0x3800);
  std::memset(m_.data_bytes() + kStacks, 0, 64);
  const Registers gpr = with({{x86::Rbx, at(0x2fff)}});
  run({{add_split, gpr}, {add_split, gpr}, {add_split, gpr}, {add_split, gpr}}, kRounds);
  EXPECT_EQ(value<u64>(0x2fff), 16 * kRounds);
  EXPECT_GE(m_.report().code.exclusive, 8 * kRounds);
}

TEST_F(Smp, SixteenBytesAtOnce) {
  constexpr u64 kRounds = 20000;
  const Registers gpr = with({{x86::Rbx, at(0x100)}});
  const auto after = run({{pairs, gpr}, {pairs, gpr}, {pairs, gpr}}, kRounds);
  for (const Registers& r : after) EXPECT_EQ(r[x86::Rsi], 0u);
  EXPECT_EQ(value<u64>(0x100), 3 * kRounds);
  EXPECT_EQ(value<u64>(0x108), 3 * kRounds);
}

// mov eax, 0; ret
constexpr u8 kAnswer[] = {0xb8, 0, 0, 0, 0, 0xc3};

// The writer changes an instruction, then says so; whoever heard of it and serialized runs the new
// one. The code lies in a page of its own, or behind the caller's, or behind the writer's.
TEST_F(Smp, ChangedCodeIsSeenBehindASerializingInstruction) {
  for (u64 place : {0x8000, 0x1800, 0x0800}) {
    std::memset(m_.data_bytes() + kStacks, 0, 0x1000);
    m_.load(place, kAnswer);
    const Registers gpr = with({{x86::Rbx, m_.code() + place}, {x86::Rbp, at(0x100)}});
    const auto after = run({{patch, gpr}, {call_patched, gpr}}, 2000);
    EXPECT_EQ(after[1][x86::Rsi], 0u) << place;
  }
  EXPECT_GE(m_.report().code.invalidations, 1000u);
}

TEST_F(Smp, CodeChangedWhileItRunsIsOldOrNew) {
  constexpr u64 kRounds = 20000;
  const u64 place = 0x8003;  // the immediate is aligned
  m_.load(place, kAnswer);
  const Registers writer = with({{x86::Rbx, m_.code() + place + 1}, {x86::Rbp, at(0x100)}});
  const Registers caller = with({{x86::R14, m_.code() + place}, {x86::Rbp, at(0x100)}});
  const auto after =
      run({{patch_freely, writer}, {call_freely, caller}, {call_freely, caller}}, kRounds);
  for (unsigned i = 1; i < 3; i++) {
    EXPECT_EQ(after[i][x86::Rsi], 0u);
    EXPECT_EQ(after[i][x86::Rdi], kRounds);
  }
}

// The same bytes come back: the first translation does, too.
TEST_F(Smp, TranslationsComeBackWithTheirBytes) {
  for (u32 round = 0; round < 10; round++) {
    u8 answer[6];
    std::memcpy(answer, kAnswer, 6);
    answer[1] = static_cast<u8>(1 + round % 2);
    m_.load(0x8000, answer);
    std::memset(m_.data_bytes() + kStacks, 0, 0x1000);
    const u32 one = 1;
    std::memcpy(m_.data_bytes() + kStacks + 0x100, &one, 4);
    const auto after =
        run({{call_freely, with({{x86::R14, m_.code() + 0x8000}, {x86::Rbp, at(0x100)}})}}, 10);
    EXPECT_EQ(after[0][x86::Rdi], 1 + round % 2);
  }
  EXPECT_GE(m_.report().code.revived, 8u);
}

class SmallCache : public Smp {
 protected:
  SmallCache() : Smp(1 << 20) {}
};

// More code than the cache holds, on four vCPUs at once, in loops.
TEST_F(SmallCache, EvictsAndGoesOn) {
  constexpr u32 kFunctions = 12000, kFirst = 0x10000, kCalls = 0x80000;
  std::vector<u8> code;
  u32 sum = 0;
  for (u32 i = 0; i < kFunctions; i++) {  // lea eax, [rax + i]; ret
    code.insert(code.end(),
                {0x8d, 0x80, static_cast<u8>(i), static_cast<u8>(i >> 8), 0, 0, 0xc3, 0x90});
    sum += i;
  }
  m_.load(kFirst, code);
  std::vector<u8> calls{0x31, 0xc0};  // xor eax, eax
  const auto append = [&](u8 opcode, u32 to) {
    const u32 relative = to - (kCalls + static_cast<u32>(calls.size()) + 5);
    calls.push_back(opcode);
    for (unsigned k = 0; k < 4; k++) calls.push_back(static_cast<u8>(relative >> 8 * k));
  };
  for (u32 i = 0; i < kFunctions; i++) append(0xe8, kFirst + 8 * i);
  calls.insert(calls.end(), {0xff, 0xc9, 0x0f});  // dec ecx; jnz to the first call
  append(0x85, kCalls + 2);
  calls.push_back(0xf4);
  m_.load(kCalls, calls);
  std::vector<u8> jump{0xe9, 0, 0, 0, 0};
  std::vector<Part> parts;
  std::array<std::array<u8, 5>, 4> programs;
  for (u32 i = 0; i < 4; i++) {
    const u32 relative = kCalls - (i * 0x1000 + 5);
    programs[i] = {0xe9, static_cast<u8>(relative), static_cast<u8>(relative >> 8),
                   static_cast<u8>(relative >> 16), static_cast<u8>(relative >> 24)};
    parts.push_back({programs[i]});
  }
  constexpr u64 kRounds = 4;
  for (const Registers& r : run(parts, kRounds))
    EXPECT_EQ(static_cast<u32>(r[x86::Rax]), static_cast<u32>(kRounds * sum));
  const TranslationStatistics s = m_.report().code;
  EXPECT_GE(s.evictions, 10u);
  EXPECT_LE(s.code, s.code_size);
  EXPECT_LT(s.live, s.blocks);
}

}  // namespace
}  // namespace menura::engine
