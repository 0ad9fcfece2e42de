#include "hw/testdev/pci_testdev.h"

#include "base/bytes.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr PciIdentity kIdentity{.vendor = 0x1b36,
                                .device = 0x0005,
                                .class_code = 0x00ff00,
                                .subsystem_vendor = 0x1af4,
                                .subsystem = 0x1100};
constexpr u64 kMemorySize = 4 * KiB, kIoSize = 256;
constexpr u64 kMemoryFirst = 2048, kIoFirst = 128;  // where the tests' own bytes lie
constexpr u8 kMagic = 0xfa;

enum class By : u8 { Handler, AnyWrite, MagicWrite };
constexpr std::string_view kNames[] = {"no-eventfd", "wildcard-eventfd", "datamatch-eventfd"};

}  // namespace

PciTestdev::PciTestdev(std::string id, u64 membar, Device* parent)
    : PciFunction(std::move(id), kIdentity, parent),
      memory_(Region::mmio("pci-testdev-mmio", kMemorySize, memory_window_)),
      io_(Region::mmio("pci-testdev-portio", kIoSize, io_window_)) {
  add_bar(0, BarKind::Memory32, memory_).value();
  add_bar(1, BarKind::Io, io_).value();
  if (membar == 0) return;
  membar_.reset(new Region(Region::container("pci-testdev-membar", membar)));
  add_bar(2, BarKind::Memory64Prefetchable, *membar_).value();
}

PciTestdev::~PciTestdev() { set_event(false); }

// Both BARs show the test that was selected last:
// {u8 test, u8 width, u8 pad[2], u32 offset, u8 data, u8 pad[3], u32 count, char name[]}
u64 PciTestdev::read(Access access) {
  if (current_ == kNone) return 0;
  const u8 test = current_ % kTests;
  std::string header(16, '\0');
  const Bytes bytes = writable_bytes_of(header);
  bytes[0] = static_cast<std::byte>(test);
  bytes[1] = std::byte{1};
  store_le(bytes, 4, static_cast<u32>((current_ < kTests ? kMemoryFirst : kIoFirst) + test));
  bytes[8] = std::byte{kMagic};
  store_le(bytes, 12, counts_[current_]);
  header += format("{}-{}", current_ < kTests ? "mmio" : "portio", kNames[test]);
  u64 value = 0;
  for (u64 i = 0; i < access.size; i++)
    if (const u64 at = access.offset + i; at < header.size())
      value |= u64{static_cast<u8>(header[at])} << (8 * i);
  return value;
}

void PciTestdev::write(Space space, Access access, u64 value) {
  if (access.offset == 0) {
    const u8 test = static_cast<u8>(value);
    return select(test < kTests ? static_cast<u8>(test + (space == Space::Io ? kTests : 0))
                                : kNone);
  }
  if (current_ == kNone || access.size != 1) return;
  const u8 test = current_ % kTests;
  const Space own = current_ < kTests ? Space::Memory : Space::Io;
  if (own != space || access.offset != (own == Space::Memory ? kMemoryFirst : kIoFirst) + test)
    return;
  if (static_cast<By>(test) == By::MagicWrite && static_cast<u8>(value) != kMagic) return;
  counts_[current_]++;
}

void PciTestdev::select(u8 test) {
  set_event(false);
  current_ = test;
  if (test == kNone) return;
  counts_[test] = 0;
  set_event(true);
}

// Without a descriptor to spare the handler counts, as in the first test.
void PciTestdev::set_event(bool on) {
  if (watched_) region(watched_->first).remove_io_event(watched_->second);
  watched_.reset();
  if (!on || current_ == kNone || static_cast<By>(current_ % kTests) == By::Handler) return;
  if (event_.get() < 0) {
    Result<UniqueFd> made = make_eventfd();
    if (!made) return;
    event_ = std::move(made).value();
  }
  const Space space = current_ < kTests ? Space::Memory : Space::Io;
  const u8 test = current_ % kTests;
  Region::IoEvent event{.offset = (space == Space::Memory ? kMemoryFirst : kIoFirst) + test,
                        .size = 1,
                        .fd = event_.get()};
  if (static_cast<By>(test) == By::MagicWrite) event.value = kMagic;
  watched_ = {space, event};
  region(space).add_io_event(event);
}

void PciTestdev::reset_chip(ResetKind) {
  select(kNone);
  counts_.fill(0);
}

void PciTestdev::describe_chip(StateVisitor& v) {
  v.field("current", current_);
  v.field("counts", counts_);
}

Result<void> PciTestdev::restored_chip() {
  if (current_ != kNone && current_ >= counts_.size())
    return fail(Errc::Corrupt, "Saved state of {}: there is no test {}", id(), current_);
  set_event(true);
  return {};
}

}  // namespace menura
