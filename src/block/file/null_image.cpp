#include "block/file/null_image.h"

#include <cstring>
#include <thread>

#include "base/units.h"

namespace menura {

namespace {

struct NullConfig {
  Size size{1 * GiB};
  u64 latency_ns = 0;
  bool read_zeroes = false;
  void describe(PropertyVisitor& p) {
    p.field("size", size, "size of the disk");
    p.field("latency-ns", latency_ns, "how long every request takes");
    p.field("read-zeroes", read_zeroes, "reads give zeroes; else whatever the buffer holds");
  }
};

// Writes go nowhere.
class NullImage final : public Image {
 public:
  static Result<std::unique_ptr<Image>> open(OpenContext& context) {
    return std::unique_ptr<Image>(new NullImage(TRY(context.options<NullConfig>())));
  }
  u64 size() const override { return config_.size.bytes; }
  Result<Extent> map(u64, u64 length) override {
    return Extent{config_.read_zeroes ? ExtentKind::Zero : ExtentKind::Opaque, length};
  }
  Result<void> read(u64, Bytes to) override {
    if (config_.read_zeroes) std::memset(to.data(), 0, to.size());
    return wait();
  }
  Result<void> write(u64, ConstBytes, WriteMode) override { return wait(); }
  Result<void> zero(u64, u64, WriteMode) override { return wait(); }
  Result<void> flush() override { return wait(); }
  Result<void> reopen(bool) override { return {}; }
  bool supports_fua() const override { return true; }
  bool has_zero_init() const override { return config_.read_zeroes; }
  std::optional<u64> allocated_size() override { return 0; }

 private:
  explicit NullImage(const NullConfig& config) : config_(config) {}
  Result<void> wait() const {
    if (config_.latency_ns)
      std::this_thread::sleep_for(std::chrono::nanoseconds(config_.latency_ns));
    return {};
  }

  const NullConfig config_;
};

Result<Value> parse_null_name(const std::string& name) {
  if (!name.ends_with("://"))
    return fail(Errc::InvalidArgument, "'{}': this protocol takes no file name", name);
  return Value::object();
}

}  // namespace

const Driver kNullCoDriver{.name = "null-co",
                           .help = "takes writes and drops them",
                           .kind = DriverKind::Protocol,
                           .parse_filename = parse_null_name,
                           .open = NullImage::open,
                           .open_options = properties_of<NullConfig>};
const Driver kNullAioDriver{.name = "null-aio",
                            .help = "the same",
                            .kind = DriverKind::Protocol,
                            .parse_filename = parse_null_name,
                            .open = NullImage::open,
                            .open_options = properties_of<NullConfig>};

}  // namespace menura
