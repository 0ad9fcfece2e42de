// mirror and backup: a copy of a disk that the guest goes on writing to. A mirror ends as the disk is
// when it ends, a backup as the disk was when it began.
#include <algorithm>
#include <bit>

#include "base/units.h"
#include "block/job/works.h"

namespace menura {

namespace {

constexpr u64 kPiece = 1 * MiB;

// What a copy of a range could not do.
struct CopyError {
  JobControl::Operation operation;
  Error error;
};

// Nobody writes to the range meanwhile, or what they write is copied again.
std::optional<CopyError> copy_range(Node& source, Node& target, u64 at, u64 length, WriteMode mode,
                                    std::vector<std::byte>& bytes) {
  using Operation = JobControl::Operation;
  const u64 end = std::min({at + length, source.size(), target.size()});
  while (at < end) {
    Result<ChainExtent> extent = map_chain(source, nullptr, at, end - at);
    if (!extent) return CopyError{Operation::Read, std::move(extent.error())};
    const u64 here = extent->extent.length;
    const ExtentKind kind = extent->extent.kind;
    Result<void> written;
    if (kind == ExtentKind::Zero || kind == ExtentKind::Hole) {
      written = target.zero(at, here, mode);
    } else {
      bytes.resize(static_cast<size_t>(here));
      if (Result<void> read = source.read(at, bytes); !read)
        return CopyError{Operation::Read, std::move(read.error())};
      written = target.write(at, bytes, mode);
    }
    if (!written) return CopyError{Operation::Write, std::move(written.error())};
    at += here;
  }
  return {};
}

Result<Child> use_source(const NodePtr& node) {
  return Child::attach(
      node,
      {"a block job", "source", {kConsistentRead, kConsistentRead | kWrite | kWriteUnchanged}});
}

// Marks what the node itself holds.
Result<void> mark_own_content(Node& node, const Node* base, DirtyBitmap& bitmap) {
  for (u64 at = 0; at < node.size();) {
    const ChainExtent e = TRY(map_chain(node, base, at, node.size() - at));
    if (e.extent.kind != ExtentKind::Hole) bitmap.set(at, e.extent.length);
    at += e.extent.length;
  }
  return {};
}

// --- mirror

class MirrorWork final : public JobWork, private WriteObserver {
 public:
  explicit MirrorWork(MirrorPlan plan)
      : plan_(std::move(plan)), dirty_(plan_.source->size(), plan_.granularity) {}

  Result<void> begin() override {
    Node& source = *plan_.source;
    Node& target = *plan_.target;
    if (&source == &target)
      return fail(Errc::InvalidArgument, "Node '{}' cannot be copied onto itself", source.name());
    if (plan_.into_backing) {
      TRY(make_writable(target), "Writing to '{}'", target.filename());
      if (target.size() < source.size()) TRY(target.truncate(source.size()));
    }
    if (target.size() != source.size() && !(plan_.into_backing && target.size() > source.size()))
      return fail(Errc::InvalidArgument, "The source has {} bytes, the target '{}' {}",
                  source.size(), target.name(), target.size());
    source_use_ = TRY(use_source(plan_.source));
    const u8 writes = plan_.into_backing ? kWriteUnchanged : kWrite;
    const u8 shared = plan_.into_backing ? kConsistentRead | kWriteUnchanged : kConsistentRead;
    target_use_ = TRY(Child::attach(
        plan_.target,
        {"a block job", "target", {static_cast<u8>(kConsistentRead | writes), shared}}));
    source.add_observer(*this);
    watching_ = true;
    if (plan_.sync == Sync::Full && !plan_.into_backing) dirty_.set_all();
    if (plan_.sync == Sync::Top || plan_.into_backing) {
      const Node* base = plan_.into_backing ? &target : source.backing();
      TRY(mark_own_content(source, base, dirty_));
    }
    return {};
  }

  Result<void> run(JobControl& control) override {
    control.add_total(dirty_.dirty_bytes());
    u64 cursor = 0;
    bool complete_pass = plan_.sync == Sync::None;
    for (;;) {
      std::optional<DirtyBitmap::Range> range = dirty_.take(cursor, kPiece);
      if (!range && cursor) {
        cursor = 0;
        continue;
      }
      if (!range) {
        if (!complete_pass) complete_pass = true;
        control.become_ready();
        if (control.completion_wanted()) {
          // What was written last must be out before the guest is stopped for the rest of it.
          const Graph::Pass pass(plan_.target->graph());
          return plan_.target->flush();
        }
        TRY(control.breathe(0));
        control.rest();
        continue;
      }
      cursor = range->offset + range->length;
      if (complete_pass) control.add_total(range->length);
      if (std::optional<CopyError> failed = copy(*range)) {
        dirty_.set(range->offset, range->length);
        const OnError policy = failed->operation == JobControl::Operation::Read
                                   ? plan_.on_source_error
                                   : plan_.on_target_error;
        if (!control.survives(policy, failed->operation, failed->error))
          return std::move(failed->error);
        TRY(control.breathe(range->length));
        continue;
      }
      control.advance(range->length);
      TRY(control.breathe(range->length));
    }
  }

  Result<void> finish() override {
    Node& source = *plan_.source;
    Node& target = *plan_.target;
    // Nothing is in flight: what is dirty now is the last of it.
    while (const std::optional<DirtyBitmap::Range> range = dirty_.take(0, kPiece))
      if (std::optional<CopyError> failed =
              copy_range(source, target, range->offset, range->length, mode(), bytes_))
        return std::move(failed->error);
    TRY(target.flush());
    let_go();
    if (!pivot_) return end_without_pivot();
    Node& place = plan_.replaces ? *plan_.replaces : source;
    if (plan_.into_backing) return pivot_into_backing();
    // A target that shares the source's backing image, or stands above the source, keeps its edge.
    return Node::move_users(place, target, [&](const Child& user) {
      return user.use().user != format("node '{}'", target.name());
    });
  }
  void abandon() override {
    let_go();
    if (plan_.into_backing) make_read_only_again(*plan_.target);
  }
  bool gets_ready() const override { return true; }
  void set_pivot(bool pivot) override { pivot_ = pivot; }
  std::vector<Node*> nodes() const override { return {plan_.source.get(), plan_.target.get()}; }

 private:
  WriteMode mode() const { return {.may_unmap = plan_.unmap}; }
  bool blocks() const { return plan_.copy_mode == CopyMode::WriteBlocking; }

  u64 down(u64 at) const { return at / plan_.granularity * plan_.granularity; }
  u64 up(u64 at) const { return down(at + plan_.granularity - 1); }

  void before(u64 offset, u64 length) override {
    if (blocks()) locks_.acquire(down(offset), up(offset + length));
  }
  // After the write: a copy that began before it finds it dirty again.
  void after(const Event& event) override {
    if (!blocks()) return dirty_.set(event.offset, event.length);
    Result<void> copied = fail(Errc::Unsupported, "Not copied at once");
    if (event.failed)
      copied = fail(Errc::Io, "The write itself failed");
    else if (event.kind == Kind::Write && !event.bytes.empty())
      copied = plan_.target->write(event.offset, event.bytes);
    else if (event.kind == Kind::Zero)
      copied = plan_.target->zero(event.offset, event.length, {.may_unmap = event.may_unmap});
    if (!copied) dirty_.set(event.offset, event.length);
    locks_.release(down(event.offset), up(event.offset + event.length));
  }

  std::optional<CopyError> copy(const DirtyBitmap::Range& range) {
    const Graph::Pass pass(plan_.source->graph());
    const u64 end = up(range.offset + range.length);
    if (blocks()) locks_.acquire(range.offset, end);
    std::optional<CopyError> failed =
        copy_range(*plan_.source, *plan_.target, range.offset, range.length, mode(), bytes_);
    if (blocks()) locks_.release(range.offset, end);
    return failed;
  }

  void let_go() {
    if (std::exchange(watching_, false)) plan_.source->remove_observer(*this);
    source_use_.reset();
    target_use_.reset();
  }

  Result<void> end_without_pivot() {
    if (plan_.into_backing) make_read_only_again(*plan_.target);
    return {};
  }

  // The source lets go of the target first, which is not below anybody then.
  Result<void> pivot_into_backing() {
    Node& source = *plan_.source;
    Node* above = &source;
    while (above->backing() && above->backing() != plan_.target.get()) above = above->backing();
    ChildLink* link = nullptr;
    for (const auto& child : above->children())
      if (child->role == ChildRole::Backing) link = child.get();
    if (link) TRY(above->replace_child(*link, nullptr));
    Result<void> moved = Node::move_users(source, *plan_.target, [](const Child&) { return true; });
    if (!moved && link) TRY(above->replace_child(*link, plan_.target));
    return moved;
  }

  const MirrorPlan plan_;
  Child source_use_, target_use_;
  DirtyBitmap dirty_;
  RangeLocks locks_;
  bool watching_ = false;
  std::atomic<bool> pivot_{false};
  std::vector<std::byte> bytes_;
};

// --- backup

class BackupWork final : public JobWork, private WriteObserver {
 public:
  explicit BackupWork(BackupPlan plan)
      : plan_(std::move(plan)),
        unit_(std::max<u64>(64 * KiB, std::bit_ceil(plan_.target->image().info().cluster_size))),
        todo_(plan_.source->size(), unit_) {}

  Result<void> begin() override {
    Node& source = *plan_.source;
    if (plan_.source == plan_.target)
      return fail(Errc::InvalidArgument, "Node '{}' cannot be copied onto itself", source.name());
    if (plan_.target->size() != source.size())
      return fail(Errc::InvalidArgument, "The source has {} bytes, the target '{}' {}",
                  source.size(), plan_.target->name(), plan_.target->size());
    source_use_ = TRY(use_source(plan_.source));
    target_use_ = TRY(Child::attach(
        plan_.target, {"a block job", "target", {kConsistentRead | kWrite, kConsistentRead}}));
    if (plan_.sync == Sync::Full || plan_.sync == Sync::None) todo_.set_all();
    if (plan_.sync == Sync::Top) TRY(mark_own_content(source, source.backing(), todo_));
    if (plan_.sync == Sync::Incremental || plan_.sync == Sync::Bitmap) TRY(take_bitmap());
    source.add_observer(*this);
    watching_ = true;
    return {};
  }

  Result<void> run(JobControl& control) override {
    control.add_total(plan_.sync == Sync::None ? 0 : todo_.dirty_bytes());
    while (plan_.sync == Sync::None) {
      TRY(broken());
      TRY(control.breathe(0));
      control.rest();
    }
    for (u64 cursor = 0;;) {
      TRY(broken());
      const std::optional<DirtyBitmap::Range> range = todo_.next(cursor, kPiece);
      if (!range) break;
      if (std::optional<CopyError> failed = copy_if_due(range->offset, range->length)) {
        const OnError policy = failed->operation == JobControl::Operation::Read
                                   ? plan_.on_source_error
                                   : plan_.on_target_error;
        if (!control.survives(policy, failed->operation, failed->error))
          return std::move(failed->error);
        TRY(control.breathe(0));
        if (policy == OnError::Ignore) cursor = range->offset + range->length;
        continue;
      }
      cursor = range->offset + range->length;
      control.advance(range->length);
      TRY(control.breathe(range->length));
    }
    const Graph::Pass pass(plan_.target->graph());
    return plan_.target->flush();
  }

  Result<void> finish() override {
    let_go();
    if (bitmap_ && plan_.bitmap_mode == BitmapMode::Never) return {};
    if (store_ && !live_) TRY(store_->store(plan_.bitmap, {std::vector<u64>(old_.words.size())}));
    release_bitmap();
    return {};
  }
  void abandon() override {
    const bool began = watching_;
    let_go();
    if (!began) return;
    // What was not copied is still to be copied the next time; with "always", only that.
    const bool all = plan_.bitmap_mode != BitmapMode::Always;
    give_back(all ? old_ : todo_.content(), all ? granularity_ : unit_);
    release_bitmap();
  }
  std::vector<Node*> nodes() const override { return {plan_.source.get(), plan_.target.get()}; }

 private:
  u64 down(u64 at) const { return at / unit_ * unit_; }
  u64 up(u64 at) const { return down(at + unit_ - 1); }

  // The guest's write waits until what it overwrites is in the copy. A copy that fails ends the job,
  // not the guest's write.
  void before(u64 offset, u64 length) override {
    const u64 begin = down(offset), end = up(offset + length);
    locks_.acquire(begin, end);
    while (const auto range = todo_.next(begin, kPiece)) {
      if (range->offset >= end) break;
      const u64 here = std::min(range->length, end - range->offset);
      std::vector<std::byte> bytes;
      if (std::optional<CopyError> failed = copy_out(range->offset, here, bytes)) {
        const std::lock_guard guard(mutex_);
        if (!broken_) broken_ = std::move(failed->error).within("Copying before a guest's write");
        break;
      }
    }
  }
  void after(const Event& event) override {
    locks_.release(down(event.offset), up(event.offset + event.length));
  }

  std::optional<CopyError> copy_out(u64 at, u64 length, std::vector<std::byte>& bytes) {
    std::optional<CopyError> failed;
    if (plan_.compress) {
      failed = copy_compressed(at, length, bytes);
    } else {
      failed = copy_range(*plan_.source, *plan_.target, at, length, {.may_unmap = true}, bytes);
    }
    if (!failed) todo_.clear(at, length);
    return failed;
  }

  std::optional<CopyError> copy_compressed(u64 at, u64 length, std::vector<std::byte>& bytes) {
    for (const u64 end = std::min(at + length, plan_.source->size()); at < end;) {
      const u64 here = std::min(unit_, end - at);
      bytes.resize(static_cast<size_t>(here));
      if (Result<void> read = plan_.source->read(at, bytes); !read)
        return CopyError{JobControl::Operation::Read, std::move(read.error())};
      if (Result<void> written = plan_.target->write_compressed(at, bytes); !written)
        return CopyError{JobControl::Operation::Write, std::move(written.error())};
      at += here;
    }
    return {};
  }

  std::optional<CopyError> copy_if_due(u64 at, u64 length) {
    const Graph::Pass pass(plan_.source->graph());
    const u64 end = up(at + length);
    locks_.acquire(at, end);
    std::optional<CopyError> failed;
    while (const auto range = todo_.next(at, kPiece)) {
      if (range->offset >= end || failed) break;
      failed = copy_out(range->offset, std::min(range->length, end - range->offset), bytes_);
    }
    locks_.release(at, end);
    return failed;
  }

  Result<void> broken() {
    const std::lock_guard guard(mutex_);
    if (broken_) return *broken_;
    return {};
  }

  // --- Bitmaps: what they say is copied, and new writes are recorded in a clean one.

  Result<void> take_bitmap() {
    Node& source = *plan_.source;
    if (NodeBitmap* bitmap = source.find_bitmap(plan_.bitmap); bitmap && bitmap->busy)
      return fail(Errc::Busy, "Bitmap '{}' of node '{}' is in use", plan_.bitmap, source.name());
    old_ = TRY(bitmap_content(source, plan_.bitmap, granularity_));
    todo_.merge(old_, granularity_);
    bitmap_ = true;
    if (plan_.bitmap_mode == BitmapMode::Never) return {};
    node_bitmap_ = source.find_bitmap(plan_.bitmap);
    if (node_bitmap_) {
      node_bitmap_->bits.clear_all();
      node_bitmap_->busy = true;
      return {};
    }
    store_ = source.image().bitmaps();
    for (const BitmapInfo& info : store_->list())
      if (info.name == plan_.bitmap) live_ = info.enabled;
    // In memory alone: until the job is done, the file does not claim that nothing has changed.
    if (live_) TRY(store_->continue_from(plan_.bitmap, {std::vector<u64>(old_.words.size())}));
    return {};
  }

  void give_back(const BitmapContent& content, u64 granularity) {
    if (!bitmap_ || plan_.bitmap_mode == BitmapMode::Never) return;
    if (node_bitmap_) return node_bitmap_->bits.merge(content, granularity);
    if (!live_) return;
    DirtyBitmap whole(plan_.source->size(), granularity_);
    if (const Result<BitmapContent> now = store_->load(plan_.bitmap))
      whole.merge(*now, granularity_);
    whole.merge(content, granularity);
    (void)store_->continue_from(plan_.bitmap, whole.content()).ok();
  }

  void release_bitmap() {
    if (node_bitmap_) node_bitmap_->busy = false;
  }

  void let_go() {
    if (std::exchange(watching_, false)) plan_.source->remove_observer(*this);
    source_use_.reset();
    target_use_.reset();
  }

  const BackupPlan plan_;
  const u64 unit_;
  Child source_use_, target_use_;
  DirtyBitmap todo_;
  RangeLocks locks_;
  bool watching_ = false;
  std::vector<std::byte> bytes_;
  std::mutex mutex_;
  std::optional<Error> broken_;
  // The bitmap that says what to copy
  bool bitmap_ = false;
  NodeBitmap* node_bitmap_ = nullptr;
  BitmapStore* store_ = nullptr;
  bool live_ = false;  // it records
  BitmapContent old_;
  u64 granularity_ = 0;
};

}  // namespace

std::unique_ptr<JobWork> make_mirror(MirrorPlan plan) {
  return std::make_unique<MirrorWork>(std::move(plan));
}
std::unique_ptr<JobWork> make_backup(BackupPlan plan) {
  return std::make_unique<BackupWork>(std::move(plan));
}

}  // namespace menura
