#include "machine/loader/boot_parameters.h"

#include <algorithm>

#include "base/check.h"
#include "base/units.h"

namespace menura {

namespace {

// Bytes that grow, for tables of fixed records.
class Table {
 public:
  explicit Table(size_t size) : bytes_(size) {}
  template <std::unsigned_integral T>
  void set(size_t at, T value) {
    store_le(Bytes(bytes_), at, value);
  }
  // Where the new, zeroed bytes begin.
  size_t append(size_t size) {
    const size_t at = bytes_.size();
    bytes_.resize(at + size);
    return at;
  }
  void append_text(std::string_view text) {
    const size_t at = append(text.size() + 1);
    std::ranges::copy(bytes_of(text), bytes_.begin() + static_cast<ptrdiff_t>(at));
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

void check_map(const BootParameters& p) {
  ensure(p.map.size() <= kBootMapLimit, "boot parameters hold 128 ranges of memory");
}

// screen_info, as after VBE set a mode with a linear frame buffer.
void put_screen(Table& page, const BootScreen& screen) {
  constexpr u8 kLinearVbe = 0x23, kBits = 8;
  constexpr u64 kSizeUnit = 64 * 1024;
  page.set(0x0f, kLinearVbe);
  page.set(0x12, screen.width);
  page.set(0x14, screen.height);
  page.set(0x16, u16{32});
  page.set(0x18, static_cast<u32>(screen.address));
  page.set(0x1c, static_cast<u32>(screen.size / kSizeUnit));
  page.set(0x24, static_cast<u16>(screen.width * 4));
  // Size and position of red, green, blue, and what is left.
  constexpr u8 kPositions[] = {16, 8, 0, 24};
  for (size_t color = 0; color < 4; color++) {
    page.set(0x26 + 2 * color, kBits);
    page.set(0x27 + 2 * color, kPositions[color]);
  }
  page.set(0x3a, static_cast<u32>(screen.address >> 32));
}

}  // namespace

std::vector<std::byte> make_zero_page(const LinuxImage& image, const BootParameters& p) {
  enum : size_t {
    kAcpiRsdp = 0x070,
    kExtRamdiskImage = 0x0c0,
    kExtRamdiskSize = 0x0c4,
    kExtCommandLine = 0x0c8,
    kE820Count = 0x1e8,
    kLoaderType = 0x210,
    kRamdiskImage = 0x218,
    kRamdiskSize = 0x21c,
    kCommandLine = 0x228,
    kE820Table = 0x2d0,
    kE820EntrySize = 20,
  };
  constexpr u8 kLoaderUndefined = 0xff;
  check_map(p);
  constexpr size_t kZeroPageSize = 4096;
  Table page(kZeroPageSize);
  const ConstBytes header = image.header();
  for (size_t i = 0; i < header.size(); i++)
    page.set(LinuxImage::kHeaderStart + i, static_cast<u8>(header[i]));
  page.set(kAcpiRsdp, p.rsdp);
  page.set(kLoaderType, kLoaderUndefined);
  const BootModule initrd = p.modules.empty() ? BootModule{} : p.modules.front();
  page.set(kRamdiskImage, static_cast<u32>(initrd.address));
  page.set(kRamdiskSize, static_cast<u32>(initrd.size));
  page.set(kExtRamdiskImage, static_cast<u32>(initrd.address >> 32));
  page.set(kExtRamdiskSize, static_cast<u32>(initrd.size >> 32));
  page.set(kCommandLine, static_cast<u32>(p.command_line));
  page.set(kExtCommandLine, static_cast<u32>(p.command_line >> 32));
  page.set(kE820Count, static_cast<u8>(p.map.size()));
  size_t at = kE820Table;
  for (const E820Entry& entry : p.map) {
    page.set(at, entry.start);
    page.set(at + 8, entry.size);
    page.set(at + 16, static_cast<u32>(entry.type));
    at += kE820EntrySize;
  }
  if (p.screen) put_screen(page, *p.screen);
  return page.take();
}

std::vector<std::byte> make_start_info(u64 address, const BootParameters& p) {
  enum : size_t {
    kMagic = 0,
    kVersion = 4,
    kModuleCount = 12,
    kModuleList = 16,
    kCommandLine = 24,
    kRsdp = 32,
    kMap = 40,
    kMapEntries = 48,
    kSize = 56,
    kModuleSize = 32,
    kMapEntrySize = 24,
  };
  constexpr u32 kStartInfoMagic = 0x336e'c578;
  check_map(p);
  Table info(kSize);
  info.set(kMagic, kStartInfoMagic);
  info.set(kVersion, u32{1});
  info.set(kModuleCount, static_cast<u32>(p.modules.size()));
  info.set(kCommandLine, p.command_line);
  info.set(kRsdp, p.rsdp);
  info.set(kMapEntries, static_cast<u32>(p.map.size()));
  if (!p.modules.empty()) info.set(kModuleList, address + kSize);
  for (const BootModule& module : p.modules) {
    const size_t at = info.append(kModuleSize);
    info.set(at, module.address);
    info.set(at + 8, module.size);
    info.set(at + 16, module.text);
  }
  info.set(kMap, u64{address + kSize + p.modules.size() * kModuleSize});
  for (const E820Entry& entry : p.map) {
    const size_t at = info.append(kMapEntrySize);
    info.set(at, entry.start);
    info.set(at + 8, entry.size);
    info.set(at + 16, static_cast<u32>(entry.type));
  }
  return info.take();
}

std::vector<std::byte> make_multiboot_info(u64 address, const BootParameters& p) {
  enum : size_t {
    kFlags = 0,
    kMemLower = 4,
    kMemUpper = 8,
    kCommandLine = 16,
    kModuleCount = 20,
    kModuleList = 24,
    kMapLength = 44,
    kMap = 48,
    kLoaderName = 64,
    kSize = 120,
    kModuleSize = 16,
    kMapEntrySize = 24,  // with its size field
  };
  enum : u32 { kHasMemory = 1, kHasCommandLine = 4, kHasModules = 8, kHasMap = 64, kHasName = 512 };
  check_map(p);
  Table info(kSize);
  const auto place = [&](size_t at) { return static_cast<u32>(address + at); };
  info.set(kFlags, u32{kHasMemory | kHasCommandLine | kHasModules | kHasMap | kHasName});
  info.set(kCommandLine, static_cast<u32>(p.command_line));
  info.set(kModuleCount, static_cast<u32>(p.modules.size()));
  info.set(kModuleList, place(kSize));
  for (const BootModule& module : p.modules) {
    const size_t at = info.append(kModuleSize);
    info.set(at, static_cast<u32>(module.address));
    info.set(at + 4, static_cast<u32>(module.address + module.size));
    info.set(at + 8, static_cast<u32>(module.text));
  }
  info.set(kMapLength, static_cast<u32>(p.map.size() * kMapEntrySize));
  info.set(kMap, place(kSize + p.modules.size() * kModuleSize));
  for (const E820Entry& entry : p.map) {
    const size_t at = info.append(kMapEntrySize);
    info.set(at, u32{kMapEntrySize - 4});
    info.set(at + 4, entry.start);
    info.set(at + 12, entry.size);
    info.set(at + 20, static_cast<u32>(entry.type));
    if (entry.type != E820Type::Ram) continue;
    // In KiB: from 0, and from 1 MiB up to the first hole.
    if (entry.start == 0) info.set(kMemLower, static_cast<u32>(entry.size / KiB));
    if (entry.start == MiB) info.set(kMemUpper, static_cast<u32>(entry.size / KiB));
  }
  info.set(kLoaderName, place(info.append(0)));
  info.append_text("menura");
  return info.take();
}

}  // namespace menura
