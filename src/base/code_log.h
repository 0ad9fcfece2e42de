// The code log (-d in_asm,int,...): what the translator makes of guest code, and what runs. Items are
// off by default; one relaxed load asks whether one is on.
//
// Owner: base, process-wide as the log is. Threads: any; each text is one write. The sink is stderr
// unless set_code_log_sink(). Example:
//   if (code_logged(LogItem::InAsm) && code_log_wants(pc)) code_log(print(block));
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace menura {

enum class LogItem : u8 {
  InAsm,
  OutAsm,
  Op,
  OpOpt,
  Int,
  Exec,
  Cpu,
  Fpu,
  Mmu,
  CpuReset,
  NoChain,
  Count
};

struct LogItemInfo {
  std::string_view name;  // as -d spells it
  std::string_view help;
};
// In the order of LogItem.
std::span<const LogItemInfo> log_items();
std::optional<LogItem> find_log_item(std::string_view name);

// A bit per LogItem.
void set_code_log(u32 items);
u32 code_log_items();
bool code_logged(LogItem item);

// Inclusive. None: everything is wanted.
struct LogRange {
  u64 first = 0, last = 0;
};
// -dfilter: "START..END", "START+SIZE", "START-SIZE" (the bytes up to and with START), by commas.
Result<std::vector<LogRange>> parse_log_ranges(std::string_view text);
// Before threads start.
void set_code_log_ranges(std::vector<LogRange> ranges);
bool code_log_wants(u64 pc);

// Lines, each with its end.
void code_log(std::string_view text);
void set_code_log_sink(std::function<void(std::string_view)> sink);

}  // namespace menura
