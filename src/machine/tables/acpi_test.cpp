#include "machine/tables/acpi.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/uuid.h"
#include "machine/tables/aml.h"

namespace menura {
namespace {

AcpiConfig sample() {
  AcpiConfig config;
  config.apic_ids = {0, 1, 2, 300};
  config.cpu_nodes = {0, 0, 1, 1};
  config.memory_nodes = {{0, 0x4000'0000, 0}, {0x4000'0000, 0x4000'0000, 1}};
  config.distances = {{10, 20}, {20, 10}};
  config.pci_hole64_start = 0x1'4000'0000;
  config.pci_hole64_size = 0x1'0000'0000;
  config.pvpanic_port = 0x505;
  return config;
}

u8 sum(ConstBytes bytes) {
  u8 total = 0;
  for (const std::byte b : bytes) total = static_cast<u8>(total + static_cast<u8>(b));
  return total;
}

std::string text_at(const std::vector<std::byte>& blob, size_t at, size_t n) {
  return {reinterpret_cast<const char*>(blob.data()) + at, n};
}

constexpr u64 kPlace = 0x7ff0'0000;

// Offsets of the tables that the placed RSDT lists, and of the DSDT.
std::vector<u32> table_offsets(const AcpiTables& tables) {
  const u32 rsdt = static_cast<u32>(load_le<u32>(tables.rsdp, 16) - kPlace);
  std::vector<u32> offsets{rsdt};
  const u32 length = load_le<u32>(tables.tables, rsdt + 4);
  for (u32 at = 36; at < length; at += 4)
    offsets.push_back(static_cast<u32>(load_le<u32>(tables.tables, rsdt + at) - kPlace));
  for (const u32 offset : offsets) {
    if (text_at(tables.tables, offset, 4) != "FACP") continue;
    offsets.push_back(static_cast<u32>(load_le<u32>(tables.tables, offset + 40) - kPlace));
    break;
  }
  return offsets;
}

TEST(AcpiTest, PlacedTablesAreLinkedAndSumToZero) {
  AcpiTables tables = build_pc_acpi(sample());
  tables.place(kPlace);
  EXPECT_EQ(text_at(tables.rsdp, 0, 8), "RSD PTR ");
  EXPECT_EQ(sum(ConstBytes(tables.rsdp).first(20)), 0);
  std::vector<std::string> names;
  for (const u32 offset : table_offsets(tables)) {
    const u32 length = load_le<u32>(tables.tables, offset + 4);
    ASSERT_LE(offset + length, tables.tables.size());
    names.push_back(text_at(tables.tables, offset, 4));
    EXPECT_EQ(sum(ConstBytes(tables.tables).subspan(offset, length)), 0) << names.back();
  }
  EXPECT_EQ(names, (std::vector<std::string>{"RSDT", "FACP", "APIC", "HPET", "SRAT", "SLIT", "WAET",
                                             "DSDT"}));
}

TEST(AcpiTest, LoaderScriptDoesWhatPlacingDoes) {
  const AcpiTables built = build_pc_acpi(sample());
  AcpiTables placed = built;
  placed.place(kPlace);
  // A small loader: what the firmware does with the script.
  std::map<std::string, std::vector<std::byte>> files{{"etc/acpi/tables", built.tables},
                                                      {"etc/acpi/rsdp", built.rsdp}};
  ASSERT_EQ(built.loader.size() % 128, 0u);
  for (size_t at = 0; at < built.loader.size(); at += 128) {
    const ConstBytes command = ConstBytes(built.loader).subspan(at, 128);
    const auto name = [&](size_t o) {
      return std::string(reinterpret_cast<const char*>(&command[o]));
    };
    switch (load_le<u32>(command)) {
      case 1: ASSERT_TRUE(files.contains(name(4))); break;
      case 2: {
        Bytes blob(files.at(name(4)));
        ASSERT_EQ(name(60), "etc/acpi/tables");
        const u32 offset = load_le<u32>(command, 116);
        if (static_cast<u8>(command[120]) == 8)
          store_le(blob, offset, load_le<u64>(blob, offset) + kPlace);
        else
          store_le(blob, offset, static_cast<u32>(load_le<u32>(blob, offset) + kPlace));
        break;
      }
      case 3: {
        std::vector<std::byte>& blob = files.at(name(4));
        const ConstBytes range =
            ConstBytes(blob).subspan(load_le<u32>(command, 64), load_le<u32>(command, 68));
        const u32 offset = load_le<u32>(command, 60);
        blob[offset] = std::byte{0};
        blob[offset] = static_cast<std::byte>(-sum(range));
        break;
      }
      default: FAIL() << "unknown command";
    }
  }
  EXPECT_EQ(files["etc/acpi/tables"], placed.tables);
  EXPECT_EQ(files["etc/acpi/rsdp"], placed.rsdp);
}

// The ACPI component architecture's compiler disassembles every table and compiles the result.
void expect_iasl_accepts(const AcpiConfig& config) {
  if (std::system("command -v iasl >/dev/null") != 0) GTEST_SKIP() << "iasl is not installed";
  AcpiTables tables = build_pc_acpi(config);
  tables.place(kPlace);
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("menura-acpi-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  for (const u32 offset : table_offsets(tables)) {
    const std::string name = text_at(tables.tables, offset, 4);
    const std::string file = (folder / (name + ".dat")).string();
    std::ofstream(file, std::ios::binary)
        << text_at(tables.tables, offset, load_le<u32>(tables.tables, offset + 4));
    const std::string log = (folder / (name + ".log")).string();
    EXPECT_EQ(std::system(("cd " + folder.string() + " && iasl -d " + file + " >" + log +
                           " 2>&1 && iasl " + name + ".dsl >>" + log + " 2>&1")
                              .c_str()),
              0)
        << name;
    const std::string text = read_file(log, 1 << 20).value();
    EXPECT_EQ(text.find("Error "), std::string::npos) << name << "\n" << text;
    EXPECT_EQ(text.find("Invalid"), std::string::npos) << name << "\n" << text;
    if (name == "DSDT") {
      EXPECT_NE(text.find("0 Errors, 0 Warnings"), std::string::npos) << text;
    }
  }
  std::filesystem::remove_all(folder);
}

// One latency matrix over two nodes of CPUs and two of memory, one bandwidth, a cache, a generation ID
// and a table of the user's.
AcpiConfig rich_sample() {
  AcpiConfig config = sample();
  config.speeds =
      AcpiMemorySpeeds{.targets = {{0, 0}, {1, 1}},
                       .matrices = {{.data_type = 0,
                                     .unit = 1000,
                                     .initiators = {0, 1},
                                     .targets = {0, 1},
                                     .entries = {5, 10, 10, 5}},
                                    {.data_type = 3,
                                     .unit = 100,
                                     .initiators = {0, 1},
                                     .targets = {0, 1},
                                     .entries = {200, 100, 100, 200}}},
                       .caches = {{.node = 1, .size = 0x10000, .attributes = 0x0040'1111}}};
  Uuid id{};
  for (u8 i = 0; i < 16; i++) id[i] = static_cast<u8>(0xa0 + i);
  config.generation_id = id;
  std::vector<std::byte> own(40);
  for (size_t i = 0; i < 4; i++) own[i] = static_cast<std::byte>("OEM1"[i]);
  config.extra.push_back(own);
  return config;
}

TEST(AcpiTest, IaslReadsSpeedsOfMemoryAndTheGenerationId) {
  AcpiConfig ours = rich_sample();
  ours.extra.clear();
  expect_iasl_accepts(ours);
  AcpiTables tables = build_pc_acpi(rich_sample());
  tables.place(kPlace);
  ASSERT_TRUE(tables.generation_id);
  EXPECT_EQ(static_cast<u8>(tables.tables[*tables.generation_id + 15]), 0xaf);
  // The SSDT's first name is the address of the ID.
  bool found = false, own = false;
  for (const u32 offset : table_offsets(tables)) {
    const std::string name = text_at(tables.tables, offset, 4);
    own |= name == "OEM1";
    if (name != "SSDT") continue;
    found = true;
    EXPECT_EQ(text_at(tables.tables, offset + 37, 4), "VGIA");
    EXPECT_EQ(load_le<u32>(tables.tables, offset + 42), kPlace + *tables.generation_id);
  }
  EXPECT_TRUE(found);
  EXPECT_TRUE(own);
}

AcpiConfig q35_sample() {
  AcpiConfig config = sample();
  config.chipset = AcpiChipset::Q35;
  config.ecam = {.base = 0xe000'0000, .size = 0x1000'0000};
  config.pci_hole_start = 0x8000'0000;
  config.gpe0 = {.offset = 0x20, .length = 16};
  return config;
}

TEST(AcpiTest, IaslAcceptsEveryTable) { expect_iasl_accepts(sample()); }
TEST(AcpiTest, IaslAcceptsEveryTableOfAQ35) { expect_iasl_accepts(q35_sample()); }

// Firmware asks for the sizes before it moves ECAM and the PM registers.
TEST(AcpiTest, SizesStayWhenAddressesMove) {
  AcpiConfig moved = q35_sample();
  moved.ecam.base = 0xb000'0000;
  moved.pm_base = 0xb000;
  const AcpiTables before = build_pc_acpi(q35_sample()), after = build_pc_acpi(moved);
  EXPECT_EQ(before.tables.size(), after.tables.size());
  EXPECT_EQ(before.loader.size(), after.loader.size());
  EXPECT_NE(before.tables, after.tables);
}

// Encodings from the specification: ACPI 6.4 §20.2.
TEST(AmlTest, Encodings) {
  using namespace aml;
  EXPECT_EQ(integer(0), Aml({0x00}));
  EXPECT_EQ(integer(1), Aml({0x01}));
  EXPECT_EQ(integer(0x1234), Aml({0x0b, 0x34, 0x12}));
  EXPECT_EQ(eisa_id("PNP0A03"), Aml({0x0c, 0x41, 0xd0, 0x0a, 0x03}));
  EXPECT_EQ(path("\\_SB"), Aml({'\\', '_', 'S', 'B', '_'}));
  EXPECT_EQ(path("A.B"), Aml({0x2e, 'A', '_', '_', '_', 'B', '_', '_', '_'}));
  EXPECT_EQ(name("X", integer(0)), Aml({0x08, 'X', '_', '_', '_', 0x00}));
  // PkgLength of one byte counts itself; past 3Fh it takes two, low nibble first.
  EXPECT_EQ(package({integer(1)}), Aml({0x12, 0x03, 0x01, 0x01}));
  const Aml long_buffer = buffer(Aml(0x80));
  EXPECT_EQ(Aml(long_buffer.begin(), long_buffer.begin() + 5), Aml({0x11, 0x44, 0x08, 0x0a, 0x80}));
}

}  // namespace
}  // namespace menura
