#include <algorithm>

#include "base/units.h"
#include "block/filter/filter_image.h"
#include "block/filter/filters.h"

namespace menura {

namespace {

constexpr u64 kPiece = 1 * MiB;

struct CopyOnReadConfig {
  std::optional<std::string> bottom;
  void describe(PropertyVisitor& p) {
    p.field("bottom", bottom, "nothing that lies below this node is copied");
  }
};

class CopyOnReadImage final : public FilterImage {
 public:
  CopyOnReadImage(const Child& below, Node* bottom) : FilterImage(below) {
    if (bottom) bottom_ = bottom->weak_from_this();
  }

  static Result<std::unique_ptr<Image>> open(OpenContext& context) {
    ChildLink* file = TRY(context.child("file", ChildRole::Filtered));
    const auto config = TRY(context.options<CopyOnReadConfig>());
    Node* bottom = nullptr;
    if (config.bottom) {
      bottom = context.graph().find(*config.bottom);
      Node* at = file->child->backing();
      while (at && at != bottom) at = at->backing();
      if (!bottom || !at)
        return fail(Errc::InvalidArgument, "bottom: node '{}' is not in the chain of '{}'",
                    *config.bottom, file->child->name());
    }
    return std::unique_ptr<Image>(new CopyOnReadImage(file->child, bottom));
  }

  Result<void> read(u64 at, Bytes to) override {
    while (!to.empty()) {
      const Extent extent = TRY(below()->map(at, to.size()));
      const Bytes part = to.first(static_cast<size_t>(extent.length));
      const bool fills = extent.kind == ExtentKind::Hole && below()->backing() &&
                         at < below()->backing()->size() && !below()->read_only();
      if (fills) TRY(fill(at, extent.length));
      TRY(below()->read(at, part));
      to = to.subspan(part.size());
      at += part.size();
    }
    return {};
  }
  Result<void> write(u64 at, ConstBytes from, WriteMode mode) override {
    const Hold hold(*this, at, from.size());
    return FilterImage::write(at, from, mode);
  }
  Result<void> zero(u64 at, u64 length, WriteMode mode) override {
    const Hold hold(*this, at, length);
    return FilterImage::zero(at, length, mode);
  }
  Result<void> discard(u64 at, u64 length) override {
    const Hold hold(*this, at, length);
    return FilterImage::discard(at, length);
  }
  Result<void> write_compressed(u64 at, ConstBytes from) override {
    const Hold hold(*this, at, from.size());
    return FilterImage::write_compressed(at, from);
  }

 private:
  class Hold {
   public:
    Hold(CopyOnReadImage& image, u64 at, u64 length)
        : image_(image), begin_(at), end_(at + length) {
      image_.locks_.acquire(begin_, end_);
    }
    ~Hold() { image_.locks_.release(begin_, end_); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    CopyOnReadImage& image_;
    const u64 begin_, end_;
  };

  // Holes of the range get what lies below them; a guest's write to it waits, or was before.
  Result<void> fill(u64 at, u64 length) {
    const u64 unit = std::max<u64>(512, below()->image().info().cluster_size);
    const u64 end = std::min((at + length + unit - 1) / unit * unit, size());
    at = at / unit * unit;
    std::vector<std::byte> bytes;
    while (at < end) {
      const u64 most = std::min(kPiece / unit * unit + unit, end - at);
      const Hold hold(*this, at, most);
      const Extent extent = TRY(below()->map(at, most));
      const u64 here = extent.length;
      if (extent.kind == ExtentKind::Hole && is_to_be_copied(at, here)) {
        const ChainExtent deep = TRY(map_chain(*below(), nullptr, at, here));
        bytes.resize(static_cast<size_t>(here));
        TRY(below()->read(at, bytes));
        const bool zero = deep.extent.length >= here && deep.extent.kind == ExtentKind::Zero;
        if (zero)
          TRY(below()->zero(at, here, {.may_unmap = true}));
        else
          TRY(below()->write(at, bytes));
      }
      at += here;
    }
    return {};
  }
  bool is_to_be_copied(u64 at, u64 length) {
    const NodePtr bottom = bottom_.lock();
    if (!bottom || !bottom->backing()) return true;
    const Result<ChainExtent> deep = map_chain(*below(), bottom->backing(), at, length);
    return deep && deep->extent.kind != ExtentKind::Hole;
  }

  std::weak_ptr<Node> bottom_;
  RangeLocks locks_;
};

}  // namespace

const Driver kCopyOnReadDriver{.name = "copy-on-read",
                               .help = "keeps in the image what was read from its backing image",
                               .kind = DriverKind::Filter,
                               .open = CopyOnReadImage::open,
                               .open_options = properties_of<CopyOnReadConfig>};

}  // namespace menura
