#include "accel/jit/soft_mmu.h"

#include <algorithm>
#include <bit>

#include "accel/jit/jit_log.h"
#include "base/bits.h"

namespace menura::engine {

using x86::Fault;
using x86::OrFault;
using x86::PageAccess;
using x86::Privilege;

namespace {

constexpr u64 kOffset = 4095;

u8 physical_bits_of(const std::vector<CpuidEntry>& cpuid) {
  for (const CpuidEntry& entry : cpuid)
    if (entry.leaf == 0x8000'0008 && (entry.eax & 0xff)) return static_cast<u8>(entry.eax & 0xff);
  return 40;
}

// A single access of the size, as the guest's own would be.
void copy_single(void* to, const void* from, size_t size) {
  switch (size) {
    case 1:
      __atomic_store_n(static_cast<u8*>(to), *static_cast<const u8*>(from), __ATOMIC_RELAXED);
      break;
    case 2: store_raw(to, load_raw<u16>(from)); break;
    case 4: store_raw(to, load_raw<u32>(from)); break;
    case 8: store_raw(to, load_raw<u64>(from)); break;
    default: std::memcpy(to, from, size);
  }
}

}  // namespace

SoftMmu::SoftMmu(x86::State& state, const AcceleratorContext& machine, const VcpuConfig& config,
                 Translations& code, CpuSide& cpu)
    : s_(state),
      io_(machine.io),
      lock_(machine.lock),
      time_(machine.time),
      cpuid_(config.cpuid),
      lapic_(config.lapic),
      code_(code),
      cpu_(cpu),
      physical_bits_(physical_bits_of(config.cpuid)),
      pool_(code.cache().executable(code.routines().miss)) {
  plain_.memory = &machine.memory;
  smm_.memory = machine.smm;
  refresh(0);
  refresh_space(plain_);
  refresh_space(smm_);
}

void SoftMmu::refresh_space(Space& space) {
  if (!space.memory) return;
  space.view = space.memory->view();
  space.last_range = nullptr;
  for (const FlatRange& range : space.view->ranges())
    if (range.ram && !range.ram->tracks_dirty(DirtyClient::Code))
      range.ram->track_dirty(DirtyClient::Code, true);
}

void SoftMmu::each_written_page(const std::function<void(const std::byte*)>& visit) {
  for (const FlatRange& range : plain_.view->ranges()) {
    if (!range.ram || !range.ram->take_any_dirty(DirtyClient::Code)) continue;
    const std::vector<u64> words = range.ram->take_dirty(DirtyClient::Code, 0, range.ram->size());
    for (size_t w = 0; w < words.size(); w++)
      for (u64 bits = words[w]; bits; bits &= bits - 1)
        visit(range.ram->host() + 4096 * (64 * w + static_cast<u64>(std::countr_zero(bits))));
  }
}

void SoftMmu::refresh(u64 code) {
  const u16 pcid = (s_.cr4 & x86::kCr4Pcide) ? s_.cr3 & 0xfff : 0;
  if (!pool_.selected(pcid)) pool_.select(pcid);
  const bool user = s_.cpl() == 3, lifted = s_.rflags & x86::kAc;
  const Ring with = user ? Ring::User : Ring::KernelToUser;
  const Ring without = user || !(s_.cr4 & x86::kCr4Smap) ? with : Ring::Kernel;
  sides_ = {&pool_.of(without, code), &pool_.of(with, code)};
  context_ = sides_[lifted];
}

void SoftMmu::activate() {
  if (active_ == context_) return;
  active_ = context_;
  asm volatile("wrgsbase %0" ::"r"(context_));
}

void SoftMmu::refresh_view() {
  refresh_space(plain_);
  refresh_space(smm_);
  pool_.clear_all();
}

const FlatRange* SoftMmu::range_at(u64 physical) {
  const GuestAddr addr{physical};
  Space& now = space();
  if (now.last_range && now.last_range->contains(addr)) return now.last_range;
  const FlatRange* range = now.view->find(addr);
  if (range) now.last_range = range;
  return range;
}

bool SoftMmu::lapic_claims(u64 physical) const {
  return lapic_ && lapic_->claims(GuestAddr{physical});
}

OrFault<SoftMmu::Part> SoftMmu::locate(u64 linear, PageAccess access, Privilege privilege,
                                       x86::Translation* out) {
  if (s_.long_mode_active() && !x86::canonical(s_, linear)) return x86::general_protection();
  const bool user =
      privilege == Privilege::User || (privilege == Privilege::Current && s_.cpl() == 3);
  const x86::WalkFrom* from = pool_.current().walk_from(linear, s_.cr3);
  x86::Translation t = TRY(x86::walk(s_, *this, linear,
                                     {.access = access,
                                      .user = user,
                                      .implicit = privilege == Privilege::Supervisor,
                                      .physical_bits = physical_bits_},
                                     from));
  if (!from) pool_.current().note_walk(t.from, linear);
  if (out) *out = t;
  if (lapic_claims(t.physical)) return Part{t.physical, nullptr, nullptr};
  const FlatRange* range = range_at(t.physical);
  if (!range || !range->ram) return Part{t.physical, nullptr, range};
  if (access == PageAccess::Write && range->readonly) return Part{t.physical, nullptr, range};
  return Part{t.physical, range->ram->host() + range->offset_of(GuestAddr{t.physical}), range};
}

void SoftMmu::insert(u64 linear, const x86::Translation& t, const Part& part) {
  // A page of which a part is something else is never cached.
  const GuestAddr first{t.physical & ~kOffset}, last{t.physical | kOffset};
  if (part.range->start > first || part.range->last < last) return;
  const u64 page = linear & ~kOffset;
  const u64 host = reinterpret_cast<u64>(part.host) - (linear & kOffset);
  context_->note_fill();
  if (!t.global) context_->note_local(linear);
  const u32 at = context_->index(linear);
  context_->load[at] = {page, host};
  if (t.page_size > 4096) pool_.current().note_large(linear, t.page_size);
  const bool dirtied = part.range->dirty_clients != 0;
  if (!t.writable || part.range->readonly || dirtied || journal_) return;
  // Another vCPU may be translating code in this page: entered first, then looked at.
  pool_.current().note_stored(*context_, host, page);
  ContextSet::enter(context_->store[at], page, host);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (code_.page_has_code(part.host)) ContextSet::remove(context_->store[at]);
}

void* SoftMmu::fill(u64 linear, u32 size, PageAccess access) {
  if ((linear & kOffset) + size > 4096 || page_watched(linear)) return nullptr;
  x86::Translation translation;
  OrFault<Part> found = locate(linear, access, Privilege::Current, &translation);
  if (!found || !found->host) return nullptr;
  const Part part = *found;
  log_fill(linear, part.physical, access);
  if (part.range->last < GuestAddr{translation.physical + size - 1}) return nullptr;
  if (access == PageAccess::Write) {
    if (code_.line_has_code(part.host, size)) return nullptr;
    if (part.range->dirty_clients)
      part.range->ram->mark_written(part.range->offset_of(GuestAddr{translation.physical}), size);
    note_store(part.host, translation.physical, size);
  }
  insert(linear, translation, part);
  return part.host;
}

// Host memory of `size` bytes of one page, if that is RAM without a watch over it.
std::byte* SoftMmu::plain_ram(u64 linear, u64 size, PageAccess access) {
  if (page_watched(linear)) return nullptr;
  const OrFault<Part> found = locate(linear, access, Privilege::Current);
  if (!found || !found->host || found->range->last < GuestAddr{found->physical + size - 1})
    return nullptr;
  if (access == PageAccess::Write) {
    if (code_.line_has_code(found->host, size)) return nullptr;
    if (found->range->dirty_clients)
      found->range->ram->mark_written(found->range->offset_of(GuestAddr{found->physical}), size);
    note_store(found->host, found->physical, size);
  }
  return found->host;
}

void* SoftMmu::straddle(u64 linear, u32 size, PageAccess access, Bytes copy) {
  const u64 first = 4096 - (linear & kOffset);
  if (first >= size || (!s_.code64() && linear + size > u64{1} << 32)) return nullptr;
  const std::byte* low = plain_ram(linear, first, access);
  const std::byte* high = low ? plain_ram(linear + first, size - first, access) : nullptr;
  if (!high) return nullptr;
  if (low + first == high) return const_cast<std::byte*>(low);
  if (access == PageAccess::Write) return nullptr;
  const Bytes operand = copy.subspan(linear & 63, size);
  std::memcpy(operand.data(), low, first);
  std::memcpy(operand.data() + first, high, size - first);
  return operand.data();
}

OrFault<void*> SoftMmu::direct(u64 linear, u64 size, PageAccess access) {
  if ((linear & kOffset) + size > 4096) return nullptr;
  const Part part = TRY(locate(linear, access, Privilege::Current));
  if (!part.host || part.range->last < GuestAddr{part.physical + size - 1}) return nullptr;
  note_access(linear, size, access);
  if (access == PageAccess::Write) {
    part.range->ram->mark_written(part.range->offset_of(GuestAddr{part.physical}), size);
    note_store(part.host, part.physical, size);
  }
  return static_cast<void*>(part.host);
}

OrFault<std::span<const u8>> SoftMmu::code_at(u64 linear) {
  ir::CodePage& cached = context_->code_page(linear);
  const u64 page = linear & ~kOffset, offset = linear & kOffset;
  if (cached.page != page) {
    x86::Translation t;
    const Part part = TRY(locate(linear, PageAccess::Fetch, Privilege::Current, &t));
    if (!part.host) return std::span<const u8>{};
    if (part.range->start > GuestAddr{t.physical & ~kOffset} ||
        part.range->last < GuestAddr{t.physical | kOffset})
      return std::span<const u8>{};
    cached = {page, reinterpret_cast<u64>(part.host) - offset};
    pool_.current().note_executed(linear);
    if (!t.global) context_->local_code = true;
    if (t.page_size > 4096) pool_.current().note_large(linear, t.page_size);
  }
  return std::span{reinterpret_cast<const u8*>(cached.host) + offset, 4096 - offset};
}

void SoftMmu::device_read(u64 physical, Bytes to) {
  device_access_ = true;
  MachineLock::Guard guard(lock_);
  if (lapic_claims(physical)) {
    const u64 value =
        lapic_->read({physical & kOffset, static_cast<unsigned>(std::min<size_t>(to.size(), 8))});
    std::memset(to.data(), 0, to.size());
    std::memcpy(to.data(), &value, std::min<size_t>(to.size(), 8));
    return;
  }
  (void)space().memory->read(GuestAddr{physical}, to);  // unmapped reads all ones
}

void SoftMmu::device_write(u64 physical, ConstBytes from) {
  device_access_ = true;
  MachineLock::Guard guard(lock_);
  if (lapic_claims(physical)) {
    u64 value = 0;
    const size_t size = std::min<size_t>(from.size(), 8);
    std::memcpy(&value, from.data(), size);
    lapic_->write({physical & kOffset, static_cast<unsigned>(size)}, value);
    return;
  }
  (void)space().memory->write(GuestAddr{physical}, from);
}

void SoftMmu::ram_write(const Part& part, ConstBytes from) {
  note_store(part.host, part.physical, from.size());
  copy_single(part.host, from.data(), from.size());
  wrote(part.host, from.size());
  part.range->ram->mark_written(part.range->offset_of(GuestAddr{part.physical}), from.size());
}

OrFault<void> SoftMmu::read(u64 linear, Bytes to, Privilege privilege) {
  if (privilege != Privilege::Supervisor) note_access(linear, to.size(), PageAccess::Read);
  if (to.size() > 4096 - (linear & kOffset))
    TRY(probe(linear, to.size(), PageAccess::Read, privilege));
  for (size_t done = 0; done < to.size();) {
    const u64 at = linear + done;
    const size_t n = std::min<size_t>(to.size() - done, 4096 - (at & kOffset));
    const Part part = TRY(locate(at, PageAccess::Read, privilege));
    if (part.host && part.range->last >= GuestAddr{part.physical + n - 1})
      copy_single(to.data() + done, part.host, n);
    else
      device_read(part.physical, to.subspan(done, n));
    done += n;
  }
  return {};
}

OrFault<void> SoftMmu::write(u64 linear, ConstBytes from, Privilege privilege) {
  if (privilege != Privilege::Supervisor) note_access(linear, from.size(), PageAccess::Write);
  if (from.size() > 4096 - (linear & kOffset))
    TRY(probe(linear, from.size(), PageAccess::Write, privilege));
  for (size_t done = 0; done < from.size();) {
    const u64 at = linear + done;
    const size_t n = std::min<size_t>(from.size() - done, 4096 - (at & kOffset));
    const Part part = TRY(locate(at, PageAccess::Write, privilege));
    if (part.host && part.range->last >= GuestAddr{part.physical + n - 1})
      ram_write(part, from.subspan(done, n));
    else
      device_write(part.physical, from.subspan(done, n));
    done += n;
  }
  return {};
}

OrFault<void> SoftMmu::probe(u64 linear, u64 size, PageAccess access, Privilege privilege) {
  for (u64 at = linear;;) {
    TRY(locate(at, access, privilege));
    const u64 next = (at & ~kOffset) + 4096;
    if (next - linear >= size) return {};
    at = next;
  }
}

OrFault<u64> SoftMmu::load(u64 linear, unsigned size, Privilege privilege) {
  TRY(check_alignment(linear, size, privilege));
  u64 value = 0;
  TRY(read(linear, std::as_writable_bytes(std::span(&value, 1)).first(size), privilege));
  return value;
}

OrFault<void> SoftMmu::store(u64 linear, unsigned size, u64 value, Privilege privilege) {
  TRY(check_alignment(linear, size, privilege));
  return write(linear, bytes_of(std::span(&value, 1)).first(size), privilege);
}

OrFault<Bytes> SoftMmu::window(u64 linear, u64 size, PageAccess access, Privilege privilege) {
  size = std::min<u64>(size, 4096 - (linear & kOffset));
  if (page_watched(linear)) return Bytes{};
  x86::Translation t;
  const Part part = TRY(locate(linear, access, privilege, &t));
  if (!part.host || part.range->last < GuestAddr{part.physical + size - 1}) return Bytes{};
  if (access == PageAccess::Write) {
    if (code_.page_has_code(part.host)) return Bytes{};
    part.range->ram->mark_written(part.range->offset_of(GuestAddr{part.physical}), size);
    note_store(part.host, part.physical, size);
  }
  // Translated code may do the next one by itself.
  if (privilege == Privilege::Current) insert(linear, t, part);
  return Bytes{part.host, size};
}

u64 SoftMmu::load_physical(GuestAddr addr, unsigned size) {
  u64 value = 0;
  const FlatRange* range = range_at(addr.value);
  if (range && range->ram && range->last >= addr + (size - 1)) {
    std::memcpy(&value, range->ram->host() + range->offset_of(addr), size);
    return value;
  }
  device_read(addr.value, std::as_writable_bytes(std::span(&value, 1)).first(size));
  return value;
}

void SoftMmu::store_physical(GuestAddr addr, unsigned size, u64 value) {
  const FlatRange* range = range_at(addr.value);
  const ConstBytes bytes = bytes_of(std::span(&value, 1)).first(size);
  if (range && range->writable_ram() && range->last >= addr + (size - 1))
    return ram_write({addr.value, range->ram->host() + range->offset_of(addr), range}, bytes);
  device_write(addr.value, bytes);
}

bool SoftMmu::compare_exchange_physical(GuestAddr addr, unsigned size, u64 expected, u64 desired) {
  const FlatRange* range = range_at(addr.value);
  // Page tables in ROM cannot be marked: let the walk go on.
  if (!range || !range->writable_ram()) return true;
  std::byte* at = range->ram->host() + range->offset_of(addr);
  bool done;
  if (size == 4) {
    u32 old = static_cast<u32>(expected);
    done = __atomic_compare_exchange_n(reinterpret_cast<u32*>(at), &old, static_cast<u32>(desired),
                                       false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  } else {
    done = __atomic_compare_exchange_n(reinterpret_cast<u64*>(at), &expected, desired, false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  }
  if (!done) return false;
  wrote(at, size);
  range->ram->mark_written(range->offset_of(addr), size);
  return true;
}

u32 SoftMmu::in(u16 port, unsigned size) {
  note_port(port, size);
  device_access_ = true;
  MachineLock::Guard guard(lock_);
  return static_cast<u32>(io_.load(GuestAddr{port}, size));
}

void SoftMmu::out(u16 port, unsigned size, u32 value) {
  note_port(port, size);
  device_access_ = true;
  MachineLock::Guard guard(lock_);
  io_.store(GuestAddr{port}, size, value);
}

// Breakpoints in the order of DR0 to DR3: enabled, R/W (1: writes, 2: ports, 3: both), bytes.
namespace {
struct Breakpoint {
  bool enabled;
  unsigned kind;
  u64 size, at;
};
Breakpoint breakpoint(const x86::State& s, unsigned i) {
  constexpr u64 kSizes[] = {1, 2, 8, 4};
  const u64 size = kSizes[s.dr7 >> (18 + 4 * i) & 3];
  return {(s.dr7 >> (2 * i) & 3) != 0, static_cast<unsigned>(s.dr7 >> (16 + 4 * i) & 3), size,
          s.dr[i] & ~(size - 1)};
}
}  // namespace

u64 SoftMmu::watch(const x86::State& s) {
  watching_ = false;
  if (!(s.dr7 & 0xff)) return 0;
  u64 print = s.dr7;
  for (unsigned i = 0; i < 4; i++) {
    const Breakpoint b = breakpoint(s, i);
    if (!b.enabled || b.kind == 0) continue;
    watching_ = true;
    print = (print ^ b.at) * 0x9e3779b97f4a7c15;
  }
  return watching_ ? print : 0;
}

void SoftMmu::note_access(u64 linear, u64 size, PageAccess access) {
  if (!watching_) return;
  for (unsigned i = 0; i < 4; i++) {
    const Breakpoint b = breakpoint(s_, i);
    const bool kind = b.kind == 3 || (b.kind == 1 && access == PageAccess::Write);
    if (b.enabled && kind && linear < b.at + b.size && b.at < linear + size)
      watched_ |= u64{1} << i;
  }
}

void SoftMmu::note_port(u16 port, unsigned size) {
  if (!watching_ || !(s_.cr4 & x86::kCr4De)) return;
  for (unsigned i = 0; i < 4; i++) {
    const Breakpoint b = breakpoint(s_, i);
    if (b.enabled && b.kind == 2 && port < b.at + b.size && b.at < u64{port} + size)
      watched_ |= u64{1} << i;
  }
}

// Such a page is in no table, so every access to it is stepped.
bool SoftMmu::page_watched(u64 linear) const {
  if (!watching_) return false;
  for (unsigned i = 0; i < 4; i++) {
    const Breakpoint b = breakpoint(s_, i);
    if (b.enabled && (b.kind & 1) && (b.at ^ linear) <= kOffset) return true;
  }
  return false;
}

// Up to 8 bytes at their size, what is larger at 16 (x87's ten at 8).
OrFault<void> SoftMmu::check_alignment(u64 linear, u64 size, Privilege privilege) const {
  const bool checked = (s_.rflags & x86::kAc) && (s_.cr0 & x86::kCr0Am) && s_.cpl() == 3;
  if (!checked || privilege != Privilege::Current) return {};
  const u64 unit = size >= 16 ? 16 : std::bit_floor(size);
  if (linear & (unit - 1)) return Fault{.vector = x86::kAcFault, .has_error_code = true};
  return {};
}

void SoftMmu::flush_tlb(x86::TlbScope scope, u16 pcid) {
  switch (scope) {
    case x86::TlbScope::OnePcid: return pool_.clear_pcid(pcid);
    case x86::TlbScope::NonGlobal: return pool_.clear_local();
    case x86::TlbScope::All: return pool_.clear_all();
  }
}

void SoftMmu::flush_page(u64 linear, u16 pcid, bool globals_too) {
  (void)pcid;  // large pages and globals: every context forgets it
  (void)globals_too;
  pool_.clear_page(linear);
}

// A guest that measures by the TSC how long a timer takes must not find it late because the host is.
u64 SoftMmu::tsc() {
  if (time_ && time_->overdue()) {
    MachineLock::Guard guard(lock_);
    time_->run_overdue();
  }
  return cpu_.guest_tsc();
}

x86::CpuidLeaf SoftMmu::cpuid(u32 leaf, u32 subleaf) {
  for (const CpuidEntry& e : cpuid_)
    if (e.leaf == leaf && (!e.subleaf || *e.subleaf == subleaf))
      return {e.eax, e.ebx, e.ecx, e.edx};
  return {};
}

void SoftMmu::tell_tsc() {
  if (!lapic_) return;
  if (lock_.held()) return lapic_->set_tsc(cpu_.guest_tsc());
  MachineLock::Guard guard(lock_);
  lapic_->set_tsc(cpu_.guest_tsc());
}

u8 SoftMmu::task_priority() {
  MachineLock::Guard guard(lock_);
  return lapic_ ? lapic_->cr8() : 0;
}

void SoftMmu::set_task_priority(u8 value) {
  MachineLock::Guard guard(lock_);
  if (lapic_) lapic_->set_cr8(value);
}

std::optional<u64> SoftMmu::apic_msr(u32 index) {
  MachineLock::Guard guard(lock_);
  u64 value = 0;
  if (!lapic_ || !lapic_->read_msr(index, value)) return std::nullopt;
  return value;
}

bool SoftMmu::set_apic_msr(u32 index, u64 value) {
  MachineLock::Guard guard(lock_);
  if (lapic_) lapic_->set_tsc(cpu_.guest_tsc());  // what a deadline is measured against
  const bool known = lapic_ && lapic_->write_msr(index, value);
  constexpr u32 kApicBase = 0x1b;
  if (index == kApicBase) pool_.clear_all();  // its page may have moved
  return known;
}

}  // namespace menura::engine
