// blkverify: what is written goes to two images, and what is read must be the same in both.
#include <algorithm>

#include "base/log.h"
#include "block/filter/filter_image.h"
#include "block/filter/filters.h"

namespace menura {

namespace {

class BlkverifyImage final : public FilterImage {
 public:
  BlkverifyImage(const Child& test, const Child& raw) : FilterImage(test), raw_(raw) {}

  static Result<std::unique_ptr<Image>> open(OpenContext& context) {
    ChildLink* test = TRY(context.child("test", ChildRole::Filtered));
    ChildLink* raw = TRY(context.child("raw", ChildRole::Data));
    if (test->child->size() != raw->child->size())
      return fail(Errc::InvalidArgument, "blkverify: 'test' has {} bytes, but 'raw' has {}",
                  test->child->size(), raw->child->size());
    return std::unique_ptr<Image>(new BlkverifyImage(test->child, raw->child));
  }
  static Result<Value> parse(const std::string& name) {
    const size_t second = name.find(':', 10);
    if (!name.starts_with("blkverify:") || second == std::string::npos)
      return fail(Errc::InvalidArgument, "'{}' is not of the form blkverify:RAW:IMAGE", name);
    const auto file = [](std::string path) {
      Value options = Value::object();
      options.set("driver", "file");
      options.set("filename", std::move(path));
      return options;
    };
    Value options = Value::object();
    options.set("raw", file(name.substr(10, second - 10)));
    Value test = Value::object();
    test.set("file", file(name.substr(second + 1)));  // its format is found out
    options.set("test", std::move(test));
    return options;
  }

  Result<void> read(u64 at, Bytes to) override {
    TRY(FilterImage::read(at, to));
    std::vector<std::byte> other(to.size());
    TRY(raw_->read(at, other));
    const auto differs = std::mismatch(to.begin(), to.end(), other.begin()).first;
    if (differs == to.end()) return {};
    const u64 place = at + static_cast<u64>(differs - to.begin());
    log_error("blkverify: '{}' and '{}' differ at {}", below()->filename(), raw_->filename(),
              place);
    return fail(Errc::Corrupt, "blkverify: the images differ at byte {}", place);
  }
  Result<void> write(u64 at, ConstBytes from, WriteMode mode) override {
    TRY(FilterImage::write(at, from, mode));
    return raw_->write(at, from, mode);
  }
  Result<void> zero(u64 at, u64 length, WriteMode mode) override {
    TRY(FilterImage::zero(at, length, mode));
    return raw_->zero(at, length, mode);
  }
  // What is discarded may read as anything, so that nothing could be compared.
  Result<void> discard(u64, u64) override { return {}; }
  Result<void> flush() override {
    TRY(raw_->flush());
    return FilterImage::flush();
  }
  Result<void> truncate(u64 size, Preallocation preallocation) override {
    TRY(FilterImage::truncate(size, preallocation));
    return raw_->truncate(size);
  }
  Result<void> write_compressed(u64 at, ConstBytes from) override {
    TRY(FilterImage::write_compressed(at, from));
    return raw_->write(at, from);
  }

 private:
  const Child& raw_;
};

struct NoOptions {
  void describe(PropertyVisitor&) {}
};

}  // namespace

const Driver kBlkverifyDriver{.name = "blkverify",
                              .help = "compares an image with a raw copy at every read",
                              .kind = DriverKind::Filter,
                              .parse_filename = BlkverifyImage::parse,
                              .open = BlkverifyImage::open,
                              .open_options = properties_of<NoOptions>};

}  // namespace menura
