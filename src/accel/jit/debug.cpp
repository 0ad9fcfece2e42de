// A debugger's breakpoints, watchpoints and steps. Software breakpoints are INT3s that it put into
// memory, and cost nothing; the others have every instruction stepped.
#include <span>

#include "accel/jit/jit_vcpu.h"

namespace menura::engine {

namespace {

constexpr size_t kMaxPoints = 4;

}  // namespace

Result<void> JitVcpu::set_debug(const DebugControl& control) {
  if (control.points.size() > kMaxPoints)
    return fail(Errc::OutOfRange, "{} hardware breakpoints: a CPU has four", control.points.size());
  for (const DebugControl::Point& point : control.points)
    if (point.kind == DebugControl::Kind::Access)
      return fail(Errc::Unsupported, "The JIT has no watchpoints for reading");
    else if (point.size == 0 || point.size > sizeof(u64))
      return fail(Errc::InvalidArgument, "A watchpoint of {} bytes: must be 1 to 8", point.size);
  debug_ = control;
  watched_.clear();
  for (const DebugControl::Point& point : control.points) watched_.push_back(watched_value(point));
  stopped_at_ = s_.rip;
  forget_written();  // the debugger may have written to code
  return {};
}

// Of memory that is not mapped, nothing: it has changed when it is.
std::optional<u64> JitVcpu::watched_value(const DebugControl::Point& point) {
  if (point.kind == DebugControl::Kind::Execute) return {};
  u64 value = 0;
  if (!mmu_.read(point.address, std::as_writable_bytes(std::span(&value, 1)).first(point.size),
                 x86::Privilege::Supervisor))
    return {};
  return value;
}

// One instruction, alone; the debugger's points before and behind it.
std::optional<Exit> JitVcpu::debugged_turn() {
  const u64 pc = s_.code64() ? s_.rip : (s_.seg[x86::Cs].base + s_.rip) & 0xffff'ffff;
  // What it stopped at was seen.
  const bool resumed = std::exchange(stopped_at_, std::nullopt) == s_.rip;
  for (const DebugControl::Point& point : debug_.points)
    if (!resumed && point.kind == DebugControl::Kind::Execute && point.address == pc) {
      stopped_at_ = s_.rip;
      return Exit::Debug;
    }
  if (const std::optional<Exit> exit = step()) return exit;
  bool changed = false;
  for (size_t i = 0; i < debug_.points.size(); i++) {
    const std::optional<u64> now = watched_value(debug_.points[i]);
    changed |= std::exchange(watched_[i], now) != now;
  }
  if (!changed && !debug_.single_step) return std::nullopt;
  stopped_at_ = s_.rip;
  return Exit::Debug;
}

}  // namespace menura::engine
