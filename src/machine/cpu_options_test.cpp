#include "machine/cpu_options.h"

#include <gtest/gtest.h>

namespace menura {
namespace {

TEST(CpuOptions, WhatIsTheCpusOwnStaysInOrder) {
  EXPECT_EQ(parse_cpu_options("")->model, "");
  EXPECT_EQ(parse_cpu_options("host")->model, "host");
  const CpuOptions cpu =
      parse_cpu_options(
          "qemu64,+aes,kvm=off,hv-time,-sse3,vendor=GenuineIntel,tsc-frequency=1000000000")
          .value();
  EXPECT_EQ(cpu.model, "qemu64,+aes,-sse3,vendor=GenuineIntel");
  EXPECT_FALSE(cpu.kvm);
  EXPECT_EQ(cpu.tsc_hz, 1'000'000'000u);
  ASSERT_EQ(cpu.hyperv.size(), 1u);
  EXPECT_EQ(cpu.hyperv[0].name, "hv-time");
  EXPECT_TRUE(cpu.hyperv[0].on());
}

TEST(CpuOptions, SpellingsOfOneName) {
  for (const char* text :
       {"max,+kvm-pv-eoi", "max,kvm-pv-eoi", "max,kvm_pv_eoi=on", "max,kvm-pv-eoi=on"}) {
    const CpuOptions cpu = parse_cpu_options(text).value();
    ASSERT_EQ(cpu.kvm_features.size(), 1u) << text;
    EXPECT_EQ(cpu.kvm_features[0].name, "kvm-pv-eoi");
    EXPECT_TRUE(cpu.kvm_features[0].on());
  }
  EXPECT_FALSE(parse_cpu_options("max,-kvmclock")->kvm_features[0].on());
  EXPECT_EQ(parse_cpu_options("max,hv_spinlocks=0x1fff")->hyperv[0].value, "0x1fff");
}

TEST(CpuOptions, NonsenseIsNamed) {
  EXPECT_EQ(parse_cpu_options("max,kvm=maybe").error().text,
            "CPU property 'kvm' is on or off, not 'maybe'");
  EXPECT_EQ(parse_cpu_options("max,tsc-frequency=fast").error().text,
            "CPU property 'tsc-frequency' is a number of Hz, not 'fast'");
}

}  // namespace
}  // namespace menura
