// KvmOptions: what the user may choose about KVM (-accel kvm,... and -machine kernel-irqchip=...).
//
// Owner: the machine's configuration. Threads: a value.
// Example: `KvmOptions options{.irqchip = IrqchipMode::Split, .hyperv = {"hv-relaxed", "hv-time"}};`
#pragma once

#include <string>
#include <vector>

#include "accel/accelerator.h"
#include "hw/timer/pit.h"

namespace menura {

struct KvmOptions {
  std::string device = "/dev/kvm";
  IrqchipMode irqchip = IrqchipMode::Kernel;
  // An 8254 in the kernel, which answers port 61h, too: with IrqchipMode::Kernel only, slow to make.
  bool pit = false;
  LostTickPolicy lost_ticks = LostTickPolicy::Delay;  // of that 8254
  u64 shadow_memory = 0;  // bytes of guest memory that shadow page tables may map; 0: KVM's choice
  u32 dirty_ring = 0;     // entries a vCPU, a power of two; 0: dirty bitmaps
  bool expose = true;     // kvm=on: the guest sees KVM's signature and features in CPUID
  // Enlightenments by name, as list_hyperv_features() has them. Hyper-V's leaves come only with them.
  std::vector<std::string> hyperv = {};
};

}  // namespace menura
