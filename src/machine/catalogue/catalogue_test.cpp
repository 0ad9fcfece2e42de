// What holds for every device that a PC has or that a user can add: it comes back from a reset as it
// was, survives accesses of any size anywhere, and its state travels to a twin in the middle of work.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <random>

#include "base/units.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_function.h"
#include "machine/catalogue/catalogue_tables.h"
#include "machine/machine.h"
#include "state/tree.h"

namespace menura {
namespace {

std::string make_image(u64 size) {
  std::string path = testing::TempDir() + "menura_catalogue_XXXXXX";
  const int fd = ::mkstemp(path.data());
  EXPECT_TRUE(fd >= 0 && ::ftruncate(fd, static_cast<off_t>(size)) == 0);
  ::unlink(path.c_str());
  return format("/proc/self/fd/{}", fd);  // stays until the test program ends
}

// The variants of a virtio device share a slot, there are not so many.
std::string virtio_address(std::string_view kind) {
  constexpr std::string_view kFirst[] = {
      "virtio-blk-pci", "virtio-rng-pci",  "virtio-balloon-pci", "virtio-serial-pci",
      "virtio-net-pci", "virtio-scsi-pci", "virtio-9p-pci"};
  for (unsigned i = 0; i < std::size(kFirst); i++)
    if (kind.starts_with(kFirst[i]))
      return format("{:x}.{}", 0x1f - i,
                    kind == kFirst[i]                    ? 0
                    : kind.ends_with("non-transitional") ? 2
                                                         : 1);
  return {};
}

bool wants_drive(std::string_view kind) {
  return kind.starts_with("virtio-blk") || kind.starts_with("scsi-") || kind == "usb-storage" ||
         kind.starts_with("nvme");
}

// What each row needs to be made; a new row that needs more fails here.
Value minimal_options(std::string_view kind) {
  Value options = Value::object();
  if (kind == "ide-hd" || kind == "ide-cd") {
    options.set("drive", kind);
    options.set("bus", "ide.1");
  }
  if (wants_drive(kind)) options.set("drive", kind);
  if (kind == "nvme") options.set("serial", "S1");
  if (kind == "vmgenid") options.set("guid", "auto");
  if (const std::string addr = virtio_address(kind); !addr.empty()) options.set("addr", addr);
  if (kind.starts_with("virtio-9p")) {
    options.set("fsdev", kind);
    options.set("mount_tag", "tag");
  }
  if (kind == "isa-debugcon") options.set("chardev", "debug");
  if (kind == "isa-serial") {
    options.set("chardev", "extra");
    options.set("index", 2);
  }
  return options;
}

MachineConfig with_everything() {
  MachineConfig config;
  config.accelerators.push_back({.name = "qtest", .id = {}, .options = Value::object()});
  config.memory.size = {16 * MiB};
  config.smp.cpus = 2;
  config.action.shutdown = ShutdownAction::Pause;
  config.rtc.clock = RtcOptions::Clock::Vm;
  config.rtc.base = "2026-11-23T12:00:00";
  for (const char* id : {"com1", "debug", "extra", "console"})
    config.chardevs.push_back({.name = "null", .id = id, .options = Value::object()});
  config.serials = {"com1"};
  config.debugcon = "console";
  static const std::string disk = make_image(MiB), cd = make_image(256 * KiB);
  using Media = DriveOptions::Media;
  config.drives.push_back({.file = disk, .readonly = true});
  config.drives.push_back({.file = cd, .media = Media::Cdrom, .index = 1});
  for (const DeviceKind& kind : device_kinds()) {
    const bool is_cd = kind.name == "ide-cd" || kind.name == "scsi-cd";
    if (kind.bus == "IDE" || wants_drive(kind.name))
      config.drives.push_back({.file = is_cd ? cd : disk,
                               .id = std::string(kind.name),
                               .interface = DriveOptions::Interface::None,
                               .media = is_cd ? Media::Cdrom : Media::Disk,
                               .readonly = true});
    if (kind.name.starts_with("virtio-9p"))
      config.fsdevs.push_back(
          {.id = std::string(kind.name), .path = testing::TempDir(), .readonly = true});
    config.devices.push_back({.name = std::string(kind.name),
                              .id = "added-" + std::string(kind.name),
                              .options = minimal_options(kind.name)});
  }
  return config;
}

std::unique_ptr<Machine> build() {
  auto machine = Machine::build(with_everything(), catalogue());
  EXPECT_TRUE(machine) << machine.error().text;
  return machine ? std::move(machine).value() : nullptr;
}

// A guest without manners. Time passes only if it may.
class WildGuest {
 public:
  WildGuest(Machine& machine, unsigned seed) : m_(machine), random_(seed) {}
  void run(unsigned accesses, i64 longest_step_ns) {
    for (unsigned i = 0; i < accesses; i++) {
      access(random_() % 3 ? m_.io() : m_.memory());
      if (longest_step_ns && random_() % 16 == 0) pass_time(random_() % longest_step_ns);
      if (random_() % 64 == 0) program_pci();
    }
  }

 private:
  void access(AddressSpace& space) {
    const View view = space.view();
    const auto ranges = view->ranges();
    const FlatRange& range = ranges[random_() % ranges.size()];
    const u64 last = std::min<u64>(range.last - range.start, random_() % 4 ? 0xff : 0xffff);
    const GuestAddr at = range.start + random_() % (last + 1);
    const unsigned size = 1u << random_() % 4;
    std::array<std::byte, 7> odd{};
    switch (random_() % 4) {
      case 0: (void)space.load(at, size); break;
      case 1: (void)space.read(at, Bytes(odd).first(1 + random_() % 7)); break;
      case 2:
        for (std::byte& b : odd) b = std::byte(random_());
        (void)space.write(at, Bytes(odd).first(1 + random_() % 7));
        break;
      default: space.store(at, size, random_() % 2 ? random_() & 0xff : random_());
    }
  }
  void program_pci() {
    const std::vector<PciFunction*> functions = m_.board().pci_bus()->functions();
    const u32 devfn = functions[random_() % functions.size()]->devfn();
    m_.io().store({0xcf8}, 4, 0x8000'0000 | devfn << 8 | (random_() & 0xfc));
    m_.io().store({0xcfc}, 4, random_());
  }
  void pass_time(i64 ns) {
    VirtualClock& clock = m_.loop().virtual_clock();
    TimerQueue& time = m_.loop().virtual_time();
    const i64 until = clock.now_ns() + ns;
    while (time.next_deadline() <= until) {
      clock.advance_to(time.next_deadline());
      (void)time.run_expired();
    }
    clock.advance_to(until);
  }

  Machine& m_;
  std::mt19937_64 random_;
};

std::vector<StateTree> save_all(Machine& m) {
  std::vector<StateTree> states;
  for (Device* device : m.all_devices())
    states.push_back(save_state(*device, device->id(), device->state_version()));
  return states;
}

// What differs, but for what a battery keeps.
std::vector<std::string> differences(const std::vector<StateTree>& left,
                                     const std::vector<StateTree>& right, bool battery) {
  std::vector<std::string> found;
  if (left.size() != right.size()) return {"another number of devices"};
  for (size_t i = 0; i < left.size(); i++)
    for (const StateDifference& d : compare(left[i], right[i]))
      if (battery || left[i].name != "rtc")
        found.push_back(left[i].name + d.path + ": " + d.left + " became " + d.right);
  return found;
}

TEST(CatalogueTest, EveryRowIsMadeAndEveryDeviceHasItsName) {
  const std::unique_ptr<Machine> m = build();
  ASSERT_TRUE(m);
  const MachineLock::Guard guard(m->lock());
  std::vector<std::string> names;
  for (Device* device : m->all_devices()) names.push_back(device->id());
  for (const DeviceKind& kind : device_kinds())
    EXPECT_THAT(names, testing::Contains("added-" + std::string(kind.name)));
  std::ranges::sort(names);
  EXPECT_EQ(std::ranges::adjacent_find(names), names.end());
}

TEST(CatalogueTest, ResetBringsEveryDeviceBack) {
  const std::unique_ptr<Machine> m = build();
  ASSERT_TRUE(m);
  const auto reset = [&] {
    m->request_reset(Cause::HostQmpSystemReset);
    while (m->loop().run_once(0)) {}
    const MachineLock::Guard guard(m->lock());
    return save_all(*m);
  };
  const std::vector<StateTree> first = reset();
  for (unsigned seed = 1; seed <= 3; seed++) {
    {
      const MachineLock::Guard guard(m->lock());
      m->cont();
      WildGuest(*m, seed).run(5000, 0);  // a state may hold the time of its reset: none passes
      EXPECT_GT(differences(first, save_all(*m), false).size(), 50u) << "the guest left traces";
      m->stop();
    }
    EXPECT_THAT(differences(first, reset(), false), testing::IsEmpty()) << "seed " << seed;
  }
}

// As firmware does; the wild guest finds its two switches together too seldom.
void turn_on_ide(Machine& m) {
  constexpr u32 kIde = 0x8000'0900;
  for (const auto& [offset, value] : {std::pair{0x04u, 0x5u}, {0x40u, 0x80008000u}}) {
    m.io().store({0xcf8}, 4, kIde | offset);
    m.io().store({0xcfc}, 4, value);
  }
}

// The tests around this one say nothing of a device whose state the wild guest leaves alone.
TEST(CatalogueTest, TheWildGuestReachesEveryDeviceWithAState) {
  const std::unique_ptr<Machine> m = build();
  ASSERT_TRUE(m);
  const MachineLock::Guard guard(m->lock());
  m->cont();
  std::map<std::string, bool> touched;
  const std::vector<StateTree> first = save_all(*m);
  for (unsigned seed = 1; seed <= 200; seed++) {
    if (seed % 50 == 1) turn_on_ide(*m);
    WildGuest(*m, seed).run(5000, 200'000);
    const std::vector<StateTree> now = save_all(*m);
    ASSERT_EQ(now.size(), first.size());
    for (size_t i = 0; i < now.size(); i++)
      touched[now[i].name] |= now[i].children.empty() || !compare(first[i], now[i]).empty();
  }
  // A console's state is the byte that its character device does not take yet.
  touched.erase("debugcon");
  touched.erase("added-isa-debugcon");
  // Nobody asks for cards to come or go.
  touched.erase("acpi-pci-hotplug");
  // A virtio port's is what drivers of the real world leave.
  touched.erase("added-virtconsole");
  touched.erase("added-scsi-hd");
  touched.erase("added-scsi-cd");
  touched.erase("added-virtserialport");
  // A USB device hears only of schedules that somebody has written.
  for (const char* usb : {"added-usb-kbd", "added-usb-mouse", "added-usb-tablet", "added-usb-hub",
                          "added-usb-storage"})
    touched.erase(usb);
  std::vector<std::string> left;
  for (const auto& [name, is_touched] : touched)
    if (!is_touched) left.push_back(name);
  EXPECT_THAT(left, testing::IsEmpty());
}

TEST(CatalogueTest, EveryDevicesStateTravelsUnderWay) {
  for (unsigned seed = 1; seed <= 4; seed++) {
    const std::unique_ptr<Machine> from = build(), to = build();
    ASSERT_TRUE(from && to);
    const MachineLock::Guard from_guard(from->lock());
    const MachineLock::Guard to_guard(to->lock());
    from->cont();
    WildGuest(*from, seed).run(5000, 200'000);
    from->stop();
    to->loop().virtual_clock().restore(from->loop().virtual_clock().now_ns());
    const std::vector<StateTree> states = save_all(*from);
    const std::vector<Device*> devices = to->all_devices();
    ASSERT_EQ(devices.size(), states.size());
    for (size_t i = 0; i < devices.size(); i++) {
      const Result<void> loaded = load_state(*devices[i], states[i]);
      EXPECT_TRUE(loaded) << devices[i]->id() << ": " << loaded.error().text;
    }
    for (Device* device : devices) {
      const Result<void> restored = device->restored();
      EXPECT_TRUE(restored) << device->id() << ": " << restored.error().text;
    }
    EXPECT_THAT(differences(states, save_all(*to), true), testing::IsEmpty()) << "seed " << seed;
    // The maps derive from the states: they must be the same, too.
    EXPECT_EQ(from->io().view()->ranges().size(), to->io().view()->ranges().size());
    EXPECT_EQ(from->memory().view()->ranges().size(), to->memory().view()->ranges().size());
  }
}

}  // namespace
}  // namespace menura
