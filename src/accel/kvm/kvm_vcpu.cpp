#include "accel/kvm/kvm_vcpu.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "accel/kvm/kvm_chips.h"
#include "accel/kvm/kvm_cpuid.h"
#include "base/log.h"

namespace menura {

namespace {

constexpr int kKickSignal = SIGUSR1;
constexpr size_t kKernelSignalSetSize = 8;
constexpr u64 kMcgCtlPresent = u64{1} << 8;
constexpr u64 kMcgSoftwareRecovery = u64{1} << 24;

// Signals that woke KVM_RUN stay pending (they are blocked here): away with them.
void consume_kicks() {
  sigset_t kicks;
  sigemptyset(&kicks);
  sigaddset(&kicks, kKickSignal);
  const timespec now{};
  while (sigtimedwait(&kicks, nullptr, &now) == kKickSignal) {}
}

}  // namespace

Result<std::unique_ptr<KvmVcpu>> KvmVcpu::create(const KvmEnvironment& environment,
                                                 const VcpuConfig& config,
                                                 const std::vector<kvm_cpuid_entry2>& cpuid) {
  KvmVcpuFd fd = TRY(environment.vm.take_vcpu(config.apic_id));
  std::unique_ptr<KvmVcpu> vcpu(new KvmVcpu(environment, config, std::move(fd)));
  TRY(vcpu->set_up(cpuid));
  return vcpu;
}

KvmVcpu::KvmVcpu(const KvmEnvironment& environment, const VcpuConfig& config, KvmVcpuFd fd)
    : environment_(environment),
      config_(config),
      fd_(std::move(fd.fd)),
      cpuid_(std::move(fd.cpuid)),
      thread_(pthread_self()) {
  gate_member_.interrupt = [this] { interrupt(); };
  environment_.vm.gate().join(gate_member_);
  environment_.vm.add(*this);
}

KvmVcpu::~KvmVcpu() {
  environment_.vm.remove(*this);
  environment_.vm.gate().part(gate_member_);
  if (run_) munmap(run_, environment_.vm.system().run_size());
  if (ring_) munmap(ring_, environment_.vm.options().dirty_ring * sizeof(kvm_dirty_gfn));
  environment_.vm.park_vcpu(config_.apic_id, {std::move(fd_), std::move(cpuid_)});
}

Result<void> KvmVcpu::set_up(const std::vector<kvm_cpuid_entry2>& cpuid) {
  KvmVm& vm = environment_.vm;
  void* page =
      mmap(nullptr, vm.system().run_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (page == MAP_FAILED) return fail_errno(errno, "Mapping the page of vCPU {}", config_.index);
  run_ = static_cast<kvm_run*>(page);
  TRY(map_dirty_ring());
  TRY(environment_.coalesced.attach(fd_));
  TRY(set_up_signals());
  TRY(set_tsc_frequency());
  TRY(set_cpuid(cpuid));
  signature_ = cpu_signature(cpuid);

  registers_ = std::make_unique<KvmRegisters>(
      vm.system(), fd_, vm.fd(),
      user_lapic() ? KvmRegisters::Lapic::User : KvmRegisters::Lapic::Kernel);
  TRY(set_up_mce());
  TRY(set_up_synic());
  if (!user_lapic())
    devices_.push_back(
        std::make_unique<KvmLapic>(format("lapic{}", config_.index), *this, environment_.time));
  devices_.push_back(std::make_unique<KvmOtherMsrs>(format("kvm-msrs{}", config_.index), *this));
  x86::State state;
  state.mcg_cap = state_.mcg_cap;
  TRY(registers_->read(state));
  kernel_ = state_ = state;
  known_ = true;
  state.reset(x86::State::ResetCause::PowerOn, signature_, config_.index == 0);
  set(state);
  return {};
}

Result<void> KvmVcpu::set_cpuid(const std::vector<kvm_cpuid_entry2>& cpuid) {
  const auto same = [](const kvm_cpuid_entry2& a, const kvm_cpuid_entry2& b) {
    return std::memcmp(&a, &b, sizeof a) == 0;
  };
  if (std::ranges::equal(cpuid, cpuid_, same)) return {};
  std::vector<std::byte> storage(sizeof(kvm_cpuid2) + cpuid.size() * sizeof(kvm_cpuid_entry2));
  auto* table = reinterpret_cast<kvm_cpuid2*>(storage.data());
  table->nent = static_cast<u32>(cpuid.size());
  std::ranges::copy(cpuid, table->entries);
  TRY(fd_.require(KVM_SET_CPUID2, table,
                  cpuid_.empty() ? "Setting a vCPU's CPUID"
                                 : "Setting another CPUID for a vCPU that was unplugged"));
  cpuid_ = cpuid;
  return {};
}

Result<void> KvmVcpu::set_up_mce() {
  const KvmSystem& system = environment_.vm.system();
  if (!system.has(KVM_CAP_MCE)) return {};
  u64 capabilities =
      (system.mce_capabilities() & (kMcgCtlPresent | kMcgSoftwareRecovery)) | system.mce_banks();
  TRY(fd_.require(KVM_X86_SETUP_MCE, &capabilities, "Setting up machine checks"));
  state_.mcg_cap = capabilities;
  return {};
}

// Hyper-V's synthetic interrupt controller must be switched on for each vCPU.
Result<void> KvmVcpu::set_up_synic() {
  const std::vector<std::string>& wanted = environment_.vm.options().hyperv;
  if (std::ranges::find(wanted, "hv-synic") == wanted.end()) return {};
  kvm_enable_cap cap{};
  cap.cap = KVM_CAP_HYPERV_SYNIC2;
  TRY(fd_.require(KVM_ENABLE_CAP, &cap, "Enabling Hyper-V's SynIC"));
  return {};
}

Result<void> KvmVcpu::set_up_signals() {
  sigset_t kick;
  sigset_t mask;
  sigemptyset(&kick);
  sigaddset(&kick, kKickSignal);
  pthread_sigmask(SIG_BLOCK, &kick, &mask);
  sigdelset(&mask, kKickSignal);
  std::array<u8, sizeof(kvm_signal_mask) + kKernelSignalSetSize> storage{};
  auto* argument = reinterpret_cast<kvm_signal_mask*>(storage.data());
  argument->len = kKernelSignalSetSize;
  std::memcpy(argument->sigset, &mask, kKernelSignalSetSize);
  TRY(fd_.require(KVM_SET_SIGNAL_MASK, argument, "Choosing a vCPU's signals"));
  return {};
}

Result<void> KvmVcpu::set_tsc_frequency() {
  const KvmSystem& system = environment_.vm.system();
  if (system.has(KVM_CAP_GET_TSC_KHZ))
    tsc_khz_ = static_cast<u64>(std::max(0, fd_.call(KVM_GET_TSC_KHZ)));
  if (config_.tsc_khz == 0 || config_.tsc_khz == tsc_khz_) return {};
  if (!system.has(KVM_CAP_TSC_CONTROL))
    return fail(Errc::Unsupported,
                "Setting the TSC to {} kHz: this host's processor cannot scale it from {} kHz",
                config_.tsc_khz, tsc_khz_);
  TRY(fd_.require(KVM_SET_TSC_KHZ, static_cast<unsigned long>(config_.tsc_khz),
                  format("Setting the TSC to {} kHz", config_.tsc_khz)));
  tsc_khz_ = config_.tsc_khz;
  return {};
}

Result<void> KvmVcpu::map_dirty_ring() {
  const u32 entries = environment_.vm.options().dirty_ring;
  if (entries == 0) return {};
  void* pages = mmap(nullptr, entries * sizeof(kvm_dirty_gfn), PROT_READ | PROT_WRITE, MAP_SHARED,
                     fd_.get(), KVM_DIRTY_LOG_PAGE_OFFSET * sysconf(_SC_PAGESIZE));
  if (pages == MAP_FAILED)
    return fail_errno(errno, "Mapping the dirty ring of vCPU {}", config_.index);
  ring_ = static_cast<kvm_dirty_gfn*>(pages);
  return {};
}

void KvmVcpu::harvest_dirty_ring(const std::function<void(u32 slot, u64 page)>& visit) {
  if (!ring_) return;
  const u32 entries = environment_.vm.options().dirty_ring;
  for (u32 taken = 0; taken < entries; taken++) {
    kvm_dirty_gfn& entry = ring_[ring_next_ % entries];
    if (__atomic_load_n(&entry.flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY) return;
    visit(entry.slot & 0xffff, entry.offset);
    __atomic_store_n(&entry.flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
    ring_next_++;
  }
}

// --- State ---

void KvmVcpu::get(x86::State& state) {
  if (!known_ && !unwritten_) {
    if (Result<void> done = registers_->read(state_); !done)
      environment_.vm.fail_machine(done.error());
    if (user_lapic()) state_.activity = activity_;
    kernel_ = state_;
    known_ = true;
  }
  state = state_;
}

void KvmVcpu::set(const x86::State& state) {
  state_ = state;
  activity_ = state.activity;
  interrupts_on_ = state.rflags & x86::kIf;
  unwritten_ = true;
  injectable_ = false;
}

Result<void> KvmVcpu::flush() {
  if (!unwritten_) return {};
  unwritten_ = false;
  TRY(registers_->write(state_, known_ ? &kernel_ : nullptr));
  kernel_ = state_;
  known_ = true;
  return {};
}

Result<void> KvmVcpu::set_debug(const DebugControl& control) {
  kvm_guest_debug debug{};
  if (control.points.size() > 4)
    return fail(Errc::OutOfRange, "{} hardware breakpoints: a CPU has four", control.points.size());
  if (control.single_step) debug.control |= KVM_GUESTDBG_SINGLESTEP;
  if (control.software_breakpoints) debug.control |= KVM_GUESTDBG_USE_SW_BP;
  if (!control.points.empty()) debug.control |= KVM_GUESTDBG_USE_HW_BP;
  if (debug.control != 0) debug.control |= KVM_GUESTDBG_ENABLE;
  u64 dr7 = 0x600;  // always-one bit and GE
  for (size_t i = 0; i < control.points.size(); i++) {
    const DebugControl::Point& point = control.points[i];
    if (point.size != 1 && point.size != 2 && point.size != 4 && point.size != 8)
      return fail(Errc::InvalidArgument, "A watchpoint of {} bytes: must be 1, 2, 4 or 8",
                  point.size);
    // SDM vol. 3 §18.2.4: R/W 0 execute, 1 write, 3 access; LEN 0, 1, 3, 2 for 1, 2, 4, 8 bytes.
    const u64 rw = point.kind == DebugControl::Kind::Execute ? 0
                   : point.kind == DebugControl::Kind::Write ? 1
                                                             : 3;
    const u64 len = point.size == 8 ? 2 : static_cast<u64>(point.size) - 1;
    dr7 |= u64{2} << (2 * i) | (rw | len << 2) << (16 + 4 * i);
    debug.arch.debugreg[i] = point.address;
  }
  debug.arch.debugreg[7] = dr7;
  // A step is of the instruction that is there, not into an interrupt; kernels before 5.17 cannot.
  if (control.single_step) {
    kvm_guest_debug alone = debug;
    alone.control |= KVM_GUESTDBG_BLOCKIRQ;
    if (fd_.call(KVM_SET_GUEST_DEBUG, &alone) == 0) return {};
  }
  TRY(fd_.require(KVM_SET_GUEST_DEBUG, &debug, "Setting breakpoints"));
  return {};
}

// --- Events from other threads ---

void KvmVcpu::interrupt() {
  __atomic_store_n(&run_->immediate_exit, u8{1}, __ATOMIC_SEQ_CST);
  if (gate_member_.inside.load(std::memory_order_seq_cst)) pthread_kill(thread_, kKickSignal);
}

void KvmVcpu::attend() {
  if (pthread_equal(pthread_self(), thread_)) return;  // inside an exit: the loop looks again
  interrupt();
  if (config_.wake) config_.wake();
}

void KvmVcpu::kick() {
  kicked_.store(true);
  interrupt();
}

void KvmVcpu::set_intr(bool pending) {
  if (intr_.exchange(pending) != pending && pending) attend();
}

void KvmVcpu::nmi() {
  nmi_.store(true);
  attend();
}

void KvmVcpu::smi() {
  smi_.store(true);
  attend();
}

void KvmVcpu::init() {
  sipi_.store(-1);
  init_.store(true);
  attend();
}

void KvmVcpu::sipi(u8 vector) {
  sipi_.store(vector);
  attend();
}

// --- The run loop ---

Exit KvmVcpu::run() {
  for (;;) {
    if (before_run() == Next::Return) return result_;
    environment_.vm.gate().enter(gate_member_);
    const int value = fd_.call(KVM_RUN);
    const int os_errno = errno;
    environment_.vm.gate().leave(gate_member_);
    if (after_run(value, os_errno) == Next::Return) return result_;
  }
}

KvmVcpu::Next KvmVcpu::give(Exit exit) {
  result_ = exit;
  return Next::Return;
}

KvmVcpu::Next KvmVcpu::give_failure(std::string text) {
  failure_ = std::move(text);
  return give(Exit::Failed);
}

KvmVcpu::Next KvmVcpu::before_run() {
  __atomic_store_n(&run_->immediate_exit, u8{0}, __ATOMIC_SEQ_CST);
  if (environment_.vm.failed()) return give_failure(environment_.vm.failure());
  if (completing_) {
    // A device's answer must reach the guest before its registers can be looked at.
    if (kicked_.load() || init_.load() || sipi_.load() >= 0)
      __atomic_store_n(&run_->immediate_exit, u8{1}, __ATOMIC_SEQ_CST);
  } else {
    if (kicked_.exchange(false)) return give(Exit::Kicked);
    if (user_lapic() && take_events()) return give(Exit::Halted);
    if (Result<void> done = flush(); !done) return give_failure(done.error().text);
  }
  if (nmi_.exchange(false)) (void)fd_.call(KVM_NMI);
  if (smi_.exchange(false) && environment_.vm.system().has(KVM_CAP_X86_SMM))
    (void)fd_.call(KVM_SMI);
  if (config_.interrupts) inject_interrupt();
  return Next::Again;
}

KvmVcpu::Next KvmVcpu::after_run(int value, int os_errno) {
  known_ = false;
  completing_ = false;
  injectable_ = run_->ready_for_interrupt_injection;
  interrupts_on_ = run_->if_flag;
  if (config_.lapic) follow_lapic();
  if (environment_.coalesced.waiting()) {
    const MachineLock::Guard guard(environment_.lock);
    environment_.coalesced.drain();
  }
  if (value == 0) {
    exits_[std::min<size_t>(run_->exit_reason, kExitReasons - 1)].fetch_add(
        1, std::memory_order_relaxed);
    return handle_exit();
  }
  if (os_errno == EINTR) {
    exits_[KVM_EXIT_INTR].fetch_add(1, std::memory_order_relaxed);
    consume_kicks();
    return Next::Again;
  }
  if (os_errno == EAGAIN) return Next::Again;
  std::string text = fail_errno(os_errno, "Running vCPU {} (KVM_RUN)", config_.index).text;
  if (os_errno == EFAULT)
    text +=
        "; the guest touched memory that the host cannot provide (no huge page left, or a backing "
        "file that shrank)";
  return give_failure(text + "\n" + describe_where());
}

// INIT and SIPI reach a CPU whose LAPIC is in the kernel without us.
bool KvmVcpu::take_events() {
  if (init_.exchange(false)) take_init();
  if (const int vector = sipi_.exchange(-1); vector >= 0) take_sipi(static_cast<u8>(vector));
  if (activity_ == x86::Activity::Halted && may_wake()) activity_ = x86::Activity::Running;
  return activity_ != x86::Activity::Running;
}

bool KvmVcpu::may_wake() const {
  return nmi_.load() || smi_.load() || (intr_.load() && interrupts_on_);
}

void KvmVcpu::take_init() {
  x86::State state;
  get(state);
  state.reset(x86::State::ResetCause::Init, signature_, config_.index == 0);
  set(state);
}

void KvmVcpu::take_sipi(u8 vector) {
  if (activity_ != x86::Activity::WaitForSipi && activity_ != x86::Activity::InitReceived) return;
  x86::State state;
  get(state);
  state.seg[x86::Cs].selector = static_cast<u16>(vector << 8);
  state.seg[x86::Cs].base = u64{vector} << 12;
  state.rip = 0;
  state.activity = x86::Activity::Running;
  set(state);
}

void KvmVcpu::inject_interrupt() {
  run_->request_interrupt_window = 0;
  if (intr_.load() && injectable_) {
    const MachineLock::Guard guard(environment_.lock);
    const int vector = config_.interrupts->acknowledge();
    if (vector >= 0) {
      kvm_interrupt interrupt{.irq = static_cast<u32>(vector)};
      if (fd_.call(KVM_INTERRUPT, &interrupt) < 0)
        log_warning("kvm: Injecting interrupt {}: {}", vector, std::strerror(errno));
      injectable_ = false;
    }
    if (config_.lapic) cr8_ = config_.lapic->cr8();
  }
  if (intr_.load()) run_->request_interrupt_window = 1;
  if (config_.lapic) run_->cr8 = cr8_;
}

void KvmVcpu::follow_lapic() {
  const bool cr8_moved = run_->cr8 != cr8_;
  const bool base_moved = run_->apic_base != apic_base_;
  if (!cr8_moved && !base_moved) return;
  const MachineLock::Guard guard(environment_.lock);
  if (cr8_moved) config_.lapic->set_cr8(cr8_ = static_cast<u8>(run_->cr8));
  if (base_moved) {
    apic_base_ = run_->apic_base;
    (void)config_.lapic->write_msr(0x1b, apic_base_);
  }
}

}  // namespace menura
