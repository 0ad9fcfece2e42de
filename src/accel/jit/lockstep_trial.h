// A random program in lockstep: instructions of any row, chosen by the bytes given, over registers and memory made of them.
//
// Owner: tests of accel/jit, and fuzz/cpu. Threads: one, and one that ends programs that do not. Example:
//   TestMachine m({.lockstep = true});  std::string failure = lockstep_trial(m, bytes);
#pragma once

#include <condition_variable>
#include <thread>

#include "accel/jit/test_machine.h"
#include "jit/front/x86/sample.h"

namespace menura::engine {

// Not transfers by a pointer (to an address that is none they fault at their target: decision 004), nor
// flags that are left undefined, nor who shows AF, which logical instructions leave undefined.
inline bool lockstep_compares(const Insn& insn) {
  using jit::x86::Mnemonic;
  constexpr u8 kAf = 1u << 2, kStatus = 0x3f;
  const jit::x86::Row& row = jit::x86::row_of(insn);
  switch (row.control()) {
    case jit::x86::Control::CallIndirect:
    case jit::x86::Control::JumpIndirect:
    case jit::x86::Control::Return: return false;
    default: break;
  }
  if (row.flags.undefined & kStatus & ~kAf) return false;
  return insn.mnemonic != Mnemonic::Lahf && insn.mnemonic != Mnemonic::Pushf;
}

// What the two ways disagree about; empty: nothing.
inline std::string lockstep_trial(TestMachine& m, std::span<const u8> bytes) {
  constexpr size_t kInstructions = 24;
  constexpr auto kPatience = std::chrono::milliseconds(100);
  const auto take = [&](size_t at) {
    u64 value = 0;
    for (size_t i = 0; i < 8; i++)
      value = value << 8 | (bytes.empty() ? 0 : bytes[(at + i) % bytes.size()]);
    return value;
  };
  std::vector<u8> code;
  const jit::x86::Decoder decoder{jit::x86::Mode::Bits64, jit::x86::FeatureSet::all()};
  for (size_t i = 0; i < kInstructions && 3 * i < bytes.size(); i++) {
    u64 state = take(3 * i) * 0x9e37'79b9'7f4a'7c15 + i;
    const unsigned row = static_cast<unsigned>(take(3 * i) >> 48) % (jit::x86::row_count() - 1) + 1;
    const jit::x86::Sample s = jit::x86::sample(row, jit::x86::Mode::Bits64, state);
    if (s.length == 0 || !lockstep_compares(decoder.decode(std::span(s.bytes).first(s.length))))
      continue;
    code.insert(code.end(), s.bytes.begin(), s.bytes.begin() + s.length);
  }
  code.push_back(0xf4);
  m.load(0, code);
  x86::State s = flat_state(m.code());
  for (size_t r = 0; r < 16; r++)
    s.gpr[r] = r & 1 ? take(r) & 0xff : m.data() + 0x1000 + (take(2 * r) & 0xfff);
  s.gpr[x86::Rsp] = m.data() + 0x2000;
  s.rflags |= take(5) & x86::kArithmeticFlags;
  s.x87.fcw = 0x37f;
  for (size_t i = 0; i < 16; i++)
    for (size_t k = 0; k < 4; k++) s.vec[i].qwords[k] = take(i + 7 * k);
  m.cpu().set(s);
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::thread limit([&] {
    std::unique_lock guard(mutex);
    if (!changed.wait_for(guard, kPatience, [&] { return done; })) m.cpu().kick();
  });
  const Exit exit = m.cpu().run();
  {
    const std::lock_guard guard(mutex);
    done = true;
    changed.notify_all();
  }
  limit.join();
  return exit == Exit::Failed ? m.cpu().failure() : std::string();
}

}  // namespace menura::engine
