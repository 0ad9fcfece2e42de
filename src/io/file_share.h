// FileShare: a folder of the host that a device offers to its guest in 9P messages. Implemented by
// share/, used by hw/virtio.
//
// Owner: the machine. Threads: submit() under the machine lock; answers come through the loop, under
// the machine lock, never from inside submit(), in the order of the messages. Example:
//   share.submit(std::move(message), most, [this](std::vector<std::byte> reply) { ... });
#pragma once

#include <functional>
#include <vector>

#include "base/result.h"
#include "state/visitor.h"

namespace menura {

class FileShare {
 public:
  using Reply = std::function<void(std::vector<std::byte>)>;
  virtual ~FileShare() = default;

  // The reply has room for `most` bytes; an empty one: the message was none, or none fits.
  virtual void submit(std::vector<std::byte> message, u32 most, Reply done) = 0;
  // Returns when nothing is under way; the reply functions have run.
  virtual void drain() = 0;
  // Drains, and forgets all that the guest has open.
  virtual void reset() = 0;
  // What the guest has open. Nothing is under way.
  virtual void describe(StateVisitor& v) = 0;
  virtual Result<void> restored() = 0;
};

}  // namespace menura
