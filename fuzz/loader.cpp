// Files that -kernel may name: each is an error or a kernel whose parts lie inside the file, and the
// parameters made for it have their sizes.
#include "machine/loader/kernel_file.h"

using namespace menura;

namespace {

void check_parts(const KernelFile& kernel, ConstBytes file) {
  for (const LoadSegment& segment : kernel.segments) {
    ensure(segment.bytes.size() <= segment.size, "a segment is no shorter than its bytes");
    ensure(segment.end() >= segment.address, "a segment does not wrap");
    if (!segment.bytes.empty())
      ensure(segment.bytes.data() >= file.data() &&
                 segment.bytes.data() + segment.bytes.size() <= file.data() + file.size(),
             "a segment's bytes are the file's");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* bytes, size_t size) {
  const ConstBytes file = std::as_bytes(std::span(bytes, size));
  const Result<KernelFile> kernel = parse_kernel(file, "fuzz");
  if (!kernel) {
    ensure(!kernel.error().text.empty(), "an error says why");
    return 0;
  }
  check_parts(*kernel, file);
  const BootParameters parameters{.modules = {{}, {}}, .map = {{0, 0x9'fc00}, {0x10'0000, 1}}};
  if (kernel->is_linux()) {
    ensure(make_zero_page(kernel->bzimage, parameters).size() == 4096, "a zero page is a page");
    const LinuxSetup setup = prepare_setup(kernel->bzimage, 1, 2);
    ensure(setup.setup.size() == kernel->bzimage.setup_size, "the setup code keeps its size");
  }
  return 0;
}
