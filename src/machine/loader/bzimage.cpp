#include "machine/loader/bzimage.h"

#include <algorithm>

#include "base/bytes.h"

namespace menura {

namespace {

// Offsets of the setup header, the same in the file and in the zero page.
enum : size_t {
  kSetupSects = 0x1f1,
  kBootFlag = 0x1fe,
  kJump = 0x201,
  kMagic = 0x202,
  kVersion = 0x206,
  kKernelVersion = 0x20e,
  kLoaderType = 0x210,
  kLoadFlags = 0x211,
  kRamdiskImage = 0x218,
  kRamdiskSize = 0x21c,
  kCommandLine = 0x228,
  kInitrdAddrMax = 0x22c,
  kRelocatable = 0x234,
  kXloadFlags = 0x236,
  kCommandLineSize = 0x238,
  kPrefAddress = 0x258,
  kInitSize = 0x260,
  kHeaderEnd = 0x268,
};
// The rest of the zero page.
enum : size_t {
  kAcpiRsdp = 0x070,
  kExtRamdiskImage = 0x0c0,
  kExtRamdiskSize = 0x0c4,
  kExtCommandLine = 0x0c8,
  kE820Count = 0x1e8,
  kE820Table = 0x2d0,
};
constexpr u32 kMagicHdrS = 0x5372'6448;
constexpr u16 kOldestProtocol = 0x020a;  // the first with init_size
constexpr size_t kSectorSize = 512, kZeroPageSize = 4096, kE820EntrySize = 20, kE820Limit = 128;
constexpr u8 kLoaderUndefined = 0xff;
constexpr u8 kLoadedHigh = 0x01;
constexpr u16 kXlfKernel64 = 0x01;
constexpr u64 kDefaultAddress = 0x10'0000;
constexpr size_t kSmallestFile = kHeaderEnd;

std::string version_of(ConstBytes file) {
  const size_t at = size_t{load_le<u16>(file, kKernelVersion)} + 0x200;
  constexpr size_t kLongest = 256;
  std::string version;
  for (size_t i = at; i < file.size() && i < at + kLongest && file[i] != std::byte{0}; i++)
    version += static_cast<char>(file[i]);
  return version;
}

bool begins_with(ConstBytes file, std::initializer_list<u8> magic, size_t at = 0) {
  if (file.size() < at + magic.size()) return false;
  return std::ranges::equal(file.subspan(at, magic.size()), magic,
                            [](std::byte b, u8 m) { return static_cast<u8>(b) == m; });
}

}  // namespace

std::string describe_file(ConstBytes file) {
  if (file.empty()) return "an empty file";
  if (begins_with(file, {0x7f, 'E', 'L', 'F'})) return "an ELF file";
  if (begins_with(file, {0x1f, 0x8b})) return "a gzip file (is it an initrd?)";
  if (begins_with(file, {0x28, 0xb5, 0x2f, 0xfd})) return "a zstd file (is it an initrd?)";
  if (begins_with(file, {0xfd, '7', 'z', 'X', 'Z'})) return "an xz file (is it an initrd?)";
  if (begins_with(file, {'0', '7', '0', '7', '0'})) return "a cpio archive (is it an initrd?)";
  if (begins_with(file, {'Q', 'F', 'I', 0xfb})) return "a qcow2 disk image";
  if (begins_with(file, {'C', 'D', '0', '0', '1'}, 0x8001)) return "a CD image (use -cdrom)";
  if (begins_with(file, {'M', 'Z'})) return "a Windows or EFI program without a Linux boot header";
  if (begins_with(file, {0x55, 0xaa}, 0x1fe)) return "a disk image or boot sector (use -hda)";
  return "a file of unknown kind";
}

Result<LinuxImage> parse_bzimage(ConstBytes file, const std::string& name) {
  if (file.size() < kSmallestFile || load_le<u32>(file, kMagic) != kMagicHdrS)
    return fail(Errc::InvalidArgument, "'{}' is no Linux kernel but {}", name, describe_file(file));
  LinuxImage image;
  image.file = file;
  image.protocol = load_le<u16>(file, kVersion);
  if (image.protocol < kOldestProtocol)
    return fail(Errc::Unsupported,
                "Kernel '{}' has boot protocol {}.{:02}; 2.10 or newer is needed", name,
                image.protocol >> 8, image.protocol & 0xff);
  const u32 sectors = static_cast<u8>(file[kSetupSects]) ? static_cast<u8>(file[kSetupSects]) : 4u;
  image.setup_size = static_cast<u32>((sectors + 1) * kSectorSize);
  image.setup_header_end = static_cast<u32>(kMagic + static_cast<u8>(file[kJump]));
  if (image.setup_size >= file.size())
    return fail(Errc::Corrupt, "Kernel '{}' ends inside its setup code", name);
  if (!(static_cast<u8>(file[kLoadFlags]) & kLoadedHigh))
    return fail(Errc::Unsupported, "Kernel '{}' is a zImage; only a bzImage can be started", name);
  image.entry64 = image.protocol >= 0x020c && (load_le<u16>(file, kXloadFlags) & kXlfKernel64);
  image.relocatable = file[kRelocatable] != std::byte{0};
  image.preferred_address = load_le<u64>(file, kPrefAddress);
  if (image.preferred_address == 0) image.preferred_address = kDefaultAddress;
  image.init_size = std::max<u64>(load_le<u32>(file, kInitSize), file.size() - image.setup_size);
  image.initrd_limit = load_le<u32>(file, kInitrdAddrMax);
  image.command_line_limit = load_le<u32>(file, kCommandLineSize);
  image.version = version_of(file);
  return image;
}

std::vector<std::byte> make_zero_page(const LinuxImage& image, const LinuxPlacement& p) {
  ensure(p.memory_map.size() <= kE820Limit, "the zero page holds 128 ranges of memory");
  std::vector<std::byte> page(kZeroPageSize);
  const size_t end = std::min<size_t>({image.setup_header_end, image.file.size(), kE820Table});
  if (end > kSetupSects)
    std::ranges::copy(image.file.subspan(kSetupSects, end - kSetupSects),
                      page.begin() + static_cast<ptrdiff_t>(kSetupSects));
  const Bytes out(page);
  store_le(out, kAcpiRsdp, p.rsdp);
  page[kLoaderType] = std::byte{kLoaderUndefined};
  store_le(out, kRamdiskImage, static_cast<u32>(p.initrd));
  store_le(out, kRamdiskSize, static_cast<u32>(p.initrd_size));
  store_le(out, kExtRamdiskImage, static_cast<u32>(p.initrd >> 32));
  store_le(out, kExtRamdiskSize, static_cast<u32>(p.initrd_size >> 32));
  store_le(out, kCommandLine, static_cast<u32>(p.command_line));
  store_le(out, kExtCommandLine, static_cast<u32>(p.command_line >> 32));
  page[kE820Count] = static_cast<std::byte>(p.memory_map.size());
  size_t at = kE820Table;
  for (const E820Entry& entry : p.memory_map) {
    store_le(out, at, entry.start);
    store_le(out, at + 8, entry.size);
    store_le(out, at + 16, static_cast<u32>(entry.type));
    at += kE820EntrySize;
  }
  return page;
}

}  // namespace menura
