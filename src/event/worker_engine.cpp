// The IoEngine for hosts without io_uring: each transfer is one job of the worker pool.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <unordered_map>

#include "event/engines.h"
#include "event/event_loop.h"
#include "event/io_transfer.h"
#include "event/worker_pool.h"

namespace menura {

namespace {

class WorkerEngine final : public IoEngine {
 public:
  WorkerEngine(EventLoop& loop, WorkerPool& pool) : loop_(loop), pool_(pool) {}
  ~WorkerEngine() override { ensure(transfers_.empty(), "an IoEngine is drained before its end"); }

  void submit(IoRequest request) override {
    const u64 id = next_id_++;
    IoTransfer& transfer = transfers_.emplace(id, IoTransfer(std::move(request))).first->second;
    pool_.submit([this, &transfer, id] { run(transfer, id); }, [this, id] { finish(id); });
  }
  void cancel() override { cancelled_below_ = next_id_; }
  void drain() override {
    loop_.complete_until([this] { return transfers_.empty(); });
  }
  std::string_view name() const override { return "workers"; }

 private:
  void run(IoTransfer& transfer, u64 id) {
    do {
      if (id < cancelled_below_.load(std::memory_order_relaxed)) transfer.cancel();
    } while (!transfer.advance(transfer.cancelled() ? -ECANCELED : call(transfer)));
  }

  void finish(u64 id) {
    const auto found = transfers_.find(id);
    IoTransfer over = std::move(found->second);
    transfers_.erase(found);
    over.finish();
  }

  static i64 call(IoTransfer& transfer) {
    const IoRequest& request = transfer.request();
    const auto offset = static_cast<off_t>(transfer.offset());
    const std::span<iovec> buffers = transfer.buffers();
    const int count = static_cast<int>(buffers.size());
    i64 result = 0;
    switch (request.op) {
      case IoOp::Read: result = ::preadv(request.fd, buffers.data(), count, offset); break;
      case IoOp::Write:
        result = ::pwritev2(request.fd, buffers.data(), count, offset, transfer.rw_flags());
        break;
      case IoOp::Flush: result = ::fdatasync(request.fd); break;
      case IoOp::Discard:
      case IoOp::Zero:
        result = ::fallocate(request.fd, transfer.fallocate_mode(), offset,
                             static_cast<off_t>(request.length));
        break;
    }
    return result < 0 ? -errno : result;
  }

  // Wiring
  EventLoop& loop_;
  WorkerPool& pool_;
  // State
  std::unordered_map<u64, IoTransfer> transfers_;  // workers hold references into it
  u64 next_id_ = 0;
  std::atomic<u64> cancelled_below_{0};  // read by workers
};

}  // namespace

std::unique_ptr<IoEngine> make_worker_engine(EventLoop& loop, WorkerPool& pool) {
  return std::make_unique<WorkerEngine>(loop, pool);
}

}  // namespace menura
