// ScsiUnit: a logical unit, a disk for example; ScsiTask: a command on its way to one.
//
// Owner: units are Devices of the catalogue, tasks belong to the host adapter and live until done().
// Threads: under the machine lock; tasks end in execute() or later, from the loop. Source: SAM-5,
// SPC-4. A unit never sees guest memory: it asks the task to move bytes. Example:
//   struct MyTask final : ScsiTask { ... };   unit.execute(std::make_shared<MyTask>(...));
#pragma once

#include <array>
#include <memory>

#include "base/types.h"

namespace menura {

struct ScsiSense {
  u8 key = 0, asc = 0, ascq = 0;
  bool operator==(const ScsiSense&) const = default;
};

enum class ScsiStatus : u8 { Good = 0x00, CheckCondition = 0x02 };

class ScsiTask {
 public:
  virtual ~ScsiTask() = default;

  std::array<u8, 16> cdb{};
  u64 in_size = 0;   // bytes the initiator has room for
  u64 out_size = 0;  // bytes it has to give
  // At most that much. False: the initiator's memory fails, and the task ends without done().
  virtual bool to_initiator(u64 offset, ConstBytes bytes) = 0;
  virtual bool from_initiator(u64 offset, Bytes bytes) = 0;
  // moved: bytes that went either way. Sense goes with CheckCondition.
  virtual void done(ScsiStatus status, u64 moved, const ScsiSense& sense) = 0;
};
using ScsiTaskPtr = std::shared_ptr<ScsiTask>;

class ScsiUnit {
 public:
  virtual ~ScsiUnit() = default;
  virtual void execute(ScsiTaskPtr task) = 0;
  // Returns when no task is under way.
  virtual void drain() = 0;
};

// A host adapter's places for units.
class ScsiBus {
 public:
  static constexpr unsigned kTargets = 256;
  static constexpr unsigned kLuns = 256;

  virtual ~ScsiBus() = default;
  // Null: nobody is there.
  virtual ScsiUnit* unit(unsigned target, unsigned lun) const = 0;
  // A free place; the unit takes itself away before it goes.
  virtual void plug(unsigned target, unsigned lun, ScsiUnit& unit) = 0;
  virtual void unplug(ScsiUnit& unit) = 0;
};

}  // namespace menura
