// Pflash: a NOR flash chip on an 8-bit bus with Intel's command set: the home of UEFI firmware and
// its variables.
//
// Owner: the board. Threads: under the machine lock. Source: Intel StrataFlash 28F640J3 data sheet
// (commands, status register), JEDEC JEP137 and JESD68.01 (CFI). Erased bytes are FFh; programming
// only clears bits. Commands end at once. Example:
//   Pflash flash("system.flash0", content, disk);  pci_memory.map(4 * GiB - size, flash.region());
// Deviations: CLEAR STATUS also clears bit 7 (ready) until the next PROGRAM or ERASE, as the UEFI
// firmware for virtual machines expects when it tells flash from RAM; uniform blocks of 4 KiB; no
// block locks, no suspension (there is nothing to suspend). A read-only medium makes PROGRAM and
// ERASE fail with the status of a missing programming voltage.
#pragma once

#include <memory>
#include <vector>

#include "hw/core/device.h"
#include "hw/flash/flash_store.h"
#include "memory/region.h"

namespace menura {

class Pflash final : public Device, private MmioHandler {
 public:
  static constexpr u64 kBlock = 4096;
  static constexpr u64 kBuffer = 32;  // bytes of WRITE TO BUFFER

  // content: a multiple of kBlock, loaded from the medium.
  Pflash(std::string id, std::shared_ptr<RamBlock> content, Disk& medium);

  std::string_view type() const override { return "cfi.pflash01"; }
  Region& region() { return region_; }
  const std::shared_ptr<RamBlock>& content() const { return content_; }

  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;
  void pause() override { store_.settle(); }

 private:
  // What the next read shows, or the next write means.
  enum class Mode : u8 {
    Array,
    Status,
    Id,
    Query,
    Program,        // the next write is data
    Erase,          // ... is the confirmation
    BufferCount,    // ... is the number of bytes, less one
    BufferData,     // ... are they
    BufferConfirm,  // ... is the confirmation
  };

  u64 read(Access access) override;
  void write(Access access, u64 value) override;
  u8 read_byte(u64 offset) const;
  u8 id_byte(u64 offset) const;
  void command(u8 code);
  void enter(Mode mode);
  void program(u64 offset, ConstBytes data);
  void erase(u64 offset);
  void take_buffer_byte(u64 offset, u8 value);
  void program_buffer();
  // A command may change the array; else the status says why not.
  bool writable(u8 error);
  void sequence_error();

  // Wiring
  std::shared_ptr<RamBlock> content_;
  FlashStore store_;
  Region region_;

  // State
  Mode mode_ = Mode::Array;
  u8 status_ = 0;
  std::vector<u8> buffer_;
  u64 buffer_start_ = 0;
  u8 buffer_count_ = 0;
};

}  // namespace menura
