#include "machine/catalogue/catalogue_tables.h"

#include "base/log.h"
#include "base/text.h"
#include "machine/catalogue/none_board.h"
#include "machine/machine.h"
#include "machine/pc/pc_board.h"

namespace menura {

namespace {

std::unique_ptr<Board> make_pc(Machine& machine) {
  return std::make_unique<PcBoard>(machine, kI440fxModel);
}

std::unique_ptr<Board> make_q35(Machine& machine) {
  return std::make_unique<PcBoard>(machine, kQ35Model);
}

std::unique_ptr<Board> make_none(Machine& machine) { return std::make_unique<NoneBoard>(machine); }

constexpr MachineType kMachineTypes[] = {
    {.name = "pc-i440fx-8.2",
     .alias = "pc",
     .description = "Standard PC (i440FX + PIIX, 1996)",
     .max_cpus = PcBoard::kMaxCpus,
     .is_default = true,
     .default_nic = "e1000",
     .default_usb = "piix3-usb-uhci,addr=1.2",
     .make = make_pc},
    {.name = "pc-q35-8.2",
     .alias = "q35",
     .description = "Standard PC (Q35 + ICH9, 2009)",
     .max_cpus = PcBoard::kMaxCpus,
     .default_nic = "e1000",
     .default_usb = "qemu-xhci",
     .make = make_q35},
    {.name = "none",
     .alias = {},
     .description = "empty machine",
     .max_cpus = 1,
     .has_cpus = false,
     .make = make_none},
};

constexpr BuiltInKind kBuiltIn[] = {
    {.name = "ICH9-LPC", .properties = [] { return list_properties(SleepConfig{}); }},
    {.name = "PIIX4_PM", .properties = [] { return list_properties(SleepConfig{}); }},
    {.name = "kvm-pit", .properties = [] { return list_properties(Pit::Config{}); }},
    {.name = "mc146818rtc", .properties = [] { return list_properties(Rtc::Config{}); }},
};

// -accel options win over -machine accel=; without either, the fastest that works.
std::vector<std::string> wanted_accelerators(const MachineConfig& config) {
  std::vector<std::string> wanted;
  for (const NamedOptions& accel : config.accelerators) wanted.push_back(accel.name);
  if (wanted.empty() && !config.machine.accel.empty())
    for (const std::string_view name : split(config.machine.accel, ':')) wanted.emplace_back(name);
  if (wanted.empty())
    for (const AcceleratorKind& kind : accelerator_kinds(nullptr))
      if (!kind.foreign && kind.name != "qtest") wanted.emplace_back(kind.name);
  return wanted;
}

Result<std::unique_ptr<Accelerator>> choose(Machine& machine, const AcceleratorContext& context) {
  const std::vector<AcceleratorKind> kinds = accelerator_kinds(&machine);
  ChosenAccelerator chosen =
      TRY(choose_accelerator(wanted_accelerators(machine.config()), kinds, context));
  for (const std::string& warning : chosen.warnings) log_warning("{}", warning);
  return std::move(chosen.accelerator);
}

}  // namespace

Catalogue catalogue() {
  return {.machines = kMachineTypes,
          .devices = device_kinds(),
          .built_in = kBuiltIn,
          .choose_accelerator = choose};
}

}  // namespace menura
