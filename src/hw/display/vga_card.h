// VgaCard: the PCI display adapter 1234:1111: a VGA, the DISPI interface, a linear framebuffer, EDID.
//
// Owner: the board or the user. Threads: under the machine lock. Source: Bochs' VBE Display API and
// docs/specs/standard-vga of QEMU (interface): BAR 0 framebuffer, BAR 2 registers: EDID at 0, the
// ports 3C0h to 3DFh at 400h, DISPI at 500h, byte order at 604h. With Legacy::No it is the
// bochs-display: no VGA, class 0380h. Deviation: the byte order is always little.
// Example: `VgaCard vga("vga", {}, wiring);  bus.add(vga, PciBus::devfn(2, 0)).value();`
#pragma once

#include "hw/display/edid.h"
#include "hw/display/linear_painter.h"
#include "hw/display/vbe.h"
#include "hw/display/vga_core.h"
#include "hw/display/vga_painter.h"
#include "hw/pci/pci_function.h"

namespace menura {

struct VgaWiring {
  Region& io;      // the legacy ports appear here
  Region& memory;  // and the window
  TimerQueue& time;
  Displays& displays;
  // Brings the guest's writes into the dirty bitmaps; may be empty.
  std::function<void()> sync_dirty;
};

class VgaCard final : public PciFunction, private DisplaySource {
 public:
  enum class Legacy : u8 { No, Yes };
  struct Config {
    Legacy legacy = Legacy::Yes;
    bool edid = true;
    EdidMode mode = {};
  };

  // vram: a power of two of at least 64 KiB; rom: null, or of a size that a BAR can have.
  VgaCard(std::string id, const Config& config, const VgaWiring& wiring,
          std::shared_ptr<RamBlock> vram, std::shared_ptr<RamBlock> rom, Device* parent = nullptr);
  ~VgaCard() override;

  std::string_view type() const override {
    return config_.legacy == Legacy::Yes ? "VGA" : "bochs-display";
  }
  Display& display() { return display_; }

 protected:
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  void refresh(Display& display) override;
  void invalidate() override;
  void watched(bool on) override;
  std::optional<TextScreen> text() override;

  u64 read_registers(Access access);
  void write_registers(Access access, u64 value);
  u8 read_register(u64 offset);
  u64 read_vbe_port(Access access);
  void write_vbe_port(Access access, u64 value);
  void vbe_changed();
  void clear_memory(u64 bytes);

  // Configuration
  Config config_;
  std::array<u8, 128> edid_;

  // Wiring
  VgaWiring wiring_;
  std::shared_ptr<RamBlock> vram_;
  Region framebuffer_;
  Window<VgaCard> registers_window_{*this, &VgaCard::read_registers, &VgaCard::write_registers};
  Region registers_region_;
  Window<VgaCard> vbe_window_{*this, &VgaCard::read_vbe_port, &VgaCard::write_vbe_port};
  Region vbe_ports_;
  std::unique_ptr<Region> rom_;
  std::optional<VgaCore> vga_;
  VgaPainter vga_painter_;
  LinearPainter linear_painter_;
  bool watched_ = false;
  bool all_changed_ = true;
  Display display_;

  // State
  Vbe vbe_;
};

}  // namespace menura
