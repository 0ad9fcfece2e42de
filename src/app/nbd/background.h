// Background: `--fork`: the program goes on in a child, and the parent returns when the child is
// ready, or with its failure.
//
// Owner: main(). Threads: construct before any thread. The child's standard streams stay the
// parent's until ready(), so that errors are seen. Example:
//   Background background = TRY(Background::start());
//   if (const std::optional<int> status = background.parent_status()) return *status;
//   …  TRY(background.ready());
#pragma once

#include <optional>

#include "base/fd.h"

namespace menura::nbd {

class Background {
 public:
  // Returns in the child at once, in the parent when the child is ready or has ended.
  static Result<Background> start();
  // Not in the background.
  Background() = default;
  // In the parent: what to exit with.
  std::optional<int> parent_status() const { return parent_status_; }
  Result<void> ready();

 private:
  UniqueFd to_parent_;
  std::optional<int> parent_status_;
};

}  // namespace menura::nbd
