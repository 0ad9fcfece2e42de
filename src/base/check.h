// Checks of our own reasoning: a failure is a bug in menura, prints where and why, and aborts.
//
// Owner: base. Threads: any. Nothing derived from a guest, an image, a client or a file may reach
// ensure(); such input gets a Result or device behaviour. Example: `ensure(pin < 8, "PIC pin range");`
#pragma once

namespace menura {

[[noreturn]] void check_failed(const char* kind, const char* text, const char* file, int line);

// Always on.
constexpr void ensure(bool condition, const char* text, const char* file = __builtin_FILE(),
                      int line = __builtin_LINE()) {
  if (!condition) [[unlikely]]
    check_failed("ensure", text, file, line);
}

// On in debug builds only: for checks on hot paths.
constexpr void expect([[maybe_unused]] bool condition, [[maybe_unused]] const char* text,
                      [[maybe_unused]] const char* file = __builtin_FILE(),
                      [[maybe_unused]] int line = __builtin_LINE()) {
#ifndef NDEBUG
  if (!condition) [[unlikely]]
    check_failed("expect", text, file, line);
#endif
}

// For the end of a switch that names every enumerator.
[[noreturn]] inline void unreachable(const char* text = "unreachable",
                                     const char* file = __builtin_FILE(),
                                     int line = __builtin_LINE()) {
  check_failed("unreachable", text, file, line);
}

}  // namespace menura
