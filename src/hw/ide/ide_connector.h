// IdeConnector: where drives are plugged: a cable of an IDE channel, a port of an AHCI controller.
//
// Owner: a controller. Threads: under the machine lock. Example:
//   IdeConnector* bus = machine.board().ide_bus("ide.1");   bus->plug(0, disk);
#pragma once

#include "hw/ide/ide_drive.h"

namespace menura {

class IdeConnector {
 public:
  virtual ~IdeConnector() = default;
  virtual unsigned places() const = 0;
  // Null: free. unit < places().
  virtual IdeDrive* drive(unsigned unit) const = 0;
  // Into a free place.
  virtual void plug(unsigned unit, IdeDrive& drive) = 0;
};

}  // namespace menura
