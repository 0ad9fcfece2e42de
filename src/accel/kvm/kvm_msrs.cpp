#include "accel/kvm/kvm_msrs.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/log.h"

namespace menura {

namespace {

using x86::State;

struct NamedMsr {
  u32 index;
  u64 State::*member;
};

// TSC first: a deadline is meant against the new time.
constexpr NamedMsr kMsrs[] = {
    {0x10, &State::tsc},
    {0x3b, &State::tsc_adjust},
    {0xc000'0103, &State::tsc_aux},
    {0x3a, &State::feature_control},
    {0x48, &State::spec_ctrl},
    {0x9e, &State::smbase},
    {0x174, &State::sysenter_cs},
    {0x175, &State::sysenter_esp},
    {0x176, &State::sysenter_eip},
    {0x1a0, &State::misc_enable},
    {0x277, &State::pat},
    {0xda0, &State::xss},
    {0xc000'0081, &State::star},
    {0xc000'0082, &State::lstar},
    {0xc000'0083, &State::cstar},
    {0xc000'0084, &State::fmask},
    {0xc000'0102, &State::kernel_gs_base},
    {0x17a, &State::mcg_status},
    {0x17b, &State::mcg_ctl},
    {0x4b56'4d00, &State::kvm_wall_clock},
    {0x4b56'4d01, &State::kvm_system_time},
    {0x4b56'4d02, &State::kvm_async_pf},
    {0x4b56'4d03, &State::kvm_steal_time},
    {0x4b56'4d04, &State::kvm_pv_eoi},
    {0x4b56'4d05, &State::kvm_poll_control},
    {0x6e0, &State::tsc_deadline},
};

constexpr u32 kMtrrDefType = 0x2ff;
constexpr u32 kMtrrVariable = 0x200;
constexpr u32 kMtrrFixed[x86::Mtrrs::kFixed] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
                                                0x26b, 0x26c, 0x26d, 0x26e, 0x26f};
constexpr u32 kMceCtl = 0x400;

// Derived from others, or not to be carried from one host to another.
constexpr u32 kNeverSaved[] = {
    0x11,  // old numbers of kvmclock's MSRs, which alias 4B564D00h and 4B564D01h
    0x12,
    0x8b,   // microcode revision
    0x10a,  // IA32_ARCH_CAPABILITIES: the host's, and refused when set here
    0x345,  // IA32_PERF_CAPABILITIES
    0x34,   // SMI count
    0xce,   // platform information
};

template <class T>
size_t offset_in(const State& state, const T& field) {
  return static_cast<size_t>(reinterpret_cast<const char*>(&field) -
                             reinterpret_cast<const char*>(&state));
}

u64 value_at(const State& state, size_t offset) {
  return load_raw<u64>(reinterpret_cast<const char*>(&state) + offset);
}

// KVM_GET_MSRS and KVM_SET_MSRS take a header and entries in one piece.
struct MsrBatch {
  explicit MsrBatch(std::span<const kvm_msr_entry> values)
      : storage(sizeof(kvm_msrs) / sizeof(u64) +
                values.size() * sizeof(kvm_msr_entry) / sizeof(u64)) {
    table()->nmsrs = static_cast<u32>(values.size());
    std::ranges::copy(values, table()->entries);
  }
  kvm_msrs* table() { return reinterpret_cast<kvm_msrs*>(storage.data()); }
  std::vector<u64> storage;
};

}  // namespace

void KvmMsrValue::describe(StateVisitor& v) {
  v.field("index", index);
  v.field("value", value);
}

KvmMsrs::KvmMsrs(const KvmSystem& system) {
  const std::vector<u32>& listed = system.msrs();
  const auto is_listed = [&](u32 index) {
    return std::ranges::find(listed, index) != listed.end();
  };
  const State layout;
  for (const NamedMsr& msr : kMsrs)
    if (is_listed(msr.index)) rows_.push_back({msr.index, offset_in(layout, layout.*msr.member)});
  // MTRRs and machine check banks are kept by every KVM, listed or not.
  rows_.push_back({kMtrrDefType, offset_in(layout, layout.mtrr.def_type)});
  for (size_t i = 0; i < x86::Mtrrs::kFixed; i++)
    rows_.push_back({kMtrrFixed[i], offset_in(layout, layout.mtrr.fixed[i])});
  for (u32 i = 0; i < x86::Mtrrs::kVariable; i++) {
    rows_.push_back({kMtrrVariable + 2 * i, offset_in(layout, layout.mtrr.base[i])});
    rows_.push_back({kMtrrVariable + 2 * i + 1, offset_in(layout, layout.mtrr.mask[i])});
  }
  for (u32 i = 0; i < 4 * system.mce_banks(); i++)
    rows_.push_back({kMceCtl + i, offset_in(layout, layout.mce[i])});
  for (const u32 index : listed) {
    if (std::ranges::find(kNeverSaved, index) != std::end(kNeverSaved)) continue;
    if (std::ranges::none_of(rows_, [&](const Row& row) { return row.index == index; }))
      others_.push_back(index);
  }
}

void KvmMsrs::read(const KvmFd& vcpu, State& state) {
  std::vector<kvm_msr_entry> values;
  for (const Row& row : rows_) values.push_back({.index = row.index, .reserved = 0, .data = 0});
  get(vcpu, values);
  size_t next = 0;
  for (const Row& row : rows_) {
    if (next == values.size() || values[next].index != row.index) continue;
    store_raw(reinterpret_cast<char*>(&state) + row.offset, u64{values[next++].data});
  }
}

void KvmMsrs::write(const KvmFd& vcpu, const State& state, const State* before) {
  std::vector<kvm_msr_entry> values;
  for (const Row& row : rows_) {
    const u64 value = value_at(state, row.offset);
    if (before && value_at(*before, row.offset) == value) continue;
    values.push_back({.index = row.index, .reserved = 0, .data = value});
  }
  set(vcpu, std::move(values));
}

void KvmMsrs::set_one(const KvmFd& vcpu, u32 index, u64 value) {
  set(vcpu, {{.index = index, .reserved = 0, .data = value}});
}

std::vector<KvmMsrValue> KvmMsrs::read_others(const KvmFd& vcpu) {
  std::vector<kvm_msr_entry> values;
  for (const u32 index : others_) values.push_back({.index = index, .reserved = 0, .data = 0});
  get(vcpu, values);
  std::vector<KvmMsrValue> result;
  for (const kvm_msr_entry& entry : values) result.push_back({entry.index, entry.data});
  return result;
}

void KvmMsrs::write_others(const KvmFd& vcpu, const std::vector<KvmMsrValue>& values) {
  std::vector<kvm_msr_entry> entries;
  for (const KvmMsrValue& value : values) {
    if (std::ranges::find(others_, value.index) == others_.end())
      log_warning("kvm: MSR {:#x} does not exist here, its saved value is lost", value.index);
    else
      entries.push_back({.index = value.index, .reserved = 0, .data = value.value});
  }
  set(vcpu, std::move(entries));
}

void KvmMsrs::get(const KvmFd& vcpu, std::vector<kvm_msr_entry>& values) {
  std::erase_if(values, [&](const kvm_msr_entry& e) { return unreadable_.contains(e.index); });
  size_t start = 0;
  while (start < values.size()) {
    MsrBatch batch{std::span<const kvm_msr_entry>(values).subspan(start)};
    const int done = vcpu.call(KVM_GET_MSRS, batch.table());
    const size_t count = static_cast<size_t>(std::max(done, 0));
    std::copy_n(batch.table()->entries, count, values.begin() + static_cast<ptrdiff_t>(start));
    start += count;
    if (start == values.size()) break;
    const u32 index = values[start].index;
    unreadable_.insert(index);
    log_warning("kvm: MSR {:#x} cannot be read", index);
    values.erase(values.begin() + static_cast<ptrdiff_t>(start));
  }
}

void KvmMsrs::set(const KvmFd& vcpu, std::vector<kvm_msr_entry> values) {
  std::span<const kvm_msr_entry> rest = values;
  while (!rest.empty()) {
    MsrBatch batch(rest);
    const int done = vcpu.call(KVM_SET_MSRS, batch.table());
    rest = rest.subspan(static_cast<size_t>(std::max(done, 0)));
    if (rest.empty()) break;
    if (refused_.insert(rest.front().index).second)
      log_warning("kvm: MSR {:#x} was refused and keeps its value", rest.front().index);
    rest = rest.subspan(1);
  }
}

}  // namespace menura
