// Background: `--fork`: the program goes on in a child, and the parent returns when the child is
// ready, or with its failure.
//
// Owner: main(). Threads: construct before any thread. The child's standard streams stay the
// parent's until ready(), so that errors are seen.
// Example: `Background background(options.fork);  …  TRY(background.ready());`
#pragma once

#include "base/fd.h"

namespace menura::nbd {

class Background {
 public:
  // Returns in the child; the parent's process ends inside.
  static Result<Background> start();
  // Not in the background.
  Background() = default;
  Result<void> ready();

 private:
  UniqueFd to_parent_;
};

}  // namespace menura::nbd
