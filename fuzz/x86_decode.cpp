// The x86 decoder and printer on arbitrary bytes, in all modes: the length is stable, every proper prefix of an instruction
// asks for more, and what lies behind it does not matter.
#include <cstddef>
#include <span>

#include "base/check.h"
#include "jit/front/x86/insn.h"
#include "jit/front/x86/print.h"

using namespace menura;
using namespace menura::jit::x86;

namespace {

void check(Mode mode, std::span<const u8> code) {
  Decoder decoder{mode, FeatureSet::all()};
  Insn insn = decoder.decode(code);
  std::string text = print(insn, 0x1000);
  ensure(!text.empty(), "an instruction prints as nothing");
  if (insn.status == Status::NeedMore) ensure(code.size() < kMaxLength, "15 bytes are enough");
  if (insn.status != Status::Ok) return;
  ensure(insn.length >= 1 && insn.length <= kMaxLength && insn.length <= code.size(), "length");
  ensure(print(decoder.decode(code.first(insn.length)), 0x1000) == text, "bytes behind matter");
  for (unsigned cut = 0; cut < insn.length; ++cut)
    ensure(decoder.decode(code.first(cut)).status == Status::NeedMore,
           "a cut instruction is complete");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* bytes, std::size_t size) {
  for (Mode mode : {Mode::Bits16, Mode::Bits32, Mode::Bits64}) check(mode, {bytes, size});
  return 0;
}
