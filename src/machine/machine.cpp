#include "machine/machine.h"

#include <algorithm>
#include <iterator>

#include "base/log.h"
#include "base/trace.h"
#include "machine/catalogue.h"
#include "machine/chardevs.h"
#include "machine/drives.h"
#include "machine/netdevs.h"

namespace menura {

namespace {

TRACE_EVENT(kStartup, "machine.startup", "{}");
TRACE_EVENT(kRunState, "machine.run_state", "{} to {}");

constexpr std::string_view kRunStates[] = {"prelaunch", "running",        "paused",
                                           "shutdown",  "suspended",      "internal-error",
                                           "debug",     "guest-panicked", "watchdog"};
constexpr std::string_view kCauses[] = {"host-qmp-quit",  "host-signal", "host-qmp-system-reset",
                                        "guest-shutdown", "guest-reset", "guest-panic",
                                        "subsystem-reset"};
constexpr unsigned kWorkers = 8;
constexpr size_t kThreadNameLimit = 15;

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return out;
}

}  // namespace

std::span<const std::string_view> enum_names(RunState) { return kRunStates; }
std::span<const std::string_view> enum_names(Cause) { return kCauses; }

bool caused_by_guest(Cause cause) {
  return cause == Cause::GuestShutdown || cause == Cause::GuestReset || cause == Cause::GuestPanic;
}

Result<std::unique_ptr<Machine>> Machine::build(MachineConfig config, const Catalogue& catalogue) {
  std::unique_ptr<Machine> machine(new Machine(std::move(config), catalogue));
  TRY(machine->construct());
  return machine;
}

Machine::Machine(MachineConfig config, const Catalogue& catalogue)
    : config_(std::move(config)),
      catalogue_(catalogue),
      tape_(std::make_unique<LiveTape>()),
      inputs_(std::make_unique<Inputs>(*tape_)) {}

Machine::~Machine() {
  if (!loop_) return;
  const MachineLock::Guard guard(lock_);
  pause_all(cpus_);
  cpus_.clear();
  board_.reset();
  accelerator_.reset();
  netdevs_.reset();
  shares_.reset();
  drives_.reset();
  chardevs_.reset();
}

Result<void> Machine::construct() {
  type_ = TRY(catalogue_.find_machine(config_.machine.type));
  topology_ = TRY(resolve_topology(config_.smp, type_->max_cpus));
  numa_ = TRY(resolve_numa(config_.numa, topology_, config_.machine.hmat));
  loop_ = TRY(EventLoop::create(*tape_, lock_));
  workers_ = std::make_unique<WorkerPool>(*loop_, kWorkers);
  io_engine_ = TRY(IoEngine::create(*loop_, *workers_));
  const MachineLock::Guard guard(lock_);
  chardevs_ = std::make_unique<Chardevs>(*loop_, [this] { request_shutdown(Cause::HostQmpQuit); });
  for (const NamedOptions& chardev : config_.chardevs) TRY(chardevs_->create(chardev));
  for (const NamedOptions& object : config_.objects)
    if (MemoryBackends::is_kind(object.name)) TRY(memory_backends_.create(object));
  // Without -m there is as much RAM as the machine's memory objects have.
  u64 in_objects = 0;
  for (const MemoryBackends::Backend& backend : memory_backends_.all())
    if (config_.uses_memory(backend.id)) in_objects += backend.ram->size();
  if (in_objects != 0 && !config_.memory.size_given) config_.memory.size = {in_objects};
  drives_ = std::make_unique<Drives>(
      ImageDisk::Wiring{*loop_, *io_engine_, *workers_},
      [this](std::string name, Value data) { emit(std::move(name), std::move(data)); });
  for (const NamedOptions& object : config_.objects)
    if (Drives::is_object_kind(object.name)) TRY(drives_->create_object(object), "-object");
  for (const Value& node : config_.blockdevs) TRY(drives_->add_node(node), "-blockdev");
  for (const DriveOptions& drive : config_.drives) TRY(drives_->open(drive));
  netdevs_ = std::make_unique<Netdevs>(*loop_, *chardevs_);
  for (const NamedOptions& netdev : config_.netdevs) TRY(netdevs_->create(netdev));
  shares_ = std::make_unique<Shares>(*loop_, *workers_);
  for (const ShareOptions& share : config_.fsdevs) TRY(shares_->create(share), "-fsdev");
  for (const AudioOptions& audio : config_.audiodevs) TRY(audiodevs_.create(audio), "-audiodev");
  trace(kStartup, "accelerator");
  TRY(create_accelerator());
  trace(kStartup, "board");
  board_ = type_->make(*this);
  TRY(board_->build());
  trace(kStartup, "cpus");
  TRY(create_cpus());
  reset_all(ResetKind::PowerOn);
  built_ = true;
  trace(kStartup, "built");
  return {};
}

Result<void> Machine::create_accelerator() {
  accelerator_ = TRY(catalogue_.choose_accelerator(*this, {.memory = memory_,
                                                           .io = io_,
                                                           .lock = lock_,
                                                           .max_cpus = topology_.max_cpus,
                                                           .smm = &smm_,
                                                           .time = &loop_->virtual_time()}));
  return {};
}

Result<void> Machine::create_cpus() {
  if (!type_->has_cpus) return {};
  for (unsigned index = 0; index < topology_.cpus; index++) {
    VcpuConfig vcpu = TRY(board_->cpu_config(index));
    vcpu.index = index;
    const std::string name = format("CPU {}/{}", index, upper(accelerator_->name()));
    cpus_.push_back(TRY(VcpuThread::start(
        *accelerator_, lock_,
        {.name = name.substr(0, kThreadNameLimit),
         .vcpu = std::move(vcpu),
         .on_exit = [this](VcpuThread& cpu, Exit exit) { on_cpu_exit(cpu, exit); }})));
    board_->connect_cpu(index, cpus_.back()->vcpu());
  }
  return {};
}

// CPUs first: a local APIC that lives with its CPU hears of it, then the chips.
void Machine::reset_all(ResetKind kind) {
  for (const std::unique_ptr<VcpuThread>& cpu : cpus_) {
    x86::State state;
    cpu->vcpu().get(state);
    board_->reset_cpu(cpu->index(), state);
    cpu->vcpu().set(state);
  }
  if (kind == ResetKind::System) board_->system_reset();
  for (Device* device : all_devices()) device->reset(kind);
}

void Machine::cont() {
  if (running()) return;
  if (reset_needed_) {
    reset_needed_ = false;
    reset_all(ResetKind::System);
  }
  trace(kRunState, kRunStates[static_cast<size_t>(run_state_)], "running");
  enter(RunState::Running);
  if (accelerator_->executes()) loop_->virtual_clock().start();
  for (Device* device : all_devices()) device->resume();
  netdevs_->set_running(true);
  resume_all(cpus_);
  emit("RESUME");
}

void Machine::stop(RunState reason) {
  if (!running()) return;
  pause_all(cpus_);
  if (!running()) return;  // another stop came first while the lock was let go
  trace(kRunState, "running", kRunStates[static_cast<size_t>(reason)]);
  loop_->virtual_clock().stop();
  netdevs_->set_running(false);
  for (Device* device : all_devices()) device->pause();
  enter(reason);
  emit("STOP");
}

void Machine::rest_current_cpu() {
  if (VcpuThread* cpu = VcpuThread::current()) cpu->request_pause();
}

void Machine::request_reset(Cause cause) {
  rest_current_cpu();
  loop_->post([this, cause] { perform_reset(cause); });
}

void Machine::request_shutdown(Cause cause) {
  rest_current_cpu();
  loop_->post([this, cause] { perform_shutdown(cause); });
}

void Machine::request_power_button() {
  loop_->post([this] {
    emit("POWERDOWN");
    if (run_state_ == RunState::Suspended) return perform_wake(WakeCause::PowerButton);
    board_->press_power_button();
  });
}

void Machine::request_suspend() {
  rest_current_cpu();
  loop_->post([this] {
    stop(RunState::Suspended);
    emit("SUSPEND");
  });
}

void Machine::request_wake(WakeCause cause) {
  loop_->post([this, cause] { perform_wake(cause); });
}

// The firmware finds in CMOS and PM registers that this is no cold start, and RAM as it was.
void Machine::perform_wake(WakeCause cause) {
  if (run_state_ != RunState::Suspended) return;
  reset_all(ResetKind::System);
  board_->wake(cause);
  emit("WAKEUP");
  cont();
}

void Machine::request_watchdog() {
  loop_->post([this] { perform_watchdog(); });
}

void Machine::request_panic() {
  rest_current_cpu();
  loop_->post([this] { perform_panic(); });
}

void Machine::report_crash_kernel() {
  loop_->post([this] {
    Value data = Value::object();
    data.set("action", "run");
    emit("GUEST_CRASHLOADED", std::move(data));
  });
}

void Machine::perform_watchdog() {
  const WatchdogAction action = config_.action.watchdog;
  Value data = Value::object();
  data.set("action", enum_names(action)[static_cast<size_t>(action)]);
  emit("WATCHDOG", std::move(data));
  switch (action) {
    case WatchdogAction::Reset: return perform_reset(Cause::GuestReset);
    case WatchdogAction::Shutdown: return board_->press_power_button();
    case WatchdogAction::Poweroff: return perform_shutdown(Cause::GuestShutdown);
    case WatchdogAction::Pause: return stop(RunState::Watchdog);
    case WatchdogAction::Debug: return log_warning("A watchdog timer of the guest ran out");
    case WatchdogAction::None: return;
    case WatchdogAction::InjectNmi:
      for (const std::unique_ptr<VcpuThread>& cpu : cpus_) cpu->vcpu().nmi();
      return;
  }
}

// Where the end is to be kept for inspection, a panic stops the machine instead.
void Machine::perform_panic() {
  const PanicAction action = config_.action.panic;
  const bool ends = action == PanicAction::Shutdown || action == PanicAction::ExitFailure;
  const bool pauses =
      action == PanicAction::Pause || (ends && config_.action.shutdown == ShutdownAction::Pause);
  Value data = Value::object();
  data.set("action", pauses ? "pause" : ends ? "poweroff" : "run");
  emit("GUEST_PANICKED", std::move(data));
  if (pauses || ends) stop(RunState::GuestPanicked);
  if (ends && !pauses) return perform_shutdown(Cause::GuestPanic);
  if (running()) resume_all(cpus_);  // the one that told of it rests
}

void Machine::request_exit(int status) {
  rest_current_cpu();
  loop_->post([this, status] { loop_->quit(status); });
}

void Machine::perform_reset(Cause cause) {
  if (config_.action.reboot == RebootAction::Shutdown && caused_by_guest(cause))
    return perform_shutdown(cause);
  pause_all(cpus_);
  reset_all(ResetKind::System);
  Value data = Value::object();
  data.set("guest", caused_by_guest(cause));
  data.set("reason", kCauses[static_cast<size_t>(cause)]);
  emit("RESET", std::move(data));
  if (running()) resume_all(cpus_);
}

void Machine::perform_shutdown(Cause cause) {
  Value data = Value::object();
  data.set("guest", caused_by_guest(cause));
  data.set("reason", kCauses[static_cast<size_t>(cause)]);
  const bool stays = config_.action.shutdown == ShutdownAction::Pause &&
                     cause != Cause::HostQmpQuit && cause != Cause::HostSignal;
  emit("SHUTDOWN", std::move(data));
  const bool fails = cause == Cause::GuestPanic && config_.action.panic == PanicAction::ExitFailure;
  if (!stays) return loop_->quit(fails ? 1 : 0);
  stop(RunState::Shutdown);
  reset_needed_ = true;
}

// On the vCPU's thread, without the lock; the vCPU rests already.
void Machine::on_cpu_exit(VcpuThread& cpu, Exit exit) {
  switch (exit) {
    case Exit::Reset: return request_reset(Cause::GuestReset);
    case Exit::Shutdown: return request_shutdown(Cause::GuestShutdown);
    case Exit::Debug:
      loop_->post([this, &cpu] {
        if (debug_watcher_) debug_watcher_(cpu);
        stop(RunState::Debug);
      });
      return;
    case Exit::Failed:
      log_error("{}: {}", cpu.name(), cpu.vcpu().failure());
      // Nobody is there to look at the wreck unless a monitor stays: the program ends with an error.
      loop_->post([this] {
        stop(RunState::InternalError);
        if (config_.action.shutdown == ShutdownAction::Poweroff) loop_->quit(1);
      });
      return;
    case Exit::Kicked:
    case Exit::Halted: return;
  }
}

unsigned Machine::observe(Observer observer) {
  observers_.push_back({next_observer_, std::move(observer)});
  return next_observer_++;
}

void Machine::unobserve(unsigned id) {
  std::erase_if(observers_, [&](const Observation& o) { return o.id == id; });
}

void Machine::emit(std::string name, Value data) {
  const MachineEvent event{std::move(name), std::move(data)};
  const std::vector<Observation> present = observers_;  // one may remove itself
  for (const Observation& observation : present) observation.call(event);
}

std::vector<Device*> Machine::all_devices() {
  std::vector<Device*> devices = devices_.all();
  std::ranges::copy(accelerator_->devices(), std::back_inserter(devices));
  return devices;
}

}  // namespace menura
