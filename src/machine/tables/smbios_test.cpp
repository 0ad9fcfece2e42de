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
  c.system.product = "Standard PC (i440FX + PIIX, 1996)";
  c.system.serial = "S-1234";
  c.processor.names.version = "menura CPU";
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

// dmidecode reads a dump: the oracle. Empty: it is not installed.
std::string decoded(const SmbiosConfig& config) {
  if (std::system("command -v dmidecode >/dev/null") != 0) return {};
  SmbiosTables t = build_smbios(config);
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
  std::string text = read_file(stem + ".txt", 1 << 20).value();
  std::filesystem::remove(stem);
  std::filesystem::remove(stem + ".txt");
  for (const char* bad : {"TRUNCATED", "BROKEN", "OUT OF SPEC", "bad", "Invalid"})
    EXPECT_EQ(text.find(bad), std::string::npos) << bad << " in:\n" << text;
  return text;
}

TEST(SmbiosTest, DmidecodeReadsIt) {
  const std::string text = decoded(sample());
  if (text.empty()) GTEST_SKIP() << "dmidecode is not installed";
  for (const char* expected :
       {"SMBIOS 2.8 present", "Product Name: Standard PC (i440FX + PIIX, 1996)",
        "Serial Number: S-1234", "UUID: 00010203-0405-0607-0809-0a0b0c0d0e0f", "Core Count: 4",
        "Thread Count: 8", "Maximum Capacity: 32 GB", "Size: 16 GB", "Range Size: 29 GB",
        "Version: menura CPU", "Type: RAM"})
    EXPECT_NE(text.find(expected), std::string::npos) << expected << " not in:\n" << text;
}

TEST(SmbiosTest, DmidecodeReadsWhatPeopleSay) {
  SmbiosConfig c = sample();
  c.bios = {
      .vendor = "Vend", .version = "V7", .date = "02/03/2024", .release = {{5, 9}}, .uefi = true};
  c.system.manufacturer = "Sys Maker";
  c.system.sku = "SKU-1";
  c.family = "Family-1";
  c.board = {.names = {.product = "Board-1", .asset = "Tag-1"}, .location = "Left"};
  c.chassis = {.version = "Case-1", .serial = "CS-1", .sku = "CK-1"};
  c.processor = {
      .socket_prefix = "Sock", .names = {.part = "CPart"}, .max_mhz = 4000, .current_mhz = 3500};
  c.oem_strings = {"first words", "second words"};
  c.memory = {.locator_prefix = "Loc", .bank = "Bank-1", .names = {.part = "MPart"}, .speed = 3200};
  const std::string text = decoded(c);
  if (text.empty()) GTEST_SKIP() << "dmidecode is not installed";
  for (const char* expected : {"Vendor: Vend",
                               "Version: V7",
                               "Release Date: 02/03/2024",
                               "BIOS Revision: 5.9",
                               "UEFI is supported",
                               "Manufacturer: Sys Maker",
                               "SKU Number: SKU-1",
                               "Family: Family-1",
                               "Product Name: Board-1",
                               "Asset Tag: Tag-1",
                               "Location In Chassis: Left",
                               "Version: Case-1",
                               "Serial Number: CS-1",
                               "SKU Number: CK-1",
                               "Socket Designation: Sock0",
                               "Part Number: CPart",
                               "Max Speed: 4000 MHz",
                               "Current Speed: 3500 MHz",
                               "String 1: first words",
                               "String 2: second words",
                               "Locator: Loc0",
                               "Bank Locator: Bank-1",
                               "Part Number: MPart",
                               "Speed: 3200 MT/s"})
    EXPECT_NE(text.find(expected), std::string::npos) << expected << " not in:\n" << text;
}

TEST(SmbiosTest, StructuresOfFilesReplaceOurs) {
  // An OEM string structure "abc", and a system structure of 27 bytes without strings.
  std::vector<std::byte> file{std::byte{11}, std::byte{5}, std::byte{0}, std::byte{9},
                              std::byte{1}};
  for (const char letter : {'a', 'b', 'c', '\0', '\0'})
    file.push_back(static_cast<std::byte>(letter));
  const size_t first = file.size();
  file.resize(first + 27 + 2);
  file[first] = std::byte{1};
  file[first + 1] = std::byte{27};
  SmbiosConfig c = sample();
  c.structures = split_smbios(file);
  ASSERT_EQ(c.structures.size(), 2u);
  EXPECT_EQ(c.structures[0].size(), first);
  const std::string text = decoded(c);
  EXPECT_EQ(text.find("Product Name: Standard PC"), std::string::npos);
  for (size_t size = 1; size < file.size(); size++)
    if (size != first) {
      EXPECT_TRUE(split_smbios(ConstBytes(file).first(size)).empty()) << size;
    }
}

}  // namespace
}  // namespace menura
