// MachineConfig: everything a user can say about a machine, in the shape of QEMU's options. The
// command line, the monitor and a JSON file fill the same struct.
//
// Owner: the program; consumed by Machine::build(). Threads: a value. Every member that users name
// is a property (state/properties.h), so help and errors derive from here. Example:
//   MachineConfig config;  config.memory.size = {512 * MiB};  auto m = TRY(Machine::build(config));
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "audio/audiodev.h"
#include "base/units.h"
#include "machine/numa_options.h"
#include "share/config.h"
#include "state/properties.h"

namespace menura {

enum class OnOffAuto : u8 { Off, On, Auto };
std::span<const std::string_view> enum_names(OnOffAuto);

enum class IrqchipChoice : u8 { Off, On, Split, Auto };
std::span<const std::string_view> enum_names(IrqchipChoice);

// -machine
struct MachineOptions {
  std::string type = "pc";
  std::string accel;  // "kvm:tcg": tried in this order, when no -accel is given
  IrqchipChoice kernel_irqchip = IrqchipChoice::Auto;
  OnOffAuto hpet = OnOffAuto::On;
  OnOffAuto smm = OnOffAuto::Auto;
  bool acpi = true;
  bool hmat = false;
  std::optional<Size> max_ram_below_4g;
  std::string memory_backend;
  std::array<std::string, 2> pflash;  // nodes or drives: the system flash
  bool dump_guest_core = true;
  std::string pcspk_audiodev;  // empty: the loudspeaker is mute
  void describe(PropertyVisitor& p);
};

// -m
struct MemoryOptions {
  Size size{128 * MiB};
  // -mem-path and -mem-prealloc
  std::string path;
  bool preallocate = false;
  bool share = false;
  bool size_given = false;  // else the memory objects say how much there is
  void describe(PropertyVisitor& p);
};

// -smp; zero: not given.
struct SmpOptions {
  u32 cpus = 0;
  u32 maxcpus = 0;
  u32 sockets = 0;
  u32 dies = 0;
  u32 cores = 0;
  u32 threads = 0;
  void describe(PropertyVisitor& p);
};

// What -smp comes to.
struct Topology {
  u32 cpus = 1;      // present at start
  u32 max_cpus = 1;  // sockets * dies * cores * threads
  u32 sockets = 1;
  u32 dies = 1;
  u32 cores = 1;
  u32 threads = 1;

  // Bits of the APIC ID below each level (Intel SDM vol. 3 §9.9.1): each field is as wide as its
  // count needs.
  u32 apic_id(u32 cpu_index) const;
  bool operator==(const Topology&) const = default;
};

// Fills in what was not said: first sockets, then cores, then threads are given the rest. Errors
// show the arithmetic.
Result<Topology> resolve_topology(const SmpOptions& options, u32 machine_limit);

// -rtc
struct RtcOptions {
  enum class Clock : u8 { Host, Rt, Vm };
  std::string base = "utc";  // utc, localtime, or a date: 2026-11-23T12:00:00
  Clock clock = Clock::Host;
  enum class DriftFix : u8 { None, Slew };
  DriftFix driftfix = DriftFix::None;
  void describe(PropertyVisitor& p);
};
std::span<const std::string_view> enum_names(RtcOptions::Clock);
std::span<const std::string_view> enum_names(RtcOptions::DriftFix);

// -boot
struct BootOptions {
  std::string order;  // letters: a b floppies, c disk, d CD, n network
  std::string once;
  bool menu = false;
  std::optional<u32> splash_time_ms;
  std::optional<i32> reboot_timeout_ms;
  bool strict = false;
  void describe(PropertyVisitor& p);
};

// What follows when the guest asks for an end or comes to one: -action, set-action.
enum class RebootAction : u8 { Reset, Shutdown };
enum class ShutdownAction : u8 { Poweroff, Pause };
enum class PanicAction : u8 { Pause, Shutdown, ExitFailure, None };
enum class WatchdogAction : u8 { Reset, Shutdown, Poweroff, Pause, Debug, None, InjectNmi };
std::span<const std::string_view> enum_names(RebootAction);
std::span<const std::string_view> enum_names(ShutdownAction);
std::span<const std::string_view> enum_names(PanicAction);
std::span<const std::string_view> enum_names(WatchdogAction);

struct ActionOptions {
  RebootAction reboot = RebootAction::Reset;
  ShutdownAction shutdown = ShutdownAction::Poweroff;
  PanicAction panic = PanicAction::Shutdown;
  WatchdogAction watchdog = WatchdogAction::Reset;
  void describe(PropertyVisitor& p);
};

// -drive, -hda, -cdrom
struct DriveOptions {
  enum class Interface : u8 { Ide, Pflash, None, Virtio, Floppy };
  enum class Media : u8 { Disk, Cdrom };
  // The caches between guest and disk, as one word: none, writeback, writethrough, directsync, unsafe.
  enum class Cache : u8 { None, Writeback, Writethrough, Directsync, Unsafe };
  enum class Discard : u8 { Ignore, Unmap, Off, On };
  enum class DetectZeroes : u8 { Off, On, Unmap };
  Value file;    // a name, or with dotted keys the options of the node below
  Value driver;  // with them: the driver of the top node
  std::string id;
  Interface interface = Interface::Ide;
  Media media = Media::Disk;
  std::optional<u32> index;  // place on its interface; or bus and unit
  std::optional<u32> bus, unit;
  std::string format;  // empty: by the first bytes
  bool readonly = false;
  std::optional<bool> snapshot;  // writes go to a file that is gone afterwards
  Cache cache = Cache::Writeback;
  std::string aio;  // "threads", "native", "io_uring"
  Discard discard = Discard::Ignore;
  DetectZeroes detect_zeroes = DetectZeroes::Off;
  std::string serial;
  void describe(PropertyVisitor& p);
  // Its place on an interface whose buses have so many units each; empty: nothing was said. Error:
  // index together with bus or unit, or a unit past the bus's.
  Result<std::optional<u32>> place(u32 units) const;
  // For people and error texts.
  std::string file_name() const;
};
std::span<const std::string_view> enum_names(DriveOptions::Cache);
std::span<const std::string_view> enum_names(DriveOptions::Discard);
std::span<const std::string_view> enum_names(DriveOptions::DetectZeroes);
std::span<const std::string_view> enum_names(DriveOptions::Interface);
std::span<const std::string_view> enum_names(DriveOptions::Media);

// A choice with its own options, read by whoever implements it: -accel, -device, -chardev.
struct NamedOptions {
  std::string name;  // "kvm", "isa-serial", "socket"
  std::string id;
  Value options = Value::object();  // without name and id
};

struct FirmwareOptions {
  std::string bios;  // a file name, searched among the firmware folders, or a path
  std::string kernel;
  std::string initrd;
  std::string append;
  // -smbios and -acpitable, as given.
  std::vector<std::string> smbios;
  std::vector<std::string> acpi_tables;
};

struct MachineConfig {
  std::string name;  // -name guest=
  std::array<u8, 16> uuid{};
  MachineOptions machine;
  std::vector<NamedOptions> accelerators;  // in order of preference; empty: machine.accel, or all
  std::string cpu;                         // "qemu64,+aes"; empty: the machine's default
  MemoryOptions memory;
  SmpOptions smp;
  RtcOptions rtc;
  BootOptions boot;
  FirmwareOptions firmware;
  std::vector<Value> blockdevs;  // -blockdev, as given
  std::vector<DriveOptions> drives;
  NumaOptions numa;
  std::vector<NamedOptions> chardevs;
  std::vector<NamedOptions> netdevs;
  std::vector<ShareOptions> fsdevs;
  std::vector<AudioOptions> audiodevs;
  std::vector<NamedOptions> devices;
  std::vector<NamedOptions> objects;  // -object; name: the type
  std::vector<std::string> serials;   // chardev ids, "" for none: the board's ports in order
  std::string debugcon;               // chardev id for port 402h
  std::string vga;                    // -vga: "std", "none", ...; empty: the board's own
  std::vector<NamedOptions> globals;  // name: driver; options: defaults of its properties
  bool start_paused = false;          // -S
  ActionOptions action;               // -no-reboot and -no-shutdown too
  bool no_defaults = false;

  // Whether a memory object is to be a part of the RAM.
  bool uses_memory(std::string_view id) const;
  // What a user gave a device of this kind, over what -global says for all of them.
  Value with_globals(std::string_view driver, Value given = Value::object()) const;
};

// The places where distributions keep firmware, in the order searched.
Result<std::string> find_firmware(const std::string& name);

}  // namespace menura
