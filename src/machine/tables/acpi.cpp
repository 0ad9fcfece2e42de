#include "machine/tables/acpi.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"
#include "machine/tables/pc_dsdt.h"
#include "machine/tables/q35_dsdt.h"

namespace menura {

namespace {

constexpr u32 kLapicBase = 0xfee0'0000;
constexpr u32 kIoApicBase = 0xfec0'0000;
constexpr u32 kHpetBase = 0xfed0'0000;
constexpr u32 kSciIrq = 9;
constexpr u16 kSmiCommandPort = 0xb2;
// What the PIIX4's SMI handler of the firmware takes.
constexpr u8 kAcpiEnable = 0xf1, kAcpiDisable = 0xf0;
constexpr u16 kResetPort = 0xcf9;
constexpr u8 kResetValue = 0x0f;
constexpr size_t kHeaderSize = 36;
constexpr u32 kCompilerId = 0x4d4e'5552;  // "RUNM"

// Appends little-endian fields to a table.
class Writer {
 public:
  std::vector<std::byte> bytes;

  Writer& u8_(u8 v) { return put(v); }
  Writer& u16_(u16 v) { return put(v); }
  Writer& u32_(u32 v) { return put(v); }
  Writer& u64_(u64 v) { return put(v); }
  Writer& zeros(size_t n) {
    bytes.resize(bytes.size() + n);
    return *this;
  }
  Writer& text(std::string_view s, size_t width, char pad = ' ') {
    for (size_t i = 0; i < width; i++)
      bytes.push_back(static_cast<std::byte>(i < s.size() ? s[i] : pad));
    return *this;
  }
  // Generic Address Structure, §5.2.3.2: system I/O space.
  Writer& io_address(u64 port, unsigned width_bits, u8 access_size) {
    return u8_(1).u8_(static_cast<u8>(width_bits)).u8_(0).u8_(access_size).u64_(port);
  }
  size_t size() const { return bytes.size(); }

 private:
  template <class T>
  Writer& put(T v) {
    const size_t at = bytes.size();
    bytes.resize(at + sizeof v);
    store_le(Bytes(bytes), at, v);
    return *this;
  }
};

// Collects tables into one blob and remembers links.
class Assembler {
 public:
  explicit Assembler(const AcpiConfig& config) : config_(config) {}
  AcpiTables out;

  Writer table(std::string_view signature, u8 revision) {
    Writer w;
    w.text(signature, 4).u32_(0).u8_(revision).u8_(0);
    w.text(config_.oem_id, 6).text(config_.oem_table_id, 8).u32_(1);
    w.u32_(kCompilerId).u32_(1);
    return w;
  }
  // Appends a finished table; returns its offset in the blob.
  u32 add(Writer& w) {
    ensure(w.size() >= kHeaderSize, "an ACPI table has a header");
    store_le(Bytes(w.bytes), 4, static_cast<u32>(w.size()));
    const u32 at = align();
    out.tables.insert(out.tables.end(), w.bytes.begin(), w.bytes.end());
    out.checksums.push_back({false, at + 9, at, static_cast<u32>(w.size())});
    return at;
  }
  u32 align() {
    out.tables.resize((out.tables.size() + 63) & ~size_t{63});
    return static_cast<u32>(out.tables.size());
  }

 private:
  const AcpiConfig& config_;
};

u32 add_facs(Assembler& assembler) {
  const u32 at = assembler.align();
  Writer w;
  w.text("FACS", 4).u32_(64).zeros(56);
  assembler.out.tables.insert(assembler.out.tables.end(), w.bytes.begin(), w.bytes.end());
  return at;
}

u32 add_fadt(Assembler& assembler, const AcpiConfig& config, u32 facs, u32 dsdt) {
  enum : u32 {
    kWbinvd = 1,
    kProcC1 = 1 << 2,
    kSlpButton = 1 << 5,
    kRtcS4 = 1 << 7,
    kTmrValExt = 1 << 8,
    kResetReg = 1 << 10,
    kUsePlatformClock = 1 << 15
  };
  Writer w = assembler.table("FACP", 3);
  w.u32_(facs).u32_(dsdt).u8_(0).u8_(0).u16_(kSciIrq);
  w.u32_(config.smm ? kSmiCommandPort : 0);
  w.u8_(config.smm ? kAcpiEnable : 0).u8_(config.smm ? kAcpiDisable : 0).u8_(0).u8_(0);
  w.u32_(config.pm_base).u32_(0);                            // PM1a, PM1b event
  w.u32_(config.pm_base + 4u).u32_(0);                       // PM1a, PM1b control
  w.u32_(0).u32_(config.pm_base + 8u);                       // PM2, PM timer
  w.u32_(u32{config.pm_base} + config.gpe0.offset).u32_(0);  // GPE0, GPE1
  w.u8_(4).u8_(2).u8_(0).u8_(4).u8_(config.gpe0.length).u8_(0).u8_(0).u8_(0);
  w.u16_(0xfff).u16_(0xfff).u16_(0).u16_(0);  // no C2, C3; no cache flush
  w.u8_(0).u8_(0).u8_(0).u8_(0).u8_(0x32);    // duty, day and month alarm; century
  // IAPC_BOOT_ARCH: legacy devices and an 8042.
  w.u16_(0x0003).u8_(0);
  w.u32_(kWbinvd | kProcC1 | kSlpButton | kRtcS4 | kTmrValExt | kResetReg |
         (config.hpet ? 0u : kUsePlatformClock));
  w.io_address(kResetPort, 8, 1).u8_(kResetValue).zeros(3);
  w.u64_(facs).u64_(dsdt);
  w.io_address(config.pm_base, 32, 2).zeros(12);
  w.io_address(config.pm_base + 4u, 16, 2).zeros(12);
  w.zeros(12).io_address(config.pm_base + 8u, 32, 3);
  w.io_address(u64{config.pm_base} + config.gpe0.offset, config.gpe0.length * 8u, 1).zeros(12);
  const u32 at = assembler.add(w);
  // FIRMWARE_CTRL, DSDT; X_FIRMWARE_CTRL would repeat the first, and §5.2.9 wants only one of them.
  std::vector<AcpiTables::Pointer>& pointers = assembler.out.pointers;
  pointers.push_back({false, at + 36, 4});
  pointers.push_back({false, at + 40, 4});
  store_le(Bytes(assembler.out.tables), at + 132, u64{0});
  pointers.push_back({false, at + 140, 8});
  return at;
}

void madt_cpu(Writer& w, u32 index, u32 apic_id) {
  if (apic_id < 255) {
    w.u8_(0).u8_(8).u8_(static_cast<u8>(index)).u8_(static_cast<u8>(apic_id)).u32_(1);
  } else {
    w.u8_(9).u8_(16).u16_(0).u32_(apic_id).u32_(1).u32_(index);
  }
}

u32 add_madt(Assembler& assembler, const AcpiConfig& config) {
  Writer w = assembler.table("APIC", 3);
  w.u32_(kLapicBase).u32_(1);  // PC-AT compatible: two 8259s
  for (size_t i = 0; i < config.apic_ids.size(); i++)
    madt_cpu(w, static_cast<u32>(i), config.apic_ids[i]);
  w.u8_(1).u8_(12).u8_(0).u8_(0).u32_(kIoApicBase).u32_(0);
  // IRQ 0 arrives at pin 2; the PCI interrupts are active high and level-triggered.
  w.u8_(2).u8_(10).u8_(0).u8_(0).u32_(2).u16_(0);
  for (const u8 irq : {5, 9, 10, 11}) w.u8_(2).u8_(10).u8_(0).u8_(irq).u32_(irq).u16_(0x000d);
  // LINT1 of every processor is NMI.
  w.u8_(4).u8_(6).u8_(0xff).u16_(0).u8_(1);
  if (std::ranges::any_of(config.apic_ids, [](u32 id) { return id >= 255; }))
    w.u8_(0x0a).u8_(12).u16_(0).u32_(0xffff'ffff).u8_(1).zeros(3);
  return assembler.add(w);
}

u32 add_hpet(Assembler& assembler) {
  Writer w = assembler.table("HPET", 1);
  // The block's capability register, low half: vendor 8086h, legacy routing, 64 bits, 3 timers.
  w.u32_(0x8086'a201);
  w.u8_(0).u8_(0).u8_(0).u8_(0).u64_(kHpetBase);
  w.u8_(0).u16_(0).u8_(0);
  return assembler.add(w);
}

// "The RTC and the PM timer are good": Windows need not work around their errata.
u32 add_waet(Assembler& assembler) {
  Writer w = assembler.table("WAET", 1);
  w.u32_(1 << 1);
  return assembler.add(w);
}

// PCI Firmware 3.2 table 4-2: one segment, from bus 0 on.
u32 add_mcfg(Assembler& assembler, const AcpiConfig& config) {
  Writer w = assembler.table("MCFG", 1);
  w.zeros(8).u64_(config.ecam.base).u16_(0).u8_(0);
  w.u8_(static_cast<u8>((config.ecam.size >> 20) - 1)).zeros(4);
  return assembler.add(w);
}

u32 add_srat(Assembler& assembler, const AcpiConfig& config) {
  Writer w = assembler.table("SRAT", 1);
  w.u32_(1).u64_(0);
  for (size_t i = 0; i < config.apic_ids.size(); i++) {
    const u32 node = config.cpu_nodes[i];
    const u32 id = config.apic_ids[i];
    if (id < 255) {
      w.u8_(0).u8_(16).u8_(static_cast<u8>(node)).u8_(static_cast<u8>(id)).u32_(1).u8_(0);
      w.u8_(static_cast<u8>(node >> 8)).u8_(static_cast<u8>(node >> 16));
      w.u8_(static_cast<u8>(node >> 24)).u32_(0);
    } else {
      w.u8_(2).u8_(24).u16_(0).u32_(node).u32_(id).u32_(1).u32_(0).u32_(0);
    }
  }
  for (const AcpiNumaNode& node : config.memory_nodes)
    w.u8_(1)
        .u8_(40)
        .u32_(node.node)
        .u16_(0)
        .u64_(node.memory_base)
        .u64_(node.memory_size)
        .u32_(0)
        .u32_(1)
        .u64_(0);
  return assembler.add(w);
}

u32 add_slit(Assembler& assembler, const AcpiConfig& config) {
  Writer w = assembler.table("SLIT", 1);
  w.u64_(config.distances.size());
  for (const std::vector<u8>& row : config.distances)
    for (const u8 distance : row) w.u8_(distance);
  return assembler.add(w);
}

u32 add_hmat(Assembler& assembler, const AcpiMemorySpeeds& speeds) {
  Writer w = assembler.table("HMAT", 2);
  w.u32_(0);
  for (const AcpiMemorySpeeds::Target& target : speeds.targets)
    w.u16_(0)
        .u16_(0)
        .u32_(40)
        .u16_(target.initiator ? 1 : 0)
        .u16_(0)
        .u32_(target.initiator.value_or(0))
        .u32_(target.node)
        .zeros(20);
  for (const AcpiMemorySpeeds::Matrix& m : speeds.matrices) {
    const size_t length = 32 + 4 * (m.initiators.size() + m.targets.size()) + 2 * m.entries.size();
    w.u16_(1).u16_(0).u32_(static_cast<u32>(length)).u8_(m.hierarchy).u8_(m.data_type).u16_(0);
    w.u32_(static_cast<u32>(m.initiators.size())).u32_(static_cast<u32>(m.targets.size())).u32_(0);
    w.u64_(m.unit);
    for (const u32 node : m.initiators) w.u32_(node);
    for (const u32 node : m.targets) w.u32_(node);
    for (const u16 entry : m.entries) w.u16_(entry);
  }
  for (const AcpiMemorySpeeds::Cache& cache : speeds.caches)
    w.u16_(2)
        .u16_(0)
        .u32_(32)
        .u32_(cache.node)
        .u32_(0)
        .u64_(cache.size)
        .u32_(cache.attributes)
        .u16_(0)
        .u16_(0);
  return assembler.add(w);
}

// An SSDT whose device tells where the ID is: a buffer in these very tables, which are reserved memory.
// Source: Microsoft's "Virtual Machine Generation ID".
u32 add_generation_id(Assembler& assembler, const std::array<u8, 16>& id) {
  using namespace aml;  // NOLINT
  constexpr size_t kBuffer = 64;
  constexpr std::string_view kAddress = "VGIA";
  Writer w = assembler.table("SSDT", 1);
  // The first object is the name of the address: \01 to 04 are its four bytes.
  constexpr u32 kToBeFilled = 0x0403'0201;
  const size_t at_in_table = w.size() + 1 + kAddress.size() + 1;
  const Aml code =
      join({name(kAddress, integer(kToBeFilled)),
            scope("\\_SB",
                  {device("VGEN",
                          {name("_HID", string("MNRA0001")), name("_CID", string("VM_Gen_Counter")),
                           name("_DDN", string("VM_Gen_Counter")), name("_STA", integer(0xf)),
                           method("ADDR", 0,
                                  {store(package({integer(0), integer(0)}), local(0)),
                                   store(path("\\VGIA"), index(local(0), integer(0))),
                                   return_(local(0))})})})});
  for (const u8 byte : code) w.u8_(byte);
  std::vector<std::byte>& tables = assembler.out.tables;
  const u32 buffer = assembler.align();
  tables.resize(buffer + kBuffer);
  for (size_t i = 0; i < id.size(); i++) tables[buffer + i] = static_cast<std::byte>(id[i]);
  assembler.out.generation_id = buffer;
  const u32 table = assembler.add(w);
  const u32 at = static_cast<u32>(table + at_in_table);
  ensure(load_le<u32>(tables, at) == kToBeFilled, "the address is where it is to be filled in");
  store_le(Bytes(tables), at, buffer);
  assembler.out.pointers.push_back({false, at, 4});
  return table;
}

u32 add_dsdt(Assembler& assembler, const AcpiConfig& config) {
  Writer w = assembler.table("DSDT", 1);
  const bool q35 = config.chipset == AcpiChipset::Q35;
  for (const u8 byte : q35 ? build_q35_dsdt(config) : build_pc_dsdt(config)) w.u8_(byte);
  return assembler.add(w);
}

u32 add_root(Assembler& assembler, const std::vector<u32>& tables) {
  Writer w = assembler.table("RSDT", 1);
  for (const u32 table : tables) w.u32_(table);
  const u32 at = assembler.add(w);
  for (size_t i = 0; i < tables.size(); i++)
    assembler.out.pointers.push_back({false, static_cast<u32>(at + kHeaderSize + 4 * i), 4});
  return at;
}

// Revision 0: the RSDT alone, which every system reads.
void add_rsdp(Assembler& assembler, const AcpiConfig& config, u32 rsdt) {
  Writer w;
  w.text("RSD PTR ", 8).u8_(0).text(config.oem_id, 6).u8_(0).u32_(rsdt);
  assembler.out.rsdp = std::move(w.bytes);
  assembler.out.pointers.push_back({true, 16, 4});
  assembler.out.checksums.push_back({true, 8, 0, 20});
}

// The loader's commands, 128 bytes each: allocate, add pointer, add checksum.
class LoaderScript {
 public:
  std::vector<std::byte> bytes;

  void allocate(std::string_view file, u32 alignment, u8 zone) {
    Writer w;
    w.u32_(1).text(file, 56, '\0').u32_(alignment).u8_(zone);
    finish(w);
  }
  void add_pointer(std::string_view file, std::string_view target, u32 offset, u8 size) {
    Writer w;
    w.u32_(2).text(file, 56, '\0').text(target, 56, '\0').u32_(offset).u8_(size);
    finish(w);
  }
  void add_checksum(std::string_view file, u32 offset, u32 start, u32 length) {
    Writer w;
    w.u32_(3).text(file, 56, '\0').u32_(offset).u32_(start).u32_(length);
    finish(w);
  }

 private:
  void finish(Writer& w) {
    w.zeros(128 - w.size());
    bytes.insert(bytes.end(), w.bytes.begin(), w.bytes.end());
  }
};

constexpr std::string_view kTablesFile = "etc/acpi/tables";
constexpr std::string_view kRsdpFile = "etc/acpi/rsdp";

std::vector<std::byte> loader_script(const AcpiTables& tables) {
  enum : u8 { kHighMemory = 1, kFSegment = 2 };
  const auto file_of = [](bool in_rsdp) { return in_rsdp ? kRsdpFile : kTablesFile; };
  LoaderScript script;
  script.allocate(kTablesFile, 64, kHighMemory);
  script.allocate(kRsdpFile, 16, kFSegment);
  for (const AcpiTables::Pointer& p : tables.pointers)
    script.add_pointer(file_of(p.in_rsdp), kTablesFile, p.offset, p.size);
  for (const AcpiTables::Checksum& c : tables.checksums)
    script.add_checksum(file_of(c.in_rsdp), c.offset, c.start, c.length);
  return std::move(script.bytes);
}

}  // namespace

AcpiTables build_pc_acpi(const AcpiConfig& config) {
  Assembler assembler(config);
  const u32 facs = add_facs(assembler);
  const u32 dsdt = add_dsdt(assembler, config);
  std::vector<u32> tables;
  tables.push_back(add_fadt(assembler, config, facs, dsdt));
  tables.push_back(add_madt(assembler, config));
  if (config.hpet) tables.push_back(add_hpet(assembler));
  if (config.ecam.size != 0) tables.push_back(add_mcfg(assembler, config));
  if (!config.cpu_nodes.empty()) tables.push_back(add_srat(assembler, config));
  if (!config.distances.empty()) tables.push_back(add_slit(assembler, config));
  if (config.speeds) tables.push_back(add_hmat(assembler, *config.speeds));
  tables.push_back(add_waet(assembler));
  if (config.generation_id) tables.push_back(add_generation_id(assembler, *config.generation_id));
  for (const std::vector<std::byte>& extra : config.extra) {
    Writer w{.bytes = extra};
    tables.push_back(assembler.add(w));
  }
  add_rsdp(assembler, config, add_root(assembler, tables));
  // Whole pages: the size stays when firmware moves what the tables tell of.
  constexpr size_t kPage = 4096;
  assembler.out.tables.resize((assembler.out.tables.size() + kPage - 1) & ~(kPage - 1));
  assembler.out.loader = loader_script(assembler.out);
  return std::move(assembler.out);
}

void AcpiTables::place(u64 tables_address) {
  for (const Pointer& p : pointers) {
    const Bytes blob(p.in_rsdp ? rsdp : tables);
    if (p.size == 8)
      store_le(blob, p.offset, load_le<u64>(blob, p.offset) + tables_address);
    else
      store_le(blob, p.offset, static_cast<u32>(load_le<u32>(blob, p.offset) + tables_address));
  }
  for (const Checksum& c : checksums) {
    std::vector<std::byte>& blob = c.in_rsdp ? rsdp : tables;
    blob[c.offset] = std::byte{0};
    u8 sum = 0;
    for (u32 i = 0; i < c.length; i++)
      sum = static_cast<u8>(sum + static_cast<u8>(blob[c.start + i]));
    blob[c.offset] = static_cast<std::byte>(-sum);
  }
  pointers.clear();
}

}  // namespace menura
