// Drives: a machine's media by id, opened as -drive says; controllers take them from here.
//
// Owner: Machine. Threads: under the machine lock.
// Example: `Drive* drive = TRY(drives.find("hd0"));  AtaDisk disk("ide0-hd0", *drive->disk, {});`
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "event/io_engine.h"
#include "io/disk.h"
#include "machine/config.h"

namespace menura {

struct Drive {
  DriveOptions options;  // with an id, given or made
  std::unique_ptr<Disk> disk;
  bool plugged = false;  // a controller has it
};

class Drives {
 public:
  explicit Drives(IoEngine& engine) : engine_(engine) {}

  Result<void> open(const DriveOptions& options);
  // One that no controller has yet, with did-you-mean.
  Result<Drive*> take(std::string_view id);
  const std::vector<std::unique_ptr<Drive>>& all() const { return drives_; }

 private:
  IoEngine& engine_;
  std::vector<std::unique_ptr<Drive>> drives_;
};

}  // namespace menura
