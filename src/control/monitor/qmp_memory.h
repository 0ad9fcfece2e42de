// QMP commands that bring guest memory into files: memsave, pmemsave, and ELF cores of the whole guest.
//
// Owner: control/monitor. Threads: under the machine lock. A core has the CPUs' registers as notes
// and the RAM by physical address, or (paging) by the first CPU's linear addresses. Spec: System V
// ABI, chapter "Object Files"; core notes as the Linux kernel writes them (elf_prstatus).
// Example: `command<&dump_guest_memory>("dump-guest-memory", "...")`
#pragma once

#include "control/monitor/command.h"

namespace menura {

struct Memsave {
  u64 val = 0;
  u64 size = 0;
  std::string filename;
  std::optional<u32> cpu;
  void describe(PropertyVisitor& p);
};
Result<Nothing> memsave(MonitorTarget& target, const Memsave& arguments);
struct Pmemsave {
  u64 val = 0;
  u64 size = 0;
  std::string filename;
  void describe(PropertyVisitor& p);
};
Result<Nothing> pmemsave(MonitorTarget& target, const Pmemsave& arguments);

enum class DumpFormatName : u8 { Elf };
std::span<const std::string_view> enum_names(DumpFormatName);
struct DumpGuestMemory {
  bool paging = false;
  std::string protocol;
  bool detach = false;
  std::optional<u64> begin;
  std::optional<u64> length;
  DumpFormatName format = DumpFormatName::Elf;
  void describe(PropertyVisitor& p);
};
// Done when it returns, with an event.
Result<Nothing> dump_guest_memory(MonitorTarget& target, const DumpGuestMemory& arguments);

Result<DumpReply> query_dump(MonitorTarget& target, const Nothing&);

struct DumpCapability {
  std::vector<DumpFormatName> formats{DumpFormatName::Elf};
  void describe(PropertyVisitor& p);
};
Result<DumpCapability> query_dump_capability(MonitorTarget& target, const Nothing&);

}  // namespace menura
