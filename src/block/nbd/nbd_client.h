// NbdClient: one connection to an export, with many requests under way.
//
// Owner: NbdImage, or a tool. Threads: requests on any, blocking, many at once. Whoever waits first
// reads the replies, its own and others', and hands the reading on when its own has come: no thread
// of its own, no hop. Errc::Cancelled: the connection is lost, whether the request was done or not;
// other errors are the server's answer. Example:
//   auto client = TRY(NbdClient::connect(target, deadline));  TRY(client->read(0, buffer));
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "block/nbd/client_handshake.h"
#include "block/nbd/coverage.h"

namespace menura {

class NbdClient {
 public:
  struct Extent {
    u32 length = 0;
    u32 flags = 0;
  };

  static Result<std::unique_ptr<NbdClient>> connect(const NbdTarget& target,
                                                    NbdStream::Clock::time_point deadline);
  // Over a stream that has agreed already.
  NbdClient(std::unique_ptr<NbdStream> stream, NbdExportInfo info);
  ~NbdClient();  // takes its leave
  NbdClient(const NbdClient&) = delete;
  NbdClient& operator=(const NbdClient&) = delete;

  const NbdExportInfo& info() const { return info_; }
  bool lost() const { return lost_; }

  // Ranges lie inside the export and are no longer than its largest request.
  Result<void> read(u64 offset, Bytes to);
  Result<void> write(u64 offset, ConstBytes from, u16 flags);
  // Those without payload.
  Result<void> command(NbdCommand command, u16 flags, u64 offset, u32 length);
  // The first extent of base:allocation, which must have been chosen.
  Result<Extent> status(u64 offset, u32 length);

 private:
  // A request under way; lives on its thread's stack.
  struct Waiting {
    NbdRequest request;
    Bytes to;  // of a read
    Coverage seen;
    std::optional<Extent> extent;
    std::optional<Error> refused;
    bool over = false;
    bool asleep = false;  // else it is still sending, and must not be relied upon to read
    std::condition_variable changed;
  };
  Result<void> transact(Waiting& mine, ConstBytes payload);
  Result<void> wait(Waiting& mine);
  void hand_on_reading();
  void give_up(const Error& reason);
  Result<void> read_reply();
  Result<void> simple_reply();
  Result<void> structured_reply();
  Result<void> chunk(Waiting& asked, NbdChunk type, u32 length);
  Result<void> data_chunk(Waiting& asked, u32 length);
  Result<void> hole_chunk(Waiting& asked, u32 length);
  Result<void> status_chunk(Waiting& asked, u32 length);
  Result<void> error_chunk(Waiting& asked, NbdChunk type, u32 length);
  Result<Waiting*> find(u64 cookie);
  void finish(Waiting& asked);

  // Configuration
  const NbdExportInfo info_;
  // Wiring
  const std::unique_ptr<NbdStream> stream_;
  // State
  std::mutex sending_;
  std::mutex mutex_;
  std::map<u64, Waiting*> waiting_;  // by cookie
  u64 next_cookie_ = 1;
  bool reading_ = false;         // one of them reads
  std::optional<Error> reason_;  // lost
  std::atomic<bool> lost_{false};
};

}  // namespace menura
