// A guest that rewrites configuration space over a tree with bridges: BARs, windows, bus numbers,
// messages, resets, hot plug and saved states. After each step the map and the wires must be what the
// registers say.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "hw/pci/pci_bridge.h"
#include "hw/pci/pci_config_ports.h"
#include "hw/pci/pci_conformance.h"
#include "hw/pci/pci_regs.h"
#include "hw/pci/test_card.h"
#include "state/tree.h"

namespace menura {
namespace {

void demand(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "pci_config: %s\n", what);
  std::abort();
}

class Input {
 public:
  Input(const unsigned char* bytes, size_t size) : bytes_(bytes), left_(size) {}
  bool empty() const { return left_ == 0; }
  u8 byte() {
    if (left_ == 0) return 0;
    left_--;
    return *bytes_++;
  }
  u32 dword() { return byte() | u32{byte()} << 8 | u32{byte()} << 16 | u32{byte()} << 24; }

 private:
  const unsigned char* bytes_;
  size_t left_;
};

// pci.0: card 0 and bridge a; pci.1: card 1 and bridge b; pci.2: cards 2 and 3.
class Tree {
 public:
  Tree() {
    rig_.machine.io_root.map(0xcf8, ports_.region());
    rig_.bus.add(a_, PciBus::devfn(2, 0)).value();
    PciBus& first = *a_.secondary_bus();
    first.add(b_, PciBus::devfn(1, 0)).value();
    PciBus& second = *b_.secondary_bus();
    place_ = {{{&rig_.bus, PciBus::devfn(1, 0)},
               {&first, PciBus::devfn(3, 0)},
               {&second, PciBus::devfn(4, 0)},
               {&second, PciBus::devfn(4, 1)}}};
    for (size_t i = 0; i < cards_.size(); i++) plug(i);
    for (PciBridge* bridge : {&a_, &b_}) {
      bridge->reset(ResetKind::PowerOn);
      bridge->config_write(pci::kPrimaryBus, 4, bridge == &a_ ? 0x020100 : 0x020201);
    }
  }

  void step(Input& in) {
    switch (in.byte() % 12) {
      case 0:
      case 1:
      case 2: write_config(in); break;
      case 3: write_through_ports(in); break;
      case 4: write_likely(in); break;
      case 5: access_memory(in); break;
      case 6: cards_[in.byte() % cards_.size()]->set_intx((in.byte() & 1) != 0); break;
      case 7: (void)cards_[in.byte() % cards_.size()]->msi.notify(in.byte() % 32); break;
      case 8: (void)cards_[in.byte() % cards_.size()]->msix.notify(in.byte() % 70); break;
      case 9: hot_plug(in.byte() % cards_.size()); break;
      case 10: save_and_load(in.byte()); break;
      case 11: function(in.byte()).reset(ResetKind::System); break;
    }
    check();
  }

 private:
  struct Place {
    PciBus* bus;
    u8 devfn;
  };

  void plug(size_t i) {
    cards_[i] =
        std::make_unique<TestCard>("card" + std::to_string(i), static_cast<IntxPin>(1 + i % 4));
    place_[i].bus->add(*cards_[i], place_[i].devfn).value();
    cards_[i]->reset(ResetKind::PowerOn);
  }
  void hot_plug(size_t i) {
    // Cleanly, or pulled out while it answers.
    if (i % 2 == 0) place_[i].bus->remove(*cards_[i]);
    cards_[i].reset();
    plug(i);
  }
  PciFunction& function(u8 which) {
    const std::array<PciFunction*, 6> all{
        &a_, &b_, cards_[0].get(), cards_[1].get(), cards_[2].get(), cards_[3].get()};
    return *all[which % all.size()];
  }

  void write_config(Input& in) {
    PciFunction& f = function(in.byte());
    const unsigned size = 1u << in.byte() % 3;
    const unsigned offset = in.byte() % (ConfigSpace::kSize - size + 1);
    f.config_write(offset, size, in.dword());
    (void)f.config_read(offset, size);
  }
  void write_through_ports(Input& in) {
    const u32 address = in.dword() | 0x8000'0000;
    rig_.machine.out32(0xcf8, address & 0x8003'ffff);
    const unsigned size = 1u << in.byte() % 3;
    const u64 port = 0xcf8 + in.byte() % 8;
    rig_.machine.io.store({port}, size, in.dword());
    (void)rig_.machine.io.load({port}, size);
  }
  // What a guest mostly does: a BAR or window somewhere near the others, and decoding on.
  void write_likely(Input& in) {
    PciFunction& f = function(in.byte());
    const u32 near = 0xe000'0000 | u32{in.byte()} << 16;
    if (f.header() == PciHeader::Bridge)
      f.config_write(pci::kMemoryBase, 4, (near >> 16) | (near & 0xffff'0000) | 0x0ff0'0000);
    else
      f.config_write(pci::kBar0 + 4 * (in.byte() % 5), 4, near);
    f.config_write(pci::kCommand, 2, 7);
  }
  void access_memory(Input& in) {
    const u64 at = 0xe000'0000 + (u64{in.byte()} << 16) + in.byte() * 4;
    const unsigned size = 1u << in.byte() % 4;
    rig_.machine.write_mem(at, size, in.dword());
    (void)rig_.machine.read_mem(at, size);
  }
  void save_and_load(u8 which) {
    PciFunction& f = function(which);
    const StateTree saved = save_state(f, f.id(), f.state_version());
    f.reset(ResetKind::PowerOn);
    demand(load_state(f, saved).ok() && f.restored().ok(), "its own state is refused");
    demand(save_state(f, f.id(), f.state_version()) == saved, "a state changes by loading");
  }

  void check() {
    for (u8 i = 0; i < 6; i++)
      for (const PciBar& bar : function(i).bars()) {
        if (!bar.region) continue;
        demand(bar.mapped.has_value() == bar.region->mapped(), "a BAR is on the map or not");
        demand(!bar.mapped || *bar.mapped == bar.region->address(), "a BAR is at its address");
        demand(!bar.mapped || (*bar.mapped & (bar.size - 1)) == 0, "a BAR is aligned");
      }
    std::array<bool, PciBus::kPins> expected{};
    for (const auto& card : cards_) {
      const ConfigSpace& c = std::as_const(*card).config();
      const bool quiet = (c.get16(pci::kCommand) & pci::kCommandIntxDisable) != 0 ||
                         card->msi.enabled() || card->msix.enabled() ||
                         (c.get8(card->power.offset() + 4) & 3) != 0;
      const unsigned pin = static_cast<unsigned>(card->interrupt_pin()) - 1;
      if (card->intx() && !quiet) expected[card->bus()->root_pin(card->slot(), pin)] = true;
    }
    for (unsigned pin = 0; pin < PciBus::kPins; pin++)
      demand(rig_.bus.pin_level(pin) == expected[pin], "a pin is the OR of its functions");
    (void)rig_.machine.take_msis();
  }

  PciTestBus rig_;
  PciConfigPorts ports_{rig_.bus};
  PciBridge a_{"a", "pci.1"};
  PciBridge b_{"b", "pci.2"};
  std::array<Place, 4> place_;
  std::array<std::unique_ptr<TestCard>, 4> cards_;
};

}  // namespace
}  // namespace menura

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, size_t size) {
  menura::Input in(bytes, size);
  menura::Tree tree;
  constexpr int kMaxSteps = 200;
  for (int step = 0; step < kMaxSteps && !in.empty(); step++) tree.step(in);
  return 0;
}
