#include "jit/back/x64/disassemble.h"

#include <Zydis/Zydis.h>

#include "base/format.h"

namespace menura::x64 {

std::string disassemble(std::span<const u8> code, u64 address) {
  std::string out;
  while (!code.empty()) {
    ZydisDisassembledInstruction insn;
    const bool good = ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, address,
                                                         code.data(), code.size(), &insn));
    const size_t length = good ? insn.info.length : 1;
    std::string bytes;
    for (const u8 byte : code.first(length)) bytes += fmt::format("{:02x}", byte);
    out += fmt::format("{:#x}:  {:<22} {}\n", address, bytes, good ? insn.text : "(bad)");
    address += length;
    code = code.subspan(length);
  }
  return out;
}

}  // namespace menura::x64
