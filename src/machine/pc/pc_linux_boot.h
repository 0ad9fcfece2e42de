// PcLinuxBoot: starts a Linux kernel without firmware: places it, its parameters, its initrd and the
// tables in RAM, and leaves the chips as a BIOS would have.
//
// Owner: PcBoard; the last device to be reset, so that it finds the others in their reset states.
// Threads: under the machine lock. Source: "The Linux/x86 Boot Protocol", 64-bit entry; 82371AB and
// 82441FX data sheets. Example:
//   auto boot = TRY(PcLinuxBoot::load(context));  devices.add(*boot);
//   boot->set_entry(state);          // of the bootstrap processor, at each reset
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cpu/x86/state.h"
#include "hw/core/device.h"
#include "hw/pci/i440fx.h"
#include "machine/loader/bzimage.h"
#include "machine/machine.h"
#include "machine/pc/pc_memory.h"
#include "machine/tables/acpi.h"
#include "machine/tables/smbios.h"

namespace menura {

class PcLinuxBoot final : public Device {
 public:
  struct Context {
    Machine& machine;
    PcMemory& memory;
    I440fx& host_bridge;
    AcpiConfig acpi;
    SmbiosConfig smbios;
  };
  // Reads the files and decides where everything goes. Errors: not a kernel, does not fit.
  static Result<std::unique_ptr<PcLinuxBoot>> load(Context context);

  std::string_view type() const override { return "linux-boot"; }
  // Everything into RAM and the chips' registers.
  void reset(ResetKind kind) override;
  // The memory it fills is saved with the RAM.
  void describe(StateVisitor&) override {}
  // The 64-bit entry's state of the bootstrap processor.
  void set_entry(x86::State& state) const;

 private:
  explicit PcLinuxBoot(Context context) : Device("linux-boot"), context_(std::move(context)) {}
  Result<void> read_files();
  Result<void> plan();
  void write_tables();
  void write_page_tables();
  void prepare_chips();
  void prepare_function(PciFunction& function);

  // Wiring
  Context context_;

  // Configuration
  std::string kernel_file_;
  std::string initrd_;
  LinuxImage image_;
  std::string command_line_;
  u64 kernel_address_ = 0;
  u64 initrd_address_ = 0;
  u64 tables_address_ = 0;
  AcpiTables acpi_;
  std::vector<E820Entry> map_;
};

}  // namespace menura
