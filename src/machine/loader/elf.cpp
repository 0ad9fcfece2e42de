#include "machine/loader/elf.h"

#include "base/bits.h"
#include "machine/loader/file_kind.h"

namespace menura {

namespace {

enum : u32 { kPtLoad = 1, kPtNote = 4 };

struct ProgramHeader {
  u32 type = 0;
  u64 offset = 0, vaddr = 0, paddr = 0, file_size = 0, memory_size = 0, align = 0;
};

// Where the fields lie in the two classes.
struct Layout {
  bool wide;
  size_t header_size, phoff, phentsize, phnum, program_header_size;
};
constexpr Layout kElf32{false, 52, 28, 42, 44, 32};
constexpr Layout kElf64{true, 64, 32, 54, 56, 56};

u64 word(ConstBytes file, size_t at, bool wide) {
  return wide ? load_le<u64>(file, at) : load_le<u32>(file, at);
}

ProgramHeader read_program_header(ConstBytes at, bool wide) {
  if (wide)
    return {.type = load_le<u32>(at, 0),
            .offset = load_le<u64>(at, 8),
            .vaddr = load_le<u64>(at, 16),
            .paddr = load_le<u64>(at, 24),
            .file_size = load_le<u64>(at, 32),
            .memory_size = load_le<u64>(at, 40),
            .align = load_le<u64>(at, 48)};
  return {.type = load_le<u32>(at, 0),
          .offset = load_le<u32>(at, 4),
          .vaddr = load_le<u32>(at, 8),
          .paddr = load_le<u32>(at, 12),
          .file_size = load_le<u32>(at, 16),
          .memory_size = load_le<u32>(at, 20),
          .align = load_le<u32>(at, 28)};
}

bool inside(ConstBytes file, u64 offset, u64 size) {
  return offset <= file.size() && size <= file.size() - offset;
}

// Notes: name size, description size, type, then name and description, each padded.
std::optional<u64> find_pvh_entry(ConstBytes notes, u64 align) {
  constexpr u32 kPhys32Entry = 18;
  constexpr size_t kNoteHeader = 12;
  const size_t padding = align == 8 ? 8 : 4;
  while (notes.size() >= kNoteHeader) {
    const u64 name_size = load_le<u32>(notes, 0), size = load_le<u32>(notes, 4);
    const u64 description = align_up(kNoteHeader + name_size, padding);
    if (!inside(notes, description, size)) return {};
    if (load_le<u32>(notes, 8) == kPhys32Entry && name_size == 4 &&
        has_magic(notes, {'X', 'e', 'n', 0}, kNoteHeader) && (size == 4 || size == 8))
      return load_le<u32>(notes, description);
    const u64 next = align_up(description + size, padding);
    if (!inside(notes, next, 0)) return {};
    notes = notes.subspan(next);
  }
  return {};
}

Result<void> take(ElfImage& image, ConstBytes file, const ProgramHeader& h, u64 entry) {
  if (h.type != kPtLoad && h.type != kPtNote) return {};
  if (!inside(file, h.offset, h.file_size))
    return fail(Errc::Corrupt, "a program header points behind the end of the file");
  const ConstBytes bytes = file.subspan(h.offset, h.file_size);
  if (h.type == kPtNote) {
    if (!image.pvh_entry) image.pvh_entry = find_pvh_entry(bytes, h.align);
    return {};
  }
  if (h.memory_size == 0) return {};
  if (h.memory_size < h.file_size || h.paddr + h.memory_size < h.paddr)
    return fail(Errc::Corrupt, "a segment has {} bytes in the file, {} in memory", h.file_size,
                h.memory_size);
  if (entry >= h.vaddr && entry - h.vaddr < h.memory_size) image.entry = entry - h.vaddr + h.paddr;
  image.segments.push_back({.address = h.paddr, .size = h.memory_size, .bytes = bytes});
  return {};
}

}  // namespace

Result<ElfImage> parse_elf(ConstBytes file, const std::string& name) {
  constexpr size_t kClass = 4, kByteOrder = 5, kType = 16, kMachine = 18, kEntry = 24;
  constexpr u8 kClass64 = 2, kLittleEndian = 1;
  constexpr u16 kExecutable = 2, kShared = 3, kI386 = 3, kX86_64 = 62;
  const auto no_program = [&] {
    return fail(Errc::InvalidArgument, "'{}' is no kernel but {}", name, describe_file(file));
  };
  if (!has_magic(file, {0x7f, 'E', 'L', 'F'}) || file.size() < kElf32.header_size)
    return no_program();
  const Layout& layout = static_cast<u8>(file[kClass]) == kClass64 ? kElf64 : kElf32;
  if (file.size() < layout.header_size) return no_program();
  const u16 machine = load_le<u16>(file, kMachine), type = load_le<u16>(file, kType);
  if (static_cast<u8>(file[kByteOrder]) != kLittleEndian ||
      (machine != kI386 && machine != kX86_64) || (type != kExecutable && type != kShared))
    return no_program();
  const u64 headers = word(file, layout.phoff, layout.wide);
  const u64 entry_size = load_le<u16>(file, layout.phentsize);
  const u64 count = load_le<u16>(file, layout.phnum);
  if (entry_size < layout.program_header_size || !inside(file, headers, count * entry_size))
    return fail(Errc::Corrupt, "ELF file '{}': its program headers lie outside of it", name);
  const u64 entry = word(file, kEntry, layout.wide);
  ElfImage image{.entry = entry};
  for (u64 i = 0; i < count; i++) {
    const ConstBytes header = file.subspan(headers + i * entry_size, layout.program_header_size);
    TRY(take(image, file, read_program_header(header, layout.wide), entry), "ELF file '{}'", name);
  }
  if (image.segments.empty()) return fail(Errc::Corrupt, "ELF file '{}' has nothing to load", name);
  return image;
}

}  // namespace menura
