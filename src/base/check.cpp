#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace menura {

void check_failed(const char* kind, const char* text, const char* file, int line) {
  std::fprintf(stderr, "menura: internal error (%s): %s, at %s:%d\n", kind, text, file, line);
  std::abort();
}

}  // namespace menura
