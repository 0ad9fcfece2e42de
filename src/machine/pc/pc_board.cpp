#include "machine/pc/pc_board.h"

#include <algorithm>

#include "base/bits.h"
#include "base/log.h"
#include "base/units.h"
#include "cpu/x86/model.h"
#include "hw/ide/ata_disk.h"
#include "hw/ide/atapi_cd.h"
#include "hw/input/i8042.h"
#include "hw/input/ps2_keyboard.h"
#include "hw/input/ps2_mouse.h"
#include "hw/isa/debug_ports.h"
#include "hw/isa/pc_speaker.h"
#include "hw/isa/system_ports.h"
#include "hw/pci/pci_function.h"
#include "hw/serial/uart16550.h"
#include "hw/timer/hpet.h"
#include "machine/catalogue.h"
#include "machine/chardevs.h"
#include "machine/cpu_options.h"
#include "machine/pc/pc_clock.h"
#include "machine/pc/pc_cpuid.h"
#include "machine/pc/pc_firmware.h"
#include "machine/pc/pc_flash.h"
#include "machine/pc/pc_kernel_offer.h"
#include "machine/pc/pc_user_tables.h"

namespace menura {

namespace {

struct SerialPort {
  u16 base;
  unsigned irq;
};
constexpr SerialPort kSerialPorts[] = {{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}};

constexpr u16 kDebugconPort = 0x402;
constexpr u64 kHpetBase = 0xfed0'0000;

// As users know it, wherever it is.
constexpr std::string_view kPitDriver = "kvm-pit";

}  // namespace

PcBoard::PcBoard(Machine& machine, const PcModel& model)
    : machine_(machine), model_(model), memory_(machine, model.ram), interrupts_(machine) {}

// Devices refer to buses and chips made before them.
PcBoard::~PcBoard() {
  while (!devices_.empty()) {
    machine_.devices().remove(*devices_.back());
    devices_.pop_back();
  }
}

Result<void> PcBoard::build() {
  const Transaction one_view({&machine_.memory(), &machine_.io(), &machine_.smm()});
  smm_ = TRY(choose_smm());
  TRY(memory_.build());
  TRY(build_firmware_memory());
  interrupts_.build();
  TRY(build_chipset());
  TRY(build_timers());
  build_keyboard_controller();
  TRY(build_isa_devices());
  TRY(build_serial_ports());
  TRY(build_drives());
  TRY(build_display());
  TRY(build_user_devices());
  TRY(build_virtio_drives());
  TRY(build_firmware());
  return tell_boot_order();
}

Result<bool> PcBoard::choose_smm() const {
  const OnOffAuto wanted = machine_.config().machine.smm;
  const bool possible = machine_.accelerator().has_smm();
  if (wanted == OnOffAuto::On && !possible)
    return fail(Errc::Unsupported, "-machine smm=on: {} has no system-management mode here",
                machine_.accelerator().name());
  return wanted != OnOffAuto::Off && possible;
}

template <class Properties>
Result<Properties> PcBoard::properties_of(std::string_view driver) {
  Properties properties;
  TRY(read_properties(properties, machine_.config().with_globals(driver), driver));
  return properties;
}

Result<void> PcBoard::build_firmware_memory() {
  std::vector<std::unique_ptr<Pflash>> chips = TRY(build_flash(machine_, memory_.pci_memory()));
  has_flash_ = !chips.empty();
  if (!has_flash_) return memory_.load_firmware();
  memory_.show_isa_bios(chips.front()->content());
  for (std::unique_ptr<Pflash>& chip : chips) adopt(std::move(chip));
  return {};
}

Result<void> PcBoard::build_chipset() {
  const PcChipsetParts parts{
      .machine = machine_,
      .memory = memory_,
      .interrupts = interrupts_,
      .adopt = [this](std::unique_ptr<Device> chip) { adopt(std::move(chip)); },
      .on_sleep = [this](SleepState state) { on_sleep(state); },
      // SMI# is the bootstrap processor's alone: firmware sets up SMRAM for that one.
      .smi = smm_ ? std::function<void()>([this] { bootstrap_->smi(); }) : nullptr,
      .ejected = [this](PciFunction& function) { ejected(function); },
      .removable = [this](PciFunction& function) { return check_removable(function).ok(); }};
  chipset_ = TRY(model_.make_chipset(parts));
  return {};
}

Result<void> PcBoard::build_timers() {
  EventLoop& loop = machine_.loop();
  Region& io = machine_.io_root();
  IrqLine pit_line = interrupts_.isa(0), rtc_line = interrupts_.isa(8);
  IrqSink* kernel_pit = machine_.accelerator().kernel_pit();
  Hpet* hpet = nullptr;
  if (machine_.config().machine.hpet != OnOffAuto::Off) {
    hpet = &adopt(std::make_unique<Hpet>("hpet", Hpet::Config{}, loop.virtual_time(),
                                         interrupts_.gsis(), &interrupts_.msi(),
                                         kernel_pit ? IrqLine(*kernel_pit, 0) : IrqLine()));
    machine_.memory_root().map(kHpetBase, hpet->registers());
    pit_line = IrqLine(*hpet, Hpet::kPitInput);
    rtc_line = IrqLine(*hpet, Hpet::kRtcInput);
  }
  if (!kernel_pit) {
    const auto config = TRY(properties_of<Pit::Config>(kPitDriver));
    pit_ = &adopt(std::make_unique<Pit>("pit", config, loop.virtual_time(),
                                        std::array<IrqLine, 3>{pit_line, {}, {}}));
    io.map(0x40, pit_->ports());
  }
  interrupts_.on_timer_taken([this, hpet] {
    if (pit_) pit_->tick_taken();
    if (hpet) hpet->tick_taken();
  });

  rtc_irq_ = std::make_unique<IrqFunction>(
      [this, rtc_line](unsigned, bool level) { return drive_rtc(rtc_line, level); });
  Rtc::Config config = TRY(pc_rtc_config(machine_.config().rtc));
  constexpr std::string_view kRtcDriver = "mc146818rtc";
  TRY(read_properties(config, machine_.config().with_globals(kRtcDriver), kRtcDriver));
  TimerQueue& time = config.clock == RtcClock::Virtual ? loop.virtual_time() : loop.host_time();
  rtc_ = &adopt(std::make_unique<Rtc>("rtc", config, time, machine_.tape(), IrqLine(*rtc_irq_, 0)));
  io.map(0x70, rtc_->ports());
  return {};
}

IrqStatus PcBoard::drive_rtc(IrqLine next, bool level) {
  if (level && chipset_->pm1().rtc_wakes()) machine_.request_wake(WakeCause::Rtc);
  return next.set(level);
}

void PcBoard::build_keyboard_controller() {
  Inputs& inputs = machine_.inputs();
  Ps2Keyboard& keyboard = adopt(std::make_unique<Ps2Keyboard>("ps2-kbd", &inputs));
  Ps2Mouse& mouse = adopt(std::make_unique<Ps2Mouse>("ps2-mouse", &inputs));
  I8042& kbc = adopt(std::make_unique<I8042>(
      "i8042", keyboard, mouse,
      I8042::Wires{.irq1 = interrupts_.isa(1),
                   .irq12 = interrupts_.isa(12),
                   .set_a20 = [this](bool on) { set_a20(keyboard_a20_, on); },
                   .reset = [this] { machine_.request_reset(Cause::GuestReset); }}));
  machine_.io_root().map(0x60, kbc.data_port());
  machine_.io_root().map(0x64, kbc.command_port());
}

void PcBoard::set_a20(bool& gate, bool on) {
  gate = on;
  memory_.set_a20(port92_a20_ || keyboard_a20_);
}

Result<void> PcBoard::build_speaker() {
  const std::string& audiodev = machine_.config().machine.pcspk_audiodev;
  if (audiodev.empty()) return {};
  if (!pit_)
    return fail(Errc::Unsupported,
                "pcspk-audiodev={}: the accelerator has the timer, and its tone with it "
                "(kernel-irqchip=off has it here)",
                audiodev);
  AudioSink* const sink = TRY(machine_.audiodevs().find(audiodev), "pcspk-audiodev");
  speaker_ = &adopt(std::make_unique<PcSpeaker>("pcspk", machine_.loop().virtual_time(), *sink,
                                                [this] { return pit_->tone_hz(); }));
  return {};
}

Result<void> PcBoard::build_isa_devices() {
  Region& io = machine_.io_root();
  SystemPorts& ports = adopt(std::make_unique<SystemPorts>(
      "system-ports", machine_.loop().virtual_time(),
      SystemPorts::Wires{.set_gate2 =
                             [this](bool gate) {
                               if (pit_) pit_->set_irq(2, gate);
                             },
                         .out2 = [this] { return pit_ && pit_->output(2); },
                         .set_speaker =
                             [this](bool on) {
                               if (pit_) pit_->set_speaker(on);
                               if (speaker_) speaker_->set(on);
                             },
                         .set_a20 = [this](bool on) { set_a20(port92_a20_, on); },
                         .reset = [this] { machine_.request_reset(Cause::GuestReset); }}));
  if (pit_) io.map(0x61, ports.port61());  // it comes with the PIT
  TRY(build_speaker());
  io.map(0x80, ports.port80());
  io.map(0x92, ports.port92());

  fw_cfg_ = &adopt(std::make_unique<FwCfg>("fw_cfg", machine_.memory()));
  io.map(0x510, fw_cfg_->control_ports());
  io.map(0x514, fw_cfg_->dma_ports());

  if (!machine_.config().debugcon.empty()) {
    Chardev& chardev = *TRY(machine_.chardevs().connect(machine_.config().debugcon), "-debugcon");
    DebugConsole& console = adopt(std::make_unique<DebugConsole>("debugcon", u8{0xe9}, chardev));
    io.map(kDebugconPort, console.ports());
  }
  return {};
}

Result<void> PcBoard::build_serial_ports() {
  const std::vector<std::string>& serials = machine_.config().serials;
  if (serials.size() > std::size(kSerialPorts))
    return fail(Errc::OutOfRange, "-serial: a PC has {} serial ports, not {}",
                std::size(kSerialPorts), serials.size());
  for (size_t i = 0; i < serials.size(); i++) {
    if (serials[i].empty()) continue;
    Chardev* chardev = TRY(machine_.chardevs().connect(serials[i]), "-serial");
    Uart16550& port =
        adopt(std::make_unique<Uart16550>(format("serial{}", i), machine_.loop().virtual_time(),
                                          interrupts_.isa(kSerialPorts[i].irq), chardev));
    machine_.io_root().map(kSerialPorts[i].base, port.ports());
  }
  return {};
}

// -drive index counts the places of ide.0, ide.1 and so on. Without one a CD takes the third, as
// -cdrom always did, and disks the first free.
Result<void> PcBoard::build_drives() {
  constexpr unsigned kCdPlace = 2;
  const unsigned units = ide_buses().at("ide.0").connector->places();
  for (const std::unique_ptr<Drive>& drive : machine_.drives().all()) {
    const DriveOptions& options = drive->options;
    if (options.interface == DriveOptions::Interface::Floppy)
      return fail(Errc::Unsupported, "-drive file={}: this board has no floppy controller",
                  options.file_name());
    if (options.interface != DriveOptions::Interface::Ide) continue;
    const std::optional<u32> said = TRY(options.place(units));
    unsigned place = said.value_or(options.media == DriveOptions::Media::Cdrom ? kCdPlace : 0);
    const auto bus_of = [&](unsigned at) { return ide_buses().find(format("ide.{}", at / units)); };
    const auto taken = [&](unsigned at) {
      return bus_of(at)->second.connector->drive(at % units) != nullptr;
    };
    while (!said && bus_of(place) != ide_buses().end() && taken(place)) place++;
    const bool exists = bus_of(place) != ide_buses().end();
    if (!exists || taken(place))
      return fail(Errc::InvalidArgument, "-drive file={}: place {} for drives is {}",
                  options.file_name(), place, exists ? "taken" : "not on this board");
    build_drive(*drive, *bus_of(place)->second.connector, place);
  }
  return {};
}

void PcBoard::build_drive(Drive& drive, IdeConnector& connector, unsigned place) {
  const unsigned units = connector.places(), unit = place % units;
  const bool cd = drive.options.media == DriveOptions::Media::Cdrom;
  const std::string id = format("ide{}-{}{}", place / units, cd ? "cd" : "hd", unit);
  const DriveNames names{.serial = drive.options.serial.empty() ? format("MN{:05}", place + 1)
                                                                : drive.options.serial};
  drive.plugged = true;
  if (cd)
    connector.plug(unit, adopt(std::make_unique<AtapiCd>(id, *drive.disk, names)));
  else
    connector.plug(unit, adopt(std::make_unique<AtaDisk>(id, *drive.disk, names)));
}

IrqLine PcBoard::isa_irq(unsigned irq) {
  return irq < PcInterrupts::kIsaIrqs ? interrupts_.isa(irq) : IrqLine();
}

Result<void> PcBoard::build_display() {
  struct Choice {
    std::string_view name;
    std::string_view driver;
  };
  constexpr Choice kChoices[] = {{"std", "VGA"}, {"none", ""}};
  const MachineConfig& config = machine_.config();
  std::string_view wanted = config.vga;
  if (wanted.empty()) {
    const bool own = std::ranges::any_of(config.devices, [&](const NamedOptions& device) {
      const Result<const DeviceKind*> kind = machine_.catalogue().find_device(device.name);
      return kind && (*kind)->category == "Display devices";
    });
    wanted = config.no_defaults || own ? "none" : "std";
  }
  const auto choice = std::ranges::find(kChoices, wanted, &Choice::name);
  if (choice == std::end(kChoices))
    return fail(Errc::InvalidArgument, "-vga {}: expected std or none", wanted);
  if (choice->driver.empty()) return {};
  TRY(build_device({.name = std::string(choice->driver), .id = "vga"}));
  return {};
}

Result<void> PcBoard::build_user_devices() {
  for (const NamedOptions& device : machine_.config().devices) TRY(build_device(device), "-device");
  return {};
}

Result<Device*> PcBoard::build_device(const NamedOptions& device) {
  const DeviceKind* kind = TRY(machine_.catalogue().find_device(device.name));
  const std::string id =
      device.id.empty() ? format("{}.{}", device.name, devices_.size()) : device.id;
  if (machine_.devices().find(id))
    return fail(Errc::Exists, "{}: there is a device '{}' already", device.name, id);
  Device& made = adopt(
      TRY(kind->make(machine_, id, machine_.config().with_globals(device.name, device.options))));
  options_[&made] = device;
  return &made;
}

namespace {

PciFunction* find_function(PciBus& bus, const Device& device) {
  for (PciFunction* function : bus.functions()) {
    if (function == &device) return function;
    if (PciBus* behind = function->secondary_bus())
      if (PciFunction* found = find_function(*behind, device)) return found;
  }
  return nullptr;
}

}  // namespace

Result<void> PcBoard::plug(const NamedOptions& device) {
  const DeviceKind* kind = TRY(machine_.catalogue().find_device(device.name));
  if (kind->bus != "PCI")
    return fail(Errc::Unsupported, "The {} bus does not take devices while the machine runs",
                kind->bus);
  const Value* drive = device.options.find("drive");
  const std::string* name = drive ? drive->as<std::string>() : nullptr;
  const Drive* before = name ? machine_.drives().find(*name) : nullptr;
  const bool was_plugged = before && before->plugged;
  Result<Device*> built = build_device(device);
  if (!built) {
    Drive* after = name ? machine_.drives().find(*name) : nullptr;
    if (after && !was_plugged) after->plugged = false;
    return built.error();
  }
  Device& made = **built;
  made.reset(ResetKind::PowerOn);
  if (machine_.running()) made.resume();
  PciFunction& function = *find_function(chipset_->root_bus(), made);
  function.bus()->hotplug()->plugged(function);
  return {};
}

Result<void> PcBoard::check_removable(const Device& device) const {
  const auto added = options_.find(&device);
  if (added == options_.end())
    return fail(Errc::Unsupported, "Device '{}' stays as long as the machine: it is a part of it",
                device.id());
  const DeviceKind* kind = TRY(machine_.catalogue().find_device(added->second.name));
  if (kind->has_buses || !device.children().empty())
    return fail(Errc::Unsupported,
                "Device '{}' stays as long as the machine: others may hang on it", device.id());
  return {};
}

Result<void> PcBoard::unplug(Device& device) {
  TRY(check_removable(device));
  PciFunction* function = find_function(chipset_->root_bus(), device);
  PciHotplug* slot = function ? function->bus()->hotplug() : nullptr;
  if (!slot)
    return fail(Errc::Unsupported,
                "Device '{}' stays as long as the machine: its slot gives no cards", device.id());
  (void)slot->request_eject(*function);
  return {};
}

// Within the guest's access: what is left of it goes when that has ended.
void PcBoard::ejected(Device& device) {
  machine_.loop().post([this, gone = &device] { remove_device(*gone); });
}

void PcBoard::remove_device(Device& device) {
  const auto at = std::ranges::find(devices_, &device, &std::unique_ptr<Device>::get);
  if (at == devices_.end()) return;
  device.pause();
  const NamedOptions options = options_.at(&device);
  options_.erase(&device);
  machine_.devices().remove(device);
  const std::string id = device.id();
  devices_.erase(at);
  if (const Value* drive = options.options.find("drive"))
    if (const std::string* name = drive->as<std::string>()) machine_.drives().release(*name);
  Value data = Value::object();
  if (!options.id.empty()) data.set("device", id);
  data.set("path",
           format("/machine/{}/{}", options.id.empty() ? "peripheral-anon" : "peripheral", id));
  machine_.emit("DEVICE_DELETED", std::move(data));
}

// After the user's own devices, whose places were chosen.
Result<void> PcBoard::build_virtio_drives() {
  std::vector<std::string> drives;
  for (const std::unique_ptr<Drive>& drive : machine_.drives().all())
    if (drive->options.interface == DriveOptions::Interface::Virtio)
      drives.push_back(drive->options.id);
  for (const std::string& drive : drives) {
    Value options = Value::object();
    options.set("drive", drive);
    TRY(build_device({.name = "virtio-blk-pci", .id = {}, .options = std::move(options)}),
        "-drive if=virtio,id={}", drive);
  }
  return {};
}

Result<void> PcBoard::tell_boot_order() {
  if (boot_order().empty()) return {};
  std::string text = boot_order().text();
  text.push_back('\0');
  const ConstBytes bytes = bytes_of(text);
  return fw_cfg_->add_file("bootorder", {bytes.begin(), bytes.end()});
}

Result<void> PcBoard::build_firmware() {
  const FirmwareOptions& options = machine_.config().firmware;
  const PcFirmwareContext context{.machine = machine_,
                                  .memory = memory_,
                                  .fw_cfg = *fw_cfg_,
                                  .rtc = *rtc_,
                                  .chipset = *chipset_,
                                  .product = model_.product,
                                  .sleep = chipset_->pm1().sleep_states(),
                                  .smm = smm_,
                                  .has_hpet = machine_.config().machine.hpet != OnOffAuto::Off,
                                  .smbios = TRY(read_smbios_options(options.smbios)),
                                  .acpi_tables = TRY(read_acpi_tables(options.acpi_tables)),
                                  .speeds = TRY(pc_memory_speeds(machine_))};
  if (!options.acpi_tables.empty() && !machine_.config().machine.acpi)
    return fail(Errc::InvalidArgument,
                "-acpitable: this machine was told to have no ACPI (acpi=off)");
  TRY(describe_to_firmware(context));
  if (options.kernel.empty()) {
    if (!options.initrd.empty() || !options.append.empty())
      return fail(Errc::InvalidArgument, "-initrd and -append need a -kernel");
    return {};
  }
  std::unique_ptr<KernelFiles> files = TRY(read_kernel_files(options));
  if (starts_by_firmware(*files)) return offer_kernel(context, *files);
  kernel_boot_ = &adopt(TRY(PcKernelBoot::load({.machine = machine_,
                                                .memory = memory_,
                                                .chipset = *chipset_,
                                                .acpi = pc_acpi_config(context),
                                                .smbios = pc_smbios_config(context)},
                                               std::move(files))));
  return {};
}

// By the firmware's hand where that was chosen, or where the kernel itself asks the BIOS.
bool PcBoard::starts_by_firmware(const KernelFiles& kernel) const {
  return has_flash_ || !machine_.config().firmware.bios.empty() ||
         kernel.kernel.protocol == BootProtocol::LinuxSetup;
}

void PcBoard::on_sleep(SleepState state) {
  if (state == SleepState::S3) return machine_.request_suspend();
  machine_.request_shutdown(Cause::GuestShutdown);
}

// -boot once= was for the first start. What the firmware finds after a reset is the lasting order.
void PcBoard::system_reset() {
  const BootOptions& boot = machine_.config().boot;
  if (boot.once.empty()) return;
  store_boot_order(*rtc_, menura::boot_order(boot, BootTurn::Later).value(), true);
}

void PcBoard::press_power_button() { chipset_->pm1().press_power_button(); }

void PcBoard::wake(WakeCause cause) {
  switch (cause) {
    case WakeCause::PowerButton: return chipset_->pm1().woken(WakeReason::PowerButton);
    case WakeCause::Rtc: return chipset_->pm1().woken(WakeReason::Rtc);
    case WakeCause::Other: return chipset_->pm1().woken(WakeReason::Other);
  }
}

// Only KVM can let a TSC run at another speed than the host's; it says so itself where it cannot.
Result<u64> PcBoard::tsc_khz(const CpuOptions& cpu) const {
  const Accelerator& accelerator = machine_.accelerator();
  const u64 wanted = cpu.tsc_hz / 1000;
  if (wanted == 0 || wanted == accelerator.tsc_khz()) return 0;
  if (accelerator.name() != "kvm")
    return fail(Errc::Unsupported, "-cpu tsc-frequency={}: with {} the TSC runs at {} kHz",
                cpu.tsc_hz, accelerator.name(), accelerator.tsc_khz());
  return wanted;
}

Result<VcpuConfig> PcBoard::cpu_config(unsigned index) {
  VcpuConfig vcpu;
  vcpu.apic_id = machine_.topology().apic_id(index);
  Accelerator& accelerator = machine_.accelerator();
  const CpuOptions cpu = TRY(parse_cpu_options(machine_.config().cpu), "-cpu");
  x86::AppliedModel model = TRY(x86::apply_model(cpu.model, accelerator.supported_cpuid()), "-cpu");
  if (index == 0 && accelerator.name() != "kvm" &&
      (!cpu.hyperv.empty() || !cpu.kvm_features.empty()))
    log_warning("-cpu: the features of hypervisors (hv-..., kvm-...) come with KVM only");
  if (index == 0)
    for (const std::string& feature : model.missing)
      log_warning("CPU feature '{}' is not available with {}", feature, accelerator.name());
  vcpu.tsc_khz = TRY(tsc_khz(cpu));
  vcpu.cpuid = pc_cpuid(std::move(model.leaves), machine_.topology(), index);
  for (const CpuidEntry& entry : vcpu.cpuid)
    if (entry.leaf == 1) cpu_signature_ = entry.eax;
  interrupts_.prepare_cpu(index, vcpu.apic_id,
                          1000 * (vcpu.tsc_khz ? vcpu.tsc_khz : accelerator.tsc_khz()), vcpu);
  return vcpu;
}

void PcBoard::connect_cpu(unsigned index, CpuInterrupts& cpu) {
  if (index == 0) bootstrap_ = &cpu;
  interrupts_.connect_cpu(index, cpu);
}

void PcBoard::reset_cpu(unsigned index, x86::State& state) {
  state.reset(x86::State::ResetCause::PowerOn, cpu_signature_, index == 0);
  if (!kernel_boot_) return;
  if (index == 0) return kernel_boot_->set_entry(state);
  PcKernelBoot::set_mtrrs(state);
}

}  // namespace menura
