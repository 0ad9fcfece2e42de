// Random instructions over random registers and memory, translated and one at a time: the two agree.
#include "accel/jit/lockstep_trial.h"
#include "base/check.h"

using namespace menura;

extern "C" int LLVMFuzzerTestOneInput(const u8* bytes, std::size_t size) {
  static engine::TestMachine machine({.code_size = 16 << 20, .lockstep = true});
  const std::string failure = engine::lockstep_trial(machine, {bytes, size});
  if (!failure.empty()) std::fputs(failure.c_str(), stderr);
  ensure(failure.empty(), "translated code and single steps agree");
  return 0;
}
