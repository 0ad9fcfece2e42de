// A vCPU's registers as GDB numbers them: the target description and both directions of transfer.
//
// Owner: control/gdbstub. Threads: pure functions on a state. Source: GDB manual, appendix G "i386
// Features". The layout is that of a 64-bit CPU in every mode, so that GDB keeps its footing when
// the guest changes modes. Example: `std::string hex = to_hex(read_gdb_registers(state));`
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cpu/x86/state.h"

namespace menura {

// target.xml
std::string gdb_target_description();

unsigned gdb_register_count();
// Little-endian, as wide as the description says. Nothing for a number that is none.
std::optional<std::vector<std::byte>> read_gdb_register(const x86::State& state, unsigned number);
// False: no such register, another width, or one that cannot be written (segment selectors: GDB
// cannot give the hidden parts).
bool write_gdb_register(x86::State& state, unsigned number, ConstBytes value);
// All, in order: the g packet.
std::vector<std::byte> read_gdb_registers(const x86::State& state);
void write_gdb_registers(x86::State& state, ConstBytes values);

}  // namespace menura
