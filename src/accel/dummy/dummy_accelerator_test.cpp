#include "accel/dummy/dummy_accelerator.h"

#include <gtest/gtest.h>

#include "accel/vcpu_thread.h"

namespace menura {
namespace {

TEST(DummyAccelerator, ThreadsExistAndSleep) {
  DummyAccelerator accel;
  MachineLock lock;
  auto cpu = VcpuThread::start(accel, lock, {.name = "CPU 0/qtest"}).value();
  cpu->wait_paused();
  cpu->resume();
  while (!cpu->halted()) std::this_thread::yield();
  x86::State state;
  state.gpr[0] = 42;
  cpu->run_on([&](Vcpu& vcpu) { vcpu.set(state); });
  cpu->request_pause();
  cpu->wait_paused();
  x86::State found;
  cpu->vcpu().get(found);
  EXPECT_EQ(found.gpr[0], 42u);
  EXPECT_FALSE(accel.executes());
}

TEST(DummyAccelerator, AKickIsNotLost) {
  DummyVcpu vcpu;
  EXPECT_EQ(vcpu.run(), Exit::Halted);
  vcpu.kick();
  EXPECT_EQ(vcpu.run(), Exit::Kicked);
  EXPECT_EQ(vcpu.run(), Exit::Halted);
}

}  // namespace
}  // namespace menura
