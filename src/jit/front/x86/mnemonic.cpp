#include "jit/front/x86/mnemonic.h"

#include <iterator>

namespace menura::jit::x86 {
namespace {

constexpr std::size_t kLongest = 24;

struct Name {
  char text[kLongest] = {};
  u8 length = 0;
};

struct Names {
  Name names[static_cast<unsigned>(Mnemonic::Count)] = {};
  unsigned filled = 0;
  constexpr void add(std::string_view spelled) {
    Name& name = names[filled++];
    for (char c : spelled)
      name.text[name.length++] = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
  constexpr Names() {
#define MNEMONIC(name) add(#name);
#include "jit/front/x86/mnemonics.def"
#undef MNEMONIC
  }
};
constexpr Names kNames;

// Spellings that depend on a size of 1, 2, 4 or 8 bytes, and names that are two words.
struct Sized {
  Mnemonic mnemonic;
  std::string_view names[4];
};
using M = Mnemonic;
constexpr Sized kSized[] = {
    {M::Movs, {"movsb", "movsw", "movsd", "movsq"}},
    {M::Cmps, {"cmpsb", "cmpsw", "cmpsd", "cmpsq"}},
    {M::Stos, {"stosb", "stosw", "stosd", "stosq"}},
    {M::Lods, {"lodsb", "lodsw", "lodsd", "lodsq"}},
    {M::Scas, {"scasb", "scasw", "scasd", "scasq"}},
    {M::Ins, {"insb", "insw", "insd", "insd"}},
    {M::Outs, {"outsb", "outsw", "outsd", "outsd"}},
    {M::Cbw, {"", "cbw", "cwde", "cdqe"}},
    {M::Cwd, {"", "cwd", "cdq", "cqo"}},
    {M::Jcxz, {"", "jcxz", "jecxz", "jrcxz"}},
    {M::Pusha, {"", "pusha", "pushad", ""}},
    {M::Popa, {"", "popa", "popad", ""}},
    {M::Pushf, {"", "pushf", "pushfd", "pushfq"}},
    {M::Popf, {"", "popf", "popfd", "popfq"}},
    {M::Iret, {"", "iret", "iretd", "iretq"}},
    {M::CallFar, {"call far", "call far", "call far", "call far"}},
    {M::JmpFar, {"jmp far", "jmp far", "jmp far", "jmp far"}},
    {M::RetFar, {"retf", "retf", "retf", "retf"}},
};

}  // namespace

std::string_view name(Mnemonic mnemonic, unsigned bytes) {
  for (const Sized& sized : kSized)
    if (sized.mnemonic == mnemonic)
      return sized.names[bytes == 8 ? 3 : bytes == 4 ? 2 : bytes == 2 ? 1 : 0];
  if (mnemonic >= Mnemonic::Count) return "(bad)";
  const Name& name = kNames.names[static_cast<unsigned>(mnemonic)];
  return {name.text, name.length};
}

}  // namespace menura::jit::x86
