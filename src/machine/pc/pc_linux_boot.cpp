#include "machine/pc/pc_linux_boot.h"

#include <algorithm>

#include "base/bits.h"
#include "base/fd.h"
#include "base/units.h"

namespace menura {

namespace {

// Where things lie below 1 MiB; the kernel takes what it needs of them before it reuses the memory.
constexpr u64 kGdt = 0x1000;
constexpr u64 kPageTables = 0x2000;  // PML4, PDPT, four page directories: the first 4 GiB
constexpr u64 kStack = 0x9000;
constexpr u64 kZeroPage = 0x1'0000;
constexpr u64 kCommandLine = 0x2'0000;
constexpr u64 kConventionalEnd = 0x9'fc00;
constexpr u64 kSmbiosAnchor = 0xf'0000;
constexpr u64 kSmbiosTable = 0xf'0020;
constexpr u64 kSmbiosLimit = 0xf'ffff;
constexpr u64 kFileLimit = 4 * GiB;
// At the top of low RAM: ACPI tables and RSDP.
constexpr u64 kTablesSize = 256 * KiB;
constexpr u64 kRsdpOffset = kTablesSize - 64;

constexpr u16 kBootCs = 0x10, kBootDs = 0x18;
constexpr u16 kCode64 = 0xa09b, kData32 = 0xc093, kTss32 = 0x008b;  // Segment::attributes

}  // namespace

Result<std::unique_ptr<PcLinuxBoot>> PcLinuxBoot::load(Context context) {
  std::unique_ptr<PcLinuxBoot> boot(new PcLinuxBoot(std::move(context)));
  TRY(boot->read_files());
  TRY(boot->plan());
  return boot;
}

Result<void> PcLinuxBoot::read_files() {
  const FirmwareOptions& options = context_.machine.config().firmware;
  kernel_file_ = TRY(read_file(options.kernel, kFileLimit), "-kernel");
  image_ = TRY(parse_bzimage(bytes_of(kernel_file_), options.kernel), "-kernel");
  if (!image_.entry64)
    return fail(Errc::Unsupported, "-kernel: '{}' has no 64-bit entry point", options.kernel);
  if (!options.initrd.empty()) initrd_ = TRY(read_file(options.initrd, kFileLimit), "-initrd");
  command_line_ = options.append;
  if (image_.command_line_limit && command_line_.size() > image_.command_line_limit)
    return fail(Errc::OutOfRange, "-append: {} characters, but this kernel takes at most {}",
                command_line_.size(), image_.command_line_limit);
  return {};
}

Result<void> PcLinuxBoot::plan() {
  const u64 top = context_.memory.below_4g();
  kernel_address_ = image_.preferred_address;
  const u64 kernel_end = kernel_address_ + image_.init_size;
  if (kernel_end < kernel_address_ || top < kTablesSize || kernel_end > top - kTablesSize)
    return fail(Errc::OutOfRange, "-kernel: the kernel needs RAM up to {}, there is {} (-m)",
                format_size(kernel_end), format_size(top));
  tables_address_ = align_down(top - kTablesSize, kPageSize);
  const u64 limit =
      image_.initrd_limit ? std::min(image_.initrd_limit + 1, tables_address_) : tables_address_;
  if (initrd_.size() > limit || align_down(limit - initrd_.size(), kPageSize) < kernel_end)
    return fail(Errc::OutOfRange, "-initrd: {} do not fit between the kernel and {} of RAM (-m)",
                format_size(initrd_.size()), format_size(top));
  if (!initrd_.empty()) initrd_address_ = align_down(limit - initrd_.size(), kPageSize);
  map_ = {{0, kConventionalEnd, E820Type::Ram},
          {kConventionalEnd, MiB - kConventionalEnd, E820Type::Reserved},
          {MiB, tables_address_ - MiB, E820Type::Ram},
          {tables_address_, top - tables_address_, E820Type::Acpi}};
  if (context_.memory.above_4g())
    map_.push_back({4 * GiB, context_.memory.above_4g(), E820Type::Ram});
  if (context_.machine.config().machine.acpi) {
    acpi_ = build_pc_acpi(context_.acpi);
    acpi_.place(tables_address_);
    if (acpi_.tables.size() > kRsdpOffset)
      return fail(Errc::OutOfRange, "The ACPI tables of so many CPUs do not fit their {}",
                  format_size(kTablesSize));
  }
  return {};
}

void PcLinuxBoot::reset(ResetKind) {
  prepare_chips();
  RamBlock& ram = *context_.memory.ram();
  ram.write(kernel_address_, image_.protected_mode_code());
  if (!initrd_.empty()) ram.write(initrd_address_, bytes_of(initrd_));
  std::vector<std::byte> text(command_line_.size() + 1);
  std::ranges::copy(bytes_of(command_line_), text.begin());
  ram.write(kCommandLine, text);
  write_tables();
  write_page_tables();
  ram.write(kZeroPage,
            make_zero_page(image_, {.command_line = kCommandLine,
                                    .initrd = initrd_address_,
                                    .initrd_size = initrd_.size(),
                                    .rsdp = acpi_.rsdp.empty() ? 0 : tables_address_ + kRsdpOffset,
                                    .memory_map = map_}));
}

void PcLinuxBoot::write_tables() {
  RamBlock& ram = *context_.memory.ram();
  if (!acpi_.tables.empty()) {
    ram.write(tables_address_, acpi_.tables);
    ram.write(tables_address_ + kRsdpOffset, acpi_.rsdp);
  }
  SmbiosTables smbios = build_smbios(context_.smbios);
  if (kSmbiosTable + smbios.structures.size() > kSmbiosLimit)
    return;  // optional, and too many CPUs
  smbios.place(static_cast<u32>(kSmbiosTable));
  ram.write(kSmbiosAnchor, smbios.anchor);
  ram.write(kSmbiosTable, smbios.structures);
}

// The first 4 GiB, one to one, in pages of 2 MiB; and the boot protocol's GDT.
void PcLinuxBoot::write_page_tables() {
  enum : u64 { kPresent = 1, kWritable = 2, kLarge = 0x80 };
  RamBlock& ram = *context_.memory.ram();
  const u64 pdpt = kPageTables + kPageSize;
  const u64 directories = pdpt + kPageSize;
  ram.fill(kPageTables, 6 * kPageSize, std::byte{0});
  ram.store<u64>(kPageTables, pdpt | kPresent | kWritable);
  for (u64 gib = 0; gib < 4; gib++)
    ram.store<u64>(pdpt + 8 * gib, (directories + gib * kPageSize) | kPresent | kWritable);
  for (u64 page = 0; page < 4 * 512; page++)
    ram.store<u64>(directories + 8 * page, page * 2 * MiB | kPresent | kWritable | kLarge);
  ram.fill(kGdt, 32, std::byte{0});
  ram.store<u64>(kGdt + kBootCs, 0x00af'9b00'0000'ffff);
  ram.store<u64>(kGdt + kBootDs, 0x00cf'9300'0000'ffff);
}

void PcLinuxBoot::set_entry(x86::State& state) const {
  const auto segment = [](u16 selector, u16 attributes) {
    return x86::Segment{.selector = selector, .attributes = attributes, .limit = 0xffff'ffff};
  };
  for (x86::Segment& s : state.seg) s = segment(kBootDs, kData32);
  state.seg[x86::Cs] = segment(kBootCs, kCode64);
  state.tr = {.selector = 0, .attributes = kTss32, .limit = 0xffff};
  state.gdtr = {.base = kGdt, .limit = 31};
  state.cr3 = kPageTables;
  state.cr4 = x86::kCr4Pae;
  state.cr0 = x86::kCr0Pe | x86::kCr0Et | x86::kCr0Ne | x86::kCr0Pg;
  state.efer = x86::kEferLme | x86::kEferLma;
  state.rflags = x86::kRflagsAlwaysOne;
  state.gpr.fill(0);
  state.gpr[x86::Rsp] = kStack;
  state.gpr[x86::Rsi] = kZeroPage;
  state.rip = kernel_address_ + 0x200;
  constexpr u64 kMtrrEnabledWriteBack = 0x806;  // IA32_MTRR_DEF_TYPE, as a BIOS leaves it
  state.mtrr.def_type = kMtrrEnabledWriteBack;
}

// What a BIOS does: RAM in the ROM area, PM registers, ports of the IDE channels, interrupt routes.
void PcLinuxBoot::prepare_chips() {
  constexpr unsigned kPam0 = 0x59, kPams = 7;
  for (unsigned i = 0; i < kPams; i++)
    context_.host_bridge.config_write(kPam0 + i, 1, i == 0 ? 0x30 : 0x33);
  AddressSpace& io = context_.machine.io();
  constexpr u16 kElcr2 = 0x4d1;
  io.store({kElcr2}, 1, 0x0c);  // IRQ 10 and 11 are level-triggered
  for (PciFunction* function : context_.host_bridge.root_bus().functions())
    prepare_function(*function);
}

void PcLinuxBoot::prepare_function(PciFunction& f) {
  enum : unsigned { kCommand = 0x04, kInterruptLine = 0x3c, kBar4 = 0x20 };
  constexpr u32 kIoAndMaster = 0x5;
  constexpr u8 kPirqIrqs[] = {10, 10, 11, 11};
  switch (f.identity().device) {
    case 0x7000:  // PIIX3: PIRQRC[A:D]
      for (unsigned pirq = 0; pirq < 4; pirq++) f.config_write(0x60 + pirq, 1, kPirqIrqs[pirq]);
      break;
    case 0x7010:  // IDE: both channels decode, the bus master at C000h
      f.config_write(0x40, 2, 0x8000);
      f.config_write(0x42, 2, 0x8000);
      f.config_write(kBar4, 4, 0xc000);
      f.config_write(kCommand, 2, kIoAndMaster);
      break;
    case 0x7113:  // PM: PMBASE, and PMREGMISC.PMIOSE
      f.config_write(0x40, 4, context_.acpi.pm_base | 1u);
      f.config_write(0x80, 1, 1);
      f.config_write(kInterruptLine, 1, 9);
      break;
    default: break;
  }
  if (f.interrupt_pin() == IntxPin::None || f.identity().device == 0x7113) return;
  const unsigned pirq = I440fx::pirq_of(f.slot(), static_cast<unsigned>(f.interrupt_pin()) - 1);
  f.config_write(kInterruptLine, 1, kPirqIrqs[pirq]);
}

}  // namespace menura
