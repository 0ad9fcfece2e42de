// What a kernel finds in memory beside itself, whichever protocol starts it, and the structures of
// the protocols that tell it: Linux's zero page, Xen's hvm_start_info (PVH), multiboot's info.
//
// Owner: machine/loader. Threads: pure functions. Source: "The Linux/x86 Boot Protocol" 2.15; Xen's
// "x86/HVM direct boot ABI" with arch-x86/hvm/start_info.h; Multiboot Specification 0.6.96. Example:
//   ram.write(kParameters, make_start_info(kParameters, parameters));
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "machine/loader/bzimage.h"

namespace menura {

enum class E820Type : u32 { Ram = 1, Reserved = 2, Acpi = 3, AcpiNvs = 4 };
struct E820Entry {
  u64 start = 0;
  u64 size = 0;
  E820Type type = E820Type::Ram;
};

struct BootModule {
  u64 address = 0;
  u64 size = 0;
  u64 text = 0;  // address of its zero-terminated command line
};

// A picture in memory: 32 bits a pixel, blue in the lowest byte.
struct BootScreen {
  u64 address = 0;
  u64 size = 0;
  u16 width = 0;
  u16 height = 0;
};

struct BootParameters {
  u64 command_line = 0;  // addresses; 0: none
  u64 rsdp = 0;
  std::vector<BootModule> modules = {};   // Linux takes the first as its initrd
  std::vector<E820Entry> map = {};        // at most 128
  std::optional<BootScreen> screen = {};  // Linux alone hears of it
};
constexpr size_t kBootMapLimit = 128;

// The zero page: 4 KiB.
std::vector<std::byte> make_zero_page(const LinuxImage& image, const BootParameters& parameters);

// For a place at `address` below 4 GiB; what they point to follows them.
std::vector<std::byte> make_start_info(u64 address, const BootParameters& parameters);
std::vector<std::byte> make_multiboot_info(u64 address, const BootParameters& parameters);

constexpr u32 kMultibootBootloaderMagic = 0x2bad'b002;  // in EAX

}  // namespace menura
