#include "accel/vcpu_thread.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <fstream>

#include "base/fd.h"

namespace menura {
namespace {

using std::chrono::milliseconds;

// Spins until kicked, halts, or gives a scripted exit: what accelerators do, without a guest.
class FakeVcpu final : public Vcpu {
 public:
  explicit FakeVcpu(VcpuConfig config, MachineLock& lock)
      : config_(std::move(config)), lock_(lock), made_on_(std::this_thread::get_id()) {}
  ~FakeVcpu() override { EXPECT_EQ(made_on_, std::this_thread::get_id()); }

  Exit run() override {
    EXPECT_EQ(made_on_, std::this_thread::get_id());
    EXPECT_FALSE(lock_.held());
    runs++;
    if (const int scripted = next_exit.exchange(-1); scripted >= 0)
      return static_cast<Exit>(scripted);
    if (halt && !intr_) return Exit::Halted;
    while (!kicked_.exchange(false)) {
      const MachineLock::Guard guard(lock_);  // as a guest that does nothing but port I/O
      state_.gpr[0]++;
      exits_handled++;
    }
    return Exit::Kicked;
  }
  void kick() override { kicked_ = true; }
  std::string failure() const override { return "scripted"; }
  void get(x86::State& state) override { state = state_; }
  void set(const x86::State& state) override { state_ = state; }
  void set_intr(bool pending) override {
    intr_ = pending;
    config_.wake();
  }
  void nmi() override {}
  void smi() override {}
  void init() override {}
  void sipi(u8) override {}

  std::atomic<int> next_exit{-1};
  std::atomic<bool> halt{false};
  std::atomic<u64> runs{0};
  std::atomic<u64> exits_handled{0};

 private:
  VcpuConfig config_;
  MachineLock& lock_;
  const std::thread::id made_on_;
  std::atomic<bool> kicked_{false};
  std::atomic<bool> intr_{false};
  x86::State state_;
};

class FakeAccelerator final : public Accelerator {
 public:
  explicit FakeAccelerator(MachineLock& lock) : lock_(lock) {}
  std::string_view name() const override { return "fake"; }
  IrqchipMode irqchip_mode() const override { return IrqchipMode::User; }
  std::vector<CpuidEntry> supported_cpuid() const override { return {}; }
  u64 tsc_khz() const override { return 1; }
  Result<std::unique_ptr<Vcpu>> create_vcpu(const VcpuConfig& config) override {
    if (config.index == refused)
      return fail(Errc::NoSpace, "Creating vCPU {}: refused", config.index);
    return std::unique_ptr<Vcpu>(std::make_unique<FakeVcpu>(config, lock_));
  }
  unsigned refused = 1000;

 private:
  MachineLock& lock_;
};

class VcpuThreadTest : public ::testing::Test {
 protected:
  std::unique_ptr<VcpuThread> start(unsigned index = 0) {
    VcpuThread::Config config{.name = format("CPU {}/TEST", index), .vcpu = {.index = index}};
    config.on_exit = [this](VcpuThread& cpu, Exit exit) {
      EXPECT_EQ(VcpuThread::current(), &cpu);
      last_exit = static_cast<int>(exit);
    };
    auto made = VcpuThread::start(accelerator, lock, std::move(config));
    EXPECT_TRUE(made.ok());
    return std::move(made).value();
  }
  static FakeVcpu& fake(VcpuThread& cpu) { return static_cast<FakeVcpu&>(cpu.vcpu()); }
  template <class Condition>
  static bool eventually(Condition condition) {
    for (int i = 0; i < 5000; i++) {
      if (condition()) return true;
      std::this_thread::sleep_for(milliseconds(1));
    }
    return false;
  }

  MachineLock lock;
  FakeAccelerator accelerator{lock};
  std::atomic<int> last_exit{-1};
};

TEST_F(VcpuThreadTest, StartsPausedNamedAndWithAnId) {
  auto cpu = start(3);
  EXPECT_TRUE(cpu->paused());
  EXPECT_EQ(fake(*cpu).runs, 0u);
  std::ifstream comm(format("/proc/self/task/{}/comm", cpu->thread_id()));
  std::string name;
  std::getline(comm, name);
  EXPECT_EQ(name, "CPU 3/TEST");
  EXPECT_EQ(VcpuThread::current(), nullptr);
}

TEST_F(VcpuThreadTest, CreationFailureComesBackWithoutAHang) {
  accelerator.refused = 3;
  for (unsigned i = 0; i < 3; i++) EXPECT_TRUE(start(i));
  auto failed = VcpuThread::start(accelerator, lock,
                                  {.name = "CPU 3/TEST", .vcpu = {.index = 3}, .on_exit = {}});
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, Errc::NoSpace);
  EXPECT_EQ(failed.error().text, "CPU 3/TEST: Creating vCPU 3: refused");
}

TEST_F(VcpuThreadTest, CreationWorksWhileTheCreatorHoldsTheMachineLock) {
  const MachineLock::Guard guard(lock);
  auto cpu = start();
  cpu->resume();
  cpu->request_pause();
  cpu->wait_paused();  // lets go of the lock meanwhile
  EXPECT_TRUE(lock.held());
  cpu.reset();
  EXPECT_TRUE(lock.held());
}

TEST_F(VcpuThreadTest, PausesAVcpuThatNeedsTheLockThePauserHolds) {
  std::vector<std::unique_ptr<VcpuThread>> cpus;
  for (unsigned i = 0; i < 4; i++) cpus.push_back(start(i));
  for (int round = 0; round < 100; round++) {
    resume_all(cpus);
    if (round % 10 == 0) {
      ASSERT_TRUE(eventually([&] { return fake(*cpus[3]).exits_handled > 0; }));
    }
    const MachineLock::Guard guard(lock);
    pause_all(cpus);
    for (auto& cpu : cpus) {
      EXPECT_TRUE(cpu->paused());
      x86::State state;
      cpu->vcpu().get(state);
      state.gpr[1]++;
      cpu->vcpu().set(state);
    }
  }
  x86::State state;
  cpus[0]->vcpu().get(state);
  EXPECT_EQ(state.gpr[1], 100u);
}

TEST_F(VcpuThreadTest, PauseRightAfterResumeWaitsForRest) {
  auto cpu = start();
  for (int i = 0; i < 1000; i++) {
    cpu->resume();
    cpu->request_pause();
    cpu->wait_paused();
    ASSERT_TRUE(cpu->paused());
  }
}

TEST_F(VcpuThreadTest, HaltedSleepsUntilAnInterrupt) {
  auto cpu = start();
  fake(*cpu).halt = true;
  cpu->resume();
  ASSERT_TRUE(eventually([&] { return cpu->halted(); }));
  const u64 runs = fake(*cpu).runs;
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_EQ(fake(*cpu).runs, runs);  // no polling
  cpu->vcpu().set_intr(true);
  EXPECT_TRUE(eventually([&] { return fake(*cpu).exits_handled > 0; }));
  cpu->request_pause();
  cpu->wait_paused();
}

TEST_F(VcpuThreadTest, AHaltedVcpuCanBePausedAndEnded) {
  auto cpu = start();
  fake(*cpu).halt = true;
  cpu->resume();
  ASSERT_TRUE(eventually([&] { return cpu->halted(); }));
  cpu->request_pause();
  cpu->wait_paused();
  cpu->resume();
  ASSERT_TRUE(eventually([&] { return cpu->halted(); }));
}

TEST_F(VcpuThreadTest, WorkRunsOnTheThreadPausedRunningOrHalted) {
  auto cpu = start();
  pid_t where = 0;
  auto record = [&](Vcpu&) { where = gettid(); };
  cpu->run_on(record);
  EXPECT_EQ(where, cpu->thread_id());
  cpu->resume();
  int nested = 0;
  cpu->run_on([&](Vcpu&) {
    EXPECT_EQ(VcpuThread::current(), cpu.get());
    cpu->run_on([&](Vcpu&) { nested++; });
  });
  EXPECT_EQ(nested, 1);
  fake(*cpu).halt = true;
  cpu->vcpu().kick();
  ASSERT_TRUE(eventually([&] { return cpu->halted(); }));
  where = 0;
  const MachineLock::Guard guard(lock);
  cpu->run_on(record);
  EXPECT_EQ(where, cpu->thread_id());
  std::vector<int> seen;
  for (int i = 0; i < 5; i++) cpu->post([&, i](Vcpu&) { seen.push_back(i); });
  cpu->run_on([](Vcpu&) {});
  EXPECT_EQ(seen, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST_F(VcpuThreadTest, AMachineExitPausesAndIsReported) {
  for (const Exit exit : {Exit::Debug, Exit::Reset, Exit::Shutdown, Exit::Failed}) {
    auto cpu = start();
    cpu->wait_paused();
    fake(*cpu).next_exit = static_cast<int>(exit);
    cpu->resume();
    ASSERT_TRUE(eventually([&] { return last_exit == static_cast<int>(exit); }));
    cpu->wait_paused();
    EXPECT_TRUE(cpu->paused());
    EXPECT_EQ(fake(*cpu).runs, 1u);
    cpu->resume();  // goes on, as after a reset
    EXPECT_TRUE(eventually([&] { return fake(*cpu).exits_handled > 0; }));
  }
}

TEST_F(VcpuThreadTest, EndsWhileRunning) {
  for (int i = 0; i < 50; i++) {
    auto cpu = start();
    cpu->resume();
  }
}

}  // namespace
}  // namespace menura
