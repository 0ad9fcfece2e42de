// What -kernel can name, told apart by its content: a Linux bzImage, a PVH or multiboot kernel.
//
// Owner: machine/loader. Threads: pure functions. Source: see bzimage.h, elf.h, multiboot.h. Files
// are untrusted and must outlive the result. Example:
//   KernelFile kernel = TRY(parse_kernel(bytes, "vmlinuz"), "-kernel");
#pragma once

#include "machine/loader/boot_parameters.h"
#include "machine/loader/elf.h"

namespace menura {

enum class BootProtocol : u8 {
  LinuxSetup,  // by its real-mode code, which calls the BIOS: old kernels, programs in their dress
  Linux32,
  Linux64,
  Pvh,
  Multiboot,
};

struct KernelFile {
  BootProtocol protocol = BootProtocol::Linux64;
  u64 entry = 0;
  std::vector<LoadSegment> segments = {};  // not for LinuxSetup
  u64 module_limit = 0;                    // first byte behind any module
  u64 command_line_limit = 0;              // characters; 0: none
  LinuxImage bzimage = {};                 // of the three Linux protocols

  bool is_linux() const { return protocol <= BootProtocol::Linux64; }
};

// Errors say what the file is instead.
Result<KernelFile> parse_kernel(ConstBytes file, const std::string& name);

// A module as the user names it: "file arguments", several by commas. Linux takes one, whose name
// may hold both.
struct ModuleName {
  std::string file;
  std::string text;  // with the file, as multiboot gives it
};
std::vector<ModuleName> split_modules(const std::string& initrd, BootProtocol protocol);

}  // namespace menura
