#include "base/code_log.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>

#include "base/text.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr std::array kItems{
    LogItemInfo{"in_asm", "guest instructions of each block translated"},
    LogItemInfo{"out_asm", "host instructions of each block translated"},
    LogItemInfo{"op", "operations of each block, as said by the front end"},
    LogItemInfo{"op_opt", "operations of each block, after the passes"},
    LogItemInfo{"int", "interrupts and exceptions"},
    LogItemInfo{"exec", "each block entered from outside of blocks (all with nochain)"},
    LogItemInfo{"cpu", "registers before each block entered from outside of blocks"},
    LogItemInfo{"fpu", "'cpu' also shows x87 and vector registers"},
    LogItemInfo{"mmu", "translations entered into the software TLB, and page faults"},
    LogItemInfo{"cpu_reset", "registers before a reset of the CPU"},
    LogItemInfo{"nochain", "blocks are not chained, so that 'exec' and 'cpu' show all"},
};
static_assert(kItems.size() == static_cast<size_t>(LogItem::Count));

struct CodeLog {
  std::atomic<u32> items{0};
  std::vector<LogRange> ranges;
  std::mutex mutex;
  std::function<void(std::string_view)> sink;
};

CodeLog& the_code_log() {
  static CodeLog log;
  return log;
}

Result<LogRange> parse_range(std::string_view text) {
  const size_t dots = text.find("..");
  const size_t at = dots != text.npos ? dots : text.find_first_of("+-", 1);
  if (at == text.npos)
    return fail(Errc::InvalidArgument, "expected START..END, START+SIZE or START-SIZE, not '{}'",
                text);
  const u64 start = TRY(parse_u64(text.substr(0, at)));
  const u64 other = TRY(parse_u64(text.substr(at + (dots != text.npos ? 2 : 1))));
  LogRange range{start, other};
  if (dots == text.npos) {
    if (other == 0) return fail(Errc::InvalidArgument, "range '{}' is empty", text);
    range = text[at] == '+' ? LogRange{start, start + (other - 1)}
                            : LogRange{start - (other - 1), start};
  }
  if (range.first > range.last) return fail(Errc::InvalidArgument, "range '{}' is empty", text);
  return range;
}

}  // namespace

std::span<const LogItemInfo> log_items() { return kItems; }

std::optional<LogItem> find_log_item(std::string_view name) {
  for (size_t i = 0; i < kItems.size(); ++i)
    if (kItems[i].name == name) return static_cast<LogItem>(i);
  return std::nullopt;
}

void set_code_log(u32 items) { the_code_log().items = items; }
u32 code_log_items() { return the_code_log().items; }
bool code_logged(LogItem item) {
  return the_code_log().items.load(std::memory_order_relaxed) >> static_cast<unsigned>(item) & 1;
}

Result<std::vector<LogRange>> parse_log_ranges(std::string_view text) {
  std::vector<LogRange> ranges;
  for (const std::string_view part : split(text, ',')) ranges.push_back(TRY(parse_range(part)));
  return ranges;
}

void set_code_log_ranges(std::vector<LogRange> ranges) {
  the_code_log().ranges = std::move(ranges);
}

bool code_log_wants(u64 pc) {
  const std::vector<LogRange>& ranges = the_code_log().ranges;
  return ranges.empty() || std::ranges::any_of(ranges, [&](const LogRange& r) {
           return r.first <= pc && pc <= r.last;
         });
}

void code_log(std::string_view text) {
  CodeLog& log = the_code_log();
  const std::lock_guard guard(log.mutex);
  if (log.sink) return log.sink(text);
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

void set_code_log_sink(std::function<void(std::string_view)> sink) {
  const std::lock_guard guard(the_code_log().mutex);
  the_code_log().sink = std::move(sink);
}

}  // namespace menura
