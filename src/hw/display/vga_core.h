// VgaCore: IBM's VGA: its ports, the window at A0000h, and the planes behind it.
//
// Owner: the card that carries it (VgaCard). Threads: under the machine lock. Source: see
// vga_registers.h. Memory is kept with byte n of plane p at 4 * n + p, so that chained memory lies
// straight and the screen's line of any mode is a straight run. While the window is nothing but
// memory (256 colours, chained, no logic on the way) it is mapped as such, without exits.
// Deviations: the cursor and characters do not blink; light pen and interrupt are absent.
// Example:
//   VgaCore vga("vga", vram, time);
//   vga.map_ports(io_root);  pci_memory.map(0xa0000, vga.window());
#pragma once

#include <memory>

#include "event/timer.h"
#include "hw/core/window.h"
#include "hw/display/vga_registers.h"
#include "memory/region.h"

namespace menura {

class VgaCore {
 public:
  static constexpr u64 kWindow = 0xa'0000;
  static constexpr u64 kWindowSize = 128 * 1024;

  // vram has a power of two of bytes and is shown by vram_region, too.
  VgaCore(std::string name, Region& vram_region, TimerQueue& time);
  virtual ~VgaCore();
  VgaCore(const VgaCore&) = delete;
  VgaCore& operator=(const VgaCore&) = delete;

  // The ports 3B4h to 3DAh, and the window; unmapped by the destructor.
  void map(Region& io, Region& memory);
  u8 read_port(u16 port);
  void write_port(u16 port, u8 value);

  void reset();
  virtual void describe(StateVisitor& v) { v.field("vga", registers_); }
  void restored(bool wide_dac);

  const VgaRegisters& registers() const { return registers_; }
  RamBlock& vram() { return *vram_; }
  u64 vram_mask() const { return vram_->size() - 1; }
  // Registers that the picture depends on were written since the last call.
  bool take_changed() { return std::exchange(changed_, false); }
  void mark_changed() { changed_ = true; }

  // Banked memory (VBE): the window's first 64 KiB show this part of it, as plain bytes if linear.
  void set_bank(u64 offset, bool linear);
  // Whether the DAC's entries have eight bits.
  void set_wide_dac(bool on);
  bool wide_dac() const { return wide_dac_; }
  // 0x00RRGGBB
  u32 colour(u8 index) const;

 protected:
  virtual u8 read_sequencer(u8 index);
  virtual void write_sequencer(u8 index, u8 value);
  virtual u8 read_crtc(u8 index);
  virtual void write_crtc(u8 index, u8 value);
  virtual u8 read_graphics(u8 index);
  virtual void write_graphics(u8 index, u8 value);
  // What the pixel mask's port (3C6h) is besides.
  virtual u8 read_pixel_mask() { return registers_.dac_mask; }
  virtual void write_pixel_mask(u8 value) { registers_.dac_mask = value; }
  // Before the planes are asked: false where the VGA's own logic is not at work.
  virtual bool read_extended(u32 /*offset*/, u8& /*value*/) { return false; }
  virtual bool write_extended(u32 /*offset*/, u8 /*value*/) { return false; }
  // What the window shows if it is plain memory.
  virtual std::optional<u64> direct_window() const;
  void update_window();
  u8 read_planes(u32 offset);
  void write_planes(u32 offset, u8 value);

  VgaRegisters registers_;

 private:
  u64 read_ports(Access access);
  void write_ports(Access access, u64 value);
  u64 read_window(Access access);
  void write_window(Access access, u64 value);
  u8 read_status();
  u8 read_dac();
  void write_dac(u8 value);
  u8 read_attribute() const;
  void write_attribute(u8 value);
  bool colour_ports() const { return registers_.miscellaneous & 1; }
  // The offset into the memory that the window has at `offset`, if it is there.
  std::optional<u32> window_offset(u32 offset) const;

  // Wiring
  std::shared_ptr<RamBlock> vram_;
  TimerQueue& time_;
  Region* io_ = nullptr;
  Region* memory_ = nullptr;
  Window<VgaCore> ports_window_{*this, &VgaCore::read_ports, &VgaCore::write_ports};
  Window<VgaCore> memory_window_{*this, &VgaCore::read_window, &VgaCore::write_window};
  Region ports_;  // 3B0h to 3DFh, of which the parts below are shown
  Region mono_, mono_status_, main_, colour_, colour_status_;
  Region window_;
  Region direct_;  // over the window, while that is plain memory

  // Derived: set by the VBE registers
  u64 bank_ = 0;
  bool linear_ = false;
  bool wide_dac_ = false;
  bool changed_ = true;
};

}  // namespace menura
