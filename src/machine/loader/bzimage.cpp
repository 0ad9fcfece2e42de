#include "machine/loader/bzimage.h"

#include <algorithm>

#include "machine/loader/file_kind.h"

namespace menura {

namespace {

// Offsets of the setup header, the same in the file and in the zero page.
enum : size_t {
  kOldCommandLineMagic = 0x20,
  kOldCommandLineOffset = 0x22,
  kSetupSects = 0x1f1,
  kJump = 0x201,
  kMagic = 0x202,
  kVersion = 0x206,
  kKernelVersion = 0x20e,
  kLoaderType = 0x210,
  kLoadFlags = 0x211,
  kRamdiskImage = 0x218,
  kRamdiskSize = 0x21c,
  kHeapEnd = 0x224,
  kCommandLine = 0x228,
  kInitrdAddrMax = 0x22c,
  kRelocatable = 0x234,
  kXloadFlags = 0x236,
  kCommandLineSize = 0x238,
  kPrefAddress = 0x258,
  kInitSize = 0x260,
  kHeaderEnd = 0x268,
};
constexpr u32 kMagicHdrS = 0x5372'6448;
constexpr u16 kOldestProtocol = 0x0200;
constexpr size_t kSectorSize = 512;
constexpr u8 kLoadedHigh = 0x01, kCanUseHeap = 0x80;
constexpr u8 kLoaderUndefined = 0xff;
constexpr u16 kXlfKernel64 = 0x01;
constexpr u32 kHighAddress = 0x10'0000, kLowAddress = 0x1'0000;
// What older protocols leave unsaid.
constexpr u32 kOldInitrdLimit = 0x37ff'ffff, kOldCommandLineLimit = 255;
// The setup header must not run into the zero page's memory map.
constexpr u32 kLongestHeaderEnd = 0x290;

std::string version_of(ConstBytes file) {
  const size_t at = size_t{load_le<u16>(file, kKernelVersion)} + 0x200;
  constexpr size_t kLongest = 256;
  std::string version;
  for (size_t i = at; i < file.size() && i < at + kLongest && file[i] != std::byte{0}; i++)
    version += static_cast<char>(file[i]);
  return version;
}

void read_new_fields(LinuxImage& image, ConstBytes file) {
  const u16 protocol = image.protocol;
  if (protocol >= 0x0203)
    if (const u32 limit = load_le<u32>(file, kInitrdAddrMax)) image.initrd_limit = limit;
  if (protocol >= 0x0205) image.relocatable = file[kRelocatable] != std::byte{0};
  if (protocol >= 0x0206) image.command_line_limit = load_le<u32>(file, kCommandLineSize);
  if (protocol >= 0x020a) {
    if (const u64 preferred = load_le<u64>(file, kPrefAddress)) image.preferred_address = preferred;
    image.init_size = std::max<u64>(image.init_size, load_le<u32>(file, kInitSize));
  }
  image.entry64 = protocol >= 0x020c && (load_le<u16>(file, kXloadFlags) & kXlfKernel64);
}

}  // namespace

bool is_bzimage(ConstBytes file) {
  return file.size() >= kHeaderEnd && load_le<u32>(file, kMagic) == kMagicHdrS;
}

Result<LinuxImage> parse_bzimage(ConstBytes file, const std::string& name) {
  if (!is_bzimage(file))
    return fail(Errc::InvalidArgument, "'{}' is no Linux kernel but {}", name, describe_file(file));
  LinuxImage image;
  image.file = file;
  image.protocol = load_le<u16>(file, kVersion);
  if (image.protocol < kOldestProtocol)
    return fail(Errc::Unsupported,
                "Kernel '{}' has boot protocol {}.{:02}; 2.00 or newer is needed", name,
                image.protocol >> 8, image.protocol & 0xff);
  const u32 sectors = static_cast<u8>(file[kSetupSects]) ? static_cast<u8>(file[kSetupSects]) : 4u;
  image.setup_size = static_cast<u32>((sectors + 1) * kSectorSize);
  image.setup_header_end = std::min<u32>(kMagic + static_cast<u8>(file[kJump]), kLongestHeaderEnd);
  if (image.setup_size >= file.size() || image.setup_header_end > file.size())
    return fail(Errc::Corrupt, "Kernel '{}' ends inside its setup code", name);
  image.loaded_high = static_cast<u8>(file[kLoadFlags]) & kLoadedHigh;
  image.preferred_address = kHighAddress;
  image.init_size = file.size() - image.setup_size;
  image.initrd_limit = kOldInitrdLimit;
  image.command_line_limit = kOldCommandLineLimit;
  image.version = version_of(file);
  read_new_fields(image, file);
  if (image.preferred_address + image.init_size < image.preferred_address)
    return fail(Errc::Corrupt, "Kernel '{}' wants to lie at {:#x}", name, image.preferred_address);
  return image;
}

// Memory below 1 MiB as the protocol draws it: setup code with heap and stack in one segment, then
// the command line. A zImage's code takes the place of the former.
LinuxSetup prepare_setup(const LinuxImage& image, u32 initrd, u32 initrd_size) {
  constexpr u16 kOldMagic = 0xa33f, kStackEnd = 0xe000;
  const bool high = image.loaded_high;
  LinuxSetup s;
  s.setup.assign(image.setup_code().begin(), image.setup_code().end());
  s.setup_address = high ? 0x1'0000 : 0x9'0000;
  s.code_address = high ? kHighAddress : kLowAddress;
  s.command_line_address = high ? 0x2'0000 : 0x9'a000;
  const Bytes out(s.setup);
  out[kLoaderType] = std::byte{kLoaderUndefined};
  store_le(out, kRamdiskImage, initrd);
  store_le(out, kRamdiskSize, initrd_size);
  if (image.protocol >= 0x0201) {
    const u16 heap_end = high ? kStackEnd : 0x9800;
    store_le(out, kHeapEnd, static_cast<u16>(heap_end - 0x200));
    out[kLoadFlags] |= std::byte{kCanUseHeap};
  }
  if (image.protocol >= 0x0202) {
    store_le(out, kCommandLine, s.command_line_address);
  } else {
    store_le(out, kOldCommandLineMagic, kOldMagic);
    store_le(out, kOldCommandLineOffset,
             static_cast<u16>(s.command_line_address - s.setup_address));
  }
  return s;
}

}  // namespace menura
