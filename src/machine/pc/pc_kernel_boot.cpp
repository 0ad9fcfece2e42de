#include "machine/pc/pc_kernel_boot.h"

#include <algorithm>

#include "base/bits.h"
#include "base/fd.h"
#include "base/units.h"
#include "hw/pci/pci_function.h"
#include "hw/pci/pci_regs.h"

namespace menura {

namespace {

// Where things lie below 1 MiB; the kernel takes what it needs of them before it reuses the memory.
constexpr u64 kGdt = 0x1000;
constexpr u64 kPageTables = 0x2000;  // PML4, PDPT, four page directories: the first 4 GiB
constexpr u64 kStack = 0x9000;
constexpr u64 kParameters = 0x1'0000;
constexpr u64 kTexts = 0x2'0000;  // the command line, and those of the modules
constexpr u64 kTextsEnd = 0x3'0000;
constexpr u64 kConventionalEnd = 0x9'fc00;  // then the extended BIOS data area
constexpr u64 kSmbiosAnchor = 0xf'0000;
constexpr u64 kSmbiosTable = 0xf'0020;
constexpr u64 kSmbiosLimit = 0xf'ffff;
constexpr u64 kFileLimit = 4 * GiB;
// At the top of low RAM: ACPI tables and RSDP.
constexpr u64 kTablesSize = 256 * KiB;
constexpr u64 kRsdpOffset = kTablesSize - 64;

constexpr u16 kBootCs = 0x10, kBootDs = 0x18;
constexpr u16 kCode64 = 0xa09b, kCode32 = 0xc09b, kData32 = 0xc093, kTss32 = 0x008b;  // attributes

}  // namespace

Result<std::unique_ptr<KernelFiles>> read_kernel_files(const FirmwareOptions& options) {
  auto files = std::make_unique<KernelFiles>();
  files->name = options.kernel;
  files->content = TRY(read_file(options.kernel, kFileLimit), "-kernel");
  files->kernel = TRY(parse_kernel(bytes_of(files->content), options.kernel), "-kernel");
  for (ModuleName& module : split_modules(options.initrd, files->kernel.protocol))
    files->modules.push_back({.content = TRY(read_file(module.file, kFileLimit), "-initrd"),
                              .text = std::move(module.text)});
  files->command_line = options.append;
  if (files->kernel.protocol == BootProtocol::Multiboot)  // begins with the kernel's name
    files->command_line = options.kernel + (options.append.empty() ? "" : " ") + options.append;
  const u64 limit = files->kernel.command_line_limit;
  if (limit && options.append.size() > limit)
    return fail(Errc::OutOfRange, "-append: {} characters, but this kernel takes at most {}",
                options.append.size(), limit);
  return files;
}

Result<std::unique_ptr<PcKernelBoot>> PcKernelBoot::load(Context context,
                                                         std::unique_ptr<KernelFiles> files) {
  std::unique_ptr<PcKernelBoot> boot(new PcKernelBoot(std::move(context), std::move(files)));
  TRY(boot->plan());
  return boot;
}

Result<void> PcKernelBoot::check_segment(const LoadSegment& segment) const {
  if (segment.end() < segment.address || segment.end() > tables_address_)
    return fail(Errc::OutOfRange, "-kernel: '{}' needs RAM up to {}, there is {} (-m)",
                files_->name, format_size(segment.end()), format_size(context_.memory.below_4g()));
  const bool conventional = segment.address >= kTextsEnd && segment.end() <= kConventionalEnd;
  if (segment.address < MiB && !conventional)
    return fail(Errc::Unsupported,
                "-kernel: '{}' wants to lie at {:#x} to {:#x}; free are {:#x} to {:#x}, and RAM "
                "from 1 MiB on",
                files_->name, segment.address, segment.end(), kTextsEnd, kConventionalEnd);
  return {};
}

Result<void> PcKernelBoot::plan() {
  const u64 top = context_.memory.below_4g();
  if (top < MiB + kTablesSize)
    return fail(Errc::OutOfRange, "-kernel: {} of RAM are too little (-m)", format_size(top));
  tables_address_ = align_down(top - kTablesSize, kPageSize);
  u64 kernel_end = MiB;
  for (const LoadSegment& segment : files_->kernel.segments) {
    TRY(check_segment(segment));
    kernel_end = std::max(kernel_end, segment.end());
  }
  TRY(plan_modules(kernel_end));
  parameters_.map = {{0, kConventionalEnd, E820Type::Ram},
                     {kConventionalEnd, MiB - kConventionalEnd, E820Type::Reserved},
                     {MiB, tables_address_ - MiB, E820Type::Ram},
                     {tables_address_, top - tables_address_, E820Type::Acpi}};
  if (context_.memory.above_4g())
    parameters_.map.push_back({4 * GiB, context_.memory.above_4g(), E820Type::Ram});
  if (!context_.machine.config().machine.acpi) return {};
  acpi_ = build_pc_acpi(context_.acpi);
  acpi_.place(tables_address_);
  if (acpi_.tables.size() > kRsdpOffset)
    return fail(Errc::OutOfRange, "The ACPI tables of so many CPUs do not fit their {}",
                format_size(kTablesSize));
  parameters_.rsdp = tables_address_ + kRsdpOffset;
  return {};
}

// From the top downwards, as far from what the kernel unpacks as can be.
Result<void> PcKernelBoot::plan_modules(u64 kernel_end) {
  u64 end = std::min(files_->kernel.module_limit, tables_address_);
  u64 text = kTexts + files_->command_line.size() + 1;
  for (const KernelFiles::Module& module : files_->modules) {
    const u64 size = module.content.size();
    if (size > end || align_down(end - size, kPageSize) < kernel_end)
      return fail(Errc::OutOfRange, "-initrd: {} do not fit between the kernel and {} of RAM (-m)",
                  format_size(size), format_size(context_.memory.below_4g()));
    end = align_down(end - size, kPageSize);
    parameters_.modules.push_back({.address = end, .size = size, .text = text});
    text += module.text.size() + 1;
  }
  if (text > kTextsEnd)
    return fail(Errc::OutOfRange, "-append and -initrd: more than {} of command lines",
                format_size(kTextsEnd - kTexts));
  parameters_.command_line = kTexts;
  return {};
}

void PcKernelBoot::reset(ResetKind) {
  prepare_chips();
  if (waking()) return;
  prepare_screen();
  write_kernel();
  write_bios_data();
  write_tables();
  write_parameters();
}

void PcKernelBoot::write_kernel() {
  PcRam& ram = context_.memory.ram();
  for (const LoadSegment& segment : files_->kernel.segments) {
    ram.write(segment.address, segment.bytes);
    // A bzImage's space is its own to unpack to; what others count as zeros must be zeros.
    if (!files_->kernel.is_linux())
      ram.fill(segment.address + segment.bytes.size(), segment.size - segment.bytes.size(),
               std::byte{0});
  }
  const auto write_text = [&](u64 at, const std::string& text) {
    ram.write(at, bytes_of(text));
    ram.store<u8>(at + text.size(), 0);
  };
  write_text(parameters_.command_line, files_->command_line);
  for (size_t i = 0; i < files_->modules.size(); i++) {
    ram.write(parameters_.modules[i].address, bytes_of(files_->modules[i].content));
    write_text(parameters_.modules[i].text, files_->modules[i].text);
  }
}

// Of the BIOS data area, what loaders of second stages measure conventional memory by.
void PcKernelBoot::write_bios_data() {
  constexpr u64 kEbdaSegment = 0x40e, kMemorySize = 0x413;
  PcRam& ram = context_.memory.ram();
  ram.store<u16>(kEbdaSegment, kConventionalEnd >> 4);
  ram.store<u16>(kMemorySize, kConventionalEnd / KiB);
  ram.store<u8>(kConventionalEnd, (640 * KiB - kConventionalEnd) / KiB);
}

void PcKernelBoot::write_parameters() {
  PcRam& ram = context_.memory.ram();
  write_page_tables();
  switch (files_->kernel.protocol) {
    case BootProtocol::LinuxSetup: unreachable();
    case BootProtocol::Linux32:
    case BootProtocol::Linux64:
      return ram.write(kParameters, make_zero_page(files_->kernel.bzimage, parameters_));
    case BootProtocol::Pvh:
      return ram.write(kParameters, make_start_info(kParameters, parameters_));
    case BootProtocol::Multiboot:
      return ram.write(kParameters, make_multiboot_info(kParameters, parameters_));
  }
}

void PcKernelBoot::write_tables() {
  PcRam& ram = context_.memory.ram();
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
void PcKernelBoot::write_page_tables() {
  enum : u64 { kPresent = 1, kWritable = 2, kLarge = 0x80 };
  PcRam& ram = context_.memory.ram();
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

void PcKernelBoot::set_entry(x86::State& state) const {
  set_mtrrs(state);
  if (waking()) return set_waking_entry(state);
  state.gpr.fill(0);
  state.rflags = x86::kRflagsAlwaysOne;
  state.rip = files_->kernel.entry;
  if (files_->kernel.protocol == BootProtocol::Linux64) return set_linux_entry(state);
  set_flat_entry(state);
}

void PcKernelBoot::set_mtrrs(x86::State& state) {
  constexpr u64 kEnabledWriteBack = 0x806;  // IA32_MTRR_DEF_TYPE
  state.mtrr.def_type = kEnabledWriteBack;
}

namespace {

// By the ports of Bochs's VBE extensions.
void set_vbe_mode(AddressSpace& io, u16 width, u16 height, u16 depth) {
  enum : u16 { kWidth = 1, kHeight = 2, kDepth = 3, kEnable = 4 };
  constexpr u16 kIndexPort = 0x1ce, kDataPort = 0x1d0;
  constexpr u16 kOn = 0x01, kLinear = 0x40;
  const auto set = [&](u16 index, u16 value) {
    io.store({kIndexPort}, 2, index);
    io.store({kDataPort}, 2, value);
  };
  set(kEnable, 0);
  set(kWidth, width);
  set(kHeight, height);
  set(kDepth, depth);
  set(kEnable, kOn | kLinear);
  // The attribute controller shows a picture only while its palette is not being set up.
  constexpr u16 kInputStatusColor = 0x3da, kInputStatusMono = 0x3ba, kAttributeIndex = 0x3c0;
  (void)io.load({kInputStatusColor}, 1);
  (void)io.load({kInputStatusMono}, 1);
  io.store({kAttributeIndex}, 1, 0x20);
}

void set_segments(x86::State& state, u16 code) {
  const auto segment = [](u16 selector, u16 attributes) {
    return x86::Segment{.selector = selector, .attributes = attributes, .limit = 0xffff'ffff};
  };
  for (x86::Segment& s : state.seg) s = segment(kBootDs, kData32);
  state.seg[x86::Cs] = segment(kBootCs, code);
  state.tr = {.selector = 0, .attributes = kTss32, .limit = 0x67};
  state.gdtr = {.base = kGdt, .limit = 31};
}

}  // namespace

void PcKernelBoot::set_linux_entry(x86::State& state) const {
  set_segments(state, kCode64);
  state.cr3 = kPageTables;
  state.cr4 = x86::kCr4Pae;
  state.cr0 = x86::kCr0Pe | x86::kCr0Et | x86::kCr0Ne | x86::kCr0Pg;
  state.efer = x86::kEferLme | x86::kEferLma;
  state.gpr[x86::Rsp] = kStack;
  state.gpr[x86::Rsi] = kParameters;
}

// The three 32-bit protocols: protected mode, flat segments, no paging.
void PcKernelBoot::set_flat_entry(x86::State& state) const {
  set_segments(state, kCode32);
  state.cr0 = x86::kCr0Pe | x86::kCr0Et;
  state.gpr[x86::Rsp] = kStack;
  switch (files_->kernel.protocol) {
    case BootProtocol::Multiboot:
      state.gpr[x86::Rax] = kMultibootBootloaderMagic;
      state.gpr[x86::Rbx] = kParameters;
      return;
    case BootProtocol::Pvh: state.gpr[x86::Rbx] = kParameters; return;
    default: state.gpr[x86::Rsi] = kParameters;
  }
}

// What a BIOS does after S3: a real-mode jump to the FACS's waking vector, which the system left.
void PcKernelBoot::set_waking_entry(x86::State& state) const {
  constexpr u64 kFacs = 0, kWakingVector = 12;  // the FACS comes first in the tables
  const u32 vector = context_.memory.ram().load<u32>(tables_address_ + kFacs + kWakingVector);
  x86::Segment& cs = state.seg[x86::Cs];
  cs.selector = static_cast<u16>(vector >> 4);
  cs.base = u64{cs.selector} << 4;
  state.rip = vector & 0xf;
}

// What a video BIOS does for a loader: a mode with a linear frame buffer, on a standard VGA card.
void PcKernelBoot::prepare_screen() {
  constexpr u32 kVgaClass = 0x030000, kStandardVga = 0x1111'1234;
  constexpr u16 kWidth = 1024, kHeight = 768, kDepth = 32;
  constexpr u64 kWindowEnd = 0xfe00'0000;
  parameters_.screen.reset();
  for (PciFunction* card : context_.chipset.root_bus().functions()) {
    const u64 size = card->bars()[0].size;
    if (card->identity().class_code != kVgaClass || card->config_read(0, 4) != kStandardVga ||
        size < u64{kWidth} * kHeight * kDepth / 8)
      continue;
    const u64 address = align_down(kWindowEnd - size, size);
    if (address < context_.memory.below_4g()) return;
    card->config_write(pci::kBar0, 4, static_cast<u32>(address));
    card->config_write(pci::kCommand, 2, pci::kCommandIo | pci::kCommandMemory);
    set_vbe_mode(context_.machine.io(), kWidth, kHeight, kDepth);
    parameters_.screen = {.address = address, .size = size, .width = kWidth, .height = kHeight};
    return;
  }
}

// What a BIOS does.
void PcKernelBoot::prepare_chips() {
  context_.chipset.prepare();
  AddressSpace& io = context_.machine.io();
  constexpr u16 kElcr2 = 0x4d1, kPort92 = 0x92;
  io.store({kElcr2}, 1, 0x0c);   // IRQ 10 and 11 are level-triggered
  io.store({kPort92}, 1, 0x02);  // A20
}

}  // namespace menura
