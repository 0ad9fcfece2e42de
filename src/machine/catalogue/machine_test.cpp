#include "machine/machine.h"

#include <gtest/gtest.h>

#include "base/units.h"
#include "machine/catalogue/catalogue_tables.h"
#include "machine/chardevs.h"

namespace menura {
namespace {

MachineConfig with_accelerator(std::string name) {
  MachineConfig config;
  config.accelerators.push_back({.name = std::move(name), .id = {}, .options = Value::object()});
  return config;
}

std::string error_of(MachineConfig config) {
  const auto machine = Machine::build(std::move(config), catalogue());
  return machine ? "no error" : machine.error().text;
}

u32 in32(Machine& m, u16 port) { return static_cast<u32>(m.io().load({port}, 4)); }

u32 config_read(Machine& m, u32 devfn, u32 offset) {
  m.io().store({0xcf8}, 4, 0x8000'0000 | devfn << 8 | offset);
  return in32(m, 0xcfc);
}

TEST(MachineTest, ThePcHasItsChips) {
  const auto machine = Machine::build(with_accelerator("qtest"), catalogue());
  ASSERT_TRUE(machine) << machine.error().text;
  Machine& m = **machine;
  const MachineLock::Guard guard(m.lock());
  EXPECT_EQ(config_read(m, 0x00, 0), 0x1237'8086u);
  EXPECT_EQ(config_read(m, 0x08, 0), 0x7000'8086u);
  EXPECT_EQ(config_read(m, 0x09, 0), 0x7010'8086u);
  EXPECT_EQ(config_read(m, 0x0b, 0), 0x7113'8086u);
  EXPECT_EQ(m.memory().load({0xffff'fff0}, 1), 0xeau) << "the BIOS's reset vector is a far jump";
  EXPECT_EQ(m.memory().load({0xf'fff0}, 1), 0xeau);
  EXPECT_EQ(m.memory().load({0xfec0'0000 + 0x10}, 4), 0u) << "IOAPIC";
  x86::State state;
  m.cpus()[0]->vcpu().get(state);
  EXPECT_EQ(state.rip, 0xfff0u);
  EXPECT_EQ(state.seg[x86::Cs].base, 0xffff'0000u);
}

TEST(MachineTest, RamIsSplitAroundThePciHole) {
  MachineConfig config = with_accelerator("qtest");
  config.memory.size = {5 * GiB};
  const auto machine = Machine::build(std::move(config), catalogue());
  ASSERT_TRUE(machine) << machine.error().text;
  AddressSpace& memory = (*machine)->memory();
  const MachineLock::Guard guard((*machine)->lock());
  memory.store({3 * GiB - 8}, 8, 0x1111);
  memory.store({4 * GiB}, 8, 0x2222);
  memory.store({6 * GiB - 8}, 8, 0x3333);
  EXPECT_EQ(memory.load({3 * GiB - 8}, 8), 0x1111u);
  EXPECT_EQ(memory.load({4 * GiB}, 8), 0x2222u);
  EXPECT_EQ(memory.load({6 * GiB - 8}, 8), 0x3333u);
  EXPECT_EQ(memory.load({3 * GiB}, 8), ~u64{0});
  EXPECT_EQ(memory.load({6 * GiB}, 8), ~u64{0});
}

TEST(MachineTest, ClosedA20WrapsTheSecondMegabyte) {
  const auto machine = Machine::build(with_accelerator("qtest"), catalogue());
  ASSERT_TRUE(machine);
  Machine& m = **machine;
  const MachineLock::Guard guard(m.lock());
  m.memory().store({0x500}, 4, 0x1234'5678);
  m.memory().store({0x10'0500}, 4, 0);
  m.io().store({0x92}, 1, 0x00);  // one gate
  EXPECT_EQ(m.memory().load({0x10'0500}, 4), 0u) << "the keyboard controller still holds it open";
  m.io().store({0x64}, 1, 0xdd);
  EXPECT_EQ(m.memory().load({0x10'0500}, 4), 0x1234'5678u);
  m.io().store({0x92}, 1, 0x02);
  EXPECT_EQ(m.memory().load({0x10'0500}, 4), 0u);
}

u32 device_activity_b(Machine& m) { return config_read(m, 0x0b, 0x58); }

TEST(MachineTest, SmmIsThereUnlessTurnedOff) {
  for (const OnOffAuto wanted : {OnOffAuto::Auto, OnOffAuto::On, OnOffAuto::Off}) {
    MachineConfig config = with_accelerator("qtest");
    config.machine.smm = wanted;
    const auto machine = Machine::build(std::move(config), catalogue());
    ASSERT_TRUE(machine) << machine.error().text;
    Machine& m = **machine;
    const MachineLock::Guard guard(m.lock());
    const bool on = wanted != OnOffAuto::Off;
    EXPECT_EQ(device_activity_b(m), on ? 0u : 0x0200'0000u) << "firmware sets up SMM only if 0";
    m.io().store({0xcf8}, 4, 0x8000'0070);
    m.io().store({0xcfe}, 1, 0x0a);  // G_SMRAME
    m.smm().store({0xa'0000}, 4, 0x1234'5678);
    EXPECT_EQ(m.smm().load({0xa'0000}, 4), on ? 0x1234'5678u : 0xffff'ffffu);
    EXPECT_EQ(m.memory().load({0xa'0000}, 4), 0xffff'ffffu);
  }
}

TEST(MachineTest, LostTickPoliciesAreRead) {
  const auto with = [](const char* driver, const char* policy) {
    MachineConfig config = with_accelerator("qtest");
    NamedOptions global{.name = driver, .id = {}, .options = Value::object()};
    global.options.set("lost_tick_policy", policy);
    config.globals.push_back(std::move(global));
    return config;
  };
  for (const char* good : {"delay", "discard"})
    EXPECT_EQ(error_of(with("kvm-pit", good)), "no error");
  for (const char* good : {"slew", "discard"})
    EXPECT_EQ(error_of(with("mc146818rtc", good)), "no error");
  EXPECT_NE(error_of(with("kvm-pit", "slew")).find("discard"), std::string::npos);
  EXPECT_NE(error_of(with("mc146818rtc", "delay")).find("slew"), std::string::npos);
}

NamedOptions memory_object(std::string id, const char* size) {
  NamedOptions object{
      .name = "memory-backend-ram", .id = std::move(id), .options = Value::object()};
  object.options.set("size", size);
  return object;
}

TEST(MachineTest, RamFromMemoryObjects) {
  MachineConfig config = with_accelerator("qtest");
  config.smp.cpus = 2;
  config.objects = {memory_object("near", "3G"), memory_object("far", "1G")};
  config.numa.nodes = {{.id = 1, .cpus = {1}, .memdev = "far"}, {.id = 0, .memdev = "near"}};
  config.numa.distances = {{.src = 0, .dst = 1, .value = 25}};
  const auto machine = Machine::build(config, catalogue());
  ASSERT_TRUE(machine) << machine.error().text;
  AddressSpace& memory = (*machine)->memory();
  const MachineLock::Guard guard((*machine)->lock());
  memory.store({3 * GiB - 8}, 8, 0x1111);
  memory.store({4 * GiB}, 8, 0x2222);
  EXPECT_EQ(memory.view()->find({3 * GiB - 8})->ram->name(), "near");
  EXPECT_EQ(memory.view()->find({4 * GiB})->ram->name(), "far");
  EXPECT_EQ(memory.view()->find({4 * GiB})->ram->load<u64>(0), 0x2222u);
  EXPECT_EQ(memory.load({5 * GiB}, 8), ~u64{0});
}

TEST(MachineTest, OneMemoryObjectIsTheRam) {
  MachineConfig config = with_accelerator("qtest");
  config.objects = {memory_object("m0", "64M")};
  config.machine.memory_backend = "m0";
  EXPECT_EQ(error_of(config), "no error");
  config.memory.size_given = true;  // -m 128M
  EXPECT_EQ(error_of(config), "-m: 128 MiB of RAM, but the memory objects have 64 MiB");
  config.machine.memory_backend = "m1";
  EXPECT_EQ(error_of(config),
            "-machine memory-backend: There is no memory object 'm1' (did you mean 'm0'?)");
}

TEST(MachineTest, TwoMachinesInOneProcessAreIndependent) {
  MachineConfig small = with_accelerator("qtest"), large = with_accelerator("qtest");
  small.memory.size = {16 * MiB};
  large.memory.size = {64 * MiB};
  const auto a = Machine::build(std::move(small), catalogue());
  const auto b = Machine::build(std::move(large), catalogue());
  ASSERT_TRUE(a && b);
  const MachineLock::Guard guard_a((*a)->lock());
  const MachineLock::Guard guard_b((*b)->lock());
  (*a)->memory().store({0x1000}, 4, 1);
  (*b)->memory().store({0x1000}, 4, 2);
  (*a)->io().store({0x80}, 1, 0x11);
  (*b)->io().store({0x80}, 1, 0x22);
  EXPECT_EQ((*a)->memory().load({0x1000}, 4), 1u);
  EXPECT_EQ((*a)->io().load({0x80}, 1), 0x11u);
  EXPECT_EQ((*b)->io().load({0x80}, 1), 0x22u);
}

TEST(MachineTest, ErrorsSayWhatIsWrongAndWhatIsNear) {
  MachineConfig config = with_accelerator("qtest");
  config.machine.type = "pcc";
  EXPECT_EQ(error_of(config),
            "There is no machine type 'pcc' (did you mean 'pc'?); -machine help lists them");
  config = with_accelerator("qtest");
  config.devices.push_back({.name = "isa-debugcom", .id = {}, .options = Value::object()});
  EXPECT_EQ(
      error_of(config),
      "-device: There is no device 'isa-debugcom' (did you mean 'isa-debugcon'?); -device help "
      "lists them");
  config = with_accelerator("qtest");
  config.firmware.bios = "/nonexistent.bin";
  EXPECT_NE(error_of(config).find("/nonexistent.bin"), std::string::npos);
  config = with_accelerator("qtest");
  config.memory.size = {512 * KiB};
  EXPECT_NE(error_of(config).find("-m:"), std::string::npos);
  config = with_accelerator("qtest");
  config.drives.push_back({.file = "/nonexistent.img"});
  EXPECT_NE(error_of(config).find("/nonexistent.img"), std::string::npos);
  config = with_accelerator("qtest");
  config.rtc.base = "2026-02-30";
  EXPECT_NE(error_of(config).find("-rtc base"), std::string::npos);
  config = with_accelerator("qtest");
  config.firmware.kernel = "/etc/hostname";
  EXPECT_NE(error_of(config).find("no kernel but"), std::string::npos);
  config.firmware.kernel.clear();
  config.firmware.append = "quiet";
  EXPECT_EQ(error_of(config), "-initrd and -append need a -kernel");
  config = with_accelerator("qtest");
  config.smp.cpus = 300;
  EXPECT_NE(error_of(config).find("255 CPUs"), std::string::npos);
}

TEST(MachineTest, BootOnceIsForTheFirstStartOnly) {
  MachineConfig config = with_accelerator("qtest");
  config.boot.order = "c";
  config.boot.once = "d";
  const auto machine = Machine::build(std::move(config), catalogue());
  ASSERT_TRUE(machine) << machine.error().text;
  Machine& m = **machine;
  const auto boot_devices = [&m] {
    const MachineLock::Guard guard(m.lock());
    m.io().store({0x70}, 1, 0x3d);
    return m.io().load({0x71}, 1);
  };
  EXPECT_EQ(boot_devices(), 0x03u) << "the CD";
  m.request_reset(Cause::GuestReset);
  (void)m.loop().run_once(0);
  EXPECT_EQ(boot_devices(), 0x02u) << "the disk";
  config = with_accelerator("qtest");
  config.boot.order = "x";
  config.boot.once = "d";
  EXPECT_NE(error_of(config).find("-boot: 'x'"), std::string::npos);
}

TEST(MachineTest, GlobalsAreDefaultsOfDevices) {
  MachineConfig config = with_accelerator("qtest");
  const auto option = [](std::string_view name, Value value) {
    Value options = Value::object();
    options.set(name, std::move(value));
    return options;
  };
  config.globals.push_back(
      {.name = "isa-debug-exit", .id = {}, .options = option("iobase", 0x600)});
  config.globals.push_back({.name = "isa-debug-exit", .id = {}, .options = option("iosize", 9)});
  config.devices.push_back({.name = "isa-debug-exit", .id = "exit", .options = Value::object()});
  EXPECT_NE(error_of(config).find("iosize must be 1 to 8, not 9"), std::string::npos);
  config.devices[0].options.set("iosize", 4);
  EXPECT_EQ(error_of(config), "no error") << "the device's own option wins";
  config.globals.push_back({.name = "PIIX4_PM", .id = {}, .options = option("disable_s5", true)});
  EXPECT_NE(error_of(config).find("disable_s5"), std::string::npos);
}

TEST(MachineTest, StopContResetShutdown) {
  auto built = Machine::build(with_accelerator("qtest"), catalogue());
  ASSERT_TRUE(built);
  Machine& m = **built;
  std::vector<std::string> events;
  {
    const MachineLock::Guard guard(m.lock());
    m.observe([&](const MachineEvent& e) { events.push_back(e.name + to_json(e.data)); });
    m.cont();
    m.io().store({0x80}, 1, 0x55);
    m.stop();
    m.cont();
    m.io().store({0xcf9}, 1, 0x02);
    m.io().store({0xcf9}, 1, 0x06);
  }
  m.loop().run_once(0);
  {
    const MachineLock::Guard guard(m.lock());
    EXPECT_EQ(m.io().load({0x80}, 1), 0u) << "reset reached the devices";
    EXPECT_TRUE(m.running());
  }
  m.request_shutdown(Cause::HostSignal);
  EXPECT_EQ(m.loop().run(), 0);
  EXPECT_EQ(events,
            (std::vector<std::string>{"RESUMEnull", "STOPnull", "RESUMEnull",
                                      R"(RESET{"guest": true, "reason": "guest-reset"})",
                                      R"(SHUTDOWN{"guest": false, "reason": "host-signal"})"}));
}

}  // namespace
}  // namespace menura
