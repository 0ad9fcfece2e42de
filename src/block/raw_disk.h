// RawDisk: a Disk over the plain bytes of a file or block device.
//
// Owner: the machine's drives. Threads: as io/disk.h; destroyed under the machine lock, too. A disk
// opened read-only is never written. Example: `auto disk = TRY(RawDisk::open(engine, "a.img", RawDisk::Mode::ReadWrite));`
#pragma once

#include <memory>
#include <string>

#include "base/fd.h"
#include "event/io_engine.h"
#include "io/disk.h"

namespace menura {

class RawDisk final : public Disk {
 public:
  enum class Mode : u8 { ReadOnly, ReadWrite };
  static Result<std::unique_ptr<RawDisk>> open(IoEngine& engine, const std::string& path,
                                               Mode mode);
  ~RawDisk() override;

  u64 size() const override { return size_; }
  bool read_only() const override { return mode_ == Mode::ReadOnly; }
  void submit(DiskRequest request) override;
  void drain() override { engine_.drain(); }

 private:
  RawDisk(IoEngine& engine, UniqueFd fd, u64 size, Mode mode);
  // Why a request cannot go to the file; none: it can.
  Result<void> check(const DiskRequest& request) const;

  // Wiring
  IoEngine& engine_;
  UniqueFd fd_;
  // Configuration
  u64 size_;
  Mode mode_;
};

}  // namespace menura
