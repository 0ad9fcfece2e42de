// VcpuThread: the host thread that runs one vCPU, whichever accelerator made it: creation reported
// to the creator, halting, pausing, queued work, and the exits that concern the machine.
//
// Owner: the machine. Threads: methods from any thread unless stated. A method that waits lets go of
// the machine lock meanwhile if its caller holds it, because the vCPU may need the lock to come to
// rest. Example:
//   auto cpu = TRY(VcpuThread::start(accel, lock, {.name = "CPU 0/KVM", .vcpu = {...}, .on_exit = f}));
//   cpu->resume();  ...  pause_all(cpus);  x86::State s;  cpu->vcpu().get(s);
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>

#include "accel/accelerator.h"
#include "base/result.h"
#include "event/machine_lock.h"

namespace menura {

class VcpuThread {
 public:
  struct Config {
    std::string name;  // of the host thread: at most 15 characters are seen by ps
    VcpuConfig vcpu = {};
    // Told of Debug, Reset, Shutdown and Failed, on the vCPU's thread without the machine lock. The
    // vCPU has paused itself and stays so until resume().
    std::function<void(VcpuThread&, Exit)> on_exit = {};
  };

  // Creates the vCPU on its new thread and waits for it: paused at first. The accelerator's Error
  // comes back from here.
  static Result<std::unique_ptr<VcpuThread>> start(Accelerator& accelerator, MachineLock& lock,
                                                   Config config);
  // Ends the thread, which destroys its vCPU. Not from the vCPU's own thread.
  ~VcpuThread();
  VcpuThread(const VcpuThread&) = delete;
  VcpuThread& operator=(const VcpuThread&) = delete;

  const std::string& name() const { return config_.name; }
  unsigned index() const { return config_.vcpu.index; }
  pid_t thread_id() const { return thread_id_; }
  // The thread that runs this code, null on any other.
  static VcpuThread* current();

  // The vCPU comes to rest soon; does not wait. To be used on the own thread, too.
  void request_pause();
  // Waits until it rests. Not from the vCPU's own thread.
  void wait_paused();
  bool paused() const;
  void resume();
  bool halted() const;  // asleep in HLT (of a vCPU whose halting the accelerator reports)

  // Runs work on the vCPU's thread between two runs, paused or not; run_on waits for its end (and
  // runs it at once on the own thread).
  void post(std::function<void(Vcpu&)> work);
  void run_on(const std::function<void(Vcpu&)>& work);

  // For kick() and the CpuInterrupts from any thread; get() and set() only while paused or on the
  // own thread.
  Vcpu& vcpu() { return *vcpu_; }

 private:
  VcpuThread(Accelerator& accelerator, MachineLock& lock, Config config);
  void main();
  // One turn: work, pause, sleep or run. False: the thread ends.
  bool turn();
  void handle(Exit exit);
  void wake();
  void interrupt();  // makes a running or sleeping vCPU look at what changed

  // Configuration
  Config config_;

  // Wiring
  Accelerator& accelerator_;
  MachineLock& lock_;

  // State
  std::thread thread_;
  pid_t thread_id_ = 0;
  std::unique_ptr<Vcpu> vcpu_;  // made before start() returns, destroyed by the thread
  Error creation_error_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  enum class Phase : u8 { Creating, CreationFailed, Ready } phase_ = Phase::Creating;
  std::deque<std::function<void(Vcpu&)>> work_;
  bool pause_wanted_ = true;
  bool paused_ = false;
  bool quit_ = false;
  bool asleep_ = false;  // the last run() said Halted
  bool woken_ = false;   // since the last run() began
};

// Stops every vCPU: requests first, then waits, so the time is that of the slowest.
void pause_all(std::span<const std::unique_ptr<VcpuThread>> cpus);
void resume_all(std::span<const std::unique_ptr<VcpuThread>> cpus);

}  // namespace menura
