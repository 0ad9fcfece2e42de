// blkdebug: rules say at which points of a driver's work which requests fail, and where they stop.
#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>

#include "base/fd.h"
#include "base/text.h"
#include "base/units.h"
#include "block/filter/filter_image.h"
#include "block/filter/filters.h"

namespace menura {

namespace {

// What the format drivers tell of (Image::reached); "none" is whatever the filter sees itself.
constexpr std::string_view kPoints[] = {
    "none",
    "l1_update",
    "l1_grow_write_table",
    "l1_grow_activate_table",
    "l2_load",
    "l2_update",
    "l2_alloc_write",
    "refblock_load",
    "refblock_update",
    "refblock_alloc",
    "refblock_alloc_write",
    "cluster_alloc",
    "cluster_free",
    "cow_read",
    "cow_write",
    "read_aio",
    "read_backing_aio",
    "read_compressed",
    "write_aio",
    "write_compressed",
    "flush_to_os",
    "flush_to_disk",
};

enum class IoType : u8 { Any, Read, Write, WriteZeroes, Discard, Flush, BlockStatus };
constexpr std::string_view kIoTypes[] = {"",        "read",  "write",       "write-zeroes",
                                         "discard", "flush", "block-status"};
std::span<const std::string_view> enum_names(IoType) { return kIoTypes; }

struct InjectError {
  std::string event;
  u32 state = 0;
  std::optional<IoType> iotype;
  i32 error = EIO;
  i64 sector = -1;
  bool once = false;
  void describe(PropertyVisitor& p) {
    p.required("event", event, "the point after which requests fail");
    p.field("state", state, "only in this state; 0: in each");
    p.field("iotype", iotype, "only requests of this kind");
    p.field("errno", error, "what they fail with");
    p.field("sector", sector, "only requests that touch it; -1: all");
    p.field("once", once, "only the first one");
  }
};

struct SetState {
  std::string event;
  u32 state = 0;
  u32 new_state = 0;
  void describe(PropertyVisitor& p) {
    p.required("event", event, "the point at which the state changes");
    p.field("state", state, "only from this state; 0: from each");
    p.required("new_state", new_state, "the state to be in from then on");
  }
};

struct BlkdebugConfig {
  std::string config;
  std::vector<InjectError> inject_error;
  std::vector<SetState> set_state;
  void describe(PropertyVisitor& p) {
    p.field("config", config, "a file of rules");
    p.field("inject-error", inject_error, "rules of failures");
    p.field("set-state", set_state, "rules of states");
  }
};

Result<void> check_point(std::string_view point) {
  if (std::ranges::find(kPoints, point) != std::end(kPoints)) return {};
  return fail(Errc::InvalidArgument, "blkdebug: there is no event '{}'{}", point,
              suggestion(point, kPoints));
}

// "[inject-error]" and "[set-state]" sections of `key = "value"` lines; '#' begins a comment.
Result<void> read_rules(BlkdebugConfig& config) {
  const std::string text = TRY(read_file(config.config, 1 * MiB), "Reading blkdebug's rules");
  std::string section;
  Value rule = Value::object();
  unsigned number = 0;
  const auto end_rule = [&]() -> Result<void> {
    if (section.empty()) return {};
    if (section == "inject-error") {
      TRY(read_properties(config.inject_error.emplace_back(), rule, "inject-error"), "'{}'",
          config.config);
    } else if (section == "set-state") {
      TRY(read_properties(config.set_state.emplace_back(), rule, "set-state"), "'{}'",
          config.config);
    } else {
      return fail(Errc::InvalidArgument, "'{}': there are no rules of kind '{}'", config.config,
                  section);
    }
    rule = Value::object();
    return {};
  };
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string line(trim(rest.substr(0, end)));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    number++;
    const size_t equals = line.find('=');
    if (line.empty() || line[0] == '#') continue;
    if (line[0] == '[' && line.back() == ']') {
      TRY(end_rule());
      section = line.substr(1, line.size() - 2);
    } else if (equals != std::string::npos && !section.empty()) {
      std::string value(trim(std::string_view(line).substr(equals + 1)));
      if (value.size() >= 2 && value[0] == '"' && value.back() == '"')
        value = value.substr(1, value.size() - 2);
      rule.set(trim(std::string_view(line).substr(0, equals)), value);
    } else {
      return fail(Errc::InvalidArgument, "'{}', line {}: neither a section nor a value",
                  config.config, number);
    }
  }
  return end_rule();
}

class BlkdebugImage final : public FilterImage, private Breakpoints {
 public:
  BlkdebugImage(const Child& below, BlkdebugConfig config)
      : FilterImage(below),
        errors_(std::move(config.inject_error)),
        states_(std::move(config.set_state)),
        spent_(errors_.size()) {
    for (size_t i = 0; i < errors_.size(); i++)
      if (errors_[i].event == "none") active_.push_back(i);
  }

  static Result<Value> parse(const std::string& name) {
    const size_t second = name.find(':', 9);
    if (!name.starts_with("blkdebug:") || second == std::string::npos)
      return fail(Errc::InvalidArgument, "'{}' is not of the form blkdebug:RULES:IMAGE", name);
    Value image = Value::object();
    image.set("driver", "file");
    image.set("filename", name.substr(second + 1));
    Value options = Value::object();
    if (second > 9) options.set("config", name.substr(9, second - 9));
    options.set("image", std::move(image));
    return options;
  }

  static Result<std::unique_ptr<Image>> open(OpenContext& context) {
    ChildLink* image = TRY(context.child("image", ChildRole::Filtered));
    auto config = TRY(context.options<BlkdebugConfig>());
    if (!config.config.empty()) TRY(read_rules(config));
    for (const InjectError& rule : config.inject_error) TRY(check_point(rule.event));
    for (const SetState& rule : config.set_state) TRY(check_point(rule.event));
    return std::unique_ptr<Image>(new BlkdebugImage(image->child, std::move(config)));
  }

  Result<Extent> map(u64 at, u64 length) override {
    TRY(fails(IoType::BlockStatus, at, length));
    return FilterImage::map(at, length);
  }
  Result<void> read(u64 at, Bytes to) override {
    TRY(fails(IoType::Read, at, to.size()));
    return FilterImage::read(at, to);
  }
  Result<void> write(u64 at, ConstBytes from, WriteMode mode) override {
    TRY(fails(IoType::Write, at, from.size()));
    return FilterImage::write(at, from, mode);
  }
  Result<void> zero(u64 at, u64 length, WriteMode mode) override {
    TRY(fails(IoType::WriteZeroes, at, length));
    return FilterImage::zero(at, length, mode);
  }
  Result<void> discard(u64 at, u64 length) override {
    TRY(fails(IoType::Discard, at, length));
    return FilterImage::discard(at, length);
  }
  Result<void> flush() override {
    TRY(fails(IoType::Flush, 0, 0));
    return FilterImage::flush();
  }

  void reached(std::string_view point) override {
    std::unique_lock guard(mutex_);
    bool first = true;
    for (size_t i = 0; i < errors_.size(); i++) {
      if (errors_[i].event != point || spent_[i] || !in_state(errors_[i].state)) continue;
      if (first) active_.clear();
      first = false;
      active_.push_back(i);
    }
    u32 next = state_;
    for (const SetState& rule : states_)
      if (rule.event == point && in_state(rule.state)) next = rule.new_state;
    state_ = next;
    const auto stop =
        std::ranges::find_if(stops_, [&](const Stop& s) { return s.point == point && !s.stopped; });
    if (stop == stops_.end()) return;
    stop->stopped = true;
    const std::string tag = stop->tag;
    changed_.notify_all();
    changed_.wait(guard, [&] { return !find_stop(tag); });
  }
  Breakpoints* breakpoints() override { return this; }

 private:
  struct Stop {
    std::string point, tag;
    bool stopped = false;
  };

  bool in_state(u32 wanted) const { return wanted == 0 || wanted == state_; }
  const Stop* find_stop(std::string_view tag) const {
    const auto found = std::ranges::find(stops_, tag, &Stop::tag);
    return found == stops_.end() ? nullptr : &*found;
  }

  Result<void> fails(IoType type, u64 at, u64 length) {
    const std::lock_guard guard(mutex_);
    for (auto active = active_.begin(); active != active_.end(); ++active) {
      const InjectError& rule = errors_[*active];
      const IoType kind = rule.iotype.value_or(IoType::Any);
      if (kind != type && (kind != IoType::Any || type == IoType::BlockStatus)) continue;
      const u64 place = static_cast<u64>(rule.sector) * 512;
      if (rule.sector >= 0 && (place < at || place >= at + length)) continue;
      const int error = rule.error;
      if (rule.once) {
        spent_[*active] = true;
        active_.erase(active);
      }
      if (error == 0) return {};
      return fail_errno(error, "blkdebug: {} of {} bytes at {}",
                        kIoTypes[static_cast<size_t>(type)], length, at);
    }
    return {};
  }

  Result<void> set(std::string_view point, std::string_view tag) override {
    TRY(check_point(point));
    const std::lock_guard guard(mutex_);
    stops_.push_back({std::string(point), std::string(tag)});
    return {};
  }
  Result<void> forget(std::string_view tag, bool stopped_only) {
    {
      const std::lock_guard guard(mutex_);
      const auto found = std::ranges::find_if(
          stops_, [&](const Stop& s) { return s.tag == tag && (s.stopped || !stopped_only); });
      if (found == stops_.end())
        return fail(Errc::NotFound, "Nothing is {} by tag '{}'",
                    stopped_only ? "stopped" : "to be stopped", tag);
      stops_.erase(found);
    }
    changed_.notify_all();
    return {};
  }
  Result<void> remove(std::string_view tag) override { return forget(tag, false); }
  Result<void> resume(std::string_view tag) override { return forget(tag, true); }
  bool is_stopped(std::string_view tag) const override {
    const std::lock_guard guard(mutex_);
    const Stop* stop = find_stop(tag);
    return stop && stop->stopped;
  }

  // Configuration
  const std::vector<InjectError> errors_;
  const std::vector<SetState> states_;
  // State
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<size_t> active_;
  std::vector<bool> spent_;  // by rule
  std::vector<Stop> stops_;
  u32 state_ = 1;
};

}  // namespace

const Driver kBlkdebugDriver{.name = "blkdebug",
                             .help = "lets requests fail and stop, for tests",
                             .kind = DriverKind::Filter,
                             .parse_filename = BlkdebugImage::parse,
                             .open = BlkdebugImage::open,
                             .open_options = properties_of<BlkdebugConfig>};

}  // namespace menura
