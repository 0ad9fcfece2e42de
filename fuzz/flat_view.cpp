// Random memory maps from the fuzzer's bytes, each change checked against the model.
#include <cstdio>
#include <cstdlib>

#include "memory/map_exercise.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, size_t size) {
  using namespace menura;
  size_t at = 0;
  MapExercise exercise([&] { return at < size ? bytes[at++] : u8{0}; });
  constexpr int kMaxSteps = 200;
  for (int step = 0; at < size && step < kMaxSteps; step++) {
    const std::string problem = exercise.step();
    if (problem.empty()) continue;
    std::fprintf(stderr, "%s\n", problem.c_str());
    std::abort();
  }
  return 0;
}
