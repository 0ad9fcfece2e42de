#include "machine/tables/smbios.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/units.h"

namespace menura {
namespace {

SmbiosConfig sample() {
  SmbiosConfig c;
  c.product = "Standard PC (i440FX + PIIX, 1996)";
  c.serial = "S-1234";
  c.cpu_name = "menura CPU";
  for (u8 i = 0; i < 16; i++) c.uuid[i] = i;
  c.sockets = 2;
  c.cores_per_socket = 4;
  c.threads_per_core = 2;
  c.memory_below_4g = 3 * GiB;
  c.memory_above_4g = 29 * GiB;
  return c;
}

TEST(SmbiosTest, StructuresWalkToTheEnd) {
  const SmbiosTables t = build_smbios(sample());
  std::vector<int> types;
  for (size_t at = 0; at < t.structures.size();) {
    types.push_back(static_cast<int>(t.structures[at]));
    at += static_cast<size_t>(t.structures[at + 1]);
    while (load_le<u16>(t.structures, at) != 0) at++;
    at += 2;
  }
  EXPECT_EQ(types, (std::vector<int>{0, 1, 3, 4, 4, 16, 17, 17, 19, 19, 32, 127}));
  EXPECT_EQ(load_le<u16>(t.anchor, 0x1c), types.size());
  EXPECT_EQ(load_le<u16>(t.anchor, 0x16), t.structures.size());
}

TEST(SmbiosTest, HugeMemoryStillFits) {
  SmbiosConfig c = sample();
  c.memory_above_4g = 64 * TiB;
  EXPECT_LT(build_smbios(c).structures.size(), 65536u);
}

// dmidecode reads a dump: the oracle.
TEST(SmbiosTest, DmidecodeReadsIt) {
  if (std::system("command -v dmidecode >/dev/null") != 0)
    GTEST_SKIP() << "dmidecode is not installed";
  SmbiosTables t = build_smbios(sample());
  // A dump file holds the anchor at 0 and the table at 20h.
  t.place(0x20);
  const std::string stem =
      (std::filesystem::temp_directory_path() / ("menura-smbios-" + std::to_string(::getpid())))
          .string();
  std::ofstream(stem, std::ios::binary)
      .write(reinterpret_cast<const char*>(t.anchor.data()), 0x1f)
      .put(0)
      .write(reinterpret_cast<const char*>(t.structures.data()),
             static_cast<std::streamsize>(t.structures.size()));
  EXPECT_EQ(std::system(("dmidecode --from-dump " + stem + " >" + stem + ".txt 2>&1").c_str()), 0);
  const std::string text = read_file(stem + ".txt", 1 << 20).value();
  for (const char* expected :
       {"SMBIOS 2.8 present", "Product Name: Standard PC (i440FX + PIIX, 1996)",
        "Serial Number: S-1234", "UUID: 00010203-0405-0607-0809-0a0b0c0d0e0f", "Core Count: 4",
        "Thread Count: 8", "Maximum Capacity: 32 GB", "Size: 16 GB", "Range Size: 29 GB",
        "Version: menura CPU", "Type: RAM"})
    EXPECT_NE(text.find(expected), std::string::npos) << expected << " not in:\n" << text;
  for (const char* bad : {"TRUNCATED", "BROKEN", "OUT OF SPEC", "bad", "Invalid"})
    EXPECT_EQ(text.find(bad), std::string::npos) << bad << " in:\n" << text;
  std::filesystem::remove(stem);
  std::filesystem::remove(stem + ".txt");
}

}  // namespace
}  // namespace menura
