#include "machine/loader/kernel_file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/fd.h"

namespace menura {
namespace {

using File = std::vector<std::byte>;

void put(File& file, size_t at, std::string_view text) {
  if (file.size() < at + text.size()) file.resize(at + text.size());
  std::ranges::copy(bytes_of(text), file.begin() + static_cast<ptrdiff_t>(at));
}
template <std::unsigned_integral T>
void put(File& file, size_t at, T value) {
  if (file.size() < at + sizeof value) file.resize(at + sizeof value);
  store_le(Bytes(file), at, value);
}

// A 64-bit program of one segment, 16 bytes in the file and 64 in memory, and a note.
File tiny_elf(std::string_view owner = {"Xen", 4}, u32 note_type = 18) {
  File f(0x200);
  put(f, 0,
      "\x7f"
      "ELF\x02\x01\x01");
  put(f, 16, u16{2});
  put(f, 18, u16{62});
  put(f, 24, u64{0xffff'ffff'8100'0008});  // entry, virtual
  put(f, 32, u64{64});
  put(f, 54, u16{56});
  put(f, 56, u16{2});
  put(f, 64, u32{1});  // PT_LOAD
  put(f, 64 + 8, u64{0x100});
  put(f, 64 + 16, u64{0xffff'ffff'8100'0000});
  put(f, 64 + 24, u64{0x100'0000});
  put(f, 64 + 32, u64{16});
  put(f, 64 + 40, u64{64});
  put(f, 120, u32{4});  // PT_NOTE
  put(f, 120 + 8, u64{0x180});
  put(f, 120 + 32, u64{20});
  put(f, 120 + 48, u64{4});
  put(f, 0x180, u32{4});
  put(f, 0x184, u32{4});
  put(f, 0x188, note_type);
  put(f, 0x18c, owner);
  put(f, 0x190, u32{0x100'0004});
  return f;
}

// With addresses in its header: all of the file from 1 MiB on, and 256 bytes of .bss.
File tiny_multiboot(u32 flags = 0x1'0003) {
  File f(0x100);
  put(f, 0x10, u32{0x1bad'b002});
  put(f, 0x14, flags);
  put(f, 0x18, u32{0} - 0x1bad'b002 - flags);
  put(f, 0x1c, u32{0x10'0010});  // of the header
  put(f, 0x20, u32{0x10'0000});
  put(f, 0x28, u32{0x10'0200});
  put(f, 0x2c, u32{0x10'0040});  // entry
  return f;
}

std::string error_of(const File& file) { return parse_kernel(file, "x").error().text; }

TEST(KernelFileTest, PvhKernel) {
  const File file = tiny_elf();
  const KernelFile kernel = parse_kernel(file, "x").value();
  EXPECT_EQ(kernel.protocol, BootProtocol::Pvh);
  EXPECT_EQ(kernel.entry, 0x100'0004u);
  ASSERT_EQ(kernel.segments.size(), 1u);
  EXPECT_EQ(kernel.segments[0].address, 0x100'0000u);
  EXPECT_EQ(kernel.segments[0].size, 64u);
  EXPECT_EQ(kernel.segments[0].bytes.size(), 16u);
}

TEST(KernelFileTest, NotesOfOthersAreNoEntry) {
  for (const File& file : {tiny_elf({"GNU", 4}), tiny_elf({"Xen", 4}, 5)})
    EXPECT_NE(error_of(file).find("without a PVH note"), std::string::npos);
}

TEST(KernelFileTest, MultibootByAddresses) {
  const File file = tiny_multiboot();
  const KernelFile kernel = parse_kernel(file, "x").value();
  EXPECT_EQ(kernel.protocol, BootProtocol::Multiboot);
  EXPECT_EQ(kernel.entry, 0x10'0040u);
  ASSERT_EQ(kernel.segments.size(), 1u);
  EXPECT_EQ(kernel.segments[0].address, 0x10'0000u);
  EXPECT_EQ(kernel.segments[0].bytes.size(), 0x100u);
  EXPECT_EQ(kernel.segments[0].size, 0x200u);
}

TEST(KernelFileTest, MultibootByElf) {
  File file = tiny_elf();
  put(file, 0x1a0, u32{0x1bad'b002});
  put(file, 0x1a4, u32{1});
  put(file, 0x1a8, u32{0} - 0x1bad'b002 - 1);
  const KernelFile kernel = parse_kernel(file, "x").value();
  EXPECT_EQ(kernel.protocol, BootProtocol::Multiboot);
  EXPECT_EQ(kernel.entry, 0x100'0008u) << "the physical address of the entry";
}

TEST(KernelFileTest, MultibootRequirementsThatNobodyKnows) {
  EXPECT_EQ(error_of(tiny_multiboot(0x1'0023)),
            "Multiboot kernel 'x' requires features 0x20, which are unknown");
  File wrong_sum = tiny_multiboot();
  put(wrong_sum, 0x18, u32{1});
  EXPECT_EQ(error_of(wrong_sum), "'x' is no kernel but a file of unknown kind");
}

TEST(KernelFileTest, SaysWhatAFileIsInstead) {
  const auto text = [](std::string_view magic, size_t at = 0) {
    File file(1024);
    put(file, at, magic);
    return error_of(file);
  };
  EXPECT_EQ(text("\x1f\x8b"),
            "'x' is no kernel but a gzip file (an initrd? a kernel must be unpacked)");
  EXPECT_EQ(text("070701"), "'x' is no kernel but a cpio archive (is it an initrd?)");
  EXPECT_EQ(text("\x55\xaa", 510), "'x' is no kernel but a disk image or boot sector (use -hda)");
  EXPECT_NE(text("MZ").find("EFI program"), std::string::npos);
  EXPECT_EQ(text("#!/bin/sh"), "'x' is no kernel but a script");
  EXPECT_EQ(error_of({}), "'x' is no kernel but an empty file");
  File arm = tiny_elf();
  put(arm, 18, u16{183});
  EXPECT_EQ(error_of(arm), "'x' is no kernel but an ELF file for AArch64 (this machine is x86)");
  File object = tiny_elf();
  put(object, 16, u16{1});
  EXPECT_EQ(error_of(object),
            "'x' is no kernel but an ELF object file for x86-64 (a kernel module?)");
}

// Every byte of the headers, damaged and cut: an error, or segments whose bytes are the file's.
TEST(KernelFileTest, DamageIsAnErrorOrHarmless) {
  const auto look = [](const File& file) {
    const Result<KernelFile> kernel = parse_kernel(file, "x");
    if (!kernel) return;
    for (const LoadSegment& segment : kernel->segments) {
      EXPECT_LE(segment.bytes.size(), segment.size);
      if (segment.bytes.empty()) continue;
      EXPECT_GE(segment.bytes.data(), file.data());
      EXPECT_LE(segment.bytes.data() + segment.bytes.size(), file.data() + file.size());
    }
  };
  for (const File& good : {tiny_elf(), tiny_multiboot()}) {
    for (size_t at = 0; at < good.size(); at++) {
      for (const u8 value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
        File file = good;
        file[at] = std::byte{value};
        look(file);
      }
      look(File(good.begin(), good.begin() + static_cast<ptrdiff_t>(at)));
    }
  }
}

TEST(KernelFileTest, ModulesByCommas) {
  const auto modules = split_modules("a one,b,c/d two three", BootProtocol::Multiboot);
  ASSERT_EQ(modules.size(), 3u);
  EXPECT_EQ(modules[0].file, "a");
  EXPECT_EQ(modules[0].text, "a one");
  EXPECT_EQ(modules[1].text, "b");
  EXPECT_EQ(modules[2].file, "c/d");
  EXPECT_EQ(modules[2].text, "c/d two three");
  EXPECT_EQ(split_modules("one, file", BootProtocol::Linux64)[0].file, "one, file");
  EXPECT_TRUE(split_modules("", BootProtocol::Pvh).empty());
}

const BootParameters kParameters{
    .command_line = 0x2'0000,
    .rsdp = 0x7ff'0000,
    .modules = {{.address = 0x50'0000, .size = 0x1234, .text = 0x2'0100}},
    .map = {{0, 0x9'fc00, E820Type::Ram},
            {0x9'fc00, 0x6'0400, E820Type::Reserved},
            {0x10'0000, 0x700'0000, E820Type::Ram}}};

TEST(BootParametersTest, StartInfo) {
  const File info = make_start_info(0x1'0000, kParameters);
  EXPECT_EQ(load_le<u32>(info, 0), 0x336e'c578u);
  EXPECT_EQ(load_le<u32>(info, 4), 1u);
  EXPECT_EQ(load_le<u32>(info, 12), 1u);
  EXPECT_EQ(load_le<u64>(info, 24), 0x2'0000u);
  EXPECT_EQ(load_le<u64>(info, 32), 0x7ff'0000u);
  EXPECT_EQ(load_le<u32>(info, 48), 3u);
  const u64 module = load_le<u64>(info, 16) - 0x1'0000, map = load_le<u64>(info, 40) - 0x1'0000;
  EXPECT_EQ(load_le<u64>(info, module), 0x50'0000u);
  EXPECT_EQ(load_le<u64>(info, module + 8), 0x1234u);
  EXPECT_EQ(load_le<u64>(info, module + 16), 0x2'0100u);
  EXPECT_EQ(load_le<u64>(info, map + 24), 0x9'fc00u);
  EXPECT_EQ(load_le<u32>(info, map + 24 + 16), 2u);
  EXPECT_EQ(info.size(), map + 3 * 24);
}

TEST(BootParametersTest, MultibootInfo) {
  const File info = make_multiboot_info(0x1'0000, kParameters);
  EXPECT_EQ(load_le<u32>(info, 0), 0x24du);
  EXPECT_EQ(load_le<u32>(info, 4), 639u) << "KiB below 1 MiB";
  EXPECT_EQ(load_le<u32>(info, 8), 0x700'0000u / 1024);
  EXPECT_EQ(load_le<u32>(info, 16), 0x2'0000u);
  EXPECT_EQ(load_le<u32>(info, 20), 1u);
  const u32 module = load_le<u32>(info, 24) - 0x1'0000, map = load_le<u32>(info, 48) - 0x1'0000;
  EXPECT_EQ(load_le<u32>(info, module), 0x50'0000u);
  EXPECT_EQ(load_le<u32>(info, module + 4), 0x50'1234u) << "its end";
  EXPECT_EQ(load_le<u32>(info, module + 8), 0x2'0100u);
  EXPECT_EQ(load_le<u32>(info, 44), 3u * 24);
  EXPECT_EQ(load_le<u32>(info, map), 20u) << "the size field counts what follows it";
  EXPECT_EQ(load_le<u64>(info, map + 24 + 4), 0x9'fc00u);
  const u32 name = load_le<u32>(info, 64) - 0x1'0000;
  EXPECT_STREQ(reinterpret_cast<const char*>(info.data() + name), "menura");
}

}  // namespace
}  // namespace menura
