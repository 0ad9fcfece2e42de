// FlashStore: the medium behind a flash chip: its content is read at the start; what changes is
// written back in whole sectors, one write at a time, so that a burst of programmed bytes costs few.
//
// Owner: Pflash (a member). Threads: under the machine lock. Example:
//   TRY(FlashStore::load(disk, *content));  FlashStore store(disk, content);  store.changed(0x40, 1);
#pragma once

#include <memory>

#include "io/disk.h"
#include "memory/ram.h"

namespace menura {

class FlashStore {
 public:
  // Reads the whole medium. Errors: unreadable, or not as large as the chip.
  static Result<void> load(Disk& disk, RamBlock& content);

  // The medium and the chip's content, of the same size.
  FlashStore(Disk& disk, std::shared_ptr<RamBlock> content);
  ~FlashStore();
  FlashStore(const FlashStore&) = delete;
  FlashStore& operator=(const FlashStore&) = delete;

  bool read_only() const { return disk_.read_only(); }
  // [offset, offset + size) of the content has new bytes.
  void changed(u64 offset, u64 size);
  // Returns when all is on the medium. False: some of it could not be written.
  bool settle();

 private:
  void write_back();

  // Wiring
  Disk& disk_;
  std::shared_ptr<RamBlock> content_;

  // What is still to be written; empty while first_ == end_. No state: settle() comes before a save.
  u64 first_ = 0, end_ = 0;
  bool writing_ = false;
  bool failed_ = false;
};

}  // namespace menura
