#include "base/random.h"

#include <sys/random.h>

#include <cerrno>

#include "base/check.h"

namespace menura {

void fill_random(Bytes out) {
  while (!out.empty()) {
    const ssize_t n = ::getrandom(out.data(), out.size(), 0);
    // With these flags getrandom fails only by EINTR, or when the kernel lacks it.
    ensure(n > 0 || errno == EINTR, "getrandom(2) works on every supported host");
    if (n > 0) out = out.subspan(static_cast<size_t>(n));
  }
}

}  // namespace menura
