// Copier: moves the content of images into another, many pieces at a time: what `convert` does.
//
// Owner: app/img. Threads: run() starts its own and joins them. Pieces are mapped in order; reading
// and compressing overlap; writes keep the order unless told otherwise.
// Example: `Copier copier(sources, *target, options);  TRY(copier.run(progress));`
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

#include "block/core/node.h"
#include "block/core/rate_limit.h"

namespace menura::img {

struct CopyOptions {
  unsigned workers = 8;
  bool out_of_order = false;
  bool compress = false;
  bool target_is_zero = false;  // nothing needs to be zeroed there
  bool target_has_backing = false;
  bool writethrough = false;
  bool offload = false;  // the kernel copies from file to file where both lie plainly there
  bool salvage = false;  // what cannot be read becomes zeroes
  u64 sparse = 4096;     // runs of zeroes from this length on are not written; 0: all is
  u64 rate_limit = 0;    // bytes a second
};

class Copier {
 public:
  Copier(std::vector<Node*> sources, Node& target, const CopyOptions& options);
  // Stops soon when `stop` becomes true: Errc::Cancelled.
  Result<void> run(const std::atomic<bool>& stop, const std::function<void(u64)>& progress);

 private:
  enum class What : u8 { Data, Zero, Skip };
  struct Piece {
    u64 number;
    u64 offset;  // in the target
    u64 length;
    What what;
    Node* source;
    u64 source_offset;
  };
  std::optional<Piece> next_piece();
  Result<Piece> map_piece();
  void work(const std::atomic<bool>& stop, const std::function<void(u64)>& progress);
  Result<void> copy(const Piece& piece, std::vector<std::byte>& buffer);
  // How many bytes the kernel could copy by itself, from the piece's beginning.
  u64 copy_by_kernel(const Piece& piece);
  Result<void> write_sparse(u64 offset, ConstBytes bytes);
  Result<void> write_zeroes(u64 offset, u64 length);
  void wait_for_turn(u64 number);
  void fail_with(Error error);

  // Configuration
  const CopyOptions options_;
  u64 unit_;  // pieces are of whole units
  bool ordered_;
  RateLimit rate_;
  // Wiring
  std::vector<Node*> sources_;
  Node& target_;
  // State
  std::mutex mutex_;
  std::condition_variable turned_;
  size_t source_ = 0;
  u64 source_at_ = 0;
  u64 at_ = 0;
  u64 next_number_ = 0;
  u64 turn_ = 0;
  std::optional<Error> error_;
  // The extent that the last map said goes on.
  u64 extent_left_ = 0;
  What extent_what_ = What::Data;
};

}  // namespace menura::img
