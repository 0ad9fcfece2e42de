// stream and commit: content moves between the images of a chain, which reads the same meanwhile.
#include <algorithm>

#include "base/units.h"
#include "block/job/works.h"

namespace menura {

namespace {

constexpr u64 kPiece = 512 * KiB;

Result<Child> use(const NodePtr& node, std::string name, u8 needed, u8 shared) {
  return Child::attach(node, {"a block job", std::move(name), {needed, shared}});
}

// Past the driver's observers: the guest sees no change.
Result<void> put(Node& node, u64 at, u64 length, bool zero, std::vector<std::byte>& bytes) {
  Image& image = node.image();
  if (zero) {
    Result<void> done = image.zero(at, length, {.may_unmap = true});
    if (done || done.error().code != Errc::Unsupported) return done;
    bytes.assign(static_cast<size_t>(length), std::byte{0});
  }
  return image.write(at, ConstBytes(bytes).first(static_cast<size_t>(length)), {});
}

class StreamWork final : public JobWork, private WriteObserver {
 public:
  explicit StreamWork(StreamPlan plan) : plan_(std::move(plan)) {}

  Result<void> begin() override {
    if (plan_.top->read_only())
      return fail(Errc::Permission, "Node '{}' is read-only: nothing can be streamed into it",
                  plan_.top->name());
    use_ = TRY(use(plan_.top, "top", kConsistentRead | kWriteUnchanged,
                   kConsistentRead | kWrite | kWriteUnchanged));
    plan_.top->add_observer(*this);
    watching_ = true;
    return {};
  }

  Result<void> run(JobControl& control) override {
    Node& top = *plan_.top;
    const u64 size = top.size();
    const u64 unit = std::max<u64>(512, top.image().info().cluster_size);
    const u64 piece = std::max(kPiece, unit);
    control.add_total(size);
    for (u64 at = 0; at < size;) {
      const u64 most = std::min(piece - at % piece, size - at);
      u64 length = most;
      const Result<void> filled = fill(at, length);
      if (!filled) {
        if (control.survives(plan_.on_error, JobControl::Operation::Read, filled.error())) {
          // Ignored or to be tried again, after the pause.
          TRY(control.breathe(0));
          if (plan_.on_error != OnError::Ignore) continue;
          failed_ = filled.error();
          length = most;
        } else {
          return filled;
        }
      }
      at += length;
      control.advance(length);
      TRY(control.breathe(copied_ ? length : 0));
    }
    // What was left out keeps the chain needed.
    if (failed_) return std::move(*failed_);
    return {};
  }

  Result<void> finish() override {
    stop_watching();
    use_.reset();
    Node* base = plan_.base.get();
    const std::string file = plan_.backing_file.value_or(base ? base->filename() : "");
    const std::string format = !plan_.backing_format.empty() ? plan_.backing_format
                               : base                        ? std::string(base->driver().name)
                                                             : "";
    TRY(plan_.top->flush());
    return change_backing(*plan_.top, base, file, format);
  }
  void abandon() override {
    stop_watching();
    use_.reset();
  }
  std::vector<Node*> nodes() const override { return {plan_.top.get()}; }

 private:
  void before(u64 offset, u64 length) override { locks_.acquire(offset, offset + length); }
  void after(const Event& event) override {
    locks_.release(event.offset, event.offset + event.length);
  }
  void stop_watching() {
    if (std::exchange(watching_, false)) plan_.top->remove_observer(*this);
  }

  Result<void> fill(u64 at, u64& length) {
    Node& top = *plan_.top;
    const Graph::Pass pass(top.graph());
    copied_ = false;
    const u64 end = at + length;
    locks_.acquire(at, end);
    const auto filled = [&]() -> Result<void> {
      const Extent here = TRY(top.map(at, length));
      length = here.length;
      if (here.kind != ExtentKind::Hole) return {};
      const ChainExtent below = TRY(map_chain(top, plan_.base.get(), at, length));
      length = below.extent.length;
      const bool hole = below.extent.kind == ExtentKind::Hole;
      // A chain that ended above the base reads as zeroes there, whatever the base holds.
      const bool ended_early = hole && plan_.base && below.owner->backing() != plan_.base.get();
      if (hole && !ended_early) return {};
      const bool zero = hole || below.extent.kind == ExtentKind::Zero;
      bytes_.resize(static_cast<size_t>(length));
      if (!zero) TRY(top.read(at, bytes_));
      copied_ = true;
      return put(top, at, length, zero, bytes_);
    }();
    locks_.release(at, end);
    return filled;
  }

  const StreamPlan plan_;
  Child use_;
  RangeLocks locks_;
  bool watching_ = false;
  bool copied_ = false;
  std::optional<Error> failed_;
  std::vector<std::byte> bytes_;
};

class CommitWork final : public JobWork {
 public:
  explicit CommitWork(CommitPlan plan) : plan_(std::move(plan)) {}

  Result<void> begin() override {
    was_read_only_ = plan_.base->read_only();
    TRY(make_writable(*plan_.base), "Writing to '{}'", plan_.base->filename());
    top_use_ = TRY(use(plan_.top, "top", kConsistentRead, kConsistentRead | kWriteUnchanged));
    base_use_ = TRY(use(plan_.base, "base", kConsistentRead | kWriteUnchanged,
                        kConsistentRead | kWriteUnchanged));
    if (plan_.base->size() < plan_.top->size()) TRY(plan_.base->truncate(plan_.top->size()));
    return {};
  }

  Result<void> run(JobControl& control) override {
    const u64 size = plan_.top->size();
    control.add_total(size);
    for (u64 at = 0; at < size;) {
      u64 length = std::min(kPiece, size - at);
      bool copied = false;
      const Result<void> done = copy(at, length, copied);
      if (!done) {
        if (!control.survives(plan_.on_error, JobControl::Operation::Write, done.error()))
          return done;
        TRY(control.breathe(0));
        if (plan_.on_error == OnError::Ignore) return done;
        continue;
      }
      at += length;
      control.advance(length);
      TRY(control.breathe(copied ? length : 0));
    }
    const Graph::Pass pass(plan_.base->graph());
    return plan_.base->image().flush();
  }

  Result<void> finish() override {
    const std::string file = plan_.backing_file.value_or(plan_.base->filename());
    top_use_.reset();
    base_use_.reset();
    Result<void> changed = change_backing(*plan_.above, plan_.base.get(), file,
                                          std::string(plan_.base->driver().name));
    restore();
    return changed;
  }
  void abandon() override {
    top_use_.reset();
    base_use_.reset();
    restore();
  }
  std::vector<Node*> nodes() const override {
    return {plan_.above.get(), plan_.top.get(), plan_.base.get()};
  }

 private:
  void restore() {
    if (was_read_only_) make_read_only_again(*plan_.base);
  }

  Result<void> copy(u64 at, u64& length, bool& copied) {
    const Graph::Pass pass(plan_.top->graph());
    const ChainExtent e = TRY(map_chain(*plan_.top, plan_.base.get(), at, length));
    length = e.extent.length;
    const bool hole = e.extent.kind == ExtentKind::Hole;
    if (hole && e.owner->backing() == plan_.base.get()) return {};
    const bool zero = hole || e.extent.kind == ExtentKind::Zero;
    bytes_.resize(static_cast<size_t>(length));
    if (!zero) TRY(plan_.top->read(at, bytes_));
    copied = true;
    return put(*plan_.base, at, length, zero, bytes_);
  }

  const CommitPlan plan_;
  Child top_use_, base_use_;
  bool was_read_only_ = false;
  std::vector<std::byte> bytes_;
};

}  // namespace

std::unique_ptr<JobWork> make_stream(StreamPlan plan) {
  return std::make_unique<StreamWork>(std::move(plan));
}
std::unique_ptr<JobWork> make_commit(CommitPlan plan) {
  return std::make_unique<CommitWork>(std::move(plan));
}

}  // namespace menura
