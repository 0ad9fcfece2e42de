#include "block/core/image.h"

#include <array>

namespace menura {

namespace {

constexpr std::string_view kPreallocation[] = {"off", "metadata", "falloc", "full"};

Error cannot(std::string_view what) {
  return fail(Errc::Unsupported, "The image's driver cannot {}", what);
}

}  // namespace

std::span<const std::string_view> enum_names(Preallocation) { return kPreallocation; }

Result<void> Image::write(u64, ConstBytes, WriteMode) { return cannot("write"); }
Result<void> Image::zero(u64, u64, WriteMode) { return cannot("zero"); }
Result<void> Image::discard(u64, u64) { return {}; }
Result<void> Image::truncate(u64, Preallocation) { return cannot("resize"); }
Result<void> Image::write_compressed(u64, ConstBytes) { return cannot("compress"); }
Result<CheckReport> Image::check(Repair) { return cannot("check"); }
Result<void> Image::amend(const Value&, const Progress&) {
  return cannot("change options of an image");
}
Result<void> Image::change_backing(const std::string&, const std::string&) {
  return cannot("take another backing image");
}
Result<void> Image::make_empty() { return cannot("drop its content"); }
Result<void> Image::read_vm_state(u64, Bytes) { return cannot("keep a machine's state"); }
Result<void> Image::write_vm_state(u64, ConstBytes) { return cannot("keep a machine's state"); }
Result<void> Image::reopen(bool) { return cannot("change between read-only and read-write"); }

}  // namespace menura
