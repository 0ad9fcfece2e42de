#include "machine/loader/file_kind.h"

#include <algorithm>

#include "base/format.h"

namespace menura {

namespace {

std::string machine_name(u16 machine) {
  switch (machine) {
    case 3: return "i386";
    case 8: return "MIPS";
    case 20: return "PowerPC";
    case 21: return "64-bit PowerPC";
    case 22: return "s390";
    case 40: return "ARM";
    case 62: return "x86-64";
    case 183: return "AArch64";
    case 243: return "RISC-V";
    case 258: return "LoongArch";
    default: return format("machine {}", machine);
  }
}

std::string describe_elf(ConstBytes file) {
  constexpr size_t kType = 16, kMachine = 18, kHeader = 52;
  if (file.size() < kHeader) return "the beginning of an ELF file";
  if (static_cast<u8>(file[5]) == 2) return "an ELF file for a big-endian machine";
  const u16 machine = load_le<u16>(file, kMachine);
  if (machine != 3 && machine != 62)
    return format("an ELF file for {} (this machine is x86)", machine_name(machine));
  switch (load_le<u16>(file, kType)) {
    case 1: return format("an ELF object file for {} (a kernel module?)", machine_name(machine));
    case 4: return "an ELF core dump";
    default:
      return format(
          "an ELF program for {} without a PVH note or multiboot header (a Linux vmlinux needs "
          "CONFIG_PVH; its bzImage needs nothing)",
          machine_name(machine));
  }
}

std::string describe_pe(ConstBytes file) {
  constexpr size_t kPeOffset = 0x3c, kMachine = 4;
  const size_t header = file.size() >= kPeOffset + 4 ? load_le<u32>(file, kPeOffset) : 0;
  const bool pe = has_magic(file, {'P', 'E', 0, 0}, header) && file.size() >= header + kMachine + 2;
  const u16 machine = pe ? load_le<u16>(file, header + kMachine) : u16{0};
  if (machine == 0xaa64) return "a PE program for AArch64 (a kernel for another machine?)";
  return "a Windows, DOS or EFI program without a Linux boot header (EFI programs start from a "
         "disk, by EFI firmware)";
}

}  // namespace

bool has_magic(ConstBytes file, std::initializer_list<u8> magic, size_t at) {
  if (at > file.size() || file.size() - at < magic.size()) return false;
  return std::ranges::equal(file.subspan(at, magic.size()), magic,
                            [](std::byte b, u8 m) { return static_cast<u8>(b) == m; });
}

std::string describe_file(ConstBytes file) {
  if (file.empty()) return "an empty file";
  if (has_magic(file, {0x7f, 'E', 'L', 'F'})) return describe_elf(file);
  if (has_magic(file, {0x1f, 0x8b})) return "a gzip file (an initrd? a kernel must be unpacked)";
  if (has_magic(file, {0x28, 0xb5, 0x2f, 0xfd})) return "a zstd file (is it an initrd?)";
  if (has_magic(file, {0xfd, '7', 'z', 'X', 'Z'})) return "an xz file (is it an initrd?)";
  if (has_magic(file, {'B', 'Z', 'h'})) return "a bzip2 file (is it an initrd?)";
  if (has_magic(file, {0x04, 0x22, 0x4d, 0x18})) return "an LZ4 file (is it an initrd?)";
  if (has_magic(file, {'0', '7', '0', '7', '0'})) return "a cpio archive (is it an initrd?)";
  if (has_magic(file, {'!', '<', 'a', 'r', 'c', 'h', '>'})) return "an ar archive (a .deb?)";
  if (has_magic(file, {'Q', 'F', 'I', 0xfb})) return "a qcow2 disk image (use -hda)";
  if (has_magic(file, {0x27, 0x05, 0x19, 0x56})) return "a U-Boot image (for another machine?)";
  if (has_magic(file, {0xd0, 0x0d, 0xfe, 0xed})) return "a device tree";
  if (has_magic(file, {'C', 'D', '0', '0', '1'}, 0x8001)) return "a CD image (use -cdrom)";
  if (has_magic(file, {'A', 'R', 'M', 'd'}, 0x38)) return "a kernel for AArch64";
  if (has_magic(file, {'R', 'S', 'C', 0x05}, 0x38)) return "a kernel for RISC-V";
  if (has_magic(file, {'#', '!'})) return "a script";
  if (has_magic(file, {'M', 'Z'})) return describe_pe(file);
  if (has_magic(file, {0x55, 0xaa}, 0x1fe)) return "a disk image or boot sector (use -hda)";
  return "a file of unknown kind";
}

}  // namespace menura
