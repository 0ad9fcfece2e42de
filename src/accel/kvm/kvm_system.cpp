#include "accel/kvm/kvm_system.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/bits.h"

namespace menura {

namespace {

struct CapabilityRow {
  int number;
  const char* name;
  bool needed;
  const char* use;
};

#define CAP(name) KVM_CAP_##name, #name

constexpr CapabilityRow kCapabilities[] = {
    {CAP(USER_MEMORY), true, "guest RAM in memory of ours"},
    {CAP(DESTROY_MEMORY_REGION_WORKS), true, "slots that go away"},
    {CAP(SET_TSS_ADDR), true, "room for KVM's own task state segment"},
    {CAP(EXT_CPUID), true, "the CPUID that KVM can give a guest"},
    {CAP(MP_STATE), true, "halted and waiting CPUs"},
    {CAP(VCPU_EVENTS), true, "events on their way into the guest"},
    {CAP(DEBUGREGS), true, "debug registers"},
    {CAP(IMMEDIATE_EXIT), true, "kicks without a race"},
    {CAP(NR_MEMSLOTS), true, "number of memory slots"},
    {CAP(MAX_VCPUS), true, "most vCPUs of a machine"},
    {CAP(NR_VCPUS), false, "vCPUs recommended"},
    {CAP(MAX_VCPU_ID), false, "highest APIC ID and one"},
    {CAP(SYNC_MMU), false, "host swapping of guest RAM"},
    {CAP(READONLY_MEM), false, "ROM mapped read-only"},
    {CAP(IRQCHIP), false, "interrupt chips in the kernel"},
    {CAP(SPLIT_IRQCHIP), false, "LAPICs in the kernel, PIC and IOAPIC in menura"},
    {CAP(IRQ_INJECT_STATUS), false, "coalesced interrupts told apart"},
    {CAP(IRQ_ROUTING), false, "GSI routes"},
    {CAP(SIGNAL_MSI), false, "messages to in-kernel LAPICs"},
    {CAP(IRQFD), false, "interrupts by eventfd"},
    {CAP(IRQFD_RESAMPLE), false, "level-triggered interrupts by eventfd"},
    {CAP(IOEVENTFD), false, "doorbells without an exit"},
    {CAP(IOEVENTFD_NO_LENGTH), false, "doorbells of any width (MMIO)"},
    {CAP(IOEVENTFD_ANY_LENGTH), false, "doorbells of any width"},
    {CAP(COALESCED_MMIO), false, "queued MMIO writes"},
    {CAP(COALESCED_PIO), false, "queued port writes"},
    {CAP(PIT2), false, "8254 in the kernel"},
    {CAP(PIT_STATE2), false, "its state"},
    {CAP(REINJECT_CONTROL), false, "its lost ticks"},
    {CAP(SET_IDENTITY_MAP_ADDR), false, "room for KVM's identity page table"},
    {CAP(USER_NMI), false, "NMIs"},
    {CAP(X86_SMM), false, "system management mode"},
    {CAP(MULTI_ADDRESS_SPACE), false, "memory as seen in it"},
    {CAP(X2APIC_API), false, "APIC IDs above 254"},
    {CAP(XSAVE), false, "extended registers"},
    {CAP(XSAVE2), false, "their size"},
    {CAP(XCRS), false, "XCR0"},
    {CAP(SREGS2), false, "system registers with PDPTRs"},
    {CAP(GET_TSC_KHZ), false, "TSC frequency"},
    {CAP(TSC_CONTROL), false, "a TSC frequency of choice"},
    {CAP(TSC_DEADLINE_TIMER), false, "TSC-deadline mode of the LAPIC timer"},
    {CAP(ADJUST_CLOCK), false, "kvmclock kept over a pause"},
    {CAP(KVMCLOCK_CTRL), false, "guests told of a pause"},
    {CAP(MCE), false, "machine check banks"},
    {CAP(GET_MSR_FEATURES), false, "feature MSRs"},
    {CAP(X86_USER_SPACE_MSR), false, "x2APIC of user-space LAPICs"},
    {CAP(SET_GUEST_DEBUG), false, "breakpoints and single steps"},
    {CAP(MANUAL_DIRTY_LOG_PROTECT2), false, "dirty log cleared page by page"},
    {CAP(DIRTY_LOG_RING), false, "dirty ring"},
    {CAP(DIRTY_LOG_RING_ACQ_REL), false, "dirty ring with ordering"},
    {CAP(X86_NOTIFY_VMEXIT), false, "exits from guests that block all events"},
    {CAP(HYPERV), false, "Hyper-V enlightenments"},
    {CAP(HYPERV_CPUID), false, "which of them"},
    {CAP(HYPERV_SYNIC2), false, "Hyper-V SynIC"},
    {CAP(SYS_HYPERV_CPUID), false, "which of them, without a vCPU"},
};
#undef CAP

constexpr size_t kCapabilityCount = std::size(kCapabilities);
constexpr int kApiVersion = 12;
constexpr size_t kMaxCpuidEntries = 4096;

std::string group_of(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return {};
  std::vector<char> text(4096);
  group entry{};
  group* found = nullptr;
  if (getgrgid_r(info.st_gid, &entry, text.data(), text.size(), &found) != 0 || !found)
    return format("{}", info.st_gid);
  return found->gr_name;
}

// Why opening the device failed, and what mends it.
Error open_failure(const std::string& path, int os_errno) {
  Error error = fail_errno(os_errno, "Opening {}", path);
  switch (os_errno) {
    case ENOENT:
      error.code = Errc::NotFound;
      error.text +=
          "; KVM is not loaded: try 'sudo modprobe kvm_intel' or 'sudo modprobe kvm_amd' (virtual "
          "machines need nested virtualization from their host), or use '-accel jit'";
      break;
    case EACCES:
    case EPERM: {
      const std::string owner = group_of(path);
      error.code = Errc::Permission;
      if (owner.empty() || owner == "root")
        error.text += "; give yourself access with 'sudo setfacl -m u:$USER:rw " + path + "'";
      else
        error.text += format(
            "; it belongs to the group '{0}': join it with 'sudo usermod -aG {0} $USER' and log in "
            "again",
            owner);
      break;
    }
    case ENODEV:
    case ENXIO:
      error.code = Errc::Unsupported;
      error.text +=
          "; the host's processor has no usable virtualization (disabled in its firmware?)";
      break;
    case EBUSY:
      error.code = Errc::Busy;
      error.text += "; another hypervisor holds the processor's virtualization";
      break;
    default: break;
  }
  return error;
}

}  // namespace

Result<std::vector<kvm_cpuid_entry2>> read_cpuid_table(const KvmFd& fd, unsigned long request) {
  for (size_t room = 128; room <= kMaxCpuidEntries; room *= 2) {
    std::vector<u64> storage(1 + room * sizeof(kvm_cpuid_entry2) / sizeof(u64));
    auto* table = reinterpret_cast<kvm_cpuid2*>(storage.data());
    table->nent = static_cast<u32>(room);
    if (fd.call(request, table) == 0)
      return std::vector<kvm_cpuid_entry2>(table->entries, table->entries + table->nent);
    if (errno != E2BIG) return KvmFd::refused(request, "Reading the CPUID that KVM offers");
  }
  return fail(Errc::OutOfRange, "KVM offers more than {} CPUID entries", kMaxCpuidEntries);
}

Result<KvmSystem> KvmSystem::open(const std::string& path, KvmIoctl& ioctls) {
  const int raw = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (raw < 0) return open_failure(path, errno);
  KvmSystem system;
  system.fd_ = KvmFd(UniqueFd(raw), ioctls);
  const int version =
      TRY(system.fd_.require(KVM_GET_API_VERSION, 0ul, format("{} is not KVM", path)));
  if (version != kApiVersion)
    return fail(Errc::Unsupported, "KVM's API has version {}, menura needs {}", version,
                kApiVersion);
  TRY(system.read_capabilities());
  TRY(system.read_lists());
  return system;
}

Result<void> KvmSystem::read_capabilities() {
  values_.resize(kCapabilityCount);
  for (size_t i = 0; i < kCapabilityCount; i++) {
    const CapabilityRow& row = kCapabilities[i];
    values_[i] = std::max(0, fd_.call(KVM_CHECK_EXTENSION, static_cast<unsigned long>(row.number)));
    if (row.needed && values_[i] == 0)
      return fail(Errc::Unsupported, "This host's KVM lacks KVM_CAP_{} ({})", row.name, row.use);
  }
  return {};
}

Result<void> KvmSystem::read_lists() {
  run_size_ = static_cast<size_t>(
      TRY(fd_.require(KVM_GET_VCPU_MMAP_SIZE, 0ul, "Asking for the size of a vCPU's page")));
  if (run_size_ < sizeof(kvm_run))
    return fail(Errc::Unsupported, "KVM's vCPU page of {} bytes is too small", run_size_);
  cpuid_ = TRY(read_cpuid_table(fd_, KVM_GET_SUPPORTED_CPUID));
  if (has(KVM_CAP_SYS_HYPERV_CPUID))
    hyperv_cpuid_ = TRY(read_cpuid_table(fd_, KVM_GET_SUPPORTED_HV_CPUID));

  kvm_msr_list probe{};
  if (fd_.call(KVM_GET_MSR_INDEX_LIST, &probe) < 0 && errno != E2BIG)
    return KvmFd::refused(KVM_GET_MSR_INDEX_LIST, "Asking how many MSRs KVM keeps");
  std::vector<u32> storage(1 + probe.nmsrs);
  storage[0] = probe.nmsrs;
  TRY(fd_.require(KVM_GET_MSR_INDEX_LIST, storage.data(), "Asking which MSRs KVM keeps"));
  msrs_.assign(storage.begin() + 1, storage.begin() + 1 + storage[0]);

  TRY(read_feature_msrs());
  if (has(KVM_CAP_MCE))
    TRY(fd_.require(KVM_X86_GET_MCE_CAP_SUPPORTED, &mce_capabilities_,
                    "Asking for the machine check capabilities"));
  return {};
}

Result<void> KvmSystem::read_feature_msrs() {
  if (!has(KVM_CAP_GET_MSR_FEATURES)) return {};
  kvm_msr_list probe{};
  if (fd_.call(KVM_GET_MSR_FEATURE_INDEX_LIST, &probe) < 0 && errno != E2BIG)
    return KvmFd::refused(KVM_GET_MSR_FEATURE_INDEX_LIST, "Asking how many feature MSRs there are");
  std::vector<u32> storage(1 + probe.nmsrs);
  storage[0] = probe.nmsrs;
  TRY(fd_.require(KVM_GET_MSR_FEATURE_INDEX_LIST, storage.data(), "Asking for the feature MSRs"));
  for (u32 i = 0; i < storage[0]; i++) {
    struct {
      kvm_msrs header;
      kvm_msr_entry entry;
    } one{};
    one.header.nmsrs = 1;
    one.entry.index = storage[1 + i];
    if (fd_.call(KVM_GET_MSRS, &one.header) == 1)
      feature_msrs_.emplace_back(one.entry.index, one.entry.data);
  }
  return {};
}

int KvmSystem::capability(int number) const {
  for (size_t i = 0; i < kCapabilityCount; i++)
    if (kCapabilities[i].number == number) return values_[i];
  return 0;
}

std::vector<Capability> KvmSystem::capabilities() const {
  std::vector<Capability> result;
  for (size_t i = 0; i < kCapabilityCount; i++)
    result.push_back(
        {kCapabilities[i].name, values_[i], kCapabilities[i].needed, kCapabilities[i].use});
  return result;
}

bool KvmSystem::interprets_kernel_code() const {
  for (const kvm_cpuid_entry2& entry : cpuid_)
    if (entry.function == 1) return !(entry.ecx & 1);
  return true;
}

}  // namespace menura
