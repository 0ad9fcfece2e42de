// KvmOptions: what the user may choose about KVM (-accel kvm,... and -machine kernel-irqchip=...).
//
// Owner: the machine's configuration. Threads: a value.
// Example: `KvmOptions options{.irqchip = IrqchipMode::Split, .hyperv = {"hv-relaxed", "hv-time"}};`
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
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
  // Features of KVM's own by name (kvm_feature_names()), turned on or off; the rest is as offered.
  std::vector<std::pair<std::string, bool>> features = {};
  // Enlightenments by name (hyperv_features()). Hyper-V's leaves come only with them.
  std::vector<std::string> hyperv = {};
  static constexpr u32 kSpinForEver = 0xffff'ffff;
  u32 hyperv_spinlocks = kSpinForEver;  // tries before a guest tells of a long wait for a lock
  std::string hyperv_vendor = "Microsoft Hv";
  // What a guest that keeps the CPU from ever seeing an event comes to, where the CPU can tell.
  enum class NotifyExit : u8 { Run, InternalError, Disable };
  NotifyExit notify_exit = NotifyExit::Run;
  u32 notify_window = 0;  // of the CPU's cycles, beyond its own minimum
};

std::span<const std::string_view> enum_names(KvmOptions::NotifyExit);

}  // namespace menura
