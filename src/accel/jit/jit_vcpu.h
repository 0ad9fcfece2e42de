// JitVcpu: one CPU that runs guest code by translating it.
//
// Owner: JitAccelerator's caller (the vCPU thread). Threads: as Vcpu says.
// Design: src/accel/jit/README.md. Example: `auto cpu = TRY(JitVcpu::create(machine, options, config));`
#pragma once

#include <array>
#include <optional>
#include <unordered_map>

#include "accel/accelerator.h"
#include "accel/jit/guest_tsc.h"
#include "accel/jit/lockstep.h"
#include "accel/jit/soft_mmu.h"
#include "accel/jit/statistics.h"
#include "accel/jit/translations.h"
#include "accel/jit/vcpu_block.h"
#include "base/code_log.h"
#include "cpu/x86/delivery.h"
#include "event/tape.h"
#include "jit/front/x86/execute.h"

namespace menura::engine {

using jit::x86::Insn;
using jit::x86::Outcome;

// What the vCPUs of one machine share.
struct JitShared {
  Tape& tape;
  std::unique_ptr<Translations> code;
  GuestTsc tsc;
};

class JitVcpu final : public Vcpu, private CpuSide {
 public:
  static Result<std::unique_ptr<JitVcpu>> create(const AcceleratorContext& machine,
                                                 JitShared& shared, const JitOptions& options,
                                                 const VcpuConfig& config);
  ~JitVcpu() override;

  Exit run() override;
  void kick() override { request(attention::kKick); }
  std::string failure() const override { return failure_; }
  void get(x86::State& state) override;
  void set(const x86::State& state) override;
  Result<void> set_debug(const DebugControl& control) override;

  void set_intr(bool pending) override;
  void nmi() override { wake(attention::kNmi); }
  void smi() override { wake(attention::kSmi); }
  void init() override { wake(attention::kInit); }
  void sipi(u8 vector) override;

  // Another thread changed the memory map.
  void memory_changed() { request(attention::kMemory); }
  void on_destroy(std::function<void()> call) { destroyed_ = std::move(call); }
  // While it rests.
  JitStatistics statistics() const {
    JitStatistics now = statistics_;
    now.flushes = mmu_.flushes();
    return now;
  }

  // Signals and slow paths find their way back here.
  bool handle_signal(int signal, int code, void* ucontext);
  void* slow_path(u64 linear, u32 size, x86::PageAccess access, const void* site);
  // Translated code has the instruction at rip executed; see x64::StepPath.
  const void* step_inside(const Insn* insn, const void* back);

 private:
  JitVcpu(const AcceleratorContext& machine, JitShared& shared, const JitOptions& options,
          const VcpuConfig& config, VcpuBlockPtr block);

  void request(u32 bits) { block_->poll.fetch_or(bits); }
  void wake(u32 bits);

  // The run loop: jit_vcpu.cpp.
  std::optional<Exit> attend();
  std::optional<Exit> interrupts();
  std::optional<Exit> turn();
  void enter(const u8* code);
  // Whether blocks go on to other blocks by themselves.
  bool chains() const { return !options_.lockstep && !code_logged(LogItem::NoChain); }
  bool wants_attention() const;
  void drop_rf();
  // Drops the translations of pages that devices wrote to.
  void forget_written();
  TranslatedBlock* block_at(u64 pc, bool apart = false);  // apart: see ir::kApart
  const u8* known_target(u64 pc);
  void note_target(const TranslatedBlock& block, const u8* entry);
  void safepoint();
  void mode_changed();
  std::optional<Exit> deliver(const x86::Fault& fault, u64 dr6_bits = 0);
  void enter_host();
  void leave_host();

  // One instruction at a time: step.cpp.
  std::optional<Exit> step();
  std::optional<Exit> step(const Insn& insn);  // already decoded
  std::optional<Exit> finish_step(const Insn& insn, const Outcome& outcome, bool traced);
  struct Fetched;
  x86::OrFault<Fetched*> fetch();
  x86::OrFault<bool> still_there(const Fetched& known, std::span<const u8> code);
  x86::OrFault<Fetched*> fetch_anew(std::span<const u8> code, u64 linear);
  Outcome execute_foreign(const Insn& insn);
  Outcome resumed(const Outcome& outcome, bool had_rf);
  u64 instruction_breakpoint() const;
  Outcome step_native(const Insn& insn);
  x86::OrFault<void> run_native(const Insn& insn);
  x86::OrFault<void> run_with_memory(const Insn& insn);
  x86::OrFault<void> run_on_copy(const Insn& insn, u64 linear, u64 beyond);
  x86::OrFault<void> run_thunk(const Insn& insn, void* pointer);

  // lockstep=interp: lockstep.cpp.
  std::optional<Exit> lockstep_turn();
  std::optional<size_t> step_through(const TranslatedBlock& block, size_t count);
  std::optional<size_t> executed(const TranslatedBlock& block, ir::ExitReason reason) const;
  u64 flags_undefined(const TranslatedBlock& block, size_t count) const;
  u64 flags_wanted(const TranslatedBlock& block, u64 pc);
  Exit disagree(const TranslatedBlock& block, const x86::State& before, size_t count,
                const std::string& how);

  // For a debugger: debug.cpp.
  std::optional<Exit> debugged_turn();
  std::optional<u64> watched_value(const DebugControl::Point& point);

  struct Thunk {
    const u8* code;  // writable alias
    const u8* entry;
    std::vector<x64::Site> sites;
  };
  const Thunk& thunk_of(const Insn& insn);

  // An instruction as it was stepped before, by the host address of its first byte.
  struct Fetched {
    const u8* at = nullptr;  // null: nobody will ask again
    u32 code_size = 0;       // jit::x86::Mode
    std::array<u8, 16> bytes{};
    Insn insn;
    jit::x86::Lowering lowering = {};
    bool checks_x87 = false;
    const Thunk* thunk = nullptr;
  };
  u64 linear_of(u64 pc) const {
    return s_.code64() ? pc : (pc + mode_key_.code_base) & 0xffff'ffff;
  }

  // CpuSide.
  u64 guest_tsc() const override;
  void set_guest_tsc(u64 value) override;
  void sync_x87() override;
  void load_x87() override;
  void random(Bytes out) override { tape_.random(out); }
  void relax() override;

  // Configuration
  const JitOptions options_;
  const VcpuConfig config_;
  const u32 signature_;  // CPUID.1:EAX
  const bool bootstrap_;

  // Wiring
  AcceleratorContext machine_;
  Translations& code_;
  GuestTsc& tsc_;
  Tape& tape_;
  VcpuBlockPtr block_;
  SoftMmu mmu_;
  Translations::Author author_;

  // State
  x86::State& s_;
  u64 generation_ = 0;  // of the code cache, as the jump caches and targets know it
  std::vector<ir::Target> targets_{ir::kTargets};
  struct BytesKey {
    std::array<u8, 16> bytes{};
    bool operator==(const BytesKey&) const = default;
  };
  struct BytesHash {
    size_t operator()(const BytesKey& key) const;
  };
  std::unordered_map<BytesKey, Thunk, BytesHash> thunks_;
  CodeCache::Piece thunk_room_;
  ir::Block thunk_ir_;
  static constexpr size_t kFetched = 1024;
  std::vector<Fetched> fetched_{kFetched + 1};  // the last: of those that nobody will ask for
  Fetched* stepping_ = nullptr;
  const Thunk* running_thunk_ = nullptr;
  std::optional<Exit> stop_;  // by a step inside translated code
  int trapped_vector_ = -1;   // by a signal inside the thunk
  ir::Key mode_key_;          // mode and code base of what the contexts' jumps hold
  u64 paging_ = 0;            // fingerprint of what translations depend on
  std::atomic<u8> sipi_vector_{0};
  u32 pauses_ = 0;
  DebugControl debug_;
  std::vector<std::optional<u64>> watched_;  // of debug_.points, before the next instruction
  std::optional<u64> stopped_at_;            // rip of the last stop
  Journal journal_;                          // in lockstep
  JitStatistics statistics_;
  std::string failure_;
  std::function<void()> destroyed_;
};

// What translated code calls for accesses that its tables do not know.
void* slow_load(void* vcpu, u64 linear, u32 size, const void* site);
void* slow_store(void* vcpu, u64 linear, u32 size, const void* site);
// And for instructions that have no host code.
const void* step_path(void* vcpu, const void* foreign, const void* back);

// Installs the process's handlers for faults inside translated code; once.
void install_signal_handlers();
// The vCPU that this thread runs, for the handlers.
extern thread_local JitVcpu* running_vcpu;

}  // namespace menura::engine
