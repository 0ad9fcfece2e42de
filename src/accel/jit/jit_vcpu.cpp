#include "accel/jit/jit_vcpu.h"

#include <immintrin.h>
#include <x86intrin.h>

#include "accel/jit/jit_log.h"
#include "base/bits.h"
#include "base/code_log.h"
#include "cpu/x86/smm.h"

namespace menura::engine {

thread_local JitVcpu* running_vcpu = nullptr;

namespace {

constexpr u32 kDefaultMxcsr = 0x1f80;
constexpr size_t kRoutineRoom = 8192;

void* slow_load(void* vcpu, u64 linear, u32 size, const void* site) {
  return static_cast<VcpuBlock*>(vcpu)->owner->slow_path(linear, size, x86::PageAccess::Read, site);
}
void* slow_store(void* vcpu, u64 linear, u32 size, const void* site) {
  return static_cast<VcpuBlock*>(vcpu)->owner->slow_path(linear, size, x86::PageAccess::Write,
                                                         site);
}

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

Result<std::unique_ptr<JitVcpu>> JitVcpu::create(const AcceleratorContext& machine,
                                                 const JitOptions& options,
                                                 const VcpuConfig& config) {
  VcpuBlockPtr block = TRY(map_vcpu_block());
  std::unique_ptr<CodeCache> cache = TRY(CodeCache::create(options.code_size));
  install_signal_handlers();
  return std::unique_ptr<JitVcpu>(
      new JitVcpu(machine, options, config, std::move(block), std::move(cache)));
}

JitVcpu::JitVcpu(const AcceleratorContext& machine, const JitOptions& options,
                 const VcpuConfig& config, VcpuBlockPtr block, std::unique_ptr<CodeCache> cache)
    : options_(options),
      config_(config),
      signature_(signature_of(config)),
      bootstrap_(config.index == 0),
      machine_(machine),
      block_(std::move(block)),
      cache_(std::move(cache)),
      emitter_(vcpu_layout(), slow_load, slow_store),
      routines_(emitter_.routines(cache_->cursor(), kRoutineRoom)),
      mmu_(block_->state, machine, config, *this, cache_->executable(routines_.miss)),
      s_(block_->state) {
  ensure(routines_.size <= kRoutineRoom, "the JIT's routines fit their room");
  cache_->commit(kRoutineRoom);
  block_->owner = this;
  tsc_offset_ = -__rdtsc();
  features_ = jit::x86::features_of([this](u32 leaf, u32 subleaf) {
    const x86::CpuidLeaf l = mmu_.cpuid(leaf, subleaf);
    return jit::x86::CpuidRegisters{l.eax, l.ebx, l.ecx, l.edx};
  });
  s_.reset(x86::State::ResetCause::PowerOn, signature_, bootstrap_);
  mode_changed();
}

JitVcpu::~JitVcpu() {
  if (destroyed_) destroyed_();
}

void JitVcpu::get(x86::State& state) {
  state = s_;
  state.tsc = guest_tsc();
}

void JitVcpu::set(const x86::State& state) {
  s_ = state;
  set_guest_tsc(state.tsc);
  mmu_.flush_tlb(x86::TlbScope::All, 0);
  mode_changed();
}

void JitVcpu::wake(u32 bits) {
  request(bits);
  if (config_.wake) config_.wake();
}

void JitVcpu::set_intr(bool pending) {
  intr_ = pending;
  if (pending) wake(attention::kIntr);
}

void JitVcpu::sipi(u8 vector) {
  sipi_vector_ = vector;
  wake(attention::kSipi);
}

// The guest's x87 state lives in the host's registers while run() lasts: no C++ here uses them.
void JitVcpu::enter_host() {
  running_vcpu = this;
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
  while (!(exit = turn())) {}
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
    s_.smi_pending = false;
    s_.activity = x86::Activity::Running;
    log_interrupt(s_, "SMI", 0);
    x86::enter_smm(s_, mmu_);
    mode_changed();
  } else if (s_.nmi_pending && !s_.nmi_blocked) {
    s_.nmi_pending = false;
    s_.activity = x86::Activity::Running;
    log_interrupt(s_, "NMI", x86::kNmi);
    if (x86::deliver_nmi(s_, mmu_) == x86::Delivery::Shutdown) return Exit::Reset;
    mode_changed();
  } else if (intr_.load(std::memory_order_relaxed) && (s_.rflags & x86::kIf) &&
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

// From one look at the world to the next: a chain of blocks, or one instruction.
std::optional<Exit> JitVcpu::turn() {
  if (block_->poll.load(std::memory_order_relaxed))
    if (auto exit = attend()) return exit;
  if (auto exit = interrupts()) return exit;
  const bool one_by_one =
      (s_.rflags & x86::kTf) || s_.interrupt_shadow || options_.block_limit == 0;
  if (one_by_one) return step();
  // The jump cache knows the block, or its empty entry leads back here.
  const u8* code = static_cast<const u8*>(mmu_.context().jumps[ir::jump_index(s_.rip)]);
  if (code_logged(LogItem::NoChain)) code = cache_->executable(routines_.miss);
  for (;;) {
    enter(code);
    const u64 info = block_->exit_info;
    switch (static_cast<ir::ExitReason>(info & 0xff)) {
      case ir::ExitReason::Step: return step();
      case ir::ExitReason::Poll:
      case ir::ExitReason::Done: return std::nullopt;
      case ir::ExitReason::Next: break;
    }
    if (block_->poll.load(std::memory_order_relaxed)) return std::nullopt;
    const u64 flushes = statistics_.flushes;
    TranslatedBlock* block = block_at(s_.rip);
    if (!block) return step();
    code = cache_->executable(block->checked);
    log_entry(s_);
    const u64 link = info >> 8;
    if (code_logged(LogItem::NoChain)) continue;
    if (link == 0)
      mmu_.context().jumps[ir::jump_index(s_.rip)] = code;
    else if (statistics_.flushes == flushes)
      table_.connect(static_cast<u32>(link - 1), block);
  }
}

// At an entry that verifies rip, or a thunk's.
void JitVcpu::enter(const u8* code) {
  block_->flags = pack_flags(s_.rflags);
  mmu_.activate();
  using Enter = void (*)(VcpuBlock*, const u8*);
  reinterpret_cast<Enter>(reinterpret_cast<u64>(cache_->executable(routines_.enter)))(block_.get(),
                                                                                      code);
  _mm_setcsr(kDefaultMxcsr);
  s_.rflags = unpack_flags(s_.rflags, block_->flags);
}

TranslatedBlock* JitVcpu::block_at(u64 pc) {
  const u64 base = mode_key_.code_base;
  const u64 linear = s_.code64() ? pc : (pc + base) & 0xffff'ffff;
  x86::OrFault<std::span<const u8>> code = mmu_.code_at(linear);
  if (!code || code->empty()) return nullptr;
  ir::Key key = mode_key_;
  key.pc = pc;
  key.physical = reinterpret_cast<u64>(code->data());
  if (TranslatedBlock* block = table_.find(key)) return block;
  statistics_.misses++;
  return translate(key, *code);
}

TranslatedBlock* JitVcpu::translate(const ir::Key& key, std::span<const u8> code) {
  // From now on writes to this page are seen; then its bytes may be looked at.
  if (!table_.page_has_code(key.physical)) mmu_.forget_code(code.data() - (key.physical & 4095));
  const u64 begin = __rdtsc();
  jit::x86::translate(ir_, key, code, features_, options_.block_limit);
  log_said(ir_, code);
  opt::run_passes(ir_, options_.passes);
  log_optimised(ir_);
  x64::Compiled compiled =
      emitter_.compile(ir_, cache_->cursor(), cache_->room(), routines_, table_.next_link());
  if (compiled.size == 0) {
    flush_code();
    compiled = emitter_.compile(ir_, cache_->cursor(), cache_->room(), routines_, 0);
    ensure(compiled.size != 0, "a block fits an empty code cache");
  }
  auto block = std::make_unique<TranslatedBlock>();
  block->key = key;
  block->bytes = ir_.bytes;
  block->code = cache_->cursor();
  block->size = compiled.size;
  block->entry = block->code + compiled.entry;
  block->entry_saved = block->code + compiled.entry_saved;
  block->checked = block->code + compiled.checked;
  block->pcs = ir_.pcs;
  for (const x64::Site& site : compiled.sites)
    block->sites.push_back({site.offset, site.insn, site.flags_saved, site.borrowed});
  for (const x64::Link& link : compiled.links)
    table_.add_link(block.get(), block->code + link.field, block->code + link.stub, link.pc,
                    link.flags_saved);
  cache_->commit(compiled.size);
  note_translated(*block, __rdtsc() - begin);
  return table_.add(std::move(block));
}

void JitVcpu::note_translated(const TranslatedBlock& block, u64 ticks) {
  statistics_.blocks++;
  statistics_.instructions += ir_.pcs.size() - 1;
  statistics_.guest_bytes += block.bytes;
  statistics_.host_bytes += block.size;
  statistics_.translation_ticks += ticks;
  const u8* runs_at = cache_->executable(block.code);
  log_host_code(ir_, {block.code, block.size}, runs_at);
  if (options_.perf_map)
    options_.perf_map->add(runs_at, block.size, format("guest {:#x}", block.key.pc));
}

JitReport JitVcpu::report() const {
  JitReport report{.counted = statistics_, .blocks = table_.size()};
  std::tie(report.links, report.connected) = table_.count_links();
  report.code = cache_->used();
  report.code_size = cache_->size();
  return report;
}

void JitVcpu::flush_code() {
  table_.clear();
  thunks_.clear();
  cache_->rewind(kRoutineRoom);
  mmu_.clear_jumps();
  statistics_.flushes++;
}

// After anything that may have changed registers that translation or paging depends on.
void JitVcpu::mode_changed() {
  using namespace x86;
  const u64 paging = (s_.cr0 & (kCr0Pg | kCr0Wp)) ^ (s_.efer & (kEferLma | kEferNxe)) << 32 ^
                     (s_.cr4 & (kCr4Pse | kCr4Pae | kCr4Pge | kCr4La57 | kCr4Pcide | kCr4Smep |
                                kCr4Smap | kCr4Pke))
                         << 8 ^
                     static_cast<u64>(s_.pkru) * 0x9e3779b97f4a7c15;
  if (paging != paging_) mmu_.flush_tlb(TlbScope::All, 0);
  paging_ = paging;
  mode_key_.mode = jit::x86::mode_of(s_);
  mode_key_.code_base = s_.code64() ? 0 : s_.seg[Cs].base;
  mmu_.refresh(mode_key_.code_base << 12 ^ mode_key_.mode);
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
  if (void* host = mmu_.fill(linear, size, access)) return host;
  statistics_.slow_accesses++;
  const u8* at = cache_->writable(static_cast<const u8*>(site));
  const TranslatedBlock* block = table_.find_host(at);
  const jit::SiteRecord* record = block ? block->site_at(at) : nullptr;
  ensure(record != nullptr, "a slow path that belongs to no block");
  s_.rip = block->pcs[record->insn];
  block_->exit_info = x64::exit_info(ir::ExitReason::Step);
  return nullptr;
}

bool JitVcpu::page_has_code(const void* host) const {
  return table_.page_has_code(reinterpret_cast<u64>(host));
}

bool JitVcpu::line_has_code(const void* host, u64 size) const {
  return table_.line_has_code(reinterpret_cast<u64>(host), size);
}

void JitVcpu::written(const void* host, u64 size) {
  if (table_.invalidate(reinterpret_cast<u64>(host), size, routines_.miss))
    statistics_.invalidations++;
}

// Devices write by DMA without our store tables: their RamBlocks note it, page by page. Looked at
// when the guest may learn of it: with an interrupt, or by reading a device.
void JitVcpu::forget_written() {
  mmu_.each_written_page([this](const std::byte* page) { note_code_written(page, 4096); });
}

void JitVcpu::note_code_written(const void* host, u64 size) {
  const u8* at = static_cast<const u8*>(host);
  while (size > 0) {
    const u64 part = std::min<u64>(size, 4096 - (reinterpret_cast<u64>(at) & 4095));
    written(at, part);
    at += part;
    size -= part;
  }
}

u64 JitVcpu::guest_tsc() const { return __rdtsc() + tsc_offset_; }
void JitVcpu::set_guest_tsc(u64 value) { tsc_offset_ = value - __rdtsc(); }

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
