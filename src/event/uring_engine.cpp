// The IoEngine over io_uring(7). The ring's descriptor is readable while completions wait, so the
// loop watches it directly. All use of the ring happens under the machine lock.
#include <liburing.h>

#include <cerrno>
#include <deque>
#include <unordered_map>

#include "event/engines.h"
#include "event/event_loop.h"
#include "event/io_transfer.h"

namespace menura {

namespace {

constexpr unsigned kEntries = 128;        // in the ring at once; more wait in our queue
constexpr unsigned kReapedPerRound = 64;  // then others in the loop have their turn

class UringEngine final : public IoEngine {
 public:
  explicit UringEngine(EventLoop& loop) : loop_(loop) {}
  ~UringEngine() override {
    ensure(transfers_.empty() && !push_again_, "an IoEngine is drained before its end");
    watch_.reset();
    if (open_) ::io_uring_queue_exit(&ring_);
  }

  Result<void> open() {
    if (const int status = ::io_uring_queue_init(kEntries, &ring_, IORING_SETUP_CLAMP); status < 0)
      return fail_errno(-status, "Setting up io_uring");
    open_ = true;
    io_uring_probe* probe = ::io_uring_get_probe_ring(&ring_);
    // FALLOCATE came last of those we use (Linux 5.6).
    const bool complete = probe && ::io_uring_opcode_supported(probe, IORING_OP_FALLOCATE);
    ::io_uring_free_probe(probe);
    if (!complete) return fail(Errc::Unsupported, "This kernel's io_uring lacks operations");
    watch_ = TRY(loop_.watch_completions(ring_.ring_fd, [this](FdEvents) { reap(); }));
    return {};
  }

  void submit(IoRequest request) override {
    const u64 id = next_id_++;
    transfers_.emplace(id, IoTransfer(std::move(request)));
    start(id);
    push();
  }

  void cancel() override {
    for (auto& [id, transfer] : transfers_) transfer.cancel();
    for (const u64 id : std::exchange(waiting_, {})) {
      transfers_.at(id).advance(-ECANCELED);
      loop_.complete([this, id] { finish(id); });
    }
    for (const auto& [id, transfer] : transfers_) {
      io_uring_sqe* sqe = take_sqe();
      if (!sqe) break;  // what is not cancelled comes to its own end
      ::io_uring_prep_cancel64(sqe, id, 0);
      sqe->user_data = kNobody;
    }
    push();
  }

  void drain() override {
    loop_.complete_until([this] { return transfers_.empty() && !push_again_; });
  }
  std::string_view name() const override { return "io_uring"; }

 private:
  static constexpr u64 kNobody = ~u64{0};  // the completion of a cancellation

  io_uring_sqe* take_sqe() {
    if (io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_)) return sqe;
    push();
    return ::io_uring_get_sqe(&ring_);
  }

  void start(u64 id) {
    io_uring_sqe* sqe = in_ring_ < kEntries ? take_sqe() : nullptr;
    if (!sqe) return waiting_.push_back(id);
    prepare(sqe, transfers_.at(id));
    sqe->user_data = id;
    in_ring_++;
  }

  static void prepare(io_uring_sqe* sqe, IoTransfer& transfer) {
    const IoRequest& request = transfer.request();
    const std::span<iovec> buffers = transfer.buffers();
    const auto count = static_cast<unsigned>(buffers.size());
    switch (request.op) {
      case IoOp::Read:
        ::io_uring_prep_readv(sqe, request.fd, buffers.data(), count, transfer.offset());
        return;
      case IoOp::Write:
        ::io_uring_prep_writev2(sqe, request.fd, buffers.data(), count, transfer.offset(),
                                transfer.rw_flags());
        return;
      case IoOp::Flush: ::io_uring_prep_fsync(sqe, request.fd, IORING_FSYNC_DATASYNC); return;
      case IoOp::Discard:
      case IoOp::Zero:
        ::io_uring_prep_fallocate(sqe, request.fd, transfer.fallocate_mode(),
                                  static_cast<off_t>(request.offset),
                                  static_cast<off_t>(request.length));
        return;
    }
    unreachable();
  }

  // EAGAIN and EBUSY (completions to be reaped first) leave the entries in the ring for another go.
  void push() {
    int status;
    do status = ::io_uring_submit(&ring_);
    while (status == -EINTR);
    ensure(status >= 0 || status == -EAGAIN || status == -EBUSY,
           "io_uring_enter(2) takes our ring");
    if (::io_uring_sq_ready(&ring_) == 0 || push_again_) return;
    push_again_ = true;
    loop_.complete([this] {
      push_again_ = false;
      push();
    });
  }

  void reap() {
    for (unsigned i = 0; i < kReapedPerRound; i++) {
      io_uring_cqe* cqe = nullptr;
      if (::io_uring_peek_cqe(&ring_, &cqe) != 0) break;
      const u64 id = cqe->user_data;
      const i64 result = cqe->res;
      ::io_uring_cqe_seen(&ring_, cqe);
      if (id == kNobody) continue;
      in_ring_--;
      arrive(id, result);
    }
    if (waiting_.empty()) return;
    while (!waiting_.empty() && in_ring_ < kEntries) {
      const u64 id = waiting_.front();
      waiting_.pop_front();
      start(id);
    }
    push();
  }

  // Only the end of a transfer passes the Tape's door: how the host cut it up is nobody's business.
  void arrive(u64 id, i64 result) {
    if (transfers_.at(id).advance(result))
      return loop_.tape().completion([this, id] { finish(id); });
    start(id);
    push();
  }

  void finish(u64 id) {
    const auto found = transfers_.find(id);
    IoTransfer over = std::move(found->second);
    transfers_.erase(found);
    over.finish();
  }

  // Wiring
  EventLoop& loop_;
  io_uring ring_{};
  bool open_ = false;
  Watch watch_;
  // State
  std::unordered_map<u64, IoTransfer> transfers_;  // all that are not done
  std::deque<u64> waiting_;                        // those that did not fit into the ring
  unsigned in_ring_ = 0;
  bool push_again_ = false;
  u64 next_id_ = 0;
};

}  // namespace

Result<std::unique_ptr<IoEngine>> make_uring_engine(EventLoop& loop) {
  auto engine = std::make_unique<UringEngine>(loop);
  TRY(engine->open());
  return Result<std::unique_ptr<IoEngine>>(std::move(engine));
}

}  // namespace menura
