// Expectations are from the MC146818A data sheet; calendar dates from the C library.
#include "hw/rtc/rtc.h"

#include <gtest/gtest.h>
#include <time.h>

#include <memory>

#include "base/units.h"
#include "hw/core/test_machine.h"
#include "hw/rtc/cmos.h"
#include "state/tree.h"

namespace menura {
namespace {

constexpr i64 kDate = 1'795'437'296;  // 2026-11-23 12:34:56 UTC, a Monday
constexpr i64 kSecond = kNsPerSecond;

struct RtcTest : testing::Test {
  void SetUp() override { build({.clock = RtcClock::Virtual, .date = kDate}); }
  void build(const Rtc::Config& config) {
    rtc.reset();
    rtc = std::make_unique<Rtc>("rtc", config, m.time, m.tape, m.pin(8));
    m.io_root.map(0x70, rtc->ports());
    rtc->reset(ResetKind::PowerOn);
  }
  u8 read(u8 index) {
    m.out8(0x70, index);
    return m.in8(0x71);
  }
  void write(u8 index, u8 value) {
    m.out8(0x70, index);
    m.out8(0x71, value);
  }
  std::string time() {
    char text[32];
    snprintf(text, sizeof text, "%02x%02x-%02x-%02x %02x:%02x:%02x %x", read(0x32), read(9),
             read(8), read(7), read(4), read(2), read(0), read(6));
    return text;
  }

  TestMachine m;
  std::unique_ptr<Rtc> rtc;
};

TEST(Calendar, AgreesWithTheCLibrary) {
  for (i64 s = -5'000'000'000; s < 20'000'000'000; s += 86'399 * 37 + 11) {
    const time_t t = s;
    tm expected{};
    gmtime_r(&t, &expected);
    const CalendarTime c = calendar_of(s);
    ASSERT_EQ(
        c, (CalendarTime{expected.tm_year + 1900, expected.tm_mon + 1, expected.tm_mday,
                         expected.tm_hour, expected.tm_min, expected.tm_sec, expected.tm_wday + 1}))
        << s;
    ASSERT_EQ(seconds_of(c), s);
  }
  tm odd{.tm_sec = 70, .tm_min = -3, .tm_hour = 25, .tm_mday = 40, .tm_mon = 14, .tm_year = 100};
  EXPECT_EQ(seconds_of({2000, 15, 40, 25, -3, 70}), timegm(&odd)) << "fields carry";
}

TEST_F(RtcTest, ResetValues) {
  EXPECT_EQ(read(0x0a), 0x26);
  EXPECT_EQ(read(0x0b), 0x02);
  EXPECT_EQ(read(0x0c), 0x00);
  EXPECT_EQ(read(0x0d), 0x80);
  EXPECT_EQ(m.in8(0x70), 0xff) << "the index port is write-only";
}

TEST_F(RtcTest, RunsInBcd) {
  EXPECT_EQ(time(), "2026-11-23 12:34:56 2");
  m.step_ns(4 * kSecond);
  EXPECT_EQ(time(), "2026-11-23 12:35:00 2");
  m.step_ns(86'400 * kSecond * 39 - 35 * 60 * kSecond);
  EXPECT_EQ(time(), "2027-01-01 12:00:00 6");
}

TEST_F(RtcTest, BinaryAndTwelveHours) {  // table 2
  write(0x0b, 0x06);
  EXPECT_EQ(read(0), 56);
  EXPECT_EQ(read(2), 34);
  EXPECT_EQ(read(4), 12);
  EXPECT_EQ(read(9), 26);
  write(0x0b, 0x00);
  EXPECT_EQ(read(4), 0x92) << "12 PM is noon";
  m.step_ns(3600 * kSecond);
  EXPECT_EQ(read(4), 0x81);
  m.step_ns(11 * 3600 * kSecond);
  EXPECT_EQ(read(4), 0x12) << "12 AM is midnight";
  write(0x0b, 0x04);
  m.step_ns(23 * 3600 * kSecond);
  EXPECT_EQ(read(4), 0x8b) << "11 PM";
}

TEST_F(RtcTest, SettingTheTime) {
  i64 told = 0;
  rtc->on_time_set([&](i64 seconds) { told = seconds; });
  m.step_ns(kSecond / 4);
  write(0x0b, 0x82);
  const u8 values[][2] = {{0x32, 0x19}, {9, 0x99}, {8, 0x12}, {7, 0x31},
                          {4, 0x23},    {2, 0x59}, {0, 0x58}};
  for (const auto& [index, value] : values) write(index, value);
  m.step_ns(10 * kSecond);
  EXPECT_EQ(time(), "1999-12-31 23:59:58 2") << "it stands while SET";
  write(0x0b, 0x02);
  EXPECT_EQ(time(), "1999-12-31 23:59:58 6");
  m.step_ns(kSecond * 3 / 4 - 1);
  EXPECT_EQ(read(0), 0x58) << "the divider went on meanwhile";
  m.step_ns(1);
  EXPECT_EQ(read(0), 0x59);
  m.step_ns(kSecond);
  EXPECT_EQ(time(), "2000-01-01 00:00:00 7");
  EXPECT_EQ(rtc->guest_seconds(), 946'684'800);
  EXPECT_EQ(told, 946'684'798 - (kDate + 10));
}

TEST_F(RtcTest, SettingWithoutSet) {
  write(4, 0x05);
  EXPECT_EQ(time(), "2026-11-23 05:34:56 2");
  write(9, 0xff);  // no number
  write(8, 0x00);
  m.step_ns(kSecond);
  read(0);  // whatever that means, it is no harm
}

TEST_F(RtcTest, TwelveHourWrites) {
  write(0x0b, 0x80);
  write(4, 0x92);
  write(0x0b, 0x00);
  EXPECT_EQ(calendar_of(rtc->guest_seconds()).hour, 12);
  write(0x0b, 0x80);
  write(4, 0x12);
  write(0x0b, 0x00);
  EXPECT_EQ(calendar_of(rtc->guest_seconds()).hour, 0);
  write(0x0b, 0x80);
  write(4, 0x87);
  write(0x0b, 0x00);
  EXPECT_EQ(calendar_of(rtc->guest_seconds()).hour, 19);
}

TEST_F(RtcTest, UpdateInProgress) {  // table 6: 244 + 1984 us
  m.step_ns(kSecond - 2'228'001);
  EXPECT_EQ(read(0x0a), 0x26);
  m.step_ns(1);
  EXPECT_EQ(read(0x0a), 0xa6);
  m.step_ns(2'227'999);
  EXPECT_EQ(read(0x0a), 0xa6);
  m.step_ns(1);
  EXPECT_EQ(read(0x0a), 0x26);
  EXPECT_EQ(read(0x0c) & 0x10, 0x10);
  write(0x0b, 0x82);
  m.step_ns(kSecond - 1'000'000);
  EXPECT_EQ(read(0x0a), 0x26) << "no updates while SET";
}

TEST_F(RtcTest, DividerResetStartsHalfASecondAway) {
  write(0x0a, 0x76);
  m.step_ns(10 * kSecond + 123);
  EXPECT_EQ(read(0), 0x56);
  write(0x0a, 0x26);
  m.step_ns(kSecond / 2 - 1);
  EXPECT_EQ(read(0), 0x56);
  m.step_ns(1);
  EXPECT_EQ(read(0), 0x57);
}

TEST_F(RtcTest, UpdateInterrupt) {
  write(0x0b, 0x12);
  m.step_ns(kSecond - 1);
  EXPECT_FALSE(m.pin_level(8));
  m.step_ns(1);
  EXPECT_TRUE(m.pin_level(8));
  m.step_ns(3 * kSecond);
  EXPECT_EQ(m.pin_rises(8), 1u) << "held until register C is read";
  EXPECT_EQ(read(0x0c), 0xd0) << "the periodic flag rises too, silently";
  EXPECT_FALSE(m.pin_level(8));
  EXPECT_EQ(read(0x0c), 0x00);
  m.step_ns(kSecond);
  EXPECT_TRUE(m.pin_level(8));
  write(0x0b, 0x92);
  EXPECT_EQ(read(0x0b), 0x82) << "SET clears UIE";
  EXPECT_FALSE(m.pin_level(8));
}

TEST_F(RtcTest, FlagsRiseWithoutInterrupts) {
  m.step_ns(kSecond);
  EXPECT_EQ(read(0x0c), 0x50) << "UF and PF, but no IRQF";
  EXPECT_EQ(m.pin_rises(8), 0u);
  EXPECT_EQ(m.time.next_deadline(), TimerQueue::kNever) << "nobody listens: no timer";
  m.step_ns(kSecond);
  write(0x0b, 0x12);
  EXPECT_TRUE(m.pin_level(8)) << "enabling a raised flag interrupts at once";
}

TEST_F(RtcTest, Alarm) {
  const auto fires_after = [&](u8 hour, u8 minute, u8 second) -> i64 {
    write(5, hour), write(3, minute), write(1, second);
    write(0x0b, 0x22);
    read(0x0c);
    const i64 start = m.time.now_ns();
    while (!m.pin_level(8) && m.step_to_next_timer()) {}
    if (!m.pin_level(8)) return -1;
    EXPECT_EQ(read(0x0c) & 0xa0, 0xa0);
    write(0x0b, 0x02);
    const i64 took = (m.time.now_ns() - start) / kSecond;
    m.step_ns((86'400 - took % 86'400) * kSecond);  // back to 12:34:56
    return took;
  };
  EXPECT_EQ(fires_after(0x12, 0x35, 0x00), 4);
  EXPECT_EQ(fires_after(0x12, 0x34, 0x56), 86'400);
  EXPECT_EQ(fires_after(0x00, 0x00, 0x00), 41'104);
  EXPECT_EQ(fires_after(0xff, 0xff, 0xc0), 1) << "don't care: every second";
  EXPECT_EQ(fires_after(0xff, 0xff, 0x00), 4) << "every minute";
  EXPECT_EQ(fires_after(0xc0, 0x00, 0x00), 1504) << "every hour";
  EXPECT_EQ(fires_after(0x25, 0x00, 0x00), -1) << "no such hour";
  EXPECT_EQ(fires_after(0x1a, 0x00, 0x00), -1);
}

TEST_F(RtcTest, PeriodicRates) {  // table 5
  const double hertz[] = {0, 256, 128, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2};
  for (u8 rate = 1; rate < 16; rate++) {
    write(0x0a, static_cast<u8>(0x20 | rate));
    write(0x0b, 0x42);
    read(0x0c);
    const unsigned before = m.pin_rises(8);
    const i64 end = m.time.now_ns() + kSecond;
    while (m.time.next_deadline() <= end) {
      m.step_to_next_timer();
      EXPECT_EQ(read(0x0c) & 0xc0, 0xc0);
    }
    m.step_ns(end - m.time.now_ns());
    EXPECT_EQ(m.pin_rises(8) - before, hertz[rate]) << int{rate};
  }
  write(0x0a, 0x20);
  read(0x0c);
  m.step_ns(kSecond);
  EXPECT_EQ(read(0x0c) & 0x40, 0) << "rate 0: none";
}

TEST_F(RtcTest, ResetStopsInterruptsAndKeepsTheRest) {
  write(0x0b, 0x7e);
  write(0x40, 0x5a);
  m.step_ns(kSecond);
  ASSERT_TRUE(m.pin_level(8));
  rtc->reset(ResetKind::System);
  EXPECT_FALSE(m.pin_level(8));
  EXPECT_EQ(read(0x0b), 0x06);
  EXPECT_EQ(read(0x0c), 0x00);
  EXPECT_EQ(read(0x40), 0x5a);
  EXPECT_EQ(read(0), 57);
}

TEST_F(RtcTest, IndexAndNmiMask) {
  write(0x80 | 0x33, 0x77);
  EXPECT_TRUE(rtc->nmi_masked());
  EXPECT_EQ(read(0x33), 0x77) << "bit 7 is no part of the index";
  EXPECT_FALSE(rtc->nmi_masked());
  m.out16(0x70, 0x4245);  // both ports at once
  EXPECT_EQ(read(0x45), 0x42);
  EXPECT_EQ(m.in16(0x70), 0x42ff);
  write(0x0c, 0xff), write(0x0d, 0x00), write(0x0a, 0xa6);
  EXPECT_EQ(read(0x0d), 0x80);
  EXPECT_EQ(read(0x0c) & 0x8f, 0x00);
  EXPECT_EQ(read(0x0a), 0x26);
}

TEST_F(RtcTest, HostClockFollowsTheHost) {
  m.tape.set_wall_clock(kDate * kSecond);
  build({.clock = RtcClock::Host, .utc_offset_s = 3600});
  EXPECT_EQ(time(), "2026-11-23 13:34:56 2");
  m.step_ns(100 * kSecond);  // virtual time does not matter
  EXPECT_EQ(time(), "2026-11-23 13:34:56 2");
  m.tape.advance(5 * kSecond);
  EXPECT_EQ(time(), "2026-11-23 13:35:01 2");
  m.tape.advance(-2 * kSecond);  // the host's clock was set back
  EXPECT_EQ(time(), "2026-11-23 13:34:59 2");
  write(0x0b, 0x12);
  read(0x0c);
  m.tape.advance(kSecond);
  m.step_ns(kSecond);
  EXPECT_TRUE(m.pin_level(8));
}

TEST_F(RtcTest, CenturiesThatNoNanosecondsCanHold) {
  write(0x0b, 0x86);
  write(0x32, 0xff), write(9, 0xff), write(8, 0xff), write(7, 0xff), write(4, 0xff);
  write(0x0b, 0x06);
  m.step_ns(kSecond);
  EXPECT_GT(rtc->guest_seconds(), i64{23'000} * 365 * 86'400);
  write(0x0b, 0x72);
  m.step_ns(kSecond);
}

struct RtcSlew : RtcTest {
  void start(RtcLostTicks policy) {
    rtc = std::make_unique<Rtc>(
        "rtc", Rtc::Config{.clock = RtcClock::Virtual, .date = kDate, .lost_ticks = policy}, m.time,
        m.tape, IrqLine{guest, 0});
    m.io_root.map(0x70, rtc->ports());
    rtc->reset(ResetKind::PowerOn);
    write(0x0b, 0x42);  // 1024 Hz
    m.step_ns(1'000);
  }
  // A guest that at once reads register C, unless it is busy.
  void run(i64 ns) {
    const i64 end = m.time.now_ns() + ns;
    while (m.time.now_ns() < end) {
      m.step_ns(10'000);
      if (!busy && raised) {
        raised = false;
        ticks++;
        read(0x0c);
      }
    }
  }
  bool busy = false, raised = false, masked = false;
  unsigned ticks = 0;
  IrqFunction guest{[this](unsigned, bool level) {
    if (masked) return IrqStatus::Ignored;
    raised |= level;
    return IrqStatus::Delivered;
  }};
};

TEST_F(RtcSlew, LostTicksComeBack) {
  start(RtcLostTicks::Slew);
  run(kSecond);
  EXPECT_EQ(ticks, 1024u);
  busy = true;
  run(kSecond / 2);
  EXPECT_EQ(ticks, 1024u);
  EXPECT_EQ(rtc->lost_ticks(), 511u);
  busy = false;
  run(kSecond / 2);
  EXPECT_NEAR(ticks, 2048, 1);
  EXPECT_EQ(rtc->lost_ticks(), 0u);
  run(kSecond);
  EXPECT_NEAR(ticks, 3072, 1);
}

TEST_F(RtcSlew, DiscardedOnesDoNot) {
  start(RtcLostTicks::Discard);
  busy = true;
  run(kSecond / 2);
  busy = false;
  run(kSecond / 2);
  EXPECT_NEAR(ticks, 513, 1);
}

TEST_F(RtcSlew, MaskedTicksAreNotOwed) {
  start(RtcLostTicks::Slew);
  masked = true;
  run(kSecond);
  EXPECT_EQ(rtc->lost_ticks(), 0u);
}

TEST_F(RtcSlew, OwedTimeSurvivesANewRate) {
  start(RtcLostTicks::Slew);
  run(10'000'000);
  busy = true;
  run(kSecond / 2);
  const u32 owed = rtc->lost_ticks();
  EXPECT_NEAR(owed, 511, 1);
  write(0x0a, 0x27);  // 512 Hz
  EXPECT_EQ(rtc->lost_ticks(), owed / 2);
}

TEST_F(RtcTest, SavedInMidPeriodGoesOn) {
  write(0x0b, 0x72);
  write(0x0a, 0x29);
  write(1, 0x58), write(3, 0xff), write(5, 0xff);
  m.step_ns(kSecond / 3);
  m.out8(0x70, 0x35);
  TestMachine other;
  other.clock.advance_to(m.clock.now_ns());
  Rtc twin("rtc", {.clock = RtcClock::Virtual, .date = 0}, other.time, other.tape, other.pin(8));
  EXPECT_EQ(TestMachine::round_trip(*rtc, twin), std::vector<std::string>{});
  other.io_root.map(0x70, twin.ports());
  EXPECT_EQ(other.pin_rises(8), 0u);
  other.out8(0x71, 0x99), m.out8(0x71, 0x99);
  for (int i = 0; i < 300; i++) {
    m.step_ns(10'000'000);
    other.step_ns(10'000'000);
    for (const u8 index : {0x0c, 0x00, 0x35}) {
      other.out8(0x70, index);
      EXPECT_EQ(other.in8(0x71), read(index)) << int{index};
    }
  }
}

TEST_F(RtcTest, FirmwareContents) {
  store_cmos(*rtc, {.memory_below_4g = 3 * GiB,
                    .memory_above_4g = 5 * GiB,
                    .cpus = 4,
                    .boot = {BootDevice::Cdrom, BootDevice::Disk, BootDevice::Network},
                    .check_floppy_signature = false,
                    .floppies = {FloppyDrive::F1440k, FloppyDrive::None}});
  EXPECT_EQ(read(0x15) | read(0x16) << 8, 640);
  EXPECT_EQ(read(0x17) | read(0x18) << 8, 63 * 1024);
  EXPECT_EQ(read(0x30) | read(0x31) << 8, 63 * 1024);
  EXPECT_EQ(read(0x34) | read(0x35) << 8, (3072 - 16) * 16);
  EXPECT_EQ(read(0x5b) | read(0x5c) << 8 | read(0x5d) << 16, 5 * 1024 * 16);
  EXPECT_EQ(read(0x5f), 3);
  EXPECT_EQ(read(0x3d), 0x23);
  EXPECT_EQ(read(0x38), 0x41);
  EXPECT_EQ(read(0x10), 0x40);
  EXPECT_EQ(read(0x14), 0x07);
}

}  // namespace
}  // namespace menura
