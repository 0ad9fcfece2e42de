#include "block/filter/filter_image.h"
#include "block/filter/filters.h"

namespace menura {

namespace {

struct ThrottleConfig {
  std::string group;
  void describe(PropertyVisitor& p) {
    p.required("throttle-group", group, "the throttle-group object whose limits hold");
  }
};

class ThrottleImage final : public FilterImage, private GraphUser {
 public:
  ThrottleImage(const Child& below, Graph& graph, std::shared_ptr<Throttle> group)
      : FilterImage(below), graph_(graph), group_(std::move(group)) {
    graph_.add_user(*this);
  }
  ~ThrottleImage() override { graph_.remove_user(*this); }

  static Result<std::unique_ptr<Image>> open(OpenContext& context) {
    ChildLink* file = TRY(context.child("file", ChildRole::Filtered));
    const auto config = TRY(context.options<ThrottleConfig>());
    auto group = TRY(context.graph().throttle_groups().find(config.group));
    return std::unique_ptr<Image>(
        new ThrottleImage(file->child, context.graph(), std::move(group)));
  }

  Throttle* throttle() override { return group_.get(); }
  Result<void> read(u64 at, Bytes to) override {
    group_->wait(Throttle::Way::Read, to.size());
    return FilterImage::read(at, to);
  }
  Result<void> write(u64 at, ConstBytes from, WriteMode mode) override {
    group_->wait(Throttle::Way::Write, from.size());
    return FilterImage::write(at, from, mode);
  }
  Result<void> zero(u64 at, u64 length, WriteMode mode) override {
    group_->wait(Throttle::Way::Write, length);
    return FilterImage::zero(at, length, mode);
  }
  Result<void> discard(u64 at, u64 length) override {
    group_->wait(Throttle::Way::Write, length);
    return FilterImage::discard(at, length);
  }
  Result<void> write_compressed(u64 at, ConstBytes from) override {
    group_->wait(Throttle::Way::Write, from.size());
    return FilterImage::write_compressed(at, from);
  }

 private:
  void drain() override {}
  void set_pace(Pace pace) override { group_->hurry(pace == Pace::Hurry); }

  Graph& graph_;
  const std::shared_ptr<Throttle> group_;
};

}  // namespace

const Driver kThrottleDriver{.name = "throttle",
                             .help = "limits the requests and bytes of a second",
                             .kind = DriverKind::Filter,
                             .open = ThrottleImage::open,
                             .open_options = properties_of<ThrottleConfig>};

}  // namespace menura
