#include "machine/pc/pc_firmware.h"

#include <algorithm>
#include <numeric>

#include "base/bits.h"
#include "base/bytes.h"
#include "base/units.h"
#include "base/uuid.h"
#include "base/version.h"
#include "hw/acpi/vm_generation_id.h"
#include "hw/isa/pvpanic.h"
#include "hw/rtc/cmos.h"

namespace menura {

namespace {

constexpr u32 kE820Ram = 1;

class TableWriter {
 public:
  std::vector<std::byte> bytes;
  template <std::unsigned_integral T>
  TableWriter& put(T value) {
    const size_t at = bytes.size();
    bytes.resize(at + sizeof value);
    store_le(Bytes(bytes), at, value);
    return *this;
  }
};

Result<BootDevice> boot_device(char letter) {
  switch (letter) {
    case 'a': return BootDevice::Floppy;
    case 'c': return BootDevice::Disk;
    case 'd': return BootDevice::Cdrom;
    case 'n': return BootDevice::Network;
    default:
      return fail(
          Errc::InvalidArgument,
          "-boot: '{}' is no boot device of this machine (a floppy, c disk, d CD, n network)",
          std::string(1, letter));
  }
}

using BootDevices = std::array<BootDevice, 3>;

Result<BootDevices> boot_devices(const std::string& order) {
  BootDevices devices{};
  if (order.size() > devices.size())
    return fail(Errc::InvalidArgument, "-boot: '{}' has more than three devices", order);
  for (size_t i = 0; i < order.size(); i++) devices[i] = TRY(boot_device(order[i]));
  return devices;
}

Result<void> fill_cmos(const PcFirmwareContext& c) {
  CmosContents cmos;
  cmos.boot = TRY(boot_order(c.machine.config().boot, BootTurn::First));
  cmos.memory_below_4g = c.memory.below_4g();
  cmos.memory_above_4g = c.memory.above_4g();
  cmos.cpus = std::min(c.machine.topology().cpus, 256u);
  store_cmos(c.rtc, cmos);
  return {};
}

// RAM only: the firmware adds what it reserves itself.
std::vector<std::byte> e820_table(const PcMemory& memory) {
  TableWriter table;
  table.put(u64{0}).put(memory.below_4g()).put(kE820Ram);
  if (memory.above_4g()) table.put(4 * GiB).put(memory.above_4g()).put(kE820Ram);
  return std::move(table.bytes);
}

// Where the guest is to find the register of its panics, if it was given one.
std::optional<u16> pvpanic_port(const MachineConfig& config) {
  for (const NamedOptions& device : config.devices) {
    if (device.name != "pvpanic") continue;
    const Value* port = device.options.find("ioport");
    return port ? detail::convert<u16>(*port).value_or(IsaPvpanic::kPort) : IsaPvpanic::kPort;
  }
  return {};
}

Result<void> add_files(const PcFirmwareContext& c) {
  const MachineConfig& config = c.machine.config();
  TRY(c.fw_cfg.add_file("etc/e820", e820_table(c.memory)));
  // Sleep states S0 to S5: bit 7: it is there; the low bits: its SLP_TYP.
  const u8 s3 = c.sleep.disable_s3 ? 1 : 0x81, s4 = c.sleep.disable_s4 ? 2 : 0x82;
  const std::array<u8, 6> sleep_states{0x80, 0, 0, s3, s4, 0x80};
  const ConstBytes states = bytes_of(sleep_states);
  TRY(c.fw_cfg.add_file("etc/system-states", {states.begin(), states.end()}));
  if (config.boot.menu) {
    TRY(c.fw_cfg.add_file("etc/show-boot-menu", TableWriter{}.put(u8{1}).bytes));
    if (config.boot.splash_time_ms)
      TRY(c.fw_cfg.add_file("etc/boot-menu-wait",
                            TableWriter{}.put(u16(*config.boot.splash_time_ms)).bytes));
  } else {
    TRY(c.fw_cfg.add_file("etc/show-boot-menu", TableWriter{}.put(u8{0}).bytes));
  }
  if (config.boot.reboot_timeout_ms)
    TRY(c.fw_cfg.add_file(
        "etc/boot-fail-wait",
        TableWriter{}.put(static_cast<u32>(*config.boot.reboot_timeout_ms)).bytes));
  if (const std::optional<u16> port = pvpanic_port(config))
    TRY(c.fw_cfg.add_file("etc/pvpanic-port", TableWriter{}.put(*port).bytes));
  // There is no screen: the BIOS talks on the first serial port.
  TRY(c.fw_cfg.add_file("etc/sercon-port", TableWriter{}.put(u64{0x3f8}).bytes));
  return {};
}

Result<void> add_acpi_tables(const PcFirmwareContext& c) {
  AcpiTables acpi = build_pc_acpi(pc_acpi_config(c));
  TRY(c.fw_cfg.add_file("etc/acpi/tables", std::move(acpi.tables)));
  TRY(c.fw_cfg.add_file("etc/acpi/rsdp", std::move(acpi.rsdp)));
  return c.fw_cfg.add_file("etc/table-loader", std::move(acpi.loader));
}

Result<void> add_tables(const PcFirmwareContext& c) {
  if (c.machine.config().machine.acpi) {
    TRY(add_acpi_tables(c));
    // Firmware places the chipset's registers before it fetches the tables; their sizes do not change with it.
    c.fw_cfg.on_select([c](std::string_view file) {
      if (file == "etc/table-loader" || file.starts_with("etc/acpi/")) add_acpi_tables(c).value();
    });
  }
  SmbiosTables smbios = build_smbios(pc_smbios_config(c));
  TRY(c.fw_cfg.add_file("etc/smbios/smbios-tables", std::move(smbios.structures)));
  return c.fw_cfg.add_file("etc/smbios/smbios-anchor", std::move(smbios.anchor));
}

}  // namespace

Result<std::array<BootDevice, 3>> boot_order(const BootOptions& boot, BootTurn turn) {
  const BootDevices later = TRY(boot_devices(boot.order.empty() ? "cad" : boot.order));
  if (turn == BootTurn::Later || boot.once.empty()) return later;
  return boot_devices(boot.once);
}

namespace {

// SRAT and SLIT: the RAM of each node as it lies around the PCI hole.
void add_numa(const PcFirmwareContext& c, AcpiConfig& acpi) {
  const NumaLayout& numa = c.machine.numa();
  if (numa.cpu_nodes.empty()) return;
  for (u32 i = 0; i < c.machine.topology().cpus; i++) acpi.cpu_nodes.push_back(numa.cpu_nodes[i]);
  acpi.distances = numa.distances;
  const u64 low = c.memory.below_4g();
  for (const PcRam::Part& part : c.memory.ram().parts()) {
    const u64 end = part.offset + part.size;
    if (part.offset < low)
      acpi.memory_nodes.push_back({part.offset, std::min(end, low) - part.offset, part.node});
    if (end > low) {
      const u64 first = std::max(part.offset, low);
      acpi.memory_nodes.push_back({4 * GiB + first - low, end - first, part.node});
    }
  }
}

}  // namespace

namespace {

// Which of a matrix's quantities are in MB/s; others are in ps.
bool is_bandwidth(NumaSpeed::DataType type) { return type >= NumaSpeed::DataType::AccessBandwidth; }

u64 table_value(const NumaSpeed& speed) {
  constexpr u64 kPsPerNs = 1000;
  return speed.bandwidth ? speed.bandwidth->bytes / MiB : speed.latency.value_or(0) * kPsPerNs;
}

// All that was said of one quantity, in the largest unit that all of it is a multiple of.
Result<AcpiMemorySpeeds::Matrix> speed_matrix(const std::vector<NumaSpeed>& speeds,
                                              const NumaSpeed& first, const AcpiMemorySpeeds& nodes,
                                              const std::vector<u32>& initiators) {
  AcpiMemorySpeeds::Matrix m{.hierarchy = static_cast<u8>(first.hierarchy),
                             .data_type = static_cast<u8>(first.data_type),
                             .unit = 0,
                             .initiators = initiators};
  for (const AcpiMemorySpeeds::Target& target : nodes.targets) m.targets.push_back(target.node);
  m.entries.resize(m.initiators.size() * m.targets.size());
  const auto same = [&](const NumaSpeed& s) {
    return s.hierarchy == first.hierarchy && s.data_type == first.data_type;
  };
  for (const NumaSpeed& s : speeds)
    if (same(s)) m.unit = std::gcd(m.unit, table_value(s));
  for (const NumaSpeed& s : speeds) {
    if (!same(s)) continue;
    constexpr u64 kMost = 0xfffe;
    const u64 value = table_value(s) / m.unit;
    if (value > kMost)
      return fail(Errc::OutOfRange, "-numa hmat-lb: {} values are too far apart for one table",
                  is_bandwidth(s.data_type) ? "bandwidth" : "latency");
    const auto row = std::ranges::find(m.initiators, s.initiator) - m.initiators.begin();
    const auto column = std::ranges::find(m.targets, s.target) - m.targets.begin();
    u16& entry =
        m.entries[static_cast<size_t>(row) * m.targets.size() + static_cast<size_t>(column)];
    if (entry != 0)
      return fail(Errc::Exists, "-numa hmat-lb: from node {} to {} it is said twice", s.initiator,
                  s.target);
    entry = static_cast<u16>(value);
  }
  return m;
}

u32 cache_attributes(const NumaCache& cache, const std::vector<NumaCache>& all) {
  const auto levels = std::ranges::count(all, cache.node_id, &NumaCache::node_id);
  return static_cast<u32>(levels) | u32{cache.level} << 4 |
         static_cast<u32>(cache.associativity) << 8 | static_cast<u32>(cache.policy) << 12 |
         u32{cache.line} << 16;
}

}  // namespace

Result<std::optional<AcpiMemorySpeeds>> pc_memory_speeds(Machine& machine) {
  const NumaLayout& numa = machine.numa();
  if (!numa.hmat) return std::optional<AcpiMemorySpeeds>();
  AcpiMemorySpeeds speeds;
  for (const NumaNode& node : machine.config().numa.nodes)
    if (!node.memdev.empty()) speeds.targets.push_back({node.id, numa.initiators[node.id]});
  std::ranges::sort(speeds.targets, {}, &AcpiMemorySpeeds::Target::node);
  std::vector<u32> initiators = numa.cpu_nodes;
  std::ranges::sort(initiators);
  initiators.erase(std::unique(initiators.begin(), initiators.end()), initiators.end());
  for (const NumaSpeed& s : numa.speeds) {
    const bool known = std::ranges::any_of(speeds.matrices, [&](const auto& m) {
      return m.hierarchy == static_cast<u8>(s.hierarchy) &&
             m.data_type == static_cast<u8>(s.data_type);
    });
    if (!known) speeds.matrices.push_back(TRY(speed_matrix(numa.speeds, s, speeds, initiators)));
  }
  for (const NumaCache& cache : numa.caches)
    speeds.caches.push_back(
        {cache.node_id, cache.size.bytes, cache_attributes(cache, numa.caches)});
  return std::optional(std::move(speeds));
}

AcpiConfig pc_acpi_config(const PcFirmwareContext& c) {
  constexpr u64 kHole64Size = 256 * GiB;
  AcpiConfig acpi;
  for (u32 i = 0; i < c.machine.topology().cpus; i++)
    acpi.apic_ids.push_back(c.machine.topology().apic_id(i));
  add_numa(c, acpi);
  acpi.speeds = c.speeds;
  acpi.extra = c.acpi_tables;
  if (const VmGenerationId* id = find_generation_id(c.machine.devices()))
    acpi.generation_id = little_endian(id->uuid());
  acpi.hpet = c.has_hpet;
  acpi.pvpanic_port = pvpanic_port(c.machine.config());
  acpi.has_s3 = !c.sleep.disable_s3;
  acpi.has_s4 = !c.sleep.disable_s4;
  acpi.smm = c.smm;
  acpi.pci_hole_start = c.memory.below_4g();
  acpi.pci_hole64_start = align_up(4 * GiB + c.memory.above_4g(), GiB);
  acpi.pci_hole64_size = kHole64Size;
  c.chipset.describe(acpi);
  return acpi;
}

SmbiosConfig pc_smbios_config(const PcFirmwareContext& c) {
  const Topology& topology = c.machine.topology();
  SmbiosConfig smbios = c.smbios;
  const auto unless_said = [](std::string& text, std::string_view ours) {
    if (text.empty()) text = ours;
  };
  unless_said(smbios.bios.version, version());
  unless_said(smbios.system.product, c.product);
  unless_said(smbios.system.version, c.machine.type().name);
  if (smbios.uuid == Uuid{}) smbios.uuid = c.machine.config().uuid;
  smbios.sockets = topology.sockets;
  smbios.cores_per_socket = topology.dies * topology.cores;
  smbios.threads_per_core = topology.threads;
  smbios.memory_below_4g = c.memory.below_4g();
  smbios.memory_above_4g = c.memory.above_4g();
  return smbios;
}

Result<void> describe_to_firmware(const PcFirmwareContext& c) {
  const Topology& topology = c.machine.topology();
  c.fw_cfg.add(FwCfgKey::RamSize, c.memory.below_4g() + c.memory.above_4g());
  c.fw_cfg.add(FwCfgKey::CpuCount, static_cast<u16>(topology.cpus));
  // What the firmware wants is one more than the highest APIC ID.
  c.fw_cfg.add(FwCfgKey::MaxCpus, static_cast<u16>(topology.apic_id(topology.max_cpus - 1) + 1));
  c.fw_cfg.add(FwCfgKey::NoGraphic, static_cast<u16>(c.machine.displays().first() ? 0 : 1));
  c.fw_cfg.add(FwCfgKey::BootMenu, static_cast<u16>(c.machine.config().boot.menu ? 1 : 0));
  c.fw_cfg.add(FwCfgKey::Irq0Override, u32{1});
  const std::array<u8, 16>& uuid = c.machine.config().uuid;
  c.fw_cfg.add(FwCfgKey::Uuid, {bytes_of(uuid).begin(), bytes_of(uuid).end()});
  TRY(fill_cmos(c));
  TRY(add_files(c));
  return add_tables(c);
}

}  // namespace menura
