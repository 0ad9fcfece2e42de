// ELF programs as boot loaders see them: what to load where, the entry, and Xen's PVH note.
//
// Owner: machine/loader. Threads: pure functions. Source: Tool Interface Standard ELF 1.2, ELF-64
// 1.5; Xen's "x86/HVM direct boot ABI". Files are untrusted: all offsets are checked. Example:
//   ElfImage elf = TRY(parse_elf(bytes, "xen"));  if (elf.pvh_entry) ...
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace menura {

// Bytes of a file that belong at a physical address, and zeros behind them up to `size`.
struct LoadSegment {
  u64 address = 0;
  u64 size = 0;
  ConstBytes bytes = {};

  u64 end() const { return address + size; }
};

struct ElfImage {
  u64 entry = 0;  // physical, where a segment holds it
  std::vector<LoadSegment> segments = {};
  std::optional<u64> pvh_entry = {};  // XEN_ELFNOTE_PHYS32_ENTRY
};

// Errors: not an x86 program, damaged.
Result<ElfImage> parse_elf(ConstBytes file, const std::string& name);

}  // namespace menura
