// fw_cfg: the channel through which a virtual PC tells its firmware what it is made of.
//
// Owner: the board, which adds items before the first reset. Threads: under the machine lock.
// Source: the interface's public specification ("QEMU Firmware Configuration Device"): selector
// port 510h, data port 511h, DMA address register at 514h. Example:
//   FwCfg fw_cfg("fw_cfg", memory);  fw_cfg.add(FwCfgKey::CpuCount, u16{2});
//   TRY(fw_cfg.add_file("etc/e820", table));
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "hw/core/device.h"
#include "hw/core/window.h"
#include "memory/address_space.h"

namespace menura {

enum class FwCfgKey : u16 {
  Signature = 0x00,
  Id = 0x01,
  Uuid = 0x02,
  RamSize = 0x03,
  NoGraphic = 0x04,
  CpuCount = 0x05,
  MachineId = 0x06,
  KernelAddr = 0x07,
  KernelSize = 0x08,
  KernelCommandLine = 0x09,
  InitrdAddr = 0x0a,
  InitrdSize = 0x0b,
  BootDevice = 0x0c,
  Numa = 0x0d,
  BootMenu = 0x0e,
  MaxCpus = 0x0f,
  KernelEntry = 0x10,
  KernelData = 0x11,
  InitrdData = 0x12,
  CommandLineAddr = 0x13,
  CommandLineSize = 0x14,
  CommandLineData = 0x15,
  SetupAddr = 0x16,
  SetupSize = 0x17,
  SetupData = 0x18,
  FileDirectory = 0x19,
  FirstFile = 0x20,
  AcpiTables = 0x8000,
  SmbiosEntries = 0x8001,
  Irq0Override = 0x8002,
  HpetConfig = 0x8004,
};

class FwCfg final : public Device {
 public:
  static constexpr size_t kNameSize = 56;  // with its terminating zero
  static constexpr size_t kFileLimit = 0x1000;

  // memory is what DMA reaches.
  FwCfg(std::string id, AddressSpace& memory);

  std::string_view type() const override { return "fw_cfg"; }
  Region& control_ports() { return control_ports_; }  // 510h, 2 ports
  Region& dma_ports() { return dma_ports_; }          // 514h, 8 ports

  // Items by key; a key may be set again (integers are little-endian).
  void add(FwCfgKey key, std::vector<std::byte> content);
  template <std::unsigned_integral T>
  void add(FwCfgKey key, T value) {
    std::vector<std::byte> content(sizeof value);
    store_le(Bytes(content), 0, value);
    add(key, std::move(content));
  }
  // Files by name, listed in the directory in the order of their names; a name may be set again.
  // Errors: name too long, too many files.
  Result<void> add_file(std::string name, std::vector<std::byte> content);
  // A file the firmware may write through DMA; written() hears of every write.
  Result<void> add_writable_file(std::string name, std::vector<std::byte> content,
                                 std::function<void(ConstBytes)> written);
  const std::vector<std::byte>* file(std::string_view name) const;
  // Hears the name of a file when the guest selects it, and may set its content anew.
  void on_select(std::function<void(std::string_view file)> listener) {
    on_select_ = std::move(listener);
  }

  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;

 private:
  struct File {
    std::vector<std::byte> content;
    bool writable = false;
    std::function<void(ConstBytes)> written;
  };

  u64 read_control(Access access);
  void write_control(Access access, u64 value);
  u64 read_dma(Access access);
  void write_dma(Access access, u64 value);

  void select(u16 key);
  std::vector<std::byte>* selected();
  const std::string* name_of(u16 key) const;
  File* file_of(u16 key);
  void rebuild_directory();
  u8 read_byte();
  void run_dma(GuestAddr descriptor);
  // False: the guest gave an address that is not RAM.
  bool transfer(u32 control, GuestAddr at, u32 length);
  bool dma_read_item(GuestAddr to, u32 length);
  bool dma_write_item(GuestAddr from, u32 length);

  // Configuration
  std::map<u16, std::vector<std::byte>> items_;
  std::map<std::string, File, std::less<>> files_;

  // Wiring
  AddressSpace& memory_;
  std::function<void(std::string_view)> on_select_;
  Window<FwCfg> control_window_{*this, &FwCfg::read_control, &FwCfg::write_control};
  Window<FwCfg> dma_window_{*this, &FwCfg::read_dma, &FwCfg::write_dma};
  Region control_ports_;
  Region dma_ports_;

  // State
  u16 selector_ = 0;
  u32 offset_ = 0;
  u32 dma_high_ = 0;
};

}  // namespace menura
