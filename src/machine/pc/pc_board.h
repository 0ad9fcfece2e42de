// PcBoard: a PC: a chipset of 1996 or 2009, and the AT's timers, serial ports and keyboard controller.
//
// Owner: Machine. Threads: under the machine lock. Built in the order in which a PC's parts depend
// on each other; build() reads as the list of parts. Example: see machine/catalogue.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "hw/fw_cfg/fw_cfg.h"
#include "hw/ide/ide_connector.h"
#include "hw/isa/pc_speaker.h"
#include "hw/isa/system_ports.h"
#include "hw/rtc/rtc.h"
#include "hw/timer/pit.h"
#include "machine/board.h"
#include "machine/drives.h"
#include "machine/machine.h"
#include "machine/pc/pc_chipset.h"
#include "machine/pc/pc_interrupts.h"
#include "machine/pc/pc_kernel_boot.h"
#include "machine/pc/pc_memory.h"

namespace menura {

struct CpuOptions;

class PcBoard final : public Board {
 public:
  static constexpr unsigned kMaxCpus = 255;

  PcBoard(Machine& machine, const PcModel& model);
  ~PcBoard() override;

  Result<void> build() override;
  Result<VcpuConfig> cpu_config(unsigned index) override;
  void connect_cpu(unsigned index, CpuInterrupts& cpu) override;
  void reset_cpu(unsigned index, x86::State& state) override;
  void system_reset() override;
  void press_power_button() override;
  void wake(WakeCause cause) override;
  Result<void> plug(const NamedOptions& device) override;
  Result<void> unplug(Device& device) override;
  void ejected(Device& device) override;
  PciBus* pci_bus() override { return &chipset_->root_bus(); }
  IrqLine isa_irq(unsigned irq) override;
  IrqStatistics* irqs() override { return &interrupts_.gsis(); }
  const GsiRouting* gsi_routing() override { return &interrupts_.routing(); }

 private:
  Result<bool> choose_smm() const;
  Result<u64> tsc_khz(const CpuOptions& cpu) const;  // 0: the accelerator's
  Result<void> build_firmware_memory();
  Result<void> build_chipset();
  Result<void> build_timers();
  void build_keyboard_controller();
  Result<void> build_isa_devices();
  Result<void> build_speaker();
  Result<void> build_serial_ports();
  Result<void> build_drives();
  void build_drive(Drive& drive, IdeConnector& connector, unsigned place);
  Result<void> build_firmware();
  bool starts_by_firmware(const KernelFiles& kernel) const;
  // -vga, or the standard card where nothing else is said.
  Result<void> build_display();
  Result<void> build_user_devices();
  // Returns it, adopted.
  Result<Device*> build_device(const NamedOptions& device);
  void remove_device(Device& device);
  // Unsupported: it stays as long as the machine.
  Result<void> check_removable(const Device& device) const;
  Result<void> build_virtio_drives();
  Result<void> tell_boot_order();
  // What the user wants of a built-in device of this kind (-global).
  template <class Properties>
  Result<Properties> properties_of(std::string_view driver);
  void on_sleep(SleepState state);
  // RTC's interrupt, on its way: ends a sleep if the guest asked for that.
  IrqStatus drive_rtc(IrqLine next, bool level);
  // Two gates open A20: port 92h's and the keyboard controller's.
  void set_a20(bool& gate, bool on);

  template <class T>
  T& adopt(std::unique_ptr<T> device) {
    T& reference = *device;
    machine_.devices().add(reference);
    devices_.push_back(std::move(device));
    return reference;
  }

  // Wiring
  Machine& machine_;
  const PcModel& model_;
  PcMemory memory_;
  PcInterrupts interrupts_;
  std::unique_ptr<PcChipset> chipset_;
  Pit* pit_ = nullptr;            // null: in the accelerator
  PcSpeaker* speaker_ = nullptr;  // null: mute
  Rtc* rtc_ = nullptr;
  std::unique_ptr<IrqFunction> rtc_irq_;
  FwCfg* fw_cfg_ = nullptr;
  PcKernelBoot* kernel_boot_ = nullptr;  // with -kernel, unless firmware starts it
  CpuInterrupts* bootstrap_ = nullptr;
  bool smm_ = false;
  bool has_flash_ = false;
  bool port92_a20_ = true;
  bool keyboard_a20_ = true;
  u32 cpu_signature_ = 0;  // CPUID.1:EAX
  std::vector<std::unique_ptr<Device>> devices_;
  std::map<const Device*, NamedOptions> options_;  // of those that users added
};

}  // namespace menura
