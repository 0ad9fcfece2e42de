#include "accel/kvm/kvm_registers.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"

namespace menura {

using x86::State;

namespace {

constexpr size_t kXsaveMinimum = 4096;
constexpr size_t kXsaveMaximum = size_t{1} << 20;
constexpr size_t kXstateBv = 512;
constexpr u64 kLegacyComponents = 3;  // x87 and SSE

size_t xsave_size(const KvmSystem& system, const KvmFd& vm) {
  if (!system.has(KVM_CAP_XSAVE)) return 0;
  const int size = vm.call(KVM_CHECK_EXTENSION, static_cast<unsigned long>(KVM_CAP_XSAVE2));
  return std::clamp(static_cast<size_t>(std::max(size, 0)), kXsaveMinimum, kXsaveMaximum);
}

// The kernel's structures are plain; padding is zero because the conversions start from {}.
template <class T>
bool same(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

}  // namespace

KvmRegisters::KvmRegisters(const KvmSystem& system, const KvmFd& vcpu, const KvmFd& vm, Lapic lapic)
    : system_(system),
      vcpu_(vcpu),
      lapic_(lapic),
      layout_(kvm::XsaveLayout::of_host()),
      xsave_size_(xsave_size(system, vm)),
      smm_(system.has(KVM_CAP_X86_SMM) ? kvm::Smm::Present : kvm::Smm::Absent),
      msrs_(system),
      xsave_(xsave_size_) {}

Result<void> KvmRegisters::read(State& state) {
  kvm_regs regs{};
  TRY(vcpu_.require(KVM_GET_REGS, &regs, "Reading the registers"));
  kvm::from_regs(state, regs);
  if (system_.has(KVM_CAP_SREGS2)) {
    TRY(vcpu_.require(KVM_GET_SREGS2, &last_read_, "Reading the system registers"));
    kvm::from_sregs2(state, last_read_);
  } else {
    kvm_sregs sregs{};
    TRY(vcpu_.require(KVM_GET_SREGS, &sregs, "Reading the system registers"));
    kvm::from_sregs(state, sregs);
  }
  if (xsave_size_ != 0) {
    const unsigned long request = xsave_size_ > kXsaveMinimum ? KVM_GET_XSAVE2 : KVM_GET_XSAVE;
    TRY(vcpu_.require(request, xsave_.data(), "Reading the extended registers"));
    kvm::from_xsave(state, layout_, xsave_);
  } else {
    kvm_fpu fpu{};
    TRY(vcpu_.require(KVM_GET_FPU, &fpu, "Reading the floating-point registers"));
    kvm::from_fpu(state, fpu);
  }
  if (system_.has(KVM_CAP_XCRS)) {
    kvm_xcrs xcrs{};
    TRY(vcpu_.require(KVM_GET_XCRS, &xcrs, "Reading XCR0"));
    if (xcrs.nr_xcrs > 0) state.xcr0 = xcrs.xcrs[0].value;
  }
  kvm_debugregs debug{};
  TRY(vcpu_.require(KVM_GET_DEBUGREGS, &debug, "Reading the debug registers"));
  kvm::from_debugregs(state, debug);
  kvm_vcpu_events events{};
  TRY(vcpu_.require(KVM_GET_VCPU_EVENTS, &events, "Reading the pending events"));
  kvm::from_events(state, events);
  if (lapic_ == Lapic::Kernel) {
    kvm_mp_state mp{};
    TRY(vcpu_.require(KVM_GET_MP_STATE, &mp, "Reading the CPU's activity"));
    state.activity = kvm::from_mp_state(mp.mp_state);
  }
  msrs_.read(vcpu_, state);
  return {};
}

Result<void> KvmRegisters::write(const State& s, const State* before) {
  // System registers first (they decide what the others may hold), events and activity last.
  if (!before || !same(kvm::to_sregs(s), kvm::to_sregs(*before))) TRY(write_system_registers(s));
  if (kvm_regs regs = kvm::to_regs(s); !before || !same(regs, kvm::to_regs(*before)))
    TRY(vcpu_.require(KVM_SET_REGS, &regs, "Setting the registers"));
  if (system_.has(KVM_CAP_XCRS) && (!before || s.xcr0 != before->xcr0)) {
    kvm_xcrs xcrs{};
    xcrs.nr_xcrs = 1;
    xcrs.xcrs[0].value = s.xcr0;
    TRY(vcpu_.require(KVM_SET_XCRS, &xcrs, "Setting XCR0"));
  }
  if (!before || s.x87 != before->x87 || s.mxcsr != before->mxcsr || s.vec != before->vec ||
      s.avx512 != before->avx512 || s.pkru != before->pkru)
    TRY(write_fpu(s));
  if (kvm_debugregs debug = kvm::to_debugregs(s);
      !before || !same(debug, kvm::to_debugregs(*before)))
    TRY(vcpu_.require(KVM_SET_DEBUGREGS, &debug, "Setting the debug registers"));
  msrs_.write(vcpu_, s, before);
  if (kvm_vcpu_events e = kvm::to_events(s, smm_);
      !before || !same(e, kvm::to_events(*before, smm_)))
    TRY(vcpu_.require(KVM_SET_VCPU_EVENTS, &e, "Setting the pending events"));
  if (lapic_ == Lapic::Kernel && (!before || s.activity != before->activity)) {
    kvm_mp_state mp{.mp_state = kvm::to_mp_state(s.activity)};
    TRY(vcpu_.require(KVM_SET_MP_STATE, &mp, "Setting the CPU's activity"));
  }
  return {};
}

Result<void> KvmRegisters::write_system_registers(const State& state) {
  if (!system_.has(KVM_CAP_SREGS2)) {
    kvm_sregs sregs = kvm::to_sregs(state);
    TRY(vcpu_.require(KVM_SET_SREGS, &sregs, "Setting the system registers"));
    return {};
  }
  kvm_sregs2 sregs = kvm::to_sregs2(state);
  // With an unchanged CR3, the PDPTRs are those that the CPU loaded, whatever memory says now.
  if ((last_read_.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID) && last_read_.cr3 == sregs.cr3) {
    sregs.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
    std::ranges::copy(last_read_.pdptrs, sregs.pdptrs);
  }
  TRY(vcpu_.require(KVM_SET_SREGS2, &sregs, "Setting the system registers"));
  return {};
}

Result<void> KvmRegisters::write_fpu(const State& state) {
  if (xsave_size_ == 0) {
    kvm_fpu fpu = kvm::to_fpu(state);
    TRY(vcpu_.require(KVM_SET_FPU, &fpu, "Setting the floating-point registers"));
    return {};
  }
  kvm::to_xsave(state, layout_, xsave_);
  if (vcpu_.call(KVM_SET_XSAVE, xsave_.data()) == 0) return {};
  const u64 wanted = load_le<u64>(xsave_, kXstateBv);
  if (errno != EINVAL || (wanted & ~kLegacyComponents) == 0)
    return KvmFd::refused(KVM_SET_XSAVE, "Setting the extended registers");
  log_warning("kvm: extended registers beyond SSE were refused (components {:#x})", wanted);
  store_le<u64>(xsave_, kXstateBv, wanted & kLegacyComponents);
  TRY(vcpu_.require(KVM_SET_XSAVE, xsave_.data(), "Setting the extended registers"));
  return {};
}

}  // namespace menura
