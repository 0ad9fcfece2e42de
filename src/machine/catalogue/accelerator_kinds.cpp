#include <algorithm>

#include "accel/dummy/dummy_accelerator.h"
#include "accel/jit/jit_accelerator.h"
#include "accel/kvm/kvm_accelerator.h"
#include "accel/kvm/kvm_hyperv.h"
#include "base/units.h"
#include "machine/catalogue/catalogue_tables.h"
#include "machine/cpu_options.h"
#include "machine/machine.h"

namespace menura {

namespace {

// -accel kvm,...
struct KvmProperties {
  IrqchipChoice kernel_irqchip = IrqchipChoice::Auto;
  Size shadow_memory;
  u32 dirty_ring = 0;
  bool pit = false;
  KvmOptions::NotifyExit notify_exit = KvmOptions::NotifyExit::Run;
  u32 notify_window = 0;
  std::string device = "/dev/kvm";
  void describe(PropertyVisitor& p) {
    p.field("kernel-irqchip", kernel_irqchip, "where the interrupt chips live");
    p.field("kvm-shadow-mem", shadow_memory, "guest memory that shadow page tables may map");
    p.field("dirty-ring-size", dirty_ring, "entries of a vCPU's dirty ring; 0: dirty bitmaps");
    p.field("pit", pit, "put the interval timer into the kernel, with kernel-irqchip=on");
    p.field("notify-vmexit", notify_exit, "what a guest that blocks all events comes to");
    p.field("notify-window", notify_window, "cycles that it may, beyond the processor's minimum");
    p.field("device", device, "path of the KVM device");
  }
};

IrqchipMode mode_of(IrqchipChoice choice) {
  switch (choice) {
    case IrqchipChoice::Off: return IrqchipMode::User;
    case IrqchipChoice::Split: return IrqchipMode::Split;
    case IrqchipChoice::On:
    case IrqchipChoice::Auto: return IrqchipMode::Kernel;
  }
  unreachable();
}

// What the user said behind `-accel NAME,`, whichever of its names that was.
Value options_of(const MachineConfig& config, std::initializer_list<std::string_view> names) {
  for (const NamedOptions& accel : config.accelerators)
    if (std::ranges::find(names, accel.name) != names.end()) return accel.options;
  return Value::object();
}

// hv-...: switches by name, and some with values.
Result<void> add_hyperv(KvmOptions& options, const CpuOptions::Choice& choice) {
  if (choice.name == "hv-spinlocks") {
    if (choice.value == "off") return {};
    const Result<u64> tries = parse_u64(choice.value);
    if (!tries || *tries < 0xfff || *tries > KvmOptions::kSpinForEver)
      return fail(Errc::InvalidArgument,
                  "CPU property 'hv-spinlocks' is a number from 0xfff to 0xffffffff, not '{}'",
                  choice.value);
    options.hyperv_spinlocks = static_cast<u32>(*tries);
  } else if (choice.name == "hv-vendor-id") {
    options.hyperv_vendor = choice.value;
  } else if (choice.name == "hv-passthrough") {
    KvmIoctl ioctls;
    const KvmSystem system = TRY(KvmSystem::open(options.device, ioctls));
    if (choice.on())
      for (const std::string_view name : offered_hyperv_features(system))
        options.hyperv.emplace_back(name);
  } else if (choice.value != "on" && choice.value != "off") {
    return fail(Errc::InvalidArgument, "CPU property '{}' is on or off, not '{}'", choice.name,
                choice.value);
  } else {
    std::erase(options.hyperv, choice.name);
    if (choice.on()) options.hyperv.push_back(choice.name);
  }
  return {};
}

Result<std::unique_ptr<Accelerator>> make_kvm(Machine& machine, const AcceleratorContext& context) {
  KvmProperties properties;
  properties.kernel_irqchip = machine.config().machine.kernel_irqchip;
  TRY(read_properties(properties, options_of(machine.config(), {"kvm"}), "-accel kvm"));
  KvmOptions options;
  options.device = properties.device;
  options.irqchip = mode_of(properties.kernel_irqchip);
  options.shadow_memory = properties.shadow_memory.bytes;
  options.dirty_ring = properties.dirty_ring;
  options.pit = properties.pit;
  Pit::Config pit;
  TRY(read_properties(pit, machine.config().with_globals("kvm-pit"), "kvm-pit"));
  options.lost_ticks = pit.lost_ticks;
  options.notify_exit = properties.notify_exit;
  options.notify_window = properties.notify_window;
  const CpuOptions cpu = TRY(parse_cpu_options(machine.config().cpu), "-cpu");
  options.expose = cpu.kvm;
  for (const CpuOptions::Choice& feature : cpu.kvm_features)
    options.features.emplace_back(feature.name, feature.on());
  for (const CpuOptions::Choice& choice : cpu.hyperv) TRY(add_hyperv(options, choice), "-cpu");
  return std::unique_ptr<Accelerator>(TRY(
      KvmAccelerator::create(context, {machine.tape(), machine.loop().virtual_time()}, options)));
}

// -accel jit,...
struct JitProperties {
  Size tb_size{64 << 20};
  std::string backend = "x64";
  std::string lockstep = "off";
  std::string passes;
  bool perf_map = false;
  void describe(PropertyVisitor& p) {
    p.field("tb-size", tb_size, "translated code kept");
    p.field("backend", backend, "x64 translates, interp executes each instruction by itself");
    p.field("lockstep", lockstep,
            "interp: execute each block both ways, and stop where they disagree");
    p.field("opt", passes, "passes to leave out, as -flags or -all, separated by ':'");
    p.field("perf-map", perf_map, "write /tmp/perf-PID.map for Linux' perf");
  }
};

Result<std::unique_ptr<Accelerator>> make_jit(Machine& machine, const AcceleratorContext& context) {
  JitProperties properties;
  TRY(read_properties(properties, options_of(machine.config(), {"jit", "tcg"}), "-accel jit"));
  engine::JitOptions options{.code_size = properties.tb_size.bytes};
  if (properties.backend == "interp")
    options.block_limit = 0;
  else if (properties.backend != "x64")
    return fail(Errc::InvalidArgument, "-accel jit,backend=: expected x64 or interp, not '{}'",
                properties.backend);
  if (properties.lockstep != "interp" && properties.lockstep != "off")
    return fail(Errc::InvalidArgument, "-accel jit,lockstep=: expected interp or off, not '{}'",
                properties.lockstep);
  options.lockstep = properties.lockstep == "interp";
  options.passes = TRY(opt::parse_passes(properties.passes), "-accel jit,opt=");
  if (properties.perf_map) options.perf_map = TRY(jit::PerfMap::create());
  return std::unique_ptr<Accelerator>(
      TRY(JitAccelerator::create(context, machine.tape(), options)));
}

struct NoProperties {
  void describe(PropertyVisitor&) {}
};

Result<std::unique_ptr<Accelerator>> make_qtest(Machine& machine, const AcceleratorContext&) {
  NoProperties none;
  TRY(read_properties(none, options_of(machine.config(), {"qtest", "dummy"}), "-accel qtest"));
  return std::unique_ptr<Accelerator>(std::make_unique<DummyAccelerator>());
}

}  // namespace

std::vector<AcceleratorKind> accelerator_kinds(Machine* machine) {
  std::vector<AcceleratorKind> kinds{
      {.name = "kvm",
       .help = "the host's virtualization (Linux KVM)",
       .create = [machine](const AcceleratorContext& c) { return make_kvm(*machine, c); }},
      {.name = "jit",
       .aliases = {"tcg"},
       .help = "our own processor, by translation",
       .create = [machine](const AcceleratorContext& c) { return make_jit(*machine, c); }},
      {.name = "qtest",
       .aliases = {"dummy"},
       .help = "runs no guest code: devices are driven by the qtest protocol",
       .create = [machine](const AcceleratorContext& c) { return make_qtest(*machine, c); }},
  };
  for (AcceleratorKind& kind : foreign_accelerators()) kinds.push_back(std::move(kind));
  return kinds;
}

}  // namespace menura
