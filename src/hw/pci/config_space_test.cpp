#include "hw/pci/config_space.h"

#include <gtest/gtest.h>

#include "hw/pci/pci_regs.h"
#include "state/tree.h"

namespace menura {
namespace {

ConfigSpace sample() {
  ConfigSpace space;
  space.define({.offset = 0x00, .size = 4, .name = "id", .reset = 0x7113'8086});
  space.define({.offset = 0x04, .size = 2, .name = "command", .writable = 0x0547});
  space.define({.offset = 0x06, .size = 2, .name = "status", .reset = 0x0280, .w1c = 0xf900});
  space.define({.offset = 0x40, .size = 4, .name = "base", .reset = 1, .writable = 0xffc0});
  return space;
}

TEST(ConfigSpace, WritesFollowTheMasksAtEverySizeAndAlignment) {
  // The oracle: a model that treats each of the 2048 bits on its own.
  for (unsigned size : {1u, 2u, 4u}) {
    for (unsigned offset = 0; offset + size <= 0x50; offset++) {
      for (u32 pattern : {0xffff'ffffu, 0x0000'0000u, 0xa5c3'0f96u}) {
        ConfigSpace space = sample();
        space.set(0x06, 2, 0xfb80);
        ConfigSpace before = space;
        space.write(offset, size, pattern);
        for (unsigned n = 0; n < ConfigSpace::kSize * 8; n++) {
          const unsigned byte = n / 8;
          const bool old = (before.get8(byte) >> (n % 8)) & 1;
          bool expected = old;
          if (byte >= offset && byte < offset + size) {
            const bool written = (pattern >> (n - 8 * offset)) & 1;
            if ((space.writable(byte, 1) >> (n % 8)) & 1) expected = written;
            if (((space.w1c(byte, 1) >> (n % 8)) & 1) && written) expected = false;
          }
          ASSERT_EQ((space.get8(byte) >> (n % 8)) & 1, expected)
              << "bit " << n << " after " << size << " bytes at " << offset;
        }
      }
    }
  }
}

TEST(ConfigSpace, CapabilitiesFormAListInOrder) {
  ConfigSpace space = sample();
  EXPECT_EQ(space.find_capability(pci::kCapMsi), 0u);
  const unsigned power = space.add_capability(pci::kCapPowerManagement, 8).value();
  const unsigned msi = space.add_capability(pci::kCapMsi, 14).value();
  const unsigned vendor = space.add_capability(pci::kCapVendor, 20).value();
  EXPECT_EQ(power, 0x44u);  // 40h is a register of the chip
  EXPECT_EQ(msi, 0x4cu);
  EXPECT_EQ(vendor, 0x5cu);  // dword-aligned
  EXPECT_EQ(space.get8(pci::kCapabilities), power);
  EXPECT_EQ(space.get16(power), pci::kCapPowerManagement | msi << 8);
  EXPECT_EQ(space.get16(msi), pci::kCapMsi | vendor << 8);
  EXPECT_EQ(space.get16(vendor), pci::kCapVendor);
  EXPECT_TRUE(space.get16(pci::kStatus) & pci::kStatusCapabilities);
  EXPECT_EQ(space.find_capability(pci::kCapVendor), vendor);
  EXPECT_EQ(space.w1c(pci::kStatus, 2), 0xf900u);  // still
  EXPECT_EQ(space.add_capability(0x42, 0xf0).error().code, Errc::NoSpace);
}

TEST(ConfigSpace, ResetAndRoundTrip) {
  ConfigSpace space = sample();
  space.write(0x04, 2, 0xffff);
  space.write(0x40, 4, 0xb040);
  const StateTree saved = save_state(space);
  space.reset();
  EXPECT_EQ(space.get16(0x04), 0);
  EXPECT_EQ(space.get32(0x40), 1u);
  ASSERT_TRUE(load_state(space, saved));
  EXPECT_EQ(space.get16(0x04), 0x0547);
  EXPECT_EQ(space.get32(0x40), 0xb041u);
}

TEST(ConfigSpace, LoadRefusesAnotherCard) {
  ConfigSpace other;
  other.define({.offset = 0x00, .size = 4, .name = "id", .reset = 0x7010'8086});
  ConfigSpace space = sample();
  const Result<void> loaded = load_state(space, save_state(other));
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, Errc::Corrupt);
}

}  // namespace
}  // namespace menura
