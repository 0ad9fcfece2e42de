// NbdRequestLoop: the server's part of a connection once an export is agreed: requests, many under
// way at once, and their replies.
//
// Owner: a connection's thread, which run() keeps and which starts more. Threads: they take turns at
// reading; whoever has read a request does it and answers, while the next one reads. So nothing
// queues, and a client that sends faster than we work waits in its socket.
// Example: `NbdRequestLoop(stream, std::move(agreement), limits).run();`
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "block/nbd_server/io_buffer.h"
#include "block/nbd_server/negotiation.h"

namespace menura {

struct NbdRequestLimits {
  unsigned threads = 16;  // requests under way
  u64 bytes = 64 * MiB;   // their payloads; at least kNbdLargestRequest
};

class NbdRequestLoop {
 public:
  NbdRequestLoop(NbdStream& stream, NbdAgreement agreement, const NbdRequestLimits& limits);
  ~NbdRequestLoop();
  NbdRequestLoop(const NbdRequestLoop&) = delete;
  NbdRequestLoop& operator=(const NbdRequestLoop&) = delete;

  // Until the client leaves, or the stream is shut.
  void run();

 private:
  // A request on its way, with its payload.
  struct Job {
    NbdRequest request;
    IoBuffer buffer;
    u64 reserved = 0;      // of the bytes that may be under way
    Result<void> allowed;  // an error: nothing of it is to be done
  };
  void serve();
  bool next(Job& job);
  bool receive(Job& job);
  void start_thread();
  void reserve(Job& job, u64 bytes);
  void release(Job& job);

  Result<void> check(const NbdRequest& request) const;
  void perform(Job& job);
  Result<void> change(const Job& job);
  Result<void> warm(Job& job);
  void read(Job& job);
  void read_pieces(Job& job);
  void status(const Job& job);

  // Replies. A failing stream ends the connection.
  void answer(const NbdRequest& request, const Result<void>& outcome);
  void answer_error(const NbdRequest& request, const Error& error);
  void chunk(const NbdRequest& request, NbdChunk type, u16 flags, ConstBytes head,
             ConstBytes payload = {});
  void send(std::initializer_list<ConstBytes> parts);

  // Configuration
  const NbdRequestLimits limits_;
  // Wiring
  NbdStream& stream_;
  const NbdAgreement agreed_;
  NbdExport& export_;
  // State
  std::mutex turn_;  // to read
  bool over_ = false;
  unsigned idle_ = 0;
  std::vector<std::thread> threads_;
  std::mutex sending_;
  std::mutex room_;
  std::condition_variable more_room_;
  u64 under_way_ = 0;
};

}  // namespace menura
