#include "accel/vcpu_thread.h"

#include <pthread.h>
#include <unistd.h>

#include "base/check.h"
#include "event/signals.h"

namespace menura {

namespace {

thread_local VcpuThread* current_thread = nullptr;

}  // namespace

Result<std::unique_ptr<VcpuThread>> VcpuThread::start(Accelerator& accelerator, MachineLock& lock,
                                                      Config config) {
  std::unique_ptr<VcpuThread> cpu(new VcpuThread(accelerator, lock, std::move(config)));
  // The accelerator changes the machine's wiring under the creator's lock, which therefore stays
  // held: create_vcpu() never takes it.
  cpu->thread_ = std::thread([raw = cpu.get()] { raw->main(); });
  std::unique_lock guard(cpu->mutex_);
  cpu->changed_.wait(guard, [&] { return cpu->phase_ != Phase::Creating; });
  if (cpu->phase_ == Phase::CreationFailed) {
    guard.unlock();
    return std::move(cpu->creation_error_).within(cpu->name());
  }
  return cpu;
}

VcpuThread::VcpuThread(Accelerator& accelerator, MachineLock& lock, Config config)
    : config_(std::move(config)), accelerator_(accelerator), lock_(lock) {
  config_.vcpu.wake = [this] { wake(); };
}

VcpuThread::~VcpuThread() {
  ensure(current() != this, "a vCPU thread does not destroy itself");
  {
    const std::lock_guard guard(mutex_);
    quit_ = true;
    interrupt();
  }
  const MachineLock::Yield yield(lock_);
  if (thread_.joinable()) thread_.join();
}

VcpuThread* VcpuThread::current() { return current_thread; }

void VcpuThread::request_pause() {
  const std::lock_guard guard(mutex_);
  pause_wanted_ = true;
  interrupt();
}

void VcpuThread::wait_paused() {
  ensure(current() != this, "a vCPU thread does not wait for its own pause");
  const MachineLock::Yield yield(lock_);
  std::unique_lock guard(mutex_);
  changed_.wait(guard, [&] { return paused_ || !pause_wanted_; });
}

bool VcpuThread::paused() const {
  const std::lock_guard guard(mutex_);
  return paused_;
}

void VcpuThread::resume() {
  const std::lock_guard guard(mutex_);
  pause_wanted_ = false;
  paused_ = false;  // at once, so that a pause that follows waits for the thread to come to rest
  woken_ = true;    // the state may have been changed: look whether it still halts
  changed_.notify_all();
}

bool VcpuThread::halted() const {
  const std::lock_guard guard(mutex_);
  return asleep_;
}

void VcpuThread::post(std::function<void(Vcpu&)> work) {
  const std::lock_guard guard(mutex_);
  work_.push_back(std::move(work));
  interrupt();
}

void VcpuThread::run_on(const std::function<void(Vcpu&)>& work) {
  if (current() == this) return work(*vcpu_);
  bool done = false;  // guarded by mutex_
  post([&](Vcpu& vcpu) {
    work(vcpu);
    const std::lock_guard guard(mutex_);
    done = true;
    changed_.notify_all();
  });
  const MachineLock::Yield yield(lock_);
  std::unique_lock guard(mutex_);
  changed_.wait(guard, [&] { return done; });
}

void VcpuThread::wake() {
  const std::lock_guard guard(mutex_);
  woken_ = true;
  changed_.notify_all();
}

// With mutex_ held, under which alone vcpu_ goes away.
void VcpuThread::interrupt() {
  if (phase_ == Phase::Ready && vcpu_) vcpu_->kick();
  changed_.notify_all();
}

void VcpuThread::main() {
  current_thread = this;
  leave_signals_to_main_thread();
  pthread_setname_np(pthread_self(), config_.name.substr(0, 15).c_str());
  auto made = accelerator_.create_vcpu(config_.vcpu);
  const bool created = static_cast<bool>(made);
  {
    const std::lock_guard guard(mutex_);
    thread_id_ = gettid();
    if (created) {
      vcpu_ = std::move(made).value();
      phase_ = Phase::Ready;
      paused_ = true;
    } else {
      creation_error_ = std::move(made.error());
      phase_ = Phase::CreationFailed;
    }
    changed_.notify_all();
  }
  if (!created) return;
  while (turn()) {}
  std::unique_ptr<Vcpu> last;
  {
    const std::lock_guard guard(mutex_);
    last = std::move(vcpu_);
  }
}

bool VcpuThread::turn() {
  std::unique_lock guard(mutex_);
  if (!work_.empty()) {
    const std::function<void(Vcpu&)> work = std::move(work_.front());
    work_.pop_front();
    guard.unlock();
    work(*vcpu_);
    return true;
  }
  if (quit_) return false;
  if (pause_wanted_) {
    if (!paused_) {
      paused_ = true;
      changed_.notify_all();
    }
    changed_.wait(guard, [&] { return !pause_wanted_ || !paused_ || quit_ || !work_.empty(); });
    return true;
  }
  if (asleep_ && !woken_) {
    changed_.wait(guard, [&] { return woken_ || pause_wanted_ || quit_ || !work_.empty(); });
    return true;
  }
  asleep_ = false;
  woken_ = false;
  guard.unlock();
  handle(vcpu_->run());
  return true;
}

void VcpuThread::handle(Exit exit) {
  switch (exit) {
    case Exit::Kicked: return;
    case Exit::Halted: {
      const std::lock_guard guard(mutex_);
      asleep_ = true;
      return;
    }
    case Exit::Debug:
    case Exit::Reset:
    case Exit::Shutdown:
    case Exit::Failed: break;
  }
  {
    const std::lock_guard guard(mutex_);
    pause_wanted_ = true;
  }
  if (config_.on_exit) config_.on_exit(*this, exit);
}

void pause_all(std::span<const std::unique_ptr<VcpuThread>> cpus) {
  for (const auto& cpu : cpus) cpu->request_pause();
  for (const auto& cpu : cpus) cpu->wait_paused();
}

void resume_all(std::span<const std::unique_ptr<VcpuThread>> cpus) {
  for (const auto& cpu : cpus) cpu->resume();
}

}  // namespace menura
