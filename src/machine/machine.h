// Machine: a running virtual computer: its loop, memory, accelerator, CPUs, devices and run state.
//
// Owner: the program; several machines in one process are independent. Threads: built and destroyed
// on the main thread; methods under the machine lock (callbacks of the loop hold it); the request_*
// methods from any thread. Example:
//   auto machine = TRY(Machine::build(config, catalogue()));
//   machine->cont();  int status = machine->loop().run();
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "accel/accelerator.h"
#include "accel/vcpu_thread.h"
#include "event/event_loop.h"
#include "event/io_engine.h"
#include "event/tape.h"
#include "event/worker_pool.h"
#include "hw/core/device.h"
#include "io/display.h"
#include "io/input.h"
#include "machine/board.h"
#include "machine/catalogue.h"
#include "machine/config.h"
#include "machine/memory_backends.h"
#include "machine/numa.h"
#include "machine/shares.h"
#include "memory/address_space.h"
#include "state/value.h"

namespace menura {

// As the monitor names them (enum_names).
enum class RunState : u8 {
  Prelaunch,
  Running,
  Paused,
  Shutdown,
  Suspended,
  InternalError,
  Debug,
  GuestPanicked,
  Watchdog
};
std::span<const std::string_view> enum_names(RunState);

// Why a reset or shutdown happens, as the monitor names it.
enum class Cause : u8 {
  HostQmpQuit,
  HostSignal,
  HostQmpSystemReset,
  GuestShutdown,
  GuestReset,
  GuestPanic,
  SubsystemReset
};
std::span<const std::string_view> enum_names(Cause);
bool caused_by_guest(Cause cause);

// What a monitor tells its clients.
struct MachineEvent {
  std::string name;  // "STOP", "RESET", "SHUTDOWN", ...
  Value data;        // an object, or null
};

class Chardevs;
class Drives;
class Netdevs;

class Machine {
 public:
  // Everything, down to paused vCPUs in reset. Errors name the option at fault.
  static Result<std::unique_ptr<Machine>> build(MachineConfig config, const Catalogue& catalogue);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // Parts.
  const MachineConfig& config() const { return config_; }
  const Catalogue& catalogue() const { return catalogue_; }
  const MachineType& type() const { return *type_; }
  const Topology& topology() const { return topology_; }
  EventLoop& loop() { return *loop_; }
  MachineLock& lock() { return lock_; }
  Tape& tape() { return *tape_; }
  WorkerPool& workers() { return *workers_; }
  IoEngine& io_engine() { return *io_engine_; }
  Region& memory_root() { return memory_root_; }
  // What CPUs in system-management mode see; empty until a board with SMM fills it.
  Region& smm_root() { return smm_root_; }
  AddressSpace& smm() { return smm_; }
  Region& io_root() { return io_root_; }
  AddressSpace& memory() { return memory_; }
  AddressSpace& io() { return io_; }
  // The board's and the user's devices; all_devices() also has the accelerator's.
  DeviceList& devices() { return devices_; }
  std::vector<Device*> all_devices();
  Accelerator& accelerator() { return *accelerator_; }
  Board& board() { return *board_; }
  Chardevs& chardevs() { return *chardevs_; }
  Drives& drives() { return *drives_; }
  Netdevs& netdevs() { return *netdevs_; }
  Shares& shares() { return *shares_; }
  Audiodevs& audiodevs() { return audiodevs_; }
  // Screens, and where keys and movements go.
  Displays& displays() { return displays_; }
  Inputs& inputs() { return *inputs_; }
  MemoryBackends& memory_backends() { return memory_backends_; }
  const NumaLayout& numa() const { return numa_; }
  std::span<const std::unique_ptr<VcpuThread>> cpus() const { return cpus_; }

  // Everything was made: what is added from now on comes to a machine that may run.
  bool built() const { return built_; }

  // Run state. cont() also ends a shutdown kept by -no-shutdown after a reset.
  RunState run_state() const { return run_state_; }
  bool running() const { return run_state_ == RunState::Running; }
  void cont();
  void stop(RunState reason = RunState::Paused);

  // Asked for by devices, vCPUs, monitors and signals; done in the loop, in order.
  void request_reset(Cause cause);
  void request_shutdown(Cause cause);
  void request_power_button();
  void request_suspend();
  void request_wake(WakeCause cause);
  // Leaves the loop with this status, whatever -no-shutdown says.
  void request_exit(int status);
  // A watchdog ran out; the guest's kernel panicked, or will load a crash kernel. What follows is
  // the user's choice (actions()).
  void request_watchdog();
  void request_panic();
  void report_crash_kernel();
  ActionOptions& actions() { return config_.action; }

  // Told in the loop of a vCPU that came to what a debugger asked for, and rests. One watcher.
  using DebugWatcher = std::function<void(VcpuThread&)>;
  void watch_debug_exits(DebugWatcher watcher) { debug_watcher_ = std::move(watcher); }

  // Every event, in order; observers stay for the machine's life or until removed.
  using Observer = std::function<void(const MachineEvent&)>;
  unsigned observe(Observer observer);
  void unobserve(unsigned id);
  void emit(std::string name, Value data = {});

 private:
  Machine(MachineConfig config, const Catalogue& catalogue);
  Result<void> construct();
  Result<void> create_accelerator();
  Result<void> create_cpus();
  void reset_all(ResetKind kind);
  void perform_reset(Cause cause);
  void perform_shutdown(Cause cause);
  void perform_wake(WakeCause cause);
  void perform_watchdog();
  void perform_panic();
  void on_cpu_exit(VcpuThread& cpu, Exit exit);
  // The calling vCPU, if one is, must not run on past the request.
  void rest_current_cpu();
  void enter(RunState state) { run_state_ = state; }

  // Configuration
  MachineConfig config_;
  const Catalogue catalogue_;
  const MachineType* type_ = nullptr;
  Topology topology_;
  NumaLayout numa_;

  // Parts, in the order of their making (destroyed in reverse)
  std::unique_ptr<Tape> tape_;
  MachineLock lock_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<WorkerPool> workers_;
  std::unique_ptr<IoEngine> io_engine_;
  Region memory_root_ = Region::container("system", Region::kWholeSpace);
  Region io_root_ = Region::container("io", 0x10000);
  Region smm_root_ = Region::container("smm", Region::kWholeSpace);
  AddressSpace memory_{"memory", memory_root_};
  AddressSpace io_{"io", io_root_};
  AddressSpace smm_{"smm", smm_root_};
  DeviceList devices_;
  Displays displays_;
  std::unique_ptr<Inputs> inputs_;
  MemoryBackends memory_backends_;
  std::unique_ptr<Chardevs> chardevs_;
  std::unique_ptr<Drives> drives_;
  std::unique_ptr<Netdevs> netdevs_;
  std::unique_ptr<Shares> shares_;
  Audiodevs audiodevs_;
  std::unique_ptr<Accelerator> accelerator_;
  std::unique_ptr<Board> board_;
  std::vector<std::unique_ptr<VcpuThread>> cpus_;

  // State
  RunState run_state_ = RunState::Prelaunch;
  bool built_ = false;
  bool reset_needed_ = false;  // after a shutdown that was kept: cont() starts anew
  struct Observation {
    unsigned id;
    Observer call;
  };
  std::vector<Observation> observers_;
  unsigned next_observer_ = 1;
  DebugWatcher debug_watcher_;
};

}  // namespace menura
