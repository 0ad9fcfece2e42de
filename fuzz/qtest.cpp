// The qtest server fed with anything: every line gets one reply, nothing crashes.
#include <cstdlib>

#include "accel/dummy/qtest_double.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, size_t size) {
  using namespace menura;
  QtestDouble q;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  q.chardev.deliver(text);
  const auto lines = [](std::string_view all, std::string_view skipped) {
    size_t count = 0;
    for (size_t at = 0; at < all.size();) {
      const size_t end = all.find('\n', at);
      if (end == std::string_view::npos) break;
      if (skipped.empty() || !all.substr(at).starts_with(skipped)) count++;
      at = end + 1;
    }
    return count;
  };
  // A machine that was asked for more than it may send at once stops reading.
  if (q.chardev.sink()->room() != 0 && lines(q.chardev.sent, "IRQ ") != lines(text, ""))
    std::abort();
  return 0;
}
