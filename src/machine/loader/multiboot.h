// Multiboot 1 kernels: what to load where, by the addresses in their header or as ELF says.
//
// Owner: machine/loader. Threads: pure functions. Source: Multiboot Specification 0.6.96, 3.1.
// Files are untrusted: all offsets are checked. Example:
//   if (const auto header = find_multiboot_header(bytes)) image = TRY(parse_multiboot(...));
#pragma once

#include <optional>

#include "machine/loader/elf.h"

namespace menura {

// Its offset: among the first 8 KiB, on 4 bytes, with a right checksum.
std::optional<size_t> find_multiboot_header(ConstBytes file);

// Errors: it wants what no loader of ours gives, damaged.
Result<ElfImage> parse_multiboot(ConstBytes file, size_t header, const std::string& name);

}  // namespace menura
