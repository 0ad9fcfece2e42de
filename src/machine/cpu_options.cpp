#include "machine/cpu_options.h"

#include <algorithm>

#include "base/text.h"
#include "base/units.h"

namespace menura {

namespace {

Result<bool> read_switch(const CpuOptions::Choice& choice) {
  if (choice.value == "on") return true;
  if (choice.value == "off") return false;
  return fail(Errc::InvalidArgument, "CPU property '{}' is on or off, not '{}'", choice.name,
              choice.value);
}

CpuOptions::Choice choice_of(std::string_view part) {
  CpuOptions::Choice choice;
  if (part[0] == '+' || part[0] == '-') {
    choice.value = part[0] == '+' ? "on" : "off";
    choice.name = part.substr(1);
  } else {
    const size_t equals = part.find('=');
    choice.name = part.substr(0, equals);
    choice.value = equals == part.npos ? "on" : part.substr(equals + 1);
  }
  std::ranges::replace(choice.name, '_', '-');
  return choice;
}

}  // namespace

Result<CpuOptions> parse_cpu_options(std::string_view text) {
  CpuOptions cpu;
  for (const std::string_view part : split(text, ',')) {
    if (part.empty()) continue;
    const CpuOptions::Choice choice = choice_of(part);
    if (choice.name == "kvm") {
      cpu.kvm = TRY(read_switch(choice));
    } else if (choice.name == "tsc-frequency") {
      const Result<u64> hz = parse_u64(choice.value);
      if (!hz || *hz < 1000 || *hz > 100'000'000'000)
        return fail(Errc::InvalidArgument,
                    "CPU property 'tsc-frequency' is a number of Hz, not '{}'", choice.value);
      cpu.tsc_hz = *hz;
    } else if (choice.name.starts_with("hv-")) {
      cpu.hyperv.push_back(choice);
    } else if (choice.name.starts_with("kvm")) {
      TRY(read_switch(choice));
      cpu.kvm_features.push_back(choice);
    } else {
      cpu.model += (cpu.model.empty() ? "" : ",") + std::string(part);
    }
  }
  return cpu;
}

}  // namespace menura
