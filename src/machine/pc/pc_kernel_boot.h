// PcKernelBoot: starts a kernel without firmware: places it, its parameters, its modules and the
// tables in RAM, and leaves the chips and the processor as its boot protocol says.
//
// Owner: PcBoard; the last device to be reset, so that it finds the others in their reset states.
// Threads: under the machine lock. Source: machine/loader's specifications; 82371AB and 82441FX data
// sheets; ACPI 6.4, 16.3.1 for the way back from S3. Example:
//   auto boot = TRY(PcKernelBoot::load(context, std::move(files)));  devices.add(*boot);
//   boot->set_entry(state);          // of the bootstrap processor, at each reset
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cpu/x86/state.h"
#include "hw/core/device.h"
#include "machine/loader/kernel_file.h"
#include "machine/machine.h"
#include "machine/pc/pc_chipset.h"
#include "machine/pc/pc_memory.h"
#include "machine/tables/acpi.h"
#include "machine/tables/smbios.h"

namespace menura {

// What -kernel, -initrd and -append name, in memory.
struct KernelFiles {
  struct Module {
    std::string content;
    std::string text;
  };
  std::string name;
  std::string content;  // `kernel` refers to it
  KernelFile kernel;
  std::vector<Module> modules;
  std::string command_line;
};
// Errors: not a kernel, unreadable, too long a command line.
Result<std::unique_ptr<KernelFiles>> read_kernel_files(const FirmwareOptions& options);

class PcKernelBoot final : public Device {
 public:
  struct Context {
    Machine& machine;
    PcMemory& memory;
    PcChipset& chipset;
    AcpiConfig acpi;
    SmbiosConfig smbios;
  };
  // Decides where everything goes. Errors: it does not fit.
  static Result<std::unique_ptr<PcKernelBoot>> load(Context context,
                                                    std::unique_ptr<KernelFiles> files);

  std::string_view type() const override { return "kernel-boot"; }
  // The chips' registers; and everything into RAM, unless the machine wakes from S3.
  void reset(ResetKind kind) override;
  // The memory it fills is saved with the RAM.
  void describe(StateVisitor&) override {}
  // The entry's state of the bootstrap processor: the kernel's, or the one that waits for the wake.
  void set_entry(x86::State& state) const;
  // MTRRs as a BIOS leaves them on every processor.
  static void set_mtrrs(x86::State& state);

 private:
  PcKernelBoot(Context context, std::unique_ptr<KernelFiles> files)
      : Device("kernel-boot"), context_(std::move(context)), files_(std::move(files)) {}
  Result<void> plan();
  Result<void> plan_modules(u64 kernel_end);
  Result<void> check_segment(const LoadSegment& segment) const;
  bool waking() const { return context_.machine.run_state() == RunState::Suspended; }
  void write_kernel();
  void write_bios_data();
  void write_parameters();
  void write_tables();
  void write_page_tables();
  void set_linux_entry(x86::State& state) const;
  void set_flat_entry(x86::State& state) const;
  void set_waking_entry(x86::State& state) const;
  void prepare_chips();
  void prepare_screen();

  // Wiring
  Context context_;

  // Configuration
  std::unique_ptr<KernelFiles> files_;
  u64 tables_address_ = 0;
  AcpiTables acpi_;
  BootParameters parameters_;
};

}  // namespace menura
