#include "accel/jit/jit_accelerator.h"

#include <cpuid.h>
#include <time.h>
#include <x86intrin.h>

#include <algorithm>

namespace menura {

namespace engine {

namespace {

CpuidEntry host(u32 leaf, std::optional<u32> subleaf = {}) {
  CpuidEntry e{.leaf = leaf, .subleaf = subleaf};
  __cpuid_count(leaf, subleaf.value_or(0), e.eax, e.ebx, e.ecx, e.edx);
  return e;
}

constexpr u32 bits_of(std::initializer_list<unsigned> bits) {
  u32 mask = 0;
  for (unsigned bit : bits) mask |= 1u << bit;
  return mask;
}

// What is offered of each feature word, by bit number (Intel SDM vol. 2A, CPUID; AMD APM vol. 3 E).
constexpr u32 k1Ecx = bits_of({0, 1, 9, 12, 13, 17, 19, 20, 21, 22, 23, 25, 26, 28, 29, 30});
constexpr u32 k1Edx =
    bits_of({0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26, 28});
constexpr u32 k7Ebx = bits_of({0, 3, 5, 7, 8, 9, 10, 18, 19, 20, 23, 24, 29});
constexpr u32 k7Ecx = bits_of({2, 8, 9, 10, 22});
constexpr u32 k7Edx = bits_of({4});
// What our own memory, system instructions and page walker do, whatever the host has: FSGSBASE, SMEP,
// ERMS, INVPCID, SMAP; UMIP, PKU, RDPID; CLZERO, WBNOINVD.
constexpr u32 kOwn7Ebx = bits_of({0, 7, 9, 10, 20});
constexpr u32 kOwn7Ecx = bits_of({2, 3, 22});
constexpr u32 kOwn8Ebx = bits_of({0, 9});
// 80000021h: LFENCE serializes (if the host's does), null selectors clear the base, and returns and
// buffers need no care: docs/decisions/005-cpu-models.md.
constexpr u32 kLfence = 1u << 2, kNullClearsBase = 1u << 6, kSrsoNo = 1u << 29;
constexpr u32 kTsaNo = 3u << 1;
constexpr u32 kXsaveEax = bits_of({0, 1, 2});
constexpr u32 kExtendedEcx = bits_of({0, 4, 5, 6, 8});
constexpr u32 kExtendedEdx = bits_of({11, 20, 22, 26, 27, 29});
constexpr u32 kSharedEdx = 0x0183'f3ff;  // bits that AMD repeats from leaf 1
// Made by our own APIC, whatever the host has.
constexpr u32 kX2apic = 1u << 21, kTscDeadline = 1u << 24;
constexpr u32 kPcid = 1u << 17;
// The board says which CPU shares what.
constexpr u32 kTopologyExtensions = 1u << 22;

}  // namespace

std::vector<CpuidEntry> offered_cpuid() {
  std::vector<CpuidEntry> offer;
  auto add = [&](CpuidEntry e) { offer.push_back(e); };
  CpuidEntry e = host(0);
  e.eax = 0xd;
  add(e);
  e = host(1);
  e.ebx = 8 << 8;  // CLFLUSH: 64 bytes
  e.ecx = (e.ecx & k1Ecx) | kX2apic | kTscDeadline | kPcid;
  e.edx &= k1Edx;
  add(e);
  e = host(7, 0);
  add({.leaf = 7,
       .subleaf = 0,
       .eax = 0,
       .ebx = (e.ebx & k7Ebx) | kOwn7Ebx,
       .ecx = (e.ecx & k7Ecx) | kOwn7Ecx,
       .edx = e.edx & k7Edx});
  const u32 states = host(0xd, 0).eax & 7;
  add({.leaf = 0xd, .subleaf = 0, .eax = states, .ebx = 832, .ecx = 832, .edx = 0});
  add({.leaf = 0xd, .subleaf = 1, .eax = host(0xd, 1).eax & kXsaveEax, .ebx = 832});
  add({.leaf = 0xd, .subleaf = 2, .eax = 256, .ebx = 576});
  e = host(0x8000'0000);
  e.eax = 0x8000'0021;
  add(e);
  e = host(0x8000'0001);
  const bool amd = e.edx & 1;  // FPU, which Intel leaves 0 here
  e.ecx = (e.ecx & kExtendedEcx) | (amd ? kTopologyExtensions : 0);
  e.edx = (e.edx & kExtendedEdx) | (amd ? host(1).edx & k1Edx & kSharedEdx : 0);
  e.ebx = 0;
  add(e);
  for (u32 leaf : {0x8000'0002, 0x8000'0003, 0x8000'0004, 0x8000'0005, 0x8000'0006})
    add(host(static_cast<u32>(leaf)));
  add({.leaf = 0x8000'0007, .edx = 1u << 8});  // invariant TSC
  add({.leaf = 0x8000'0008, .eax = 48u << 8 | 40u, .ebx = kOwn8Ebx});
  add({.leaf = 0x8000'0021,
       .eax = (host(0x8000'0021).eax & kLfence) | kNullClearsBase | kSrsoNo,
       .ecx = kTsaNo});
  return offer;
}

u64 measure_tsc_khz() {
  static const u64 khz = [] {
    auto now = [] {
      timespec t;
      clock_gettime(CLOCK_MONOTONIC_RAW, &t);
      return static_cast<u64>(t.tv_sec) * 1'000'000'000 + static_cast<u64>(t.tv_nsec);
    };
    const u64 ns = now(), tsc = __rdtsc();
    timespec pause{.tv_sec = 0, .tv_nsec = 10'000'000};
    nanosleep(&pause, nullptr);
    const u64 passed_tsc = __rdtsc() - tsc, passed_ns = now() - ns;
    return passed_tsc * 1'000'000 / std::max<u64>(passed_ns, 1);
  }();
  return khz;
}

}  // namespace engine

Result<std::unique_ptr<JitAccelerator>> JitAccelerator::create(const AcceleratorContext& context,
                                                               Tape& tape,
                                                               const engine::JitOptions& options) {
  if (const std::string_view missing = x64::missing_host_feature(); !missing.empty())
    return fail(Errc::Unsupported, "The JIT needs a host CPU with {}", missing);
  if (options.lockstep && context.max_cpus > 1)
    return fail(Errc::Unsupported,
                "lockstep=interp compares one CPU, not {}: others would change "
                "its memory meanwhile",
                context.max_cpus);
  if (options.lockstep && options.block_limit == 0)
    return fail(Errc::InvalidArgument, "lockstep=interp needs translated code: not backend=interp");
  std::unique_ptr<engine::Translations> code = TRY(engine::Translations::create(
      options, {engine::slow_load, engine::slow_store, engine::step_path}, context.max_cpus));
  return std::unique_ptr<JitAccelerator>(
      new JitAccelerator(context, tape, options, engine::measure_tsc_khz(), std::move(code)));
}

JitAccelerator::JitAccelerator(const AcceleratorContext& context, Tape& tape,
                               const engine::JitOptions& options, u64 tsc_khz,
                               std::unique_ptr<engine::Translations> code)
    : options_(options),
      offer_(engine::offered_cpuid()),
      tsc_khz_(tsc_khz),
      context_(context),
      shared_{tape, std::move(code), engine::GuestTsc(__rdtsc(), tsc_khz)} {
  context_.memory.add_listener(*this);
  if (context_.smm) context_.smm->add_listener(*this);
}

JitAccelerator::~JitAccelerator() {
  if (context_.smm) context_.smm->remove_listener(*this);
  context_.memory.remove_listener(*this);
}

Result<std::unique_ptr<Vcpu>> JitAccelerator::create_vcpu(const VcpuConfig& config) {
  VcpuConfig filled = config;
  if (filled.cpuid.empty()) filled.cpuid = offer_;
  std::unique_ptr<engine::JitVcpu> vcpu =
      TRY(engine::JitVcpu::create(context_, shared_, options_, filled));
  const std::lock_guard guard(mutex_);
  vcpus_.push_back(vcpu.get());
  vcpu->on_destroy([this, gone = vcpu.get()] {
    const std::lock_guard guard(mutex_);
    std::erase(vcpus_, gone);
  });
  return std::unique_ptr<Vcpu>(std::move(vcpu));
}

engine::JitReport JitAccelerator::report() const {
  engine::JitReport report{.code = shared_.code->statistics()};
  const std::lock_guard guard(mutex_);
  for (const engine::JitVcpu* vcpu : vcpus_) report.vcpus.push_back(vcpu->statistics());
  return report;
}

// Blocks are known by the host addresses of their code, which RAM that goes away sets free.
void JitAccelerator::forget_removed(const FlatView& before, const FlatView& after) {
  const auto has = [&](const RamBlock* ram) {
    return std::ranges::any_of(after.ranges(),
                               [&](const FlatRange& r) { return r.ram.get() == ram; });
  };
  for (const FlatRange& range : before.ranges())
    if (range.ram && !has(range.ram.get()))
      shared_.code->written(range.ram->host(), range.ram->size());
}

void JitAccelerator::changed(const FlatView& before, const FlatView& after) {
  forget_removed(before, after);
  const std::lock_guard guard(mutex_);
  for (engine::JitVcpu* vcpu : vcpus_) vcpu->memory_changed();
}

}  // namespace menura
