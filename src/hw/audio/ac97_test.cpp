// The AC'97 controller as its driver sees it.
#include "hw/audio/ac97.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"
#include "hw/pci/pci_conformance.h"

namespace menura {
namespace {

using testing::IsEmpty;

constexpr u16 kMixer = 0xc000, kMaster = 0xc100;
constexpr u64 kList = 0x10000, kSound = 0x20000;

struct TestSink final : AudioSink {
  void play(const void*, const AudioFormat& f, i64 at_ns, std::span<const i16> samples) override {
    format = f;
    if (heard.empty()) began_ns = at_ns;
    heard.insert(heard.end(), samples.begin(), samples.end());
  }
  AudioFormat format;
  i64 began_ns = -1;
  std::vector<i16> heard;
};

struct Ac97Test : testing::Test {
  Ac97Test() {
    bus.bus.add(card, PciBus::devfn(3, 0)).value();
    card.reset(ResetKind::PowerOn);
    card.config_write(0x10, 4, kMixer);
    card.config_write(0x14, 4, kMaster);
    card.config_write(0x04, 2, 0x0005);
    m.out32(kMaster + 0x2c, 2);
    m.clock.start();
  }
  void pass(i64 ns) {
    for (i64 passed = 0; passed < ns; passed += 1'000'000) {
      m.tape.advance(1'000'000);
      m.time.run_expired();
    }
  }
  // Two buffers of 480 frames, 10 ms each; the second one asks for an interrupt.
  void play() {
    for (u32 i = 0; i < 2 * 960; i++) m.write_mem(kSound + 2 * i, 2, i);
    for (u32 n = 0; n < 2; n++) {
      m.write_mem(kList + 8 * n, 4, kSound + 1920 * n);
      m.write_mem(kList + 8 * n + 4, 4, 960 | (n ? 1u << 31 : 0));
    }
    m.out16(kMixer + 0x02, 0);
    m.out16(kMixer + 0x18, 0x0808);
    m.out32(kMaster + 0x10, kList);
    m.out8(kMaster + 0x15, 1);
    m.out8(kMaster + 0x1b, 0x1d);
  }

  PciTestBus bus;
  TestMachine& m = bus.machine;
  TestSink sink;
  Ac97 card{"sound", m.time, &sink};
};

TEST_F(Ac97Test, IsAPciFunction) { EXPECT_THAT(check_pci_function(card), IsEmpty()); }

TEST_F(Ac97Test, CodecAfterReset) {
  EXPECT_EQ(m.in16(kMixer + 0x02), 0x8000u);
  EXPECT_EQ(m.in16(kMixer + 0x0e), 0x8008u);
  EXPECT_EQ(m.in16(kMixer + 0x18), 0x8808u);
  EXPECT_EQ(m.in16(kMixer + 0x26), 0x000fu);
  EXPECT_EQ(m.in16(kMixer + 0x2c), 48000u);
  m.out16(kMixer + 0x2c, 22050);
  EXPECT_EQ(m.in16(kMixer + 0x2c), 48000u) << "not variable yet";
  m.out16(kMixer + 0x2a, 1);
  m.out16(kMixer + 0x2c, 22050);
  EXPECT_EQ(m.in16(kMixer + 0x2c), 22050u);
  m.out16(kMixer, 0);
  EXPECT_EQ(m.in16(kMixer + 0x2a), 0u);
  EXPECT_EQ(m.in32(kMaster + 0x30) & 0x100, 0x100u) << "the codec is ready";
  EXPECT_EQ(m.in8(kMaster + 0x34), 0u);
  EXPECT_EQ(m.in8(kMaster + 0x34), 1u) << "taken";
}

TEST_F(Ac97Test, PlaysItsBuffersInTime) {
  EXPECT_EQ(m.in16(kMaster + 0x16), 1u) << "halted";
  play();
  pass(5'000'000);
  EXPECT_EQ(m.in8(kMaster + 0x14), 0u);
  EXPECT_EQ(m.in16(kMaster + 0x18), 960u - 480) << "half of the first one is heard";
  pass(10'000'000);
  EXPECT_EQ(m.in8(kMaster + 0x14), 1u);
  EXPECT_FALSE(m.pin_level(3));
  pass(10'000'000);
  EXPECT_TRUE(m.pin_level(3));
  EXPECT_EQ(m.in16(kMaster + 0x16), 0x0fu) << "both causes, at the last one, halted";
  EXPECT_TRUE(m.in32(kMaster + 0x30) & 0x40);
  m.out16(kMaster + 0x16, 0x1c);
  EXPECT_FALSE(m.pin_level(3));
  ASSERT_EQ(sink.heard.size(), 1920u);
  for (size_t i = 0; i < 1920; i++) ASSERT_EQ(sink.heard[i], static_cast<i16>(i));
  EXPECT_EQ(sink.format.rate, 48000u);
  // More of it: goes on with the next entry.
  m.write_mem(kList + 16, 4, kSound);
  m.write_mem(kList + 20, 4, 960);
  m.out8(kMaster + 0x15, 2);
  EXPECT_EQ(m.in8(kMaster + 0x14), 2u);
  pass(20'000'000);
  EXPECT_EQ(sink.heard.size(), 2880u);
}

TEST_F(Ac97Test, MuteIsSilent) {
  play();
  m.out16(kMixer + 0x02, 0x8000);
  pass(30'000'000);
  EXPECT_EQ(sink.heard.size(), 1920u);
  for (const i16 sample : sink.heard) EXPECT_EQ(sample, 0);
}

TEST_F(Ac97Test, RecordsSilence) {
  m.write_mem(kSound, 8, ~u64{0});
  m.write_mem(kList, 4, kSound);
  m.write_mem(kList + 4, 4, 96 | 1u << 31);
  m.out32(kMaster, kList);
  m.out8(kMaster + 0x0b, 0x11);
  pass(10'000'000);
  EXPECT_EQ(m.read_mem(kSound, 8), 0u);
  EXPECT_TRUE(m.in32(kMaster + 0x30) & 0x20);
}

struct Ac97Rig final : PciConformanceRig {
  Ac97Rig() { plug(card, PciBus::devfn(3, 0)); }
  TestSink sink;
  Ac97 card{"sound", machine.time, &sink};
};

TEST(Ac97Conformance, HoldsForAnyGuest) {
  EXPECT_THAT(conformance_problems<Ac97Rig>(), IsEmpty());
  survive_hostile_states<Ac97Rig>();
}

}  // namespace
}  // namespace menura
