// A Linux kernel image (bzImage) and the boot parameters it is started with.
//
// Owner: machine/loader. Threads: pure functions. Source: Linux's "The Linux/x86 Boot Protocol"
// (2.15) and its 64-bit section. Images are untrusted: sizes and offsets are checked. Example:
//   LinuxImage kernel = TRY(parse_bzimage(bytes, "vmlinuz"));
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace menura {

struct LinuxImage {
  ConstBytes file;           // the whole of it, which must outlive this
  u32 setup_size = 0;        // bytes of boot sector and real-mode code
  u32 setup_header_end = 0;  // where the setup header ends in the file
  u16 protocol = 0;          // 0x020f: 2.15
  bool entry64 = false;      // has the 64-bit entry point
  bool relocatable = false;
  u64 preferred_address = 0;  // of the protected-mode code
  u64 init_size = 0;          // bytes it needs there to unpack itself
  u64 initrd_limit = 0;       // the last byte an initrd may have
  u32 command_line_limit = 0;
  std::string version;  // "6.1.0-38-amd64 (...) #1 SMP ..."

  ConstBytes protected_mode_code() const { return file.subspan(setup_size); }
};

// Errors say what the file is instead.
Result<LinuxImage> parse_bzimage(ConstBytes file, const std::string& name);

// What a file that is no kernel looks like: "a gzip file", "an ELF program", ...
std::string describe_file(ConstBytes file);

enum class E820Type : u32 { Ram = 1, Reserved = 2, Acpi = 3, AcpiNvs = 4 };
struct E820Entry {
  u64 start = 0;
  u64 size = 0;
  E820Type type = E820Type::Ram;
};

struct LinuxPlacement {
  u64 command_line = 0;
  u64 initrd = 0;
  u64 initrd_size = 0;
  u64 rsdp = 0;
  std::span<const E820Entry> memory_map;  // at most 128
};

// The zero page: 4 KiB.
std::vector<std::byte> make_zero_page(const LinuxImage& image, const LinuxPlacement& placement);

}  // namespace menura
