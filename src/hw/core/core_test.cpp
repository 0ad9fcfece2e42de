// Registers, pins and the test machine.
#include <gtest/gtest.h>

#include <random>

#include "hw/core/irq.h"
#include "hw/core/register_file.h"
#include "hw/core/test_machine.h"
#include "hw/core/window.h"
#include "state/tree.h"

namespace menura {
namespace {

enum class Reg : u8 { Byte, Word, Dword, Qword };
constexpr RegisterTable<Reg, 4> kRegs{{{
    {Reg::Byte, 0x01, 1, "byte", 0x5a, 0x0f},
    {Reg::Word, 0x02, 2, "word", 0x1234, 0xff00},
    {Reg::Dword, 0x05, 4, "dword", 0x89abcdef, 0x0ff0ff0f},
    {Reg::Qword, 0x10, 8, "qword", 0x0123456789abcdef, 0xffffffff0000ffff},
}}};
constexpr u64 kEnd = 0x18;

// Each byte of the block: its value and which bits a guest may write, from the table's text alone.
struct Bytewise {
  Bytewise() {
    for (size_t i = 0; i < kRegs.size(); i++) {
      for (unsigned b = 0; b < kRegs[i].size; b++) {
        value[kRegs[i].offset + b] = static_cast<u8>(kRegs[i].reset >> (8 * b));
        writable[kRegs[i].offset + b] = static_cast<u8>(kRegs[i].writable >> (8 * b));
      }
    }
  }
  std::array<u8, kEnd + 8> value{};
  std::array<u8, kEnd + 8> writable{};
};

TEST(RegisterFile, EverySizeAndOffsetAgainstPlainBytes) {
  RegisterFile<Reg, 4> regs(kRegs);
  Bytewise model;
  std::mt19937_64 random(1);
  const auto value_of = [&](Reg reg) { return regs.get(reg); };
  for (int round = 0; round < 20000; round++) {
    const unsigned size = 1 + random() % 8;  // also those that no bus has
    const Access access{random() % kEnd, size};
    if (random() % 2) {
      const u64 value = random();
      regs.write(access, value,
                 [&](Reg reg, u64 written, u64 mask) { regs.set_writable(reg, written, mask); });
      for (unsigned i = 0; i < size; i++) {
        const u64 at = access.offset + i;
        model.value[at] =
            merge(model.value[at], static_cast<u8>(value >> (8 * i)), model.writable[at]);
      }
    }
    u64 expected = 0;
    for (unsigned i = 0; i < size; i++) expected |= u64{model.value[access.offset + i]} << (8 * i);
    ASSERT_EQ(regs.read(access, value_of), expected) << size << " at " << access.offset;
  }
  regs.reset();
  EXPECT_EQ(regs.get(Reg::Dword), 0x89abcdefu);
}

TEST(RegisterFile, WroteHearsOfEachRegisterTouchedWithItsBytes) {
  RegisterFile<Reg, 4> regs(kRegs);
  std::vector<std::tuple<Reg, u64, u64>> heard;
  regs.write({0x00, 8}, 0x8877665544332211,
             [&](Reg reg, u64 value, u64 mask) { heard.emplace_back(reg, value, mask); });
  ASSERT_EQ(heard.size(), 3u);
  EXPECT_EQ(heard[0], std::make_tuple(Reg::Byte, u64{0x22}, u64{0xff}));
  EXPECT_EQ(heard[1], std::make_tuple(Reg::Word, u64{0x4433}, u64{0xffff}));
  // Bytes 5 to 7 of the access; the top byte stays.
  EXPECT_EQ(heard[2], std::make_tuple(Reg::Dword, u64{0x89887766}, u64{0xffffff}));
}

TEST(RegisterFile, SetWritableTellsWhatChanged) {
  RegisterFile<Reg, 4> regs(kRegs);
  EXPECT_EQ(regs.set_writable(Reg::Byte, 0xff), 0x05u);
  EXPECT_EQ(regs.get(Reg::Byte), 0x5fu);
  EXPECT_EQ(regs.set_writable(Reg::Byte, 0xff), 0u);
  regs.set(Reg::Word, 0xabcdef);
  EXPECT_EQ(regs.get(Reg::Word), 0xcdefu);
  EXPECT_EQ((RegisterFile<Reg, 4>::name_of(kRegs, Reg::Qword)), "qword");
}

TEST(RegisterFile, ALoadedValueIsNoWiderThanItsRegister) {
  RegisterFile<Reg, 4> regs(kRegs);
  StateTree tree = save_state(regs);
  for (StateTree& child : tree.children) child.integer = ~u64{0};
  ASSERT_TRUE(load_state(regs, tree).ok());
  EXPECT_EQ(regs.get(Reg::Byte), 0xffu);
  EXPECT_EQ(regs.get(Reg::Qword), ~u64{0});
}

TEST(IrqOr, OutputIsTheOrOfItsInputs) {
  std::vector<std::pair<unsigned, bool>> heard;
  IrqFunction sink([&](unsigned pin, bool level) {
    heard.emplace_back(pin, level);
    return level ? IrqStatus::Delivered : IrqStatus::Ignored;
  });
  IrqOr any(IrqLine(sink, 9));
  u64 model = 0;
  std::mt19937 random(3);
  for (int i = 0; i < 1000; i++) {
    const unsigned pin = random() % 64;
    const bool level = random() % 3 == 0;
    model = level ? model | bit(pin) : model & ~bit(pin);
    EXPECT_EQ(any.set_irq(pin, level), model ? IrqStatus::Delivered : IrqStatus::Ignored);
    ASSERT_EQ(heard.back(), std::make_pair(9u, model != 0));
    ASSERT_EQ(any.levels(), model);
  }
  const size_t before = heard.size();
  any.import(4);
  EXPECT_EQ(heard.size(), before) << "a load makes no edge";
  any.set_irq(2, false);
  EXPECT_EQ(heard.back(), std::make_pair(9u, false));
}

TEST(IrqLine, UnconnectedPulsesAndImports) {
  IrqLine nowhere;
  EXPECT_FALSE(nowhere.connected());
  EXPECT_EQ(nowhere.raise(), IrqStatus::Ignored);
  TestMachine machine;
  IrqLine line = machine.pin(3);
  EXPECT_EQ(line.pulse(), IrqStatus::Delivered);
  EXPECT_EQ(machine.pin_rises(3), 1u);
  EXPECT_FALSE(machine.pin_level(3));
  line.import(true);
  EXPECT_TRUE(line.level());
  EXPECT_EQ(machine.pin_rises(3), 1u);
}

class Latch final : public Device {
 public:
  Latch(std::string id, Device* parent = nullptr) : Device(std::move(id), parent) {}
  std::string_view type() const override { return "test-latch"; }
  void reset(ResetKind kind) override {
    value_ = 0;
    resets.push_back(kind);
  }
  void describe(StateVisitor& v) override { v.field("value", value_); }
  u64 read(Access) { return value_; }
  void write(Access, u64 value) { value_ = value; }
  Window<Latch> window{*this, &Latch::read, &Latch::write};
  Region region = Region::mmio("latch", 4, window);
  std::vector<ResetKind> resets;

 private:
  u64 value_ = 0;
};

TEST(TestMachine, PortsMemoryTimersAndRoundTrip) {
  TestMachine m;
  Latch latch("latch");
  m.io_root.map(0x80, latch.region);
  m.out16(0x80, 0x1234);
  EXPECT_EQ(m.in16(0x80), 0x1234);
  EXPECT_EQ(m.in8(0x70), 0xff);
  m.write_mem(0x1000, 4, 0xdeadbeef);
  EXPECT_EQ(m.ram->load<u32>(0x1000), 0xdeadbeefu);
  std::vector<i64> ran;
  Timer late(m.time, [&] { ran.push_back(m.time.now_ns()); });
  Timer early(m.time, [&] { ran.push_back(m.time.now_ns()); });
  late.arm(700);
  early.arm(300);
  m.step_ns(500);
  EXPECT_EQ(ran, std::vector<i64>{300});
  EXPECT_EQ(m.clock.now_ns(), 500);
  EXPECT_TRUE(m.step_to_next_timer());
  EXPECT_EQ(m.clock.now_ns(), 700);
  EXPECT_FALSE(m.step_to_next_timer());
  Latch twin("twin");
  EXPECT_TRUE(TestMachine::round_trip(latch, twin).empty());
  EXPECT_EQ(twin.read({}), 0x1234u);
}

TEST(Devices, TreeAndList) {
  Latch parent("parent");
  DeviceList list;
  {
    Latch child("child", &parent);
    EXPECT_EQ(parent.children(), std::vector<Device*>{&child});
    list.add(parent);
    list.add(child);
    list.reset(ResetKind::System);
    EXPECT_EQ(child.resets, std::vector<ResetKind>{ResetKind::System});
    EXPECT_EQ(list.find("child"), &child);
    list.remove(child);
  }
  EXPECT_TRUE(parent.children().empty());
  EXPECT_EQ(list.find("child"), nullptr);
}

}  // namespace
}  // namespace menura
