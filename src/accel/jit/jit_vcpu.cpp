#include "accel/jit/jit_vcpu.h"

#include <immintrin.h>
#include <sched.h>
#include <x86intrin.h>

#include "accel/jit/jit_log.h"
#include "base/bits.h"
#include "cpu/x86/smm.h"

namespace menura::engine {

thread_local JitVcpu* running_vcpu = nullptr;

namespace {

constexpr u32 kDefaultMxcsr = 0x1f80;

u32 signature_of(const VcpuConfig& config) {
  for (const CpuidEntry& entry : config.cpuid)
    if (entry.leaf == 1) return entry.eax;
  return 0x600;
}

// FXSAVE's legacy area: x87 in the first 160 bytes.
struct alignas(16) FxArea {
  u16 fcw, fsw;
  u8 ftw, reserved;
  u16 fop;
  u64 fip, fdp;
  u32 mxcsr, mxcsr_mask;
  u8 st[8][16];
  u8 rest[352];
};
static_assert(sizeof(FxArea) == 512);

}  // namespace

void* slow_load(void* vcpu, u64 linear, u32 size, const void* site) {
  return static_cast<VcpuBlock*>(vcpu)->owner->slow_path(linear, size, x86::PageAccess::Read, site);
}
void* slow_store(void* vcpu, u64 linear, u32 size, const void* site) {
  return static_cast<VcpuBlock*>(vcpu)->owner->slow_path(linear, size, x86::PageAccess::Write,
                                                         site);
}

const void* step_path(void* vcpu, const void* foreign, const void* back) {
  return static_cast<VcpuBlock*>(vcpu)->owner->step_inside(static_cast<const Insn*>(foreign), back);
}

Result<std::unique_ptr<JitVcpu>> JitVcpu::create(const AcceleratorContext& machine,
                                                 JitShared& shared, const JitOptions& options,
                                                 const VcpuConfig& config) {
  VcpuBlockPtr block = TRY(map_vcpu_block());
  install_signal_handlers();
  return std::unique_ptr<JitVcpu>(new JitVcpu(machine, shared, options, config, std::move(block)));
}

JitVcpu::JitVcpu(const AcceleratorContext& machine, JitShared& shared, const JitOptions& options,
                 const VcpuConfig& config, VcpuBlockPtr block)
    : options_(options),
      config_(config),
      signature_(signature_of(config)),
      bootstrap_(config.index == 0),
      machine_(machine),
      code_(*shared.code),
      tsc_(shared.tsc),
      tape_(shared.tape),
      block_(std::move(block)),
      mmu_(block_->state, machine, config, code_, *this),
      author_(mmu_.contexts(), [this] { request(attention::kSafepoint); }),
      s_(block_->state) {
  block_->owner = this;
  block_->targets = targets_.data();
  const std::span<u8> thunks = code_.thunk_room(config.index);
  thunk_room_ = {thunks.data(), thunks.data() + thunks.size()};
  block_->tsc_offset = tsc_.at_power_on();
  author_.features = jit::x86::features_of([this](u32 leaf, u32 subleaf) {
    const x86::CpuidLeaf l = mmu_.cpuid(leaf, subleaf);
    return jit::x86::CpuidRegisters{l.eax, l.ebx, l.ecx, l.edx};
  });
  if (options_.lockstep) mmu_.set_journal(&journal_);
  s_.reset(x86::State::ResetCause::PowerOn, signature_, bootstrap_);
  mode_changed();
  code_.join(author_);
}

JitVcpu::~JitVcpu() {
  code_.leave(author_);
  if (destroyed_) destroyed_();
}

void JitVcpu::get(x86::State& state) {
  state = s_;
  state.tsc = guest_tsc();
}

void JitVcpu::set(const x86::State& state) {
  s_ = state;
  block_->tsc_offset = tsc_.offset_for(state.tsc, __rdtsc());
  mmu_.tell_tsc();
  mmu_.flush_tlb(x86::TlbScope::All, 0);
  mode_changed();
}

void JitVcpu::wake(u32 bits) {
  request(bits);
  if (config_.wake) config_.wake();
}

void JitVcpu::set_intr(bool pending) {
  block_->interrupt.store(pending);
  if (pending) wake(attention::kIntr);
}

void JitVcpu::sipi(u8 vector) {
  sipi_vector_ = vector;
  wake(attention::kSipi);
}

// The guest's x87 state lives in the host's registers while run() lasts: no C++ here uses them.
void JitVcpu::enter_host() {
  running_vcpu = this;
  mmu_.begin_run();
  load_x87();
}

void JitVcpu::leave_host() {
  sync_x87();
  asm volatile("fninit");
  running_vcpu = nullptr;
}

Exit JitVcpu::run() {
  enter_host();
  std::optional<Exit> exit;
  code_.safepoints().begin(author_.member);
  while (!(exit = turn())) {}
  code_.safepoints().end(author_.member);
  leave_host();
  return *exit;
}

// What others asked of this vCPU since the last time.
std::optional<Exit> JitVcpu::attend() {
  const u32 asked = block_->poll.exchange(0);
  if (asked & attention::kMemory) {
    mmu_.refresh_view();
    mode_changed();
  }
  if (asked & attention::kNmi) s_.nmi_pending = true;
  if (asked & attention::kSmi) s_.smi_pending = true;
  if (asked & attention::kInit) {
    log_cpu_reset(s_);
    s_.reset(x86::State::ResetCause::Init, signature_, bootstrap_);
    mmu_.flush_tlb(x86::TlbScope::All, 0);
    mode_changed();
  }
  if ((asked & attention::kSipi) && s_.activity == x86::Activity::WaitForSipi) {
    const u8 vector = sipi_vector_;
    s_.seg[x86::Cs].selector = static_cast<u16>(vector << 8);
    s_.seg[x86::Cs].base = static_cast<u64>(vector) << 12;
    s_.rip = 0;
    s_.activity = x86::Activity::Running;
    mode_changed();
  }
  if (asked & attention::kKick) return Exit::Kicked;
  return std::nullopt;
}

// Delivers what may be delivered at this instruction boundary.
std::optional<Exit> JitVcpu::interrupts() {
  if (s_.activity != x86::Activity::Running && s_.activity != x86::Activity::Halted)
    return Exit::Halted;
  if (s_.interrupt_shadow) return std::nullopt;
  if (s_.smi_pending && !s_.in_smm) {
    log_interrupt(s_, "SMI", 0);
    x86::enter_smm(s_, mmu_);  // saves whether the CPU was halted
    mode_changed();
  } else if (s_.nmi_pending && !s_.nmi_blocked) {
    s_.nmi_pending = false;
    s_.activity = x86::Activity::Running;
    log_interrupt(s_, "NMI", x86::kNmi);
    if (x86::deliver_nmi(s_, mmu_) == x86::Delivery::Shutdown) return Exit::Reset;
    mode_changed();
  } else if (block_->interrupt.load(std::memory_order_relaxed) && (s_.rflags & x86::kIf) &&
             config_.interrupts) {
    int vector;
    {
      MachineLock::Guard guard(machine_.lock);
      vector = config_.interrupts->acknowledge();
    }
    forget_written();
    if (vector >= 0) {
      s_.activity = x86::Activity::Running;
      log_interrupt(s_, "interrupt", static_cast<u8>(vector));
      if (x86::deliver_external(s_, mmu_, static_cast<u8>(vector)) == x86::Delivery::Shutdown)
        return Exit::Reset;
      mode_changed();
    }
  }
  if (s_.activity == x86::Activity::Halted) return Exit::Halted;
  return std::nullopt;
}

// Between two instructions, holding no block.
void JitVcpu::safepoint() {
  code_.safepoints().pass(author_.member);
  const u64 generation = code_.generation();
  if (generation == generation_) return;
  generation_ = generation;
  mmu_.clear_jumps();
  targets_.assign(targets_.size(), {});
}

// What the miss routine would have found, had it known the page.
const u8* JitVcpu::known_target(u64 pc) {
  if (block_->code_tag == ir::kNoTag || !chains()) return nullptr;
  const x86::OrFault<std::span<const u8>> code = mmu_.code_at(pc);
  if (!code || code->empty()) return nullptr;
  const u64 page = reinterpret_cast<u64>(code->data()) & ~u64{4095}, tag = page | block_->code_tag;
  const ir::Target& target = targets_[ir::target_index(pc, tag)];
  if (target.pc != pc || target.tag != tag || *target.entry == ir::kDiverted) return nullptr;
  mmu_.context().jumps[ir::jump_index(pc)] = target.entry;
  return target.entry;
}

void JitVcpu::note_target(const TranslatedBlock& block, const u8* entry) {
  if (block_->code_tag == ir::kNoTag) return;
  const u64 tag = (block.key.physical & ~u64{4095}) | block_->code_tag;
  targets_[ir::target_index(block.key.pc, tag)] = {block.key.pc, tag, entry};
}

// From one look at the world to the next: a chain of blocks, or one instruction.
std::optional<Exit> JitVcpu::turn() {
  safepoint();
  if (block_->poll.load(std::memory_order_relaxed))
    if (auto exit = attend()) return exit;
  // A step is of the instruction that is there, not into an interrupt.
  if (debug_.single_step) return debugged_turn();
  if (auto exit = interrupts()) return exit;
  if (!debug_.points.empty()) return debugged_turn();
  const bool one_by_one =
      (s_.rflags & x86::kTf) || s_.interrupt_shadow || options_.block_limit == 0;
  if (one_by_one) return step();
  drop_rf();
  if (options_.lockstep) return lockstep_turn();
  // The jump cache knows the block, or its empty entry leads back here.
  const u8* code = static_cast<const u8*>(mmu_.context().jumps[ir::jump_index(s_.rip)]);
  if (!chains()) code = code_.cache().executable(code_.routines().look_up);
  for (;;) {
    const u64 entered = generation_;
    enter(code);
    const u64 info = block_->exit_info;
    switch (static_cast<ir::ExitReason>(info & 0xff)) {
      case ir::ExitReason::Step: return step();
      case ir::ExitReason::Poll: return std::nullopt;
      case ir::ExitReason::Done: return std::exchange(stop_, std::nullopt);
      case ir::ExitReason::Next:
      case ir::ExitReason::Apart: break;
    }
    const bool apart = (info & 0xff) == static_cast<u64>(ir::ExitReason::Apart);
    if (block_->poll.load(std::memory_order_relaxed)) return std::nullopt;
    safepoint();
    if (info >> 8 == 0 && (code = known_target(s_.rip))) continue;
    TranslatedBlock* block = block_at(s_.rip, apart);
    if (!block) return step();
    // Code was evicted meanwhile, perhaps for this very block: the jump caches must not be trusted.
    if (code_.generation() != generation_) return std::nullopt;
    code = code_.cache().executable(block->checked);
    log_entry(s_);
    const u64 link = info >> 8;
    if (!chains()) continue;
    if (!apart) note_target(*block, code);
    if (link == 0)
      mmu_.context().jumps[ir::jump_index(s_.rip)] = code;
    else
      code_.connect(link, block, entered);
  }
}

// At an entry that verifies rip, or a thunk's.
void JitVcpu::enter(const u8* code) {
  statistics_.entries++;
  block_->flags = pack_flags(s_.rflags);
  mmu_.activate();
  using Enter = void (*)(VcpuBlock*, const u8*);
  reinterpret_cast<Enter>(reinterpret_cast<u64>(code_.cache().executable(code_.routines().enter)))(
      block_.get(), code);
  _mm_setcsr(kDefaultMxcsr);
  mmu_.resume();
  s_.rflags = unpack_flags(s_.rflags, block_->flags);
}

TranslatedBlock* JitVcpu::block_at(u64 pc, bool apart) {
  const u64 base = mode_key_.code_base;
  if (!s_.code64() && pc > s_.seg[x86::Cs].limit) return nullptr;
  const u64 linear = s_.code64() ? pc : (pc + base) & 0xffff'ffff;
  x86::OrFault<std::span<const u8>> code = mmu_.code_at(linear);
  if (!code || code->empty()) return nullptr;
  std::span<const u8> bytes = *code;
  if (mode_key_.mode & jit::x86::mode_bit::kShortCode)
    bytes = bytes.first(std::min<u64>(bytes.size(), 0x1'0000 - pc));
  ir::Key key = mode_key_;
  if (apart) key.mode |= ir::kApart;
  key.pc = pc;
  key.physical = reinterpret_cast<u64>(bytes.data());
  statistics_.misses++;
  if (TranslatedBlock* block = code_.find(key)) return block;
  // An instruction may reach into the next page.
  jit::x86::Around around;
  around.page = bytes.data() - (linear & 4095);
  if (bytes.size() < jit::x86::kMaxLength && block_->code_tag != ir::kNoTag &&
      (s_.code64() || linear < 0xffff'f000)) {
    around.next_linear = linear + bytes.size();
    if (const auto there = mmu_.code_at(around.next_linear); there && !there->empty())
      around.next = there->data();
  }
  return code_.translate(author_, key, bytes, around);
}

// It lets an instruction pass its breakpoint; without breakpoints nobody sees when it goes.
void JitVcpu::drop_rf() {
  if (!(mode_key_.mode & jit::x86::mode_bit::kStepwise)) s_.rflags &= ~u64{x86::kRf};
}

// Whether turn() must be asked before the next instruction.
bool JitVcpu::wants_attention() const {
  const bool interruptible =
      (s_.rflags & x86::kIf) && block_->interrupt.load(std::memory_order_relaxed);
  return block_->poll.load(std::memory_order_relaxed) || interruptible || s_.interrupt_shadow ||
         (s_.rflags & x86::kTf) || s_.activity != x86::Activity::Running ||
         (s_.nmi_pending && !s_.nmi_blocked) || (s_.smi_pending && !s_.in_smm);
}

const void* JitVcpu::step_inside(const Insn* insn, const void* back) {
  if (s_.mxcsr != kDefaultMxcsr) _mm_setcsr(kDefaultMxcsr);
  mmu_.resume();
  const u64 pc = s_.rip, host_rsp = block_->host_rsp;
  const u64 dropped = code_.dropped();
  const ir::Context* context = &mmu_.context();
  const ir::Key mode = mode_key_;
  s_.rflags = unpack_flags(s_.rflags, block_->flags);
  if (options_.lockstep) {  // the block ends in front of it
    block_->flags = pack_flags(s_.rflags);
    block_->exit_info = x64::exit_info(ir::ExitReason::Step);
    return nullptr;
  }
  stop_ = insn ? step(*insn) : step();
  const bool shadow = s_.interrupt_shadow;
  block_->host_rsp = host_rsp;  // a thunk had its own
  block_->flags = pack_flags(s_.rflags);
  block_->exit_info = x64::exit_info(ir::ExitReason::Done);
  // STI's shadow covers the next instruction, which is in this block and polls for nothing.
  const bool sti = insn && insn->mnemonic == jit::x86::Mnemonic::Sti;
  if (sti) s_.interrupt_shadow = false;
  // While a step waited for others, the code cache may have been reused.
  if (stop_ || wants_attention() || code_.generation() != generation_) {
    if (sti && !stop_) s_.interrupt_shadow = shadow;
    return nullptr;
  }
  drop_rf();
  mmu_.activate();
  const bool same = context == &mmu_.context() && mode == mode_key_ && dropped == code_.dropped();
  if (insn && same && s_.rip == pc + insn->length) return back;
  if (!chains()) return code_.cache().executable(code_.routines().look_up);
  return mmu_.context().jumps[ir::jump_index(s_.rip)];
}

// After anything that may have changed registers that translation or paging depends on.
void JitVcpu::mode_changed() {
  using namespace x86;
  const u64 paging = (s_.cr0 & (kCr0Pg | kCr0Wp)) ^ (s_.efer & (kEferLma | kEferNxe)) << 32 ^
                     (s_.cr4 & (kCr4Pse | kCr4Pae | kCr4Pge | kCr4La57 | kCr4Pcide | kCr4Smep |
                                kCr4Smap | kCr4Pke))
                         << 8 ^
                     static_cast<u64>(s_.pkru) * 0x9e3779b97f4a7c15;
  const u64 translations = paging ^ mmu_.watch(s_);
  if (translations != paging_) mmu_.flush_tlb(TlbScope::All, 0);
  paging_ = translations;
  if (!s_.code64()) set_segment_ends(*block_);
  mode_key_.mode = jit::x86::mode_of(s_);
  mode_key_.code_base = s_.code64() ? 0 : s_.seg[Cs].base;
  const bool plain = mode_key_.code_base == 0 && !(mode_key_.mode & jit::x86::mode_bit::kShortCode);
  static_assert(jit::x86::mode_bit::kStepwise < 4096);
  block_->code_tag = plain ? mode_key_.mode : ir::kNoTag;
  mmu_.refresh(mode_key_.code_base << 12 ^ mode_key_.mode);
  block_->contexts = mmu_.sides();
  if ((s_.cr4 & kCr4Tsd) && s_.cpl() != 0) block_->tsc_until = 0;
}

std::optional<Exit> JitVcpu::deliver(const x86::Fault& fault, u64 dr6_bits) {
  log_fault(s_, fault);
  const x86::Delivery done = x86::deliver_fault(s_, mmu_, fault, dr6_bits);
  mode_changed();
  if (done == x86::Delivery::Shutdown) return Exit::Reset;
  return std::nullopt;
}

void* JitVcpu::slow_path(u64 linear, u32 size, x86::PageAccess access, const void* site) {
  statistics_.tlb_misses++;
  mmu_.resume();
  if (void* host = mmu_.fill(linear, size, access)) return host;
  if (void* host = mmu_.straddle(linear, size, access, block_->straddling)) return host;
  statistics_.slow_accesses++;
  Translations::Place place;
  ensure(code_.locate(static_cast<const u8*>(site), place), "a slow path belongs to a block");
  s_.rip = place.pc;
  block_->exit_info = x64::exit_info(ir::ExitReason::Step);
  return nullptr;
}

// Devices write by DMA without our store tables: their RamBlocks note it, page by page. Looked at
// when the guest may learn of it: with an interrupt, or by reading a device.
void JitVcpu::forget_written() {
  const std::lock_guard guard(code_.dma_mutex());
  mmu_.each_written_page([this](const std::byte* page) { code_.written(page, 4096); });
}

u64 JitVcpu::guest_tsc() const { return __rdtsc() + block_->tsc_offset; }
void JitVcpu::set_guest_tsc(u64 value) { block_->tsc_offset = value - __rdtsc(); }

// Whoever the guest waits for may itself wait for this host CPU.
void JitVcpu::relax() {
  constexpr u32 kPatience = 16;
  if (++pauses_ % kPatience || code_.safepoints().alone()) return _mm_pause();
  statistics_.relaxed++;
  sched_yield();
}

void JitVcpu::sync_x87() {
  FxArea area;
  asm volatile("fxsave64 %0" : "=m"(area));
  x86::X87State& x = s_.x87;
  x.fcw = area.fcw;
  x.fsw = area.fsw;
  x.ftw = area.ftw;
  // The pointers are the translated code's, which is nobody's business.
  x.fop = 0;
  x.fip = x.fdp = 0;
  for (unsigned i = 0; i < 8; i++) std::memcpy(x.st[i].data(), area.st[i], 10);
}

void JitVcpu::load_x87() {
  FxArea area{};
  const x86::X87State& x = s_.x87;
  area.fcw = x.fcw;
  area.fsw = x.fsw;
  area.ftw = x.ftw;
  area.fop = x.fop;
  area.fip = x.fip;
  area.fdp = x.fdp;
  area.mxcsr = kDefaultMxcsr;
  for (unsigned i = 0; i < 8; i++) std::memcpy(area.st[i], x.st[i].data(), 10);
  asm volatile("fxrstor64 %0" ::"m"(area)
               : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                 "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

}  // namespace menura::engine
