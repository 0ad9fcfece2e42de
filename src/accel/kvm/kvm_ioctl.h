// KvmIoctl: the one place from which ioctls reach /dev/kvm: counted by name, and replaceable by
// tests that make one of them fail.
//
// Owner: the accelerator's creator. Threads: any. Example:
//   KvmFd vm(std::move(fd), ioctls);
//   TRY(vm.require(KVM_SET_TSS_ADDR, kTssAddress, "Placing the task state segment"));
#pragma once

#include "accel/kvm/kvm_abi.h"

#include <array>
#include <atomic>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/types.h"

namespace menura {

struct KvmCount {
  std::string name;
  u64 count = 0;
};

class KvmIoctl {
 public:
  static constexpr size_t kKnown = 96;  // at least the rows of the name table

  virtual ~KvmIoctl() = default;
  // As ioctl(2): -1 and errno.
  virtual int issue(int fd, unsigned long request, unsigned long argument);

  int counted(int fd, unsigned long request, unsigned long argument);
  // Those issued so far.
  std::vector<KvmCount> counts() const;
  u64 count_of(unsigned long request) const;
  static std::string_view name_of(unsigned long request);

 private:
  std::array<std::atomic<u64>, kKnown> counts_{};
};

// A descriptor of KVM's together with its way to the kernel.
class KvmFd {
 public:
  KvmFd() = default;
  KvmFd(UniqueFd fd, KvmIoctl& ioctls) : fd_(std::move(fd)), ioctls_(&ioctls) {}

  int get() const { return fd_.get(); }
  KvmIoctl& ioctls() const { return *ioctls_; }

  // The ioctl's value, or -1 and errno.
  int call(unsigned long request, unsigned long argument = 0) const {
    return ioctls_->counted(fd_.get(), request, argument);
  }
  template <class T>
  int call(unsigned long request, T* argument) const {
    return call(request, reinterpret_cast<unsigned long>(argument));
  }
  // The same, as a Result: "WHAT (KVM_NAME): Invalid argument".
  template <class T>
  Result<int> require(unsigned long request, T argument, std::string_view what) const {
    const int value = call(request, argument);
    if (value < 0) return refused(request, what);
    return value;
  }
  // Of the errno now.
  static Error refused(unsigned long request, std::string_view what);

 private:
  UniqueFd fd_;
  KvmIoctl* ioctls_ = nullptr;
};

}  // namespace menura
