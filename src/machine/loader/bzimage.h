// A Linux kernel image (bzImage, zImage): what its setup header says, and the preparation that its
// real-mode entry wants.
//
// Owner: machine/loader. Threads: pure functions. Source: Linux's "The Linux/x86 Boot Protocol"
// (2.15). Images are untrusted: sizes and offsets are checked. Example:
//   LinuxImage kernel = TRY(parse_bzimage(bytes, "vmlinuz"));
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace menura {

struct LinuxImage {
  static constexpr size_t kHeaderStart = 0x1f1;

  ConstBytes file;           // the whole of it, which must outlive this
  u32 setup_size = 0;        // bytes of boot sector and real-mode code
  u32 setup_header_end = 0;  // where the setup header ends in the file
  u16 protocol = 0;          // 0x020f: 2.15
  bool loaded_high = false;  // a bzImage: its code lies from 1 MiB on
  bool entry64 = false;      // has the 64-bit entry point
  bool relocatable = false;
  u64 preferred_address = 0;  // of the protected-mode code
  u64 init_size = 0;          // bytes it needs there to unpack itself
  u64 initrd_limit = 0;       // the last byte an initrd may have
  u32 command_line_limit = 0;
  std::string version;  // "6.1.0-38-amd64 (...) #1 SMP ..."

  ConstBytes setup_code() const { return file.first(setup_size); }
  ConstBytes protected_mode_code() const { return file.subspan(setup_size); }
  ConstBytes header() const { return file.subspan(kHeaderStart, setup_header_end - kHeaderStart); }
  // It says how much memory it needs, so that it can be started without its setup code. Older ones,
  // and programs dressed as kernels (iPXE, MEMDISK), want a BIOS to ask.
  bool direct() const { return loaded_high && protocol >= 0x020a; }
};

bool is_bzimage(ConstBytes file);

// Errors say what the file is instead.
Result<LinuxImage> parse_bzimage(ConstBytes file, const std::string& name);

// For the real-mode entry: where the parts go, and the setup code that knows it.
struct LinuxSetup {
  std::vector<std::byte> setup;  // enter at its address / 16 + 20h : 0, all data segments at its
  u32 setup_address = 0;         // address / 16
  u32 code_address = 0;
  u32 command_line_address = 0;
};
LinuxSetup prepare_setup(const LinuxImage& image, u32 initrd, u32 initrd_size);

}  // namespace menura
