// Real firmware boots our boot sector (hello.S) from a disk and from a CD, under each accelerator
// and place of the interrupt chips that this host can run.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "accel/kvm/kvm_accelerator.h"
#include "base/fd.h"
#include "base/units.h"
#include "machine/catalogue/catalogue_tables.h"
#include "machine/machine.h"

namespace menura {
namespace {

struct Folder {
  Folder()
      : path(std::filesystem::temp_directory_path() /
             ("menura-boot-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(const char* name) const { return (path / name).string(); }
  std::filesystem::path path;
};

struct Outcome {
  int status = -1;
  std::string serial;
  std::string firmware_log;
};

NamedOptions file_chardev(std::string id, const std::string& path) {
  NamedOptions options{.name = "file", .id = std::move(id), .options = Value::object()};
  options.options.set("path", path);
  return options;
}

// Runs until the guest powers off, or for at most the seconds given (status -2); `look` sees what
// it left behind.
Outcome run(MachineConfig config, const Folder& folder, i64 seconds,
            const std::function<void(Machine&)>& look = {}) {
  config.chardevs.push_back(file_chardev("serial", folder / "serial"));
  config.chardevs.push_back(file_chardev("log", folder / "log"));
  config.serials = {"serial"};
  config.debugcon = "log";
  Outcome outcome;
  {
    auto built = Machine::build(std::move(config), catalogue());
    if (!built) {
      ADD_FAILURE() << built.error().text;
      return outcome;
    }
    Machine& machine = **built;
    Timer limit(machine.loop().host_time(), [&] { machine.loop().quit(-2); });
    {
      const MachineLock::Guard guard(machine.lock());
      limit.arm(machine.loop().host_time().now_ns() + seconds * kNsPerSecond);
      machine.cont();
    }
    outcome.status = machine.loop().run();
    const MachineLock::Guard guard(machine.lock());
    limit.cancel();
    if (look) look(machine);
  }
  outcome.serial = read_file(folder / "serial", 1 << 20).value();
  outcome.firmware_log = read_file(folder / "log", 1 << 20).value();
  return outcome;
}

struct Way {
  const char* accelerator;
  const char* irqchip;
};

class BootTest : public testing::TestWithParam<Way> {
 protected:
  MachineConfig config() {
    MachineConfig c;
    NamedOptions accel{.name = GetParam().accelerator, .id = {}, .options = Value::object()};
    if (GetParam().irqchip[0]) accel.options.set("kernel-irqchip", GetParam().irqchip);
    c.accelerators.push_back(std::move(accel));
    return c;
  }
  void SetUp() override {
    if (std::string(GetParam().accelerator) == "kvm" && ::access("/dev/kvm", R_OK | W_OK) != 0)
      GTEST_SKIP() << "SKIPPED: this host has no usable /dev/kvm";
  }
  void expect_proof(const Outcome& outcome, bool disk) {
    EXPECT_EQ(outcome.status, 0) << "serial:\n"
                                 << outcome.serial << "\nSeaBIOS:\n"
                                 << outcome.firmware_log;
    EXPECT_NE(outcome.serial.find("menura: boot sector runs"), std::string::npos) << outcome.serial;
    EXPECT_NE(outcome.serial.find("menura: timer ticks"), std::string::npos) << outcome.serial;
    if (disk) {
      EXPECT_NE(outcome.serial.find("menura: second sector read"), std::string::npos);
    }
    EXPECT_NE(outcome.firmware_log.find("SeaBIOS (version"), std::string::npos);
    EXPECT_NE(outcome.firmware_log.find("Found 1 cpu(s)"), std::string::npos);
  }
  MachineConfig kernel(const char* name, const std::string& initrd) {
    std::ofstream(folder / "initrd") << initrd;
    MachineConfig c = config();
    c.firmware.kernel = format("{}/{}", MENURA_BOOT_FOLDER, name);
    c.firmware.initrd = folder / "initrd";
    c.firmware.append = "(the command line) ";
    return c;
  }
  static constexpr i64 kSeconds = 120;
  Folder folder;
};

TEST_P(BootTest, SeaBiosBootsADisk) {
  const std::string image = folder / "disk.img";
  std::filesystem::copy_file(MENURA_BOOT_FOLDER "/hello.bin", image);
  std::filesystem::resize_file(image, 1 << 20);
  MachineConfig c = config();
  c.drives.push_back({.file = image});
  expect_proof(run(std::move(c), folder, kSeconds), true);
}

// SeaBIOS and the boot sector once more, each block of theirs translated and stepped, and compared.
TEST(LockstepTest, SeaBiosBootsADiskWithoutADifference) {
  Folder folder;
  const std::string image = folder / "disk.img";
  std::filesystem::copy_file(MENURA_BOOT_FOLDER "/hello.bin", image);
  std::filesystem::resize_file(image, 1 << 20);
  MachineConfig c;
  NamedOptions accel{.name = "jit", .id = {}, .options = Value::object()};
  accel.options.set("lockstep", "interp");
  c.accelerators.push_back(std::move(accel));
  c.drives.push_back({.file = image});
  const Outcome outcome = run(std::move(c), folder, 120);
  EXPECT_EQ(outcome.status, 0);
  EXPECT_NE(outcome.serial.find("menura: timer ticks"), std::string::npos) << outcome.serial;
}

// By the modern interface and by the legacy one; the first disk is not the one to boot from.
TEST_P(BootTest, SeaBiosBootsTheVirtioDiskOfTheLowestBootIndex) {
  for (const bool legacy : {false, true}) {
    const std::string image = folder / "disk.img", empty = folder / "empty.img";
    std::filesystem::copy_file(MENURA_BOOT_FOLDER "/hello.bin", image,
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(image, 1 << 20);
    std::ofstream(empty) << "";
    std::filesystem::resize_file(empty, 1 << 20);
    MachineConfig c = config();
    c.drives.push_back({.file = empty, .interface = DriveOptions::Interface::Virtio});
    c.drives.push_back({.file = image, .id = "boot", .interface = DriveOptions::Interface::None});
    NamedOptions disk{.name = "virtio-blk-pci", .id = "disk", .options = Value::object()};
    disk.options.set("drive", "boot");
    disk.options.set("bootindex", 3);
    disk.options.set(legacy ? "disable-modern" : "disable-legacy", legacy ? Value(true) : "on");
    c.devices.push_back(std::move(disk));
    expect_proof(run(std::move(c), folder, kSeconds), true);
  }
}

TEST_P(BootTest, SeaBiosBootsACd) {
  if (std::system("command -v xorriso >/dev/null") != 0) GTEST_SKIP() << "SKIPPED: no xorriso";
  std::filesystem::create_directory(folder.path / "cd");
  std::filesystem::copy_file(MENURA_BOOT_FOLDER "/hello.bin", folder.path / "cd" / "boot.bin");
  const std::string command = "cd " + folder.path.string() +
                              " && xorriso -as mkisofs -quiet -o cd.iso -b boot.bin -no-emul-boot "
                              "-boot-load-size 4 cd >xorriso.log 2>&1";
  ASSERT_EQ(std::system(command.c_str()), 0);
  MachineConfig c = config();
  c.drives.push_back({.file = folder / "cd.iso", .media = DriveOptions::Media::Cdrom});
  c.boot.order = "d";
  expect_proof(run(std::move(c), folder, kSeconds), false);
}

u32 pci_config(Machine& m, u32 devfn, u32 offset) {
  m.io().store({0xcf8}, 4, 0x8000'0000 | devfn << 8 | (offset & ~3u));
  return static_cast<u32>(m.io().load({0xcfc + (offset & 3)}, 1));
}

// SeaBIOS moves SMBASE into SMRAM by an SMI, and closes SMRAM behind itself.
TEST_P(BootTest, SeaBiosSetsUpSystemManagementModeWhereThereIsOne) {
  for (const OnOffAuto wanted : {OnOffAuto::Auto, OnOffAuto::Off}) {
    const std::string image = folder / "disk.img";
    std::filesystem::copy_file(MENURA_BOOT_FOLDER "/hello.bin", image,
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(image, 1 << 20);
    MachineConfig c = config();
    c.machine.smm = wanted;
    c.drives.push_back({.file = image});
    const auto look = [&](Machine& m) {
      const bool smm = wanted == OnOffAuto::Auto && m.accelerator().has_smm();
      EXPECT_EQ(pci_config(m, 0x00, 0x72), smm ? 0x0au : 0x02u) << "SMRAM: enabled, closed";
      EXPECT_EQ(pci_config(m, 0x0b, 0x5b) & 2, 2u) << "APMC_EN";
      pause_all(m.cpus());
      x86::State state;
      m.cpus()[0]->vcpu().get(state);
      EXPECT_EQ(state.smbase, smm ? 0xa'0000u : 0x3'0000u);
      EXPECT_FALSE(state.in_smm);
      EXPECT_EQ(m.memory().load({0xa'8000}, 4), 0xffff'ffffu) << "nobody sees SMRAM from outside";
      if (!smm) return;
      const u64 handler = m.smm().load({0xa'8000}, 4);
      EXPECT_TRUE(handler != 0 && handler != 0xffff'ffff) << handler;
    };
    expect_proof(run(std::move(c), folder, kSeconds, look), true);
  }
}

// The boot protocols' promises, checked by kernels of our own: the 64-bit entry of a bzImage, with
// firmware as without it, PVH and multiboot.
TEST_P(BootTest, AKernelStartsWithoutFirmware) {
  const Outcome outcome = run(kernel("kernel.bin", "(the initrd) "), folder, kSeconds);
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.serial, "(the command line) (the initrd) RSD PTR ");
  EXPECT_EQ(outcome.firmware_log, "");
}

// What the driver of virtio.c prints of such a disk.
std::string sums_of(const std::string& disk) {
  std::string text;
  for (unsigned sector = 0; sector < 32; sector++) {
    u32 sum = 0;
    for (unsigned i = 0; i < 512; i++)
      sum = std::rotl(sum, 5) + static_cast<u8>(disk[sector * 512 + i]);
    text += format("{:08x}{}", sum, sector % 8 == 7 ? "\n" : " ");
  }
  return text;
}

// The same bytes under every accelerator; and with KVM neither doorbells nor interrupts come through
// us while the driver runs.
TEST_P(BootTest, ADriverOfOurOwnUsesAVirtioDisk) {
  std::string content(1 << 20, 0);
  for (size_t i = 0; i < content.size(); i++) content[i] = static_cast<char>(i * 2654435761u >> 13);
  for (const std::string rings : {"split", "packed"}) {
    const std::string image = folder / "disk.img";
    std::ofstream(image, std::ios::trunc) << content;
    MachineConfig c = kernel("virtio.bin", "none");
    c.firmware.append = rings;
    c.drives.push_back({.file = image, .id = "d", .interface = DriveOptions::Interface::None});
    NamedOptions disk{.name = "virtio-blk-pci", .id = "disk", .options = Value::object()};
    disk.options.set("drive", "d");
    disk.options.set("disable-legacy", "on");
    disk.options.set("packed", true);
    c.devices.push_back(std::move(disk));
    const auto look = [&](Machine& m) {
      if (m.accelerator().name() != "kvm") return;
      const KvmInfo info = static_cast<KvmAccelerator&>(m.accelerator()).info();
      EXPECT_GE(info.doorbells, 1u);
      for (const KvmCount& exit : info.exits)
        if (exit.name == "MMIO") {
          // The setting up; and where the APIC is ours, each of 65 interrupts ends in an access.
          EXPECT_LT(exit.count, GetParam().irqchip == std::string("off") ? 125u : 60u);
        }
    };
    const Outcome outcome = run(std::move(c), folder, kSeconds, look);
    EXPECT_EQ(outcome.status, 0);
    EXPECT_EQ(outcome.serial, sums_of(content) + "interrupts 00000041\n") << rings;
    const std::string after = read_file(image, 1 << 21).value();
    for (unsigned sector = 0; sector < 32; sector++) {
      std::string copy = content.substr(512 * sector, 512);
      copy[0] = static_cast<char>(copy[0] ^ 0xff);
      EXPECT_TRUE(after.compare(512 * (64 + sector), 512, copy) == 0) << sector;
    }
  }
}

class OldKernelTest : public BootTest {};

// Its setup code calls the BIOS, so the firmware starts it, by our option ROM. The BIOS's own
// console writes to the same line.
TEST_P(OldKernelTest, StartsThroughTheFirmware) {
  const Outcome outcome =
      run(kernel("setup.bin", std::string("(the initrd)\0", 13)), folder, kSeconds);
  EXPECT_EQ(outcome.status, 0);
  std::string serial = outcome.serial;
  std::erase_if(serial, [](char c) { return c == '.' || c == '\r' || c == '\n'; });  // the BIOS's
  EXPECT_NE(serial.find("(the command line) |(the initrd)|"), std::string::npos) << outcome.serial;
  EXPECT_NE(outcome.firmware_log.find("SeaBIOS (version"), std::string::npos);
}

TEST_P(BootTest, PvhAndMultibootKernelsStart) {
  const std::string one = folder / "one", two = folder / "two";
  std::ofstream(one) << "module one" << '\0';
  std::ofstream(two) << "module two" << '\0';
  for (const std::string name : {"pvh.bin", "multiboot.bin"}) {
    MachineConfig c = kernel(name.c_str(), "");
    c.firmware.initrd = one + " its text," + two;
    const Outcome outcome = run(std::move(c), folder, kSeconds);
    const bool multiboot = name == "multiboot.bin";
    const std::string begin = multiboot ? MENURA_BOOT_FOLDER "/multiboot.bin " : "";
    EXPECT_EQ(outcome.status, 0) << name;
    EXPECT_EQ(outcome.serial, begin + "(the command line) |module one|" + one +
                                  " its text|module two|" + two +
                                  (multiboot ? "|menura|" : "|RSD PTR |"));
  }
}

INSTANTIATE_TEST_SUITE_P(Jit, BootTest, testing::Values(Way{"jit", ""}),
                         [](const auto&) { return std::string("user_chips"); });
INSTANTIATE_TEST_SUITE_P(Jit, OldKernelTest, testing::Values(Way{"jit", ""}),
                         [](const auto&) { return std::string("user_chips"); });
INSTANTIATE_TEST_SUITE_P(Kvm, BootTest,
                         testing::Values(Way{"kvm", "on"}, Way{"kvm", "split"}, Way{"kvm", "off"}),
                         [](const auto& info) {
                           return std::string("irqchip_") + info.param.irqchip;
                         });

}  // namespace
}  // namespace menura
