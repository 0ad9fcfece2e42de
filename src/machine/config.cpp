#include "machine/config.h"

#include <unistd.h>

#include <algorithm>
#include <bit>

#include "base/text.h"

namespace menura {

namespace {

constexpr std::string_view kOnOffAuto[] = {"off", "on", "auto"};
constexpr std::string_view kIrqchip[] = {"off", "on", "split", "auto"};
constexpr std::string_view kRtcClock[] = {"host", "rt", "vm"};
constexpr std::string_view kDriftFix[] = {"none", "slew"};
constexpr std::string_view kInterface[] = {"ide", "pflash", "none", "virtio", "floppy"};
constexpr std::string_view kMedia[] = {"disk", "cdrom"};
constexpr std::string_view kCache[] = {"none", "writeback", "writethrough", "directsync", "unsafe"};
constexpr std::string_view kDiscard[] = {"ignore", "unmap", "off", "on"};
constexpr std::string_view kDetectZeroes[] = {"off", "on", "unmap"};

constexpr std::string_view kFirmwareFolders[] = {"/usr/share/seabios/", "/usr/share/qemu/",
                                                 "/usr/share/ovmf/", "/usr/share/OVMF/",
                                                 "/usr/lib/ipxe/qemu/"};

}  // namespace

std::span<const std::string_view> enum_names(OnOffAuto) { return kOnOffAuto; }
std::span<const std::string_view> enum_names(IrqchipChoice) { return kIrqchip; }
std::span<const std::string_view> enum_names(RtcOptions::Clock) { return kRtcClock; }
std::span<const std::string_view> enum_names(RtcOptions::DriftFix) { return kDriftFix; }
std::span<const std::string_view> enum_names(DriveOptions::Interface) { return kInterface; }
std::span<const std::string_view> enum_names(DriveOptions::Media) { return kMedia; }
std::span<const std::string_view> enum_names(DriveOptions::Cache) { return kCache; }
std::span<const std::string_view> enum_names(DriveOptions::Discard) { return kDiscard; }
std::span<const std::string_view> enum_names(DriveOptions::DetectZeroes) { return kDetectZeroes; }

void MachineOptions::describe(PropertyVisitor& p) {
  p.field("type", type, "machine type, see -machine help");
  p.field("accel", accel, "accelerators to try, separated by colons");
  p.field("kernel-irqchip", kernel_irqchip, "where the interrupt chips live (KVM)");
  p.field("hpet", hpet, "high precision event timer");
  p.field("smm", smm, "system-management mode; auto: where the accelerator has it");
  p.field("acpi", acpi, "ACPI tables and power management");
  p.field("hmat", hmat, "tell of the memory's speeds (-numa hmat-lb, hmat-cache)");
  p.field("max-ram-below-4g", max_ram_below_4g, "RAM below the PCI hole");
  p.field("memory-backend", memory_backend, "id of the object that is the RAM");
  p.field("pflash0", pflash[0], "id of the drive or node that is the firmware's flash");
  p.field("pflash1", pflash[1], "and of a second one below it, for its variables");
  p.field("pcspk-audiodev", pcspk_audiodev,
          "the audiodev that the PC's loudspeaker plays to; none");
  p.field("dump-guest-core", dump_guest_core, "have the RAM in core dumps of this program");
}

void MemoryOptions::describe(PropertyVisitor& p) {
  p.field("size", size, "amount of RAM; a bare number is MiB");
}

void SmpOptions::describe(PropertyVisitor& p) {
  p.field("cpus", cpus, "CPUs present at start");
  p.field("maxcpus", maxcpus, "CPUs the machine has room for");
  p.field("sockets", sockets, "sockets on the board");
  p.field("dies", dies, "dies in a socket");
  p.field("cores", cores, "cores on a die");
  p.field("threads", threads, "threads of a core");
}

void RtcOptions::describe(PropertyVisitor& p) {
  p.field("base", base, "utc, localtime, or a date like 2026-11-23T12:00:00");
  p.field("clock", clock, "what drives it: host time, or the guest's");
  p.field("driftfix", driftfix, "deliver lost ticks later");
}

std::span<const std::string_view> enum_names(RebootAction) {
  static constexpr std::string_view kNames[] = {"reset", "shutdown"};
  return kNames;
}
std::span<const std::string_view> enum_names(ShutdownAction) {
  static constexpr std::string_view kNames[] = {"poweroff", "pause"};
  return kNames;
}
std::span<const std::string_view> enum_names(PanicAction) {
  static constexpr std::string_view kNames[] = {"pause", "shutdown", "exit-failure", "none"};
  return kNames;
}
std::span<const std::string_view> enum_names(WatchdogAction) {
  static constexpr std::string_view kNames[] = {"reset", "shutdown", "poweroff",  "pause",
                                                "debug", "none",     "inject-nmi"};
  return kNames;
}

void ActionOptions::describe(PropertyVisitor& p) {
  p.field("reboot", reboot, "when the guest reboots: reset, or end (shutdown)");
  p.field("shutdown", shutdown, "when the guest powers off: end (poweroff), or stay stopped");
  p.field("panic", panic, "when the guest tells of a panic of its kernel");
  p.field("watchdog", watchdog, "when a watchdog timer runs out");
}

void BootOptions::describe(PropertyVisitor& p) {
  p.field("order", order, "boot order: a b floppies, c disk, d CD, n network");
  p.field("once", once, "order of the first boot only");
  p.field("menu", menu, "let the firmware show its boot menu");
  p.field("splash-time", splash_time_ms, "how long the menu's prompt waits, in ms");
  p.field("reboot-timeout", reboot_timeout_ms, "reboot after a failed boot, in ms");
  p.field("strict", strict, "boot from nothing else");
}

void DriveOptions::describe(PropertyVisitor& p) {
  p.field("file", file, "image file, or file.driver=... and so on");
  p.field("driver", driver, "driver of the image, as format");
  p.field("id", id, "name of the drive");
  p.field("if", interface, "where it is plugged");
  p.field("media", media, "disk or CD");
  p.field("index", index, "place on its interface");
  p.field("bus", bus, "or its bus there");
  p.field("unit", unit, "and its place on the bus");
  p.field("format", format, "image format; by its first bytes when not said");
  p.field("readonly", readonly, "refuse writes");
  p.field("read-only", readonly, "the same");
  p.field("snapshot", snapshot, "keep the image as it is; writes are lost at the end");
  p.field("cache", cache, "caches between guest and disk");
  p.field("aio", aio, "threads, native or io_uring");
  p.field("discard", discard, "pass the guest's discards on");
  p.field("detect-zeroes", detect_zeroes, "turn writes of zeroes into zeroing");
  p.field("serial", serial, "the drive's serial number");
}

Result<std::optional<u32>> DriveOptions::place(u32 units) const {
  constexpr u32 kMaxBus = 255;
  if (!bus && !unit) return index;
  if (index)
    return fail(Errc::InvalidArgument, "-drive file={}: give index, or bus and unit", file_name());
  if (bus.value_or(0) > kMaxBus || unit.value_or(0) >= units)
    return fail(Errc::OutOfRange, "-drive file={}: there is no bus {}, unit {}", file_name(),
                bus.value_or(0), unit.value_or(0));
  return std::optional(bus.value_or(0) * units + unit.value_or(0));
}

std::string DriveOptions::file_name() const {
  if (const std::string* name = file.as<std::string>()) return *name;
  return file.is_null() ? "" : to_json(file);
}

namespace {

unsigned width_of(u32 count) { return static_cast<unsigned>(std::bit_width(count - 1)); }

}  // namespace

u32 Topology::apic_id(u32 cpu_index) const {
  const u32 thread = cpu_index % threads;
  const u32 core = cpu_index / threads % cores;
  const u32 die = cpu_index / (threads * cores) % dies;
  const u32 socket = cpu_index / (threads * cores * dies);
  const unsigned core_shift = width_of(threads);
  const unsigned die_shift = core_shift + width_of(cores);
  const unsigned socket_shift = die_shift + width_of(dies);
  return socket << socket_shift | die << die_shift | core << core_shift | thread;
}

bool MachineConfig::uses_memory(std::string_view id) const {
  if (!id.empty() && machine.memory_backend == id) return true;
  return std::ranges::find(numa.nodes, id, &NumaNode::memdev) != numa.nodes.end();
}

Value MachineConfig::with_globals(std::string_view driver, Value given) const {
  Value all = Value::object();
  for (const NamedOptions& global : globals)
    if (global.name == driver)
      for (const auto& [property, value] : *global.options.as<Value::Object>())
        all.set(property, value);  // the last one said counts
  for (auto& [property, value] : *given.as<Value::Object>()) all.set(property, std::move(value));
  return all;
}

Result<Topology> resolve_topology(const SmpOptions& o, u32 machine_limit) {
  constexpr u32 kLevelLimit = 4096;  // of any level: keeps the products below in range
  for (const u32 n : {o.cpus, o.maxcpus, o.sockets, o.dies, o.cores, o.threads})
    if (n > kLevelLimit)
      return fail(Errc::OutOfRange, "-smp: {} is more than any machine has (limit {})", n,
                  kLevelLimit);
  const auto given = [](u32 n) { return n ? u64{n} : u64{1}; };
  u64 sockets = o.sockets, dies = given(o.dies), cores = o.cores, threads = o.threads;
  u64 max_cpus = o.maxcpus ? o.maxcpus : o.cpus;
  // A level nobody spoke of takes what is left: sockets first, as the boards of old did.
  if (max_cpus == 0) {
    max_cpus = given(o.sockets) * dies * given(o.cores) * given(o.threads);
  } else if (sockets == 0) {
    cores = given(o.cores), threads = given(o.threads);
    sockets = std::max<u64>(1, max_cpus / (dies * cores * threads));
  } else if (cores == 0) {
    threads = given(o.threads);
    cores = std::max<u64>(1, max_cpus / (sockets * dies * threads));
  } else if (threads == 0) {
    threads = std::max<u64>(1, max_cpus / (sockets * dies * cores));
  }
  sockets = std::max<u64>(sockets, 1), cores = std::max<u64>(cores, 1);
  threads = std::max<u64>(threads, 1);
  const u64 product = sockets * dies * cores * threads;
  if (product != max_cpus)
    return fail(
        Errc::InvalidArgument,
        "-smp: sockets ({}) * dies ({}) * cores ({}) * threads ({}) = {}, but maxcpus is {}",
        sockets, dies, cores, threads, product, max_cpus);
  const u64 cpus = o.cpus ? o.cpus : max_cpus;
  if (cpus > max_cpus)
    return fail(Errc::InvalidArgument, "-smp: cpus ({}) is more than maxcpus ({})", cpus, max_cpus);
  if (max_cpus > machine_limit)
    return fail(Errc::OutOfRange, "-smp: this machine takes at most {} CPUs, not {}", machine_limit,
                max_cpus);
  return Topology{static_cast<u32>(cpus), static_cast<u32>(max_cpus), static_cast<u32>(sockets),
                  static_cast<u32>(dies), static_cast<u32>(cores),    static_cast<u32>(threads)};
}

Result<std::string> find_firmware(const std::string& name) {
  if (name.find('/') != std::string::npos || ::access(name.c_str(), R_OK) == 0) return name;
  std::string tried;
  for (const std::string_view folder : kFirmwareFolders) {
    std::string path = std::string(folder) + name;
    if (::access(path.c_str(), R_OK) == 0) return path;
    tried.append(tried.empty() ? "" : ", ").append(folder);
  }
  return fail(Errc::NotFound,
              "Firmware '{}' is neither here nor in {} (Debian's packages are seabios and ovmf)",
              name, tried);
}

}  // namespace menura
