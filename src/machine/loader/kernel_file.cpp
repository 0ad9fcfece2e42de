#include "machine/loader/kernel_file.h"

#include "base/units.h"
#include "machine/loader/file_kind.h"
#include "machine/loader/multiboot.h"

namespace menura {

namespace {

constexpr u64 k32BitLimit = 4 * GiB;

KernelFile linux_kernel(LinuxImage image) {
  KernelFile kernel;
  constexpr u64 kEntry64Offset = 0x200;
  kernel.bzimage = image;
  kernel.command_line_limit = image.command_line_limit;
  kernel.module_limit = image.initrd_limit + 1;
  if (!image.direct()) {
    kernel.protocol = BootProtocol::LinuxSetup;
    return kernel;
  }
  kernel.protocol = image.entry64 ? BootProtocol::Linux64 : BootProtocol::Linux32;
  kernel.entry = image.preferred_address + (image.entry64 ? kEntry64Offset : 0);
  kernel.segments = {{.address = image.preferred_address,
                      .size = image.init_size,
                      .bytes = image.protected_mode_code()}};
  return kernel;
}

KernelFile elf_kernel(ElfImage image, BootProtocol protocol) {
  return {.protocol = protocol,
          .entry = protocol == BootProtocol::Pvh ? *image.pvh_entry : image.entry,
          .segments = std::move(image.segments),
          .module_limit = k32BitLimit};
}

}  // namespace

Result<KernelFile> parse_kernel(ConstBytes file, const std::string& name) {
  if (is_bzimage(file)) return linux_kernel(TRY(parse_bzimage(file, name)));
  if (const std::optional<size_t> header = find_multiboot_header(file))
    return elf_kernel(TRY(parse_multiboot(file, *header, name)), BootProtocol::Multiboot);
  if (has_magic(file, {0x7f, 'E', 'L', 'F'})) {
    ElfImage image = TRY(parse_elf(file, name));
    if (image.pvh_entry) return elf_kernel(std::move(image), BootProtocol::Pvh);
  }
  return fail(Errc::InvalidArgument, "'{}' is no kernel but {}", name, describe_file(file));
}

std::vector<ModuleName> split_modules(const std::string& initrd, BootProtocol protocol) {
  if (initrd.empty()) return {};
  if (protocol <= BootProtocol::Linux64) return {{.file = initrd}};
  std::vector<ModuleName> modules;
  for (size_t at = 0; at <= initrd.size();) {
    const size_t end = std::min(initrd.find(',', at), initrd.size());
    const std::string text = initrd.substr(at, end - at);
    modules.push_back({.file = text.substr(0, text.find(' ')), .text = text});
    at = end + 1;
  }
  return modules;
}

}  // namespace menura
