#include "hw/pci/pci_conformance.h"

#include <algorithm>
#include <array>

#include "base/bits.h"
#include "base/format.h"
#include "base/units.h"
#include "hw/pci/pci_regs.h"

namespace menura {

namespace {

using Snapshot = std::array<u8, ConfigSpace::kSize>;

class Checker {
 public:
  Checker(PciFunction& function, const std::vector<ConfigExemption>& exempt)
      : f_(function), exempt_(exempt) {}

  std::vector<std::string> run() {
    f_.reset(ResetKind::PowerOn);
    first_ = snapshot();
    check_header();
    check_sizes();
    check_bits();
    check_bars();
    check_capabilities();
    f_.reset(ResetKind::System);
    if (snapshot() != first_) problem("a reset does not bring the first values back");
    return std::move(problems_);
  }

 private:
  template <class... Args>
  void problem(fmt::format_string<Args...> pattern, Args&&... args) {
    problems_.push_back(f_.id() + ": " + fmt::vformat(pattern, fmt::make_format_args(args...)));
  }

  Snapshot snapshot() {
    Snapshot bytes;
    for (unsigned i = 0; i < bytes.size(); i++) bytes[i] = static_cast<u8>(f_.config_read(i, 1));
    return bytes;
  }

  void check_header() {
    const PciIdentity& is = f_.identity();
    const u32 id = f_.config_read(pci::kVendorId, 4);
    if (id != (is.vendor | u32{is.device} << 16) || is.vendor == 0xffff)
      problem("shows vendor and device {:#010x}", id);
    const u32 class_revision = f_.config_read(pci::kRevisionId, 4);
    if (class_revision != (is.revision | is.class_code << 8))
      problem("shows class and revision {:#010x}", class_revision);
    const u32 type = f_.config_read(pci::kHeaderType, 1) & 0x7f;
    if (type != static_cast<u32>(f_.header())) problem("shows header type {}", type);
    if ((f_.config_read(pci::kCommand, 2) & (pci::kCommandIo | pci::kCommandMemory)) != 0)
      for (const PciBar& bar : f_.bars())
        if (bar.region) problem("decodes its BARs after reset");
  }

  // Wider reads are the bytes, at every alignment.
  void check_sizes() {
    const Snapshot bytes = snapshot();
    for (unsigned size : {2u, 4u}) {
      for (unsigned at = 0; at + size <= bytes.size(); at++) {
        u32 expected = 0;
        for (unsigned i = 0; i < size; i++) expected |= u32{bytes[at + i]} << (8 * i);
        const u32 value = f_.config_read(at, size);
        if (value != expected) problem("{} bytes at {:#x} read {:#x}", size, at, value);
      }
    }
  }

  bool exempt(unsigned at, unsigned size) const {
    return std::ranges::any_of(exempt_, [&](const ConfigExemption& e) {
      return at < e.offset + e.size && e.offset < at + size;
    });
  }

  void check_bits() {
    for (unsigned size : {1u, 2u, 4u})
      for (unsigned at = 0; at + size <= ConfigSpace::kSize; at++)
        for (u32 pattern : {0xffff'ffffu, 0u, 0x5aa5'c33cu}) check_write(at, size, pattern);
  }

  void check_write(unsigned at, unsigned size, u32 pattern) {
    f_.reset(ResetKind::PowerOn);
    const u32 mask = static_cast<u32>(low_mask(8 * size));
    const u32 before = f_.config_read(at, size);
    f_.config_write(at, size, pattern & mask);
    const u32 after = f_.config_read(at, size);
    const ConfigSpace& c = std::as_const(f_).config();
    const u32 writable = c.writable(at, size);
    const u32 may_change = writable | c.w1c(at, size) | c.hardware(at, size);
    if (((before ^ after) & ~may_change & mask) != 0)
      problem("read-only bits change: {} bytes at {:#x}, {:#x} to {:#x}", size, at, before, after);
    if (!exempt(at, size) && ((after ^ pattern) & writable) != 0)
      problem("writable bits do not take {:#x}: {} bytes at {:#x} read {:#x}", pattern, size, at,
              after);
  }

  void check_bars() {
    f_.reset(ResetKind::PowerOn);
    for (unsigned i = 0; i < PciFunction::kBars; i++)
      if (f_.bars()[i].region) check_bar(i);
  }

  void check_bar(unsigned index) {
    const PciBar& bar = f_.bars()[index];
    const bool wide = bar.kind == BarKind::Memory64 || bar.kind == BarKind::Memory64Prefetchable;
    const bool rom = bar.kind == BarKind::Rom;
    const bool io = bar.kind == BarKind::Io;
    if (bar.mapped) problem("BAR {} answers after reset", index);
    // The sizing protocol, §6.2.5.1.
    f_.config_write(bar.offset, 4, 0xffff'ffff);
    if (wide) f_.config_write(bar.offset + 4, 4, 0xffff'ffff);
    u64 sized = f_.config_read(bar.offset, 4) & (io ? ~3u : rom ? ~1u : ~15u);
    sized |= wide ? u64{f_.config_read(bar.offset + 4, 4)} << 32 : 0xffff'ffff'0000'0000;
    const u64 size = ~sized + 1;
    if (size != bar.size) problem("BAR {} sizes as {:#x}, has {:#x}", index, size, bar.size);
    // Decoding, at an address of the right alignment.
    const u64 at = wide ? std::max<u64>(bar.size, u64{1} << 36) : io ? bar.size * 2 : 0x8000'0000;
    if (io && at + bar.size > 0x10000) return;
    f_.config_write(bar.offset, 4, static_cast<u32>(at) | (rom ? 1 : 0));
    if (wide) f_.config_write(bar.offset + 4, 4, static_cast<u32>(at >> 32));
    if (bar.mapped) problem("BAR {} answers without its command bit", index);
    f_.config_write(pci::kCommand, 2, io ? pci::kCommandIo : pci::kCommandMemory);
    if (bar.mapped != at || !bar.region->mapped() || bar.region->address() != at)
      problem("BAR {} does not answer at {:#x}", index, at);
    f_.config_write(pci::kCommand, 2, io ? pci::kCommandMemory : pci::kCommandIo);
    if (bar.mapped || bar.region->mapped())
      problem("BAR {} answers to the other command bit", index);
    f_.config_write(pci::kCommand, 2, pci::kCommandMemory | pci::kCommandIo);
    f_.reset(ResetKind::System);
    if (bar.mapped || bar.region->mapped()) problem("BAR {} survives a reset", index);
  }

  void check_capabilities() {
    f_.reset(ResetKind::PowerOn);
    const bool has = (f_.config_read(pci::kStatus, 2) & pci::kStatusCapabilities) != 0;
    unsigned at = f_.config_read(pci::kCapabilities, 1);
    if (has != (at != 0)) problem("the capability bit and pointer disagree");
    for (unsigned n = 0; has && at != 0; n++) {
      if (n == 48 || at < 0x40 || at % 4 != 0) {
        problem("the capability list goes astray at {:#x}", at);
        return;
      }
      at = f_.config_read(at + 1, 1);
    }
  }

  PciFunction& f_;
  const std::vector<ConfigExemption>& exempt_;
  Snapshot first_{};
  std::vector<std::string> problems_;
};

}  // namespace

std::vector<std::string> check_pci_function(PciFunction& function,
                                            const std::vector<ConfigExemption>& exempt) {
  return Checker(function, exempt).run();
}

void PciConformanceRig::plug(PciFunction& function, u8 devfn) {
  bus.add(function, devfn).value();
  function_ = &function;
  machine.memory_root.map(kConfig, config_, PciBus::kPriority + 1);
}

void PciConformanceRig::program() {
  u32 memory = 0xe000'0000;
  u32 io = 0xc000;
  u32 above = 0x10;  // in units of 4 GiB
  for (const PciBar& bar : function_->bars()) {
    if (!bar.region) continue;
    if (bar.size > 256 * MiB) {
      function_->config_write(bar.offset + 4, 4, above);
      above *= 2;
      continue;
    }
    u32& next = bar.kind == BarKind::Io ? io : memory;
    next = align_up(next, static_cast<u32>(bar.size));
    function_->config_write(bar.offset, 4, next | (bar.kind == BarKind::Rom ? 1 : 0));
    next += static_cast<u32>(bar.size);
  }
  function_->config_write(pci::kCommand, 2,
                          pci::kCommandIo | pci::kCommandMemory | pci::kCommandBusMaster);
}

u64 PciConformanceRig::read_config(Access access) {
  if (access.offset + access.size > ConfigSpace::kSize) return 0;
  return function_->config_read(static_cast<unsigned>(access.offset), access.size);
}

void PciConformanceRig::write_config(Access access, u64 value) {
  if (access.offset + access.size > ConfigSpace::kSize) return;
  function_->config_write(static_cast<unsigned>(access.offset), access.size,
                          static_cast<u32>(value));
}

}  // namespace menura
