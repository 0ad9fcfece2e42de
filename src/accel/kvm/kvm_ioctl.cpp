#include "accel/kvm/kvm_ioctl.h"

#include <sys/ioctl.h>

#include <cerrno>

namespace menura {

namespace {

struct NamedRequest {
  unsigned long request;
  std::string_view name;
};

#define ROW(request) \
  { request, #request }

// KVM_RUN first: it is looked up once an exit.
constexpr NamedRequest kRequests[] = {
    ROW(KVM_RUN),
    ROW(KVM_INTERRUPT),
    ROW(KVM_IRQ_LINE_STATUS),
    ROW(KVM_SIGNAL_MSI),
    ROW(KVM_NMI),
    ROW(KVM_SMI),
    ROW(KVM_GET_REGS),
    ROW(KVM_SET_REGS),
    ROW(KVM_GET_SREGS),
    ROW(KVM_SET_SREGS),
    ROW(KVM_GET_SREGS2),
    ROW(KVM_SET_SREGS2),
    ROW(KVM_GET_FPU),
    ROW(KVM_SET_FPU),
    ROW(KVM_GET_XSAVE),
    ROW(KVM_GET_XSAVE2),
    ROW(KVM_SET_XSAVE),
    ROW(KVM_GET_XCRS),
    ROW(KVM_SET_XCRS),
    ROW(KVM_GET_DEBUGREGS),
    ROW(KVM_SET_DEBUGREGS),
    ROW(KVM_GET_VCPU_EVENTS),
    ROW(KVM_SET_VCPU_EVENTS),
    ROW(KVM_GET_MP_STATE),
    ROW(KVM_SET_MP_STATE),
    ROW(KVM_GET_LAPIC),
    ROW(KVM_SET_LAPIC),
    ROW(KVM_GET_MSRS),
    ROW(KVM_SET_MSRS),
    ROW(KVM_GET_IRQCHIP),
    ROW(KVM_SET_IRQCHIP),
    ROW(KVM_GET_PIT2),
    ROW(KVM_SET_PIT2),
    ROW(KVM_GET_CLOCK),
    ROW(KVM_SET_CLOCK),
    ROW(KVM_KVMCLOCK_CTRL),
    ROW(KVM_GET_TSC_KHZ),
    ROW(KVM_SET_TSC_KHZ),
    ROW(KVM_SET_USER_MEMORY_REGION),
    ROW(KVM_GET_DIRTY_LOG),
    ROW(KVM_CLEAR_DIRTY_LOG),
    ROW(KVM_RESET_DIRTY_RINGS),
    ROW(KVM_IOEVENTFD),
    ROW(KVM_IRQFD),
    ROW(KVM_SET_GSI_ROUTING),
    ROW(KVM_REGISTER_COALESCED_MMIO),
    ROW(KVM_UNREGISTER_COALESCED_MMIO),
    ROW(KVM_GET_API_VERSION),
    ROW(KVM_CHECK_EXTENSION),
    ROW(KVM_ENABLE_CAP),
    ROW(KVM_CREATE_VM),
    ROW(KVM_CREATE_VCPU),
    ROW(KVM_GET_VCPU_MMAP_SIZE),
    ROW(KVM_GET_SUPPORTED_CPUID),
    ROW(KVM_GET_SUPPORTED_HV_CPUID),
    ROW(KVM_SET_CPUID2),
    ROW(KVM_GET_MSR_INDEX_LIST),
    ROW(KVM_GET_MSR_FEATURE_INDEX_LIST),
    ROW(KVM_X86_GET_MCE_CAP_SUPPORTED),
    ROW(KVM_X86_SETUP_MCE),
    ROW(KVM_SET_TSS_ADDR),
    ROW(KVM_SET_IDENTITY_MAP_ADDR),
    ROW(KVM_SET_NR_MMU_PAGES),
    ROW(KVM_SET_BOOT_CPU_ID),
    ROW(KVM_CREATE_IRQCHIP),
    ROW(KVM_CREATE_PIT2),
    ROW(KVM_REINJECT_CONTROL),
    ROW(KVM_SET_SIGNAL_MASK),
    ROW(KVM_SET_GUEST_DEBUG),
    ROW(KVM_TRANSLATE),
};
#undef ROW

constexpr size_t kRequestCount = std::size(kRequests);
static_assert(kRequestCount < KvmIoctl::kKnown, "one counter more, for the unnamed");

size_t row_of(unsigned long request) {
  size_t row = 0;
  while (row < kRequestCount && kRequests[row].request != request) row++;
  return row;
}

}  // namespace

int KvmIoctl::issue(int fd, unsigned long request, unsigned long argument) {
  return ioctl(fd, request, argument);
}

int KvmIoctl::counted(int fd, unsigned long request, unsigned long argument) {
  counts_[row_of(request)].fetch_add(1, std::memory_order_relaxed);
  return issue(fd, request, argument);
}

std::vector<KvmCount> KvmIoctl::counts() const {
  std::vector<KvmCount> result;
  for (size_t row = 0; row <= kRequestCount; row++) {
    const u64 count = counts_[row].load(std::memory_order_relaxed);
    if (count == 0) continue;
    result.push_back({std::string(row < kRequestCount ? kRequests[row].name : "others"), count});
  }
  return result;
}

u64 KvmIoctl::count_of(unsigned long request) const {
  return counts_[row_of(request)].load(std::memory_order_relaxed);
}

std::string_view KvmIoctl::name_of(unsigned long request) {
  const size_t row = row_of(request);
  return row < kRequestCount ? kRequests[row].name : "an unnamed ioctl";
}

Error KvmFd::refused(unsigned long request, std::string_view what) {
  const int os_errno = errno;
  return fail_errno(os_errno, "{} ({})", what, KvmIoctl::name_of(request));
}

}  // namespace menura
