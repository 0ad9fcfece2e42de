// A whole PC without CPUs, driven as a guest could: ports, mapped registers, DMA structures in RAM,
// PCI configuration, disk commands, time; and its devices saved and loaded under way. Nothing may
// crash, hang or trip an ensure(). The machine is built once; each input begins with its reset.
#include <fuzzer/FuzzedDataProvider.h>
#include <unistd.h>

#include <cstdlib>

#include "base/check.h"
#include "base/units.h"
#include "damaged_state.h"
#include "machine/catalogue/catalogue_tables.h"
#include "machine/machine.h"

namespace menura {
namespace {

constexpr unsigned kOperations = 300;
constexpr i64 kLongestStepNs = 500'000;

// A sparse file that disappears with the program.
std::string make_image(u64 size) {
  char path[] = "/tmp/menura_fuzz_XXXXXX";
  const int fd = ::mkstemp(path);
  ensure(fd >= 0 && ::ftruncate(fd, static_cast<off_t>(size)) == 0, "a temporary image");
  ::unlink(path);
  return format("/proc/self/fd/{}", fd);
}

std::unique_ptr<Machine> build_machine() {
  MachineConfig config;
  config.accelerators.push_back({.name = "qtest", .id = {}, .options = Value::object()});
  config.memory.size = {16 * MiB};
  config.smp.cpus = 2;
  config.no_shutdown = true;
  config.drives.push_back({.file = make_image(MiB)});
  config.drives.push_back({.file = make_image(256 * KiB), .media = DriveOptions::Media::Cdrom});
  config.chardevs.push_back({.name = "null", .id = "null", .options = Value::object()});
  config.serials = {"null"};
  config.devices.push_back({.name = "pci-bridge", .id = "bridge", .options = Value::object()});
  auto machine = Machine::build(std::move(config), catalogue());
  ensure(machine.ok(), "the machine is built");
  return std::move(machine).value();
}

class Guest {
 public:
  Guest(Machine& machine, FuzzedDataProvider& in) : m_(machine), in_(in) {}

  void operate() {
    switch (in_.ConsumeIntegralInRange(0, 9)) {
      case 0:
      case 1: out(port(), size(), value()); break;
      case 2: locked([&] { m_.io().load({port()}, size()); }); break;
      case 3:
        locked([&] {
          m_.memory().store({mapped()}, 1u << in_.ConsumeIntegralInRange(0, 3), value());
        });
        break;
      case 4:
        locked([&] { m_.memory().load({mapped()}, 1u << in_.ConsumeIntegralInRange(0, 3)); });
        break;
      case 5: configure(); break;
      case 6: fill_ram(); break;
      case 7: disk_command(); break;
      case 8: pass_time(); break;
      case 9: save_and_load(); break;
    }
  }

 private:
  template <class F>
  void locked(F act) {
    const MachineLock::Guard guard(m_.lock());
    act();
  }
  void out(u16 at, unsigned bytes, u64 what) {
    locked([&] { m_.io().store({at}, bytes, what); });
  }
  u16 port() {
    constexpr u16 kPorts[] = {0x20,  0xa0,  0x4d0, 0x40,  0x60,  0x64,  0x70,  0x80,
                              0x92,  0xb2,  0x1f0, 0x170, 0x376, 0x3f6, 0x3f8, 0x510,
                              0x514, 0xcf8, 0xcfc, 0x600, 0x700, 0xc000};
    if (in_.ConsumeIntegralInRange(0, 15) == 0) return in_.ConsumeIntegral<u16>();
    return static_cast<u16>(in_.PickValueInArray(kPorts) + in_.ConsumeIntegralInRange(0, 15));
  }
  unsigned size() { return 1u << in_.ConsumeIntegralInRange(0, 2); }
  u64 value() { return in_.ConsumeBool() ? in_.ConsumeIntegral<u8>() : in_.ConsumeIntegral<u64>(); }
  u64 mapped() {
    constexpr u64 kBases[] = {0xfec0'0000, 0xfed0'0000, 0xfee0'0000, 0xe000'0000,
                              0xa'0000,    0xc'0000,    0xffff'0000, 0x1000};
    return in_.PickValueInArray(kBases) + in_.ConsumeIntegral<u16>();
  }
  void configure() {
    const u32 devfn = in_.PickValueInArray<u32>({0x00, 0x08, 0x09, 0x0b, 0x10});
    out(0xcf8, 4, 0x8000'0000 | devfn << 8 | (in_.ConsumeIntegral<u8>() & 0xfcu));
    out(static_cast<u16>(0xcfc + in_.ConsumeIntegralInRange(0, 3)), size(), value());
  }
  // Descriptor tables of the bus master and of fw_cfg lie at round addresses.
  void fill_ram() {
    const std::vector<u8> content = in_.ConsumeBytes<u8>(in_.ConsumeIntegralInRange<size_t>(0, 32));
    const GuestAddr at{u64{in_.ConsumeIntegral<u8>()} << 8};
    locked([&] { (void)m_.memory().write(at, std::as_bytes(std::span(content))); });
  }
  void disk_command() {
    const u16 base = in_.ConsumeBool() ? 0x1f0 : 0x170;
    for (u16 reg = 1; reg < 6; reg++)
      out(static_cast<u16>(base + reg), 1, in_.ConsumeIntegralInRange<u8>(0, 3));
    out(static_cast<u16>(base + 6), 1, 0xe0);
    out(static_cast<u16>(base + 7), 1, in_.ConsumeIntegral<u8>());
  }
  void pass_time() {
    (void)m_.loop().run_once(0);
    const MachineLock::Guard guard(m_.lock());
    VirtualClock& clock = m_.loop().virtual_clock();
    TimerQueue& time = m_.loop().virtual_time();
    const i64 until = clock.now_ns() + in_.ConsumeIntegralInRange<i64>(0, kLongestStepNs);
    while (time.next_deadline() <= until) {
      clock.advance_to(time.next_deadline());
      (void)time.run_expired();
    }
    clock.advance_to(until);
  }
  void save_and_load() {
    const MachineLock::Guard guard(m_.lock());
    const std::vector<Device*> all = m_.all_devices();
    Device& device = *all[in_.ConsumeIntegralInRange<size_t>(0, all.size() - 1)];
    for (Device* each : all) each->pause();
    if (in_.ConsumeBool())
      load_damaged(in_, device);
    else
      must_load(device, save_device(device));
    for (Device* each : all) each->resume();
  }

  Machine& m_;
  FuzzedDataProvider& in_;
};

void start_anew(Machine& machine) {
  machine.request_reset(Cause::HostQmpSystemReset);
  while (machine.loop().run_once(0)) {}
  const MachineLock::Guard guard(machine.lock());
  machine.cont();
}

}  // namespace
}  // namespace menura

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace menura;
  static const std::unique_ptr<Machine> machine = build_machine();
  start_anew(*machine);
  FuzzedDataProvider in(data, size);
  Guest guest(*machine, in);
  for (unsigned i = 0; i < kOperations && in.remaining_bytes() > 0; i++) guest.operate();
  const MachineLock::Guard guard(machine->lock());
  machine->stop();  // requests in flight end
  return 0;
}
