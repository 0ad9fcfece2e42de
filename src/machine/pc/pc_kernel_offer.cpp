#include "machine/pc/pc_kernel_offer.h"

#include <algorithm>
#include <numeric>

#include "base/bits.h"
#include "base/units.h"

namespace menura {

namespace {

// kernel_rom.S, assembled; its checksums are still zero.
constexpr u8 kKernelRom[] = {
#include <kernel_rom.inc>  // made by the build
};

// What the BIOS keeps for itself at the top of low RAM: its tables and buffers.
constexpr u64 kFirmwareShare = MiB;

// Makes the bytes sum to zero by the one at `checksum`.
void balance(std::span<std::byte> bytes, size_t checksum) {
  u8 sum = 0;
  for (const std::byte b : bytes) sum = static_cast<u8>(sum + static_cast<u8>(b));
  bytes[checksum] = static_cast<std::byte>(-sum);
}

std::vector<std::byte> kernel_rom() {
  constexpr size_t kPnpPointer = 0x1a, kPnpSize = 32, kPnpChecksum = 9;
  const ConstBytes code = bytes_of(kKernelRom);
  std::vector<std::byte> rom(code.begin(), code.end());
  balance(std::span(rom).subspan(load_le<u16>(rom, kPnpPointer), kPnpSize), kPnpChecksum);
  balance(rom, rom.size() - 1);
  return rom;
}

std::vector<std::byte> copy_of(ConstBytes bytes) { return {bytes.begin(), bytes.end()}; }

struct Item {
  FwCfgKey address, size, content;
};
constexpr Item kSetup{FwCfgKey::SetupAddr, FwCfgKey::SetupSize, FwCfgKey::SetupData};
constexpr Item kCode{FwCfgKey::KernelAddr, FwCfgKey::KernelSize, FwCfgKey::KernelData};
constexpr Item kInitrd{FwCfgKey::InitrdAddr, FwCfgKey::InitrdSize, FwCfgKey::InitrdData};
constexpr Item kText{FwCfgKey::CommandLineAddr, FwCfgKey::CommandLineSize,
                     FwCfgKey::CommandLineData};

void add(FwCfg& fw_cfg, const Item& item, u32 address, ConstBytes bytes) {
  fw_cfg.add(item.address, address);
  fw_cfg.add(item.size, static_cast<u32>(bytes.size()));
  fw_cfg.add(item.content, copy_of(bytes));
}

}  // namespace

Result<void> offer_kernel(const PcFirmwareContext& c, const KernelFiles& files) {
  if (!files.kernel.is_linux())
    return fail(Errc::Unsupported,
                "-kernel: '{}' is no Linux kernel, and firmware starts no other (leave out -bios)",
                files.name);
  const LinuxImage& image = files.kernel.bzimage;
  const u64 top = c.memory.below_4g() - std::min(c.memory.below_4g(), kFirmwareShare);
  const u64 kernel_end = image.loaded_high ? MiB + image.init_size : MiB;
  const std::string initrd = files.modules.empty() ? std::string() : files.modules.front().content;
  const u64 limit = std::min(files.kernel.module_limit, top);
  if (kernel_end > top || initrd.size() > limit ||
      align_down(limit - initrd.size(), kPageSize) < kernel_end)
    return fail(Errc::OutOfRange, "-kernel: '{}' and its initrd do not fit {} of RAM (-m)",
                files.name, format_size(c.memory.below_4g()));
  const u64 address = initrd.empty() ? 0 : align_down(limit - initrd.size(), kPageSize);
  const LinuxSetup setup =
      prepare_setup(image, static_cast<u32>(address), static_cast<u32>(initrd.size()));
  const ConstBytes text = bytes_of(files.command_line);
  std::vector<std::byte> line = copy_of(text);
  line.push_back(std::byte{0});
  add(c.fw_cfg, kSetup, setup.setup_address, setup.setup);
  add(c.fw_cfg, kCode, setup.code_address, image.protected_mode_code());
  add(c.fw_cfg, kInitrd, static_cast<u32>(address), bytes_of(initrd));
  add(c.fw_cfg, kText, setup.command_line_address, line);
  c.fw_cfg.add(FwCfgKey::KernelEntry, setup.code_address);
  TRY(c.fw_cfg.add_file("genroms/kernel.bin", kernel_rom()));
  c.machine.board().boot_order().add_first("/rom@genroms/kernel.bin");
  return {};
}

}  // namespace menura
