#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "base/text.h"
#include "base/units.h"
#include "control/options/config_file.h"
#include "control/options/option_table.h"
#include "control/options/program_options.h"
#include "machine/catalogue/catalogue_tables.h"

namespace menura {
namespace {

using Arguments = std::vector<std::string_view>;

Result<ProgramOptions> parse(const Arguments& arguments) {
  return parse_command_line(arguments, catalogue());
}

ProgramOptions good(const Arguments& arguments) {
  Result<ProgramOptions> options = parse(arguments);
  if (!options) ADD_FAILURE() << options.error().text;
  return options ? std::move(options).value() : ProgramOptions{};
}

std::string error(const Arguments& arguments) {
  const Result<ProgramOptions> options = parse(arguments);
  return options ? "no error" : options.error().text;
}

TEST(CommandLineTest, DescribesAMachine) {
  const ProgramOptions options = good({"-machine",   "pc,accel=kvm:qtest,hpet=off",
                                       "--smp",      "4,cores=2",
                                       "-m",         "512",
                                       "-cpu",       "host",
                                       "-bios",      "bios.bin",
                                       "-boot",      "order=dc,menu=on",
                                       "-name",      "guest=box,,one,debug-threads=on",
                                       "-uuid",      "00112233-4455-6677-8899-aabbccddeeff",
                                       "-rtc",       "base=localtime,driftfix=slew",
                                       "-S",         "-no-reboot",
                                       "-nodefaults"});
  const MachineConfig& machine = options.machine;
  EXPECT_EQ(machine.machine.type, "pc");
  EXPECT_EQ(machine.machine.accel, "kvm:qtest");
  EXPECT_EQ(machine.machine.hpet, OnOffAuto::Off);
  EXPECT_EQ(machine.smp.cpus, 4u);
  EXPECT_EQ(machine.smp.cores, 2u);
  EXPECT_EQ(machine.memory.size.bytes, 512 * MiB);
  EXPECT_EQ(machine.firmware.bios, "bios.bin");
  EXPECT_EQ(machine.boot.order, "dc");
  EXPECT_TRUE(machine.boot.menu);
  EXPECT_EQ(machine.name, "box,one");
  EXPECT_EQ(machine.uuid[1], 0x11);
  EXPECT_EQ(machine.uuid[15], 0xff);
  EXPECT_EQ(machine.rtc.driftfix, RtcOptions::DriftFix::Slew);
  EXPECT_TRUE(machine.start_paused && machine.no_defaults);
  EXPECT_TRUE(machine.serials.size() == 1 && machine.serials[0].empty());
}

TEST(CommandLineTest, MemoryObjectsAndNodes) {
  const MachineConfig machine =
      good({"-object", "memory-backend-ram,id=m0,size=1G,host-nodes=0-1,policy=bind", "-object",
            R"({"qom-type": "memory-backend-memfd", "id": "m1", "size": 1073741824})", "-numa",
            "node,nodeid=0,cpus=0,memdev=m0", "-numa", "node,nodeid=1,cpus=1-2,cpus=3,memdev=m1",
            "-numa", "dist,src=0,dst=1,val=21", "-machine", "pc,memory-backend=m0", "-m", "2G"})
          .machine;
  ASSERT_EQ(machine.objects.size(), 2u);
  EXPECT_EQ(machine.objects[0].name, "memory-backend-ram");
  EXPECT_EQ(machine.objects[1].id, "m1");
  EXPECT_EQ(machine.numa.nodes[1].cpus, (std::vector<u32>{1, 2, 3}));
  EXPECT_EQ(machine.numa.distances[0].value, 21);
  EXPECT_EQ(machine.machine.memory_backend, "m0");
  EXPECT_TRUE(machine.memory.size_given);
  EXPECT_NE(good({"-object", "memory-backend-file,help"}).answer.find("mem-path"),
            std::string::npos);
  EXPECT_NE(good({"-object", "help"}).answer.find("memory-backend-memfd"), std::string::npos);
}

TEST(CommandLineTest, WhatACpuOptionSaysOfItsAccelerator) {
  EXPECT_EQ(good({"-cpu", "host,hv-relaxed,kvm=off,tsc-frequency=2000000000"}).machine.cpu,
            "host,hv-relaxed,kvm=off,tsc-frequency=2000000000");
  EXPECT_NE(error({"-cpu", "host,kvm=perhaps"}).find("'perhaps'"), std::string::npos);
}

TEST(CommandLineTest, ReadsSizesAsQemuDoes) {
  EXPECT_EQ(good({"-m", "1G"}).machine.memory.size.bytes, GiB);
  EXPECT_EQ(good({"-m", "size=64"}).machine.memory.size.bytes, 64 * MiB);
  EXPECT_EQ(good({}).machine.memory.size.bytes, 128 * MiB);
}

TEST(CommandLineTest, PlacesDisks) {
  const auto drives =
      good({"-hdb", "b", "-cdrom", "c", "-drive", "file=d,if=none,id=x,readonly", "a"})
          .machine.drives;
  ASSERT_EQ(drives.size(), 4u);
  EXPECT_EQ(drives[0].index, 1u);
  EXPECT_EQ(drives[1].index, 2u);
  EXPECT_EQ(drives[1].media, DriveOptions::Media::Cdrom);
  EXPECT_EQ(drives[2].interface, DriveOptions::Interface::None);
  EXPECT_TRUE(drives[2].readonly);
  EXPECT_EQ(drives[3].file_name(), "a");
  EXPECT_EQ(drives[3].index, 0u);
}

TEST(CommandLineTest, KeepsTheImagesOfAllDrivesThatSayNothingElse) {
  const auto drives =
      good({"-hda", "a", "-snapshot", "-drive", "file=b,snapshot=off"}).machine.drives;
  ASSERT_EQ(drives.size(), 2u);
  EXPECT_EQ(drives[0].snapshot, true);
  EXPECT_EQ(drives[1].snapshot, false);
}

TEST(CommandLineTest, MachinesHaveTheirOwnUsbController) {
  const auto first = [](const Arguments& arguments) {
    return good(arguments).machine.devices.front();
  };
  EXPECT_EQ(first({"-usb", "-nodefaults"}).name, "piix3-usb-uhci");
  EXPECT_EQ(first({"-machine", "q35,usb=on", "-nodefaults"}).name, "qemu-xhci");
  EXPECT_TRUE(good({"-machine", "pc,usb=off", "-nodefaults"}).machine.devices.empty());
  EXPECT_NE(error({"-machine", "none", "-usb"}).find("has no USB"), std::string::npos);
  EXPECT_NE(error({"-machine", "pc,usb=perhaps"}).find("perhaps"), std::string::npos);
}

TEST(CommandLineTest, SwitchesPartsOfTheMachineOff) {
  const MachineOptions machine = good({"-no-acpi", "-no-hpet"}).machine.machine;
  EXPECT_FALSE(machine.acpi);
  EXPECT_EQ(machine.hpet, OnOffAuto::Off);
  EXPECT_EQ(good({"-machine", "pc,smm=off"}).machine.machine.smm, OnOffAuto::Off);
}

TEST(CommandLineTest, ADeviceIsWrittenAsKeysOrJson) {
  for (const std::string_view text :
       {"isa-debugcon,id=d,chardev=c,iobase=0x402",
        R"({"driver":"isa-debugcon","id":"d","chardev":"c","iobase":"0x402"})"}) {
    const auto devices = good({"-nic", "none", "-device", text}).machine.devices;
    ASSERT_EQ(devices.size(), 1u);
    EXPECT_EQ(devices[0].name, "isa-debugcon");
    EXPECT_EQ(devices[0].id, "d");
    EXPECT_EQ(to_json(devices[0].options), R"({"chardev": "c", "iobase": "0x402"})");
  }
}

const NamedOptions* chardev(const ProgramOptions& options, std::string_view id) {
  for (const NamedOptions& c : options.machine.chardevs)
    if (c.id == id) return &c;
  return nullptr;
}

TEST(CommandLineTest, WithoutADisplayTheTerminalIsConsoleAndMonitor) {
  for (const Arguments& arguments : {Arguments{}, Arguments{"-nographic"}}) {
    const ProgramOptions options = good(arguments);
    ASSERT_TRUE(chardev(options, "serial0"));
    EXPECT_EQ(to_json(chardev(options, "serial0")->options), R"({"mux": true, "signal": false})");
    ASSERT_EQ(options.monitors.size(), 1u);
    EXPECT_EQ(options.monitors[0].chardev, "serial0");
  }
  EXPECT_EQ(chardev(good({"-display", "none"}), "serial0")->name, "null");
  EXPECT_EQ(chardev(good({"-qmp", "stdio"}), "serial0")->name, "null");
  const ProgramOptions own = good({"-nographic", "-monitor", "none"});
  EXPECT_EQ(chardev(own, "serial0")->name, "stdio");
  EXPECT_TRUE(own.monitors.empty());
}

TEST(CommandLineTest, KnowsTheShortFormsOfCharacterDevices) {
  const auto json = [](std::string_view form) {
    const ProgramOptions options = good({"-serial", form});
    const NamedOptions* c = chardev(options, "serial0");
    return c ? c->name + " " + to_json(c->options) : "none";
  };
  EXPECT_EQ(json("none"), "none");
  EXPECT_EQ(json("chardev:other"), "none");
  EXPECT_EQ(good({"-serial", "chardev:other"}).machine.serials[0], "other");
  EXPECT_EQ(json("file:/a,b"), R"(file {"path": "/a,b"})");
  EXPECT_EQ(json("unix:/s,server,nowait"),
            R"(socket {"server": "on", "wait": "off", "path": "/s"})");
  EXPECT_EQ(json("tcp:[::1]:55,server=on"),
            R"(socket {"server": "on", "host": "::1", "port": "55"})");
  EXPECT_EQ(json("tcp::55"), R"(socket {"port": "55"})");
  EXPECT_EQ(json("mon:unix:/s"), R"(socket {"path": "/s", "mux": true})");
}

TEST(CommandLineTest, MonitorsSpeakEitherLanguage) {
  const ProgramOptions options =
      good({"-chardev", "null,id=c", "-mon", "c,mode=control", "-qmp", "null", "-monitor", "null"});
  ASSERT_EQ(options.monitors.size(), 3u);
  EXPECT_EQ(options.monitors[0].mode, MonitorOptions::Mode::Control);
  EXPECT_EQ(options.monitors[1].chardev, "compat_monitor1");
  EXPECT_EQ(options.monitors[2].mode, MonitorOptions::Mode::Readline);
}

TEST(CommandLineTest, TellsWhatIsWrong) {
  EXPECT_EQ(error({"-machin", "pc"}), "No option is called '-machin' (did you mean '-machine'?)");
  EXPECT_EQ(error({"--smpp"}), "No option is called '--smpp' (did you mean '-smp'?)");
  EXPECT_EQ(error({"-m"}), "-m: expected [size=]SIZE behind it");
  struct Wrong {
    Arguments arguments;
    std::vector<std::string_view> parts;  // all in the error
  };
  const Wrong cases[] = {
      {{"-machine", "pcc"}, {"-machine", "pcc", "pc"}},
      {{"-M", "pc,hpt=off"}, {"-M", "hpt", "did you mean 'hpet'"}},
      {{"-machine", "pc,acpi=maybe"}, {"acpi", "on or off", "maybe"}},
      {{"-accel", ""}, {"-accel", "accel"}},
      {{"-cpu", "hostt"}, {"-cpu", "did you mean 'host'"}},
      {{"-cpu", "Haswel"}, {"-cpu", "did you mean 'Haswell'"}},
      {{"-cpu", "max,+avx3"}, {"-cpu", "did you mean 'avx'"}},
      {{"-smp", "many"}, {"-smp", "cpus", "number", "many"}},
      {{"-smp", "2,core=2"}, {"-smp", "did you mean 'cores'"}},
      {{"-m", "lots"}, {"-m", "size", "lots"}},
      {{"-m", "64,sice=1"}, {"-m", "did you mean 'size'"}},
      {{"-mem-path", ""}, {"-mem-path", "a path"}},
      {{"-bios", ""}, {"-bios", "a file"}},
      {{"-kernel", ""}, {"-kernel", "a file"}},
      {{"-initrd", ""}, {"-initrd", "a file"}},
      {{"-boot", "q"}, {"-boot", "letters", "q"}},
      {{"-boot", "menue=on"}, {"-boot", "did you mean 'menu'"}},
      {{"-rtc", "clok=vm"}, {"-rtc", "did you mean 'clock'"}},
      {{"-name", "a,gest=b"}, {"-name", "did you mean 'guest'"}},
      {{"-uuid", "123"}, {"-uuid", "8-4-4-4-12", "123"}},
      {{"-uuid", "g0112233-4455-6677-8899-aabbccddeeff"}, {"-uuid", "hexadecimal"}},
      {{"-drive", "fil=x"}, {"-drive", "did you mean 'file'"}},
      {{"-drive", "file=x,if=idd"}, {"-drive", "if", "ide"}},
      {{"-hda", ""}, {"-hda", "a file"}},
      {{"-cdrom", ""}, {"-cdrom", "a file"}},
      {{"-device", "isa-serail"}, {"-device", "did you mean 'isa-serial'"}},
      {{"-device", "{\"driver\":3}"}, {"-device", "driver", "string"}},
      {{"-device", "{\"driver\""}, {"-device", "JSON"}},
      {{"-device", ""}, {"-device", "driver"}},
      {{"-global", "what"}, {"-global", "DRIVER.PROPERTY=VALUE"}},
      {{"-chardev", "id=x"}, {"-chardev", "backend"}},
      {{"-serial", "stdo"}, {"-serial", "stdio", "stdo"}},
      {{"-serial", "tcp:host"}, {"-serial", "tcp:[HOST]:PORT"}},
      {{"-serial", "unix:"}, {"-serial", "path"}},
      {{"-debugcon", "x"}, {"-debugcon", "x"}},
      {{"-monitor", "x"}, {"-monitor", "x"}},
      {{"-qmp", "x"}, {"-qmp", "x"}},
      {{"-mon", "c,mode=contol"}, {"-mon", "mode", "control"}},
      {{"-mon", "mode=control"}, {"-mon", "chardev"}},
      {{"-display", "gtk"}, {"-display", "none", "gtk"}},
      {{"-pidfile", ""}, {"-pidfile", "a file"}},
      {{"-d", "guest_eror"}, {"-d", "did you mean 'guest_errors'"}},
      {{"-d", "in_asn"}, {"-d", "did you mean 'in_asm'"}},
      {{"-dfilter", "5..1"}, {"-dfilter", "empty"}},
      {{"-D", ""}, {"-D", "a file"}},
      {{"-trace", "machine.startupp"}, {"-trace", "did you mean 'machine.startup'"}},
      {{"-msg", "timestampp=on"}, {"-msg", "did you mean 'timestamp'"}},
      {{"-qtest", "x"}, {"-qtest", "x"}},
      {{"-qtest-log", ""}, {"-qtest-log", "none"}},
  };
  for (const Wrong& wrong : cases) {
    const std::string text = error(wrong.arguments);
    for (const std::string_view part : wrong.parts)
      EXPECT_NE(text.find(part), std::string::npos)
          << join(wrong.arguments, " ") << " gives: " << text << " (without " << part << ")";
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  }
}

TEST(CommandLineTest, EveryOptionIsInTheHelpAndWithoutItsArgumentAnError) {
  const std::string help = good({"-help"}).answer;
  for (const Option& option : option_table()) {
    const std::string name = "-" + std::string(option.name);
    EXPECT_NE(help.find("\n" + name), std::string::npos) << name;
    if (!option.argument.empty()) {
      EXPECT_NE(error({name}).find(name), std::string::npos);
    }
    if (option.topic) {
      EXPECT_FALSE(good({name, "help"}).answer.empty()) << name;
    }
  }
}

TEST(CommandLineTest, HelpComesFromTheCatalogue) {
  const auto contains = [](const Arguments& arguments, std::string_view part) {
    EXPECT_NE(good(arguments).answer.find(part), std::string::npos) << part;
  };
  contains({"-machine", "help"}, "pc-i440fx-8.2");
  contains({"-accel", "help"}, "kvm");
  contains({"-device", "?"}, "name \"isa-debug-exit\", bus ISA");
  contains({"-device", "isa-debug-exit,help"}, "iobase=<uint16>");
  contains({"-chardev", "help"}, "ringbuf");
  contains({"-chardev", "socket,help"}, "reconnect");
  contains({"-version"}, "QEMU emulator version 8.2.0 (menura ");
  contains({"-trace", "help"}, "machine.startup");
}

TEST(ConfigFileTest, GroupsAreOptions) {
  const auto groups = parse_config_file(
      "# a comment\n[machine]\n  type = \"pc\"\n\n[chardev \"c0\"]\nbackend = \"file\"\n path = "
      "\"/a,b\"\n");
  ASSERT_TRUE(groups) << groups.error().text;
  ASSERT_EQ(groups->size(), 2u);
  EXPECT_EQ((*groups)[0].option, "machine");
  EXPECT_EQ((*groups)[0].argument, "type=pc");
  EXPECT_EQ((*groups)[1].argument, "id=c0,backend=file,path=/a,,b");
  EXPECT_EQ((*groups)[1].line, 5u);
  for (const std::string_view bad :
       {"type = \"pc\"", "[machine", "[]", "[chardev c0]", "[machine]\ntype",
        "[machine]\ntype = pc", "[machine]\ntype = \"p\"c\""})
    EXPECT_NE(parse_config_file(bad).error().text.find("line "), std::string::npos) << bad;
}

TEST(ConfigFileTest, IsReadAsIfTyped) {
  const std::string path = testing::TempDir() + "menura_readconfig";
  const auto write = [&](std::string_view text) {
    std::ofstream(path) << text;
    return parse_command_line(std::vector<std::string_view>{"-readconfig", path}, catalogue());
  };
  const auto options = write(
      "[machine]\naccel = \"qtest\"\n[m]\nsize = \"64\"\n[chardev \"c0\"]\nbackend = \"null\"\n"
      "[device]\ndriver = \"isa-serial\"\nchardev = \"c0\"\n");
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_EQ(options->machine.machine.accel, "qtest");
  EXPECT_EQ(options->machine.memory.size.bytes, 64u << 20);
  EXPECT_EQ(options->machine.devices.back().name, "isa-serial");
  EXPECT_NE(write("[devise]\ndriver = \"isa-serial\"\n").error().text.find("did you mean"),
            std::string::npos);
  EXPECT_NE(write("[readconfig]\nfile = \"x\"\n").error().text.find("no properties"),
            std::string::npos);
  EXPECT_NE(write("\n[m]\nsize = \"x\"\n").error().text.find("line 2"), std::string::npos);
}

TEST(CommandLineTest, MakesNetworks) {
  const MachineConfig user =
      good({"-netdev", "user,id=n0,hostfwd=tcp::2222-:22,hostfwd=udp::53-:53,net=10.1.0.0/16",
            "-netdev", R"({"type":"dgram","id":"n1","local":{"type":"fd","str":"5"}})"})
          .machine;
  ASSERT_EQ(user.netdevs.size(), 2u);
  EXPECT_EQ(user.netdevs[0].name, "user");
  EXPECT_EQ(user.netdevs[0].id, "n0");
  EXPECT_EQ(to_json(*user.netdevs[0].options.find("hostfwd")),
            R"(["tcp::2222-:22", "udp::53-:53"])");
  EXPECT_EQ(to_json(*user.netdevs[0].options.find("net")), R"("10.1.0.0/16")");
  EXPECT_EQ(user.netdevs[1].name, "dgram");
  EXPECT_TRUE(user.devices.empty());
  EXPECT_NE(error({"-netdev", "usr,id=n0"}).find("user"), std::string::npos);
  EXPECT_NE(error({"-netdev", "user"}).find("id"), std::string::npos);
}

TEST(CommandLineTest, GivesGuestForwardsACharacterDevice) {
  const MachineConfig machine =
      good({"-netdev",
            "user,id=n0,guestfwd=tcp:10.0.2.100:80-file:/tmp/x,guestfwd=:10.0.2.4:1-cmd:cat"})
          .machine;
  EXPECT_EQ(to_json(*machine.netdevs.at(0).options.find("guestfwd")),
            R"(["tcp:10.0.2.100:80-chardev:guestfwd-n0-0", ":10.0.2.4:1-cmd:cat"])");
  ASSERT_EQ(std::ranges::count(machine.chardevs, "guestfwd-n0-0", &NamedOptions::id), 1);
}

TEST(CommandLineTest, ListsNetworkBackEnds) {
  EXPECT_NE(good({"-netdev", "help"}).answer.find("\nhubport\n"), std::string::npos);
  EXPECT_NE(good({"-netdev", "tap,help"}).answer.find("vnet_hdr"), std::string::npos);
  EXPECT_TRUE(good({"-nic", "none"}).machine.netdevs.empty());
  EXPECT_TRUE(good({"-net", "none"}).machine.netdevs.empty());
  EXPECT_TRUE(good({"-nodefaults"}).machine.netdevs.empty());
}

}  // namespace
}  // namespace menura
