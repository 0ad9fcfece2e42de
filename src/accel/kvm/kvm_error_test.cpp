// Misfortunes of the host: no KVM, no permission, an old kernel, no more vCPUs or slots.

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <map>

#include "accel/kvm/kvm_test_machine.h"
#include "accel/vcpu_thread.h"
#include "base/log.h"

namespace menura {
namespace {

// Answers one request itself, from the nth time on.
class FaultyIoctl final : public KvmIoctl {
 public:
  FaultyIoctl(unsigned long request, int os_errno, unsigned from = 1)
      : request_(request), errno_(os_errno), from_(from) {}
  // An answer rather than an error.
  static std::unique_ptr<FaultyIoctl> answering(unsigned long request,
                                                std::optional<unsigned long> argument, int value) {
    auto made = std::make_unique<FaultyIoctl>(request, 0);
    made->argument_ = argument;
    made->value_ = value;
    return made;
  }
  int issue(int fd, unsigned long request, unsigned long argument) override {
    const bool meant = request == request_ && (!argument_ || *argument_ == argument);
    if (!meant || ++seen_ < from_) return KvmIoctl::issue(fd, request, argument);
    if (errno_ == 0) return value_;
    errno = errno_;
    return -1;
  }

 private:
  unsigned long request_;
  int errno_;
  unsigned from_;
  std::atomic<unsigned> seen_{0};
  std::optional<unsigned long> argument_;
  int value_ = 0;
};

// A processor that tells of guests that block all events.
class NotifyIoctl final : public KvmIoctl {
 public:
  int issue(int fd, unsigned long request, unsigned long given) override {
    if (request == KVM_CHECK_EXTENSION && given == KVM_CAP_X86_NOTIFY_VMEXIT) return 1;
    if (request == KVM_ENABLE_CAP) {
      const auto& cap = *reinterpret_cast<const kvm_enable_cap*>(given);
      if (cap.cap == KVM_CAP_X86_NOTIFY_VMEXIT) return argument = cap.args[0], 0;
    }
    return KvmIoctl::issue(fd, request, given);
  }
  u64 argument = 0;
};

// A KVM with system-management mode, as far as memory goes: takes the slots of address space 1.
class SmmIoctl final : public KvmIoctl {
 public:
  int issue(int fd, unsigned long request, unsigned long argument) override {
    if (request == KVM_CHECK_EXTENSION && argument == KVM_CAP_X86_SMM) return 1;
    if (request == KVM_CHECK_EXTENSION && argument == KVM_CAP_MULTI_ADDRESS_SPACE) return 2;
    if (request == KVM_SMI) return smis++, 0;
    if (request == KVM_SET_USER_MEMORY_REGION) {
      const auto& region = *reinterpret_cast<const kvm_userspace_memory_region*>(argument);
      if (region.slot >> 16 == 1) return slots[region.slot] = region, 0;
    }
    return KvmIoctl::issue(fd, request, argument);
  }
  std::map<u32, kvm_userspace_memory_region> slots;
  unsigned smis = 0;
};

KvmTestMachine machine_with(std::unique_ptr<KvmIoctl> ioctls, const KvmOptions& options = {}) {
  return KvmTestMachine(options, std::move(ioctls));
}

TEST(KvmErrors, AMissingDeviceSaysWhatToLoad) {
  KvmIoctl ioctls;
  auto opened = KvmSystem::open("/nonexistent/kvm", ioctls);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, Errc::NotFound);
  EXPECT_NE(opened.error().text.find("Opening /nonexistent/kvm: No such file"), std::string::npos);
  EXPECT_NE(opened.error().text.find("modprobe kvm_"), std::string::npos);
}

TEST(KvmErrors, ARefusedPermissionNamesTheGroupAndTheCommand) {
  const std::string path = format("/tmp/menura-kvm-{}", getpid());
  std::ofstream(path) << "";
  ASSERT_EQ(chmod(path.c_str(), 0), 0);
  // Root may open anything: the check needs another user.
  const bool root = geteuid() == 0;
  if (root) {
    ASSERT_EQ(chown(path.c_str(), 0, 4), 0);  // group adm
    ASSERT_EQ(seteuid(65534), 0);
  }
  KvmIoctl ioctls;
  auto opened = KvmSystem::open(path, ioctls);
  if (root) {
    ASSERT_EQ(seteuid(0), 0);
  }
  unlink(path.c_str());
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, Errc::Permission);
  EXPECT_NE(opened.error().text.find("Permission denied"), std::string::npos);
  if (root) {
    EXPECT_NE(opened.error().text.find("group 'adm'"), std::string::npos) << opened.error().text;
    EXPECT_NE(opened.error().text.find("sudo usermod -aG adm $USER"), std::string::npos);
  }
}

TEST(KvmErrors, AFileThatIsNotKvm) {
  KvmIoctl ioctls;
  auto opened = KvmSystem::open("/dev/null", ioctls);
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.error().text.find("/dev/null is not KVM (KVM_GET_API_VERSION)"),
            std::string::npos)
      << opened.error().text;
}

TEST(KvmErrors, AnotherApiVersion) {
  MENURA_NEEDS_KVM();
  auto m = machine_with(FaultyIoctl::answering(KVM_GET_API_VERSION, 0, 13));
  EXPECT_EQ(m.error(), "KVM's API has version 13, menura needs 12");
}

TEST(KvmErrors, AMissingCapabilityIsNamed) {
  MENURA_NEEDS_KVM();
  auto m = machine_with(FaultyIoctl::answering(KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY, 0));
  EXPECT_EQ(m.error(), "This host's KVM lacks KVM_CAP_USER_MEMORY (guest RAM in memory of ours)");
}

TEST(KvmErrors, RefusedStepsNameTheIoctl) {
  MENURA_NEEDS_KVM();
  EXPECT_EQ(machine_with(std::make_unique<FaultyIoctl>(KVM_CREATE_VM, EBUSY)).error(),
            "Creating a virtual machine (KVM_CREATE_VM): Device or resource busy");
  EXPECT_EQ(machine_with(std::make_unique<FaultyIoctl>(KVM_CREATE_IRQCHIP, ENOMEM)).error(),
            "Creating the interrupt chips (KVM_CREATE_IRQCHIP): Cannot allocate memory");
  EXPECT_EQ(
      machine_with(std::make_unique<FaultyIoctl>(KVM_SET_USER_MEMORY_REGION, ENOMEM)).error(),
      "Mapping ram at 0x0, 0x1000000 bytes (KVM_SET_USER_MEMORY_REGION): Cannot allocate memory");
}

TEST(KvmErrors, TheFourthVcpuFailsAndItsThreadReportsIt) {
  MENURA_NEEDS_KVM();
  auto m = machine_with(std::make_unique<FaultyIoctl>(KVM_CREATE_VCPU, ENOMEM, 4));
  ASSERT_TRUE(m.ok()) << m.error();
  std::vector<std::unique_ptr<VcpuThread>> cpus;
  for (unsigned i = 0; i < 3; i++)
    cpus.push_back(
        VcpuThread::start(
            m.accel(), m.lock,
            {.name = format("CPU {}/KVM", i), .vcpu = {.index = i, .apic_id = i}, .on_exit = {}})
            .value());
  auto fourth = VcpuThread::start(
      m.accel(), m.lock, {.name = "CPU 3/KVM", .vcpu = {.index = 3, .apic_id = 3}, .on_exit = {}});
  ASSERT_FALSE(fourth.ok());
  EXPECT_EQ(
      fourth.error().text,
      "CPU 3/KVM: Creating the vCPU with APIC ID 3 (KVM_CREATE_VCPU): Cannot allocate memory");
}

TEST(KvmErrors, TooManySlots) {
  MENURA_NEEDS_KVM();
  auto m = machine_with(FaultyIoctl::answering(KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS, 2));
  ASSERT_TRUE(m.ok()) << m.error();
  auto block = RamBlock::create({.name = "more", .size = kPageSize}).value();
  Region second = Region::ram("second", block);
  Region third = Region::alias("third", second, 0, kPageSize);
  KvmVcpu& cpu = m.add_cpu();
  m.enter(cpu, Ring::User);
  {
    const MachineLock::Guard guard(m.lock);
    m.memory_root.map(0x4000'0000, second);
    EXPECT_FALSE(m.accel().vm().failed());
    m.memory_root.map(0x5000'0000, third);
  }
  EXPECT_EQ(cpu.run(), Exit::Failed);
  EXPECT_EQ(cpu.failure(), "Guest memory needs more than the 2 slots of this host's KVM");
  const MachineLock::Guard guard(m.lock);
  m.memory_root.unmap(third);
  m.memory_root.unmap(second);
}

TEST(KvmErrors, ARefusedMsrIsReportedOnceAndNotFatal) {
  MENURA_NEEDS_KVM();
  std::vector<std::string> log;
  set_log_sink([&](LogLevel, std::string_view line) { log.emplace_back(line); });
  {
    // KVM accepts none of them.
    auto m = machine_with(FaultyIoctl::answering(KVM_SET_MSRS, {}, 0));
    KvmPayload code;
    code.out8(KvmTestMachine::kPorts + 15, 1);
    m.load(code);
    KvmVcpu& cpu = m.add_cpu();
    m.enter(cpu, Ring::User);
    EXPECT_EQ(m.run_to_end(cpu), Exit::Kicked) << cpu.failure();
    const size_t reported = log.size();
    EXPECT_GT(reported, 0u);
    EXPECT_EQ(cpu.msrs().refused().size(), reported);
    x86::State state;
    cpu.get(state);
    state.lstar = state.star = state.pat = 0x1234;
    cpu.set(state);
    ASSERT_TRUE(cpu.flush().ok());
    state.lstar = 0x5678;
    cpu.set(state);
    ASSERT_TRUE(cpu.flush().ok());
    EXPECT_EQ(cpu.msrs().refused().size(), log.size());
    const auto lstar =
        std::ranges::count(log, "kvm: MSR 0xc0000082 was refused and keeps its value");
    EXPECT_EQ(lstar, 1);
  }
  set_log_sink({});
}

TEST(KvmErrors, ImpossibleOptions) {
  MENURA_NEEDS_KVM();
  const auto error_of = [](const KvmOptions& options) { return KvmTestMachine(options).error(); };
  EXPECT_EQ(error_of({.irqchip = IrqchipMode::Split, .pit = true}),
            "An in-kernel PIT needs kernel-irqchip=on");
  EXPECT_EQ(error_of({.dirty_ring = 1000}), "A dirty ring of 1000 entries: must be a power of two");
  EXPECT_NE(error_of({.dirty_ring = 1u << 30}).find("this host's KVM allows"), std::string::npos);
  EXPECT_EQ(error_of({.hyperv = {"hv-nonsense"}}),
            "There is no Hyper-V enlightenment 'hv-nonsense'");
}

TEST(KvmNotify, IsAskedForWhereThereIs) {
  MENURA_NEEDS_KVM();
  using NotifyExit = KvmOptions::NotifyExit;
  for (const NotifyExit wanted : {NotifyExit::Run, NotifyExit::Disable}) {
    auto owned = std::make_unique<NotifyIoctl>();
    NotifyIoctl& kvm = *owned;
    KvmTestMachine m({.notify_exit = wanted, .notify_window = 7}, std::move(owned));
    ASSERT_TRUE(m.ok()) << m.error();
    EXPECT_EQ(kvm.argument, wanted == NotifyExit::Run ? u64{7} << 32 | 3 : 0);
  }
}

TEST(KvmSmm, AbsentWhereKvmHasItNot) {
  MENURA_NEEDS_KVM();
  KvmTestMachine m(KvmOptions{}, FaultyIoctl::answering(KVM_CHECK_EXTENSION, KVM_CAP_X86_SMM, 0));
  ASSERT_TRUE(m.ok()) << m.error();
  EXPECT_FALSE(m.accel().has_smm());
  EXPECT_TRUE(m.accel().info().smm_slots.empty());
}

TEST(KvmSmm, SmramIsInTheSecondAddressSpaceOnly) {
  MENURA_NEEDS_KVM();
  auto owned = std::make_unique<SmmIoctl>();
  SmmIoctl& kvm = *owned;
  KvmTestMachine m(KvmOptions{}, std::move(owned));
  ASSERT_TRUE(m.ok()) << m.error();
  EXPECT_TRUE(m.accel().has_smm());
  EXPECT_TRUE(kvm.slots.empty());
  const MachineLock::Guard guard(m.lock);
  Region smram = Region::alias("smram", m.ram_region(), 0xa'0000, 128 * KiB);
  m.smm_root.map(0xa'0000, smram);
  ASSERT_EQ(kvm.slots.size(), 1u);
  EXPECT_EQ(kvm.slots[0x1'0000].guest_phys_addr, 0xa'0000u);
  EXPECT_EQ(kvm.slots[0x1'0000].memory_size, 128 * KiB);
  EXPECT_EQ(m.accel().info().smm_slots.size(), 1u);
  smram.set_enabled(false);
  EXPECT_EQ(kvm.slots[0x1'0000].memory_size, 0u) << "deleted";
  EXPECT_TRUE(m.accel().info().smm_slots.empty());
  m.smm_root.unmap(smram);
}

TEST(KvmSmm, AnSmiReachesTheVcpuBeforeItRuns) {
  MENURA_NEEDS_KVM();
  auto owned = std::make_unique<SmmIoctl>();
  SmmIoctl& kvm = *owned;
  KvmTestMachine m(KvmOptions{}, std::move(owned));
  ASSERT_TRUE(m.ok()) << m.error();
  KvmPayload code;
  code.out8(KvmTestMachine::kPorts + 15, 0);
  m.load(code);
  KvmVcpu& cpu = m.add_cpu();
  m.enter(cpu, Ring::Kernel);
  cpu.smi();
  m.run_to_end(cpu);
  EXPECT_EQ(kvm.smis, 1u);
}

}  // namespace
}  // namespace menura
