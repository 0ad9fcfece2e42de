// What -cpu says beyond the CPU's own features: about the accelerator and the clock.
//
// Owner: machine. Threads: pure. The names are QEMU's: kvm=off hides KVM's signature, kvm-pv-eoi=off
// and its like turn off one feature of it, hv-time and its like add enlightenments of Hyper-V,
// tsc-frequency= is in Hz. A + before a name is on, a - off; _ is the same as -. Example:
//   CpuOptions cpu = TRY(parse_cpu_options("host,kvm=off,hv-relaxed,-avx2"));
//   apply_model(cpu.model, offered);   // "host,-avx2"
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace menura {

struct CpuOptions {
  // The option of a name, as text: "on", "off", or its value.
  struct Choice {
    std::string name;
    std::string value;
    bool on() const { return value == "on"; }
  };

  std::string model;  // what concerns the CPU itself
  bool kvm = true;
  std::vector<Choice> kvm_features;  // kvm-..., kvmclock...
  std::vector<Choice> hyperv;        // hv-...
  u64 tsc_hz = 0;                    // 0: as the accelerator has it
};

Result<CpuOptions> parse_cpu_options(std::string_view text);

}  // namespace menura
