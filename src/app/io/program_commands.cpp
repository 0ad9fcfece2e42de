// sleep, sigraise, abort, break, resume, wait_break, remove_break, help, quit.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "app/io/exerciser.h"
#include "base/units.h"
#include "block/core/stores.h"

namespace menura::io {

namespace {

// Looked at so often while a request is waited for.
using Clock = std::chrono::steady_clock;
constexpr auto kGlance = std::chrono::milliseconds(2);

// The first of the image's nodes, from the top, that knows of breakpoints.
Result<Breakpoints*> breakpoints(Exerciser& io) {
  for (Node* node = &io.node(); node; node = node->first_child())
    if (Breakpoints* found = node->image().breakpoints()) return found;
  return fail(Errc::Unsupported, "Only images above a blkdebug node have breakpoints");
}

Result<void> set_break(Exerciser& io, const Arguments& arguments) {
  const auto& words = arguments.operands();
  return TRY(breakpoints(io))->set(words[0], words[1]);
}

Result<void> remove_break(Exerciser& io, const Arguments& arguments) {
  return TRY(breakpoints(io))->remove(arguments.operands()[0]);
}

Result<void> resume(Exerciser& io, const Arguments& arguments) {
  return TRY(breakpoints(io))->resume(arguments.operands()[0]);
}

Result<void> wait_break(Exerciser& io, const Arguments& arguments) {
  Breakpoints* points = TRY(breakpoints(io));
  while (!points->is_stopped(arguments.operands()[0])) {
    io.poll();
    std::this_thread::sleep_for(kGlance);
  }
  return {};
}

Result<void> sleep(Exerciser& io, const Arguments& arguments) {
  const Result<u64> milliseconds = parse_u64(arguments.operands()[0]);
  if (!milliseconds)
    return fail(Errc::InvalidArgument, "'{}' is no number of milliseconds",
                arguments.operands()[0]);
  const auto end = Clock::now() + std::chrono::milliseconds(*milliseconds);
  while (Clock::now() < end) {
    io.poll();
    std::this_thread::sleep_for(kGlance);
  }
  return {};
}

Result<void> sigraise(Exerciser&, const Arguments& arguments) {
  const Result<u64> number = parse_u64(arguments.operands()[0]);
  if (!number || *number >= NSIG)
    return fail(Errc::InvalidArgument, "'{}' is no signal's number", arguments.operands()[0]);
  // Scripts kill us to see what is left: what was said before must be seen.
  std::fflush(stdout);
  std::raise(static_cast<int>(*number));
  return {};
}

Result<void> abort_now(Exerciser&, const Arguments&) {
  std::fflush(stdout);
  std::raise(SIGABRT);
  return {};
}

Result<void> quit(Exerciser& io, const Arguments&) {
  io.quit();
  return {};
}

Result<void> help(Exerciser&, const Arguments& arguments) {
  if (!arguments.operands().empty()) {
    const Command* command = find_command(arguments.operands()[0]);
    if (!command)
      return fail(Errc::NotFound, "There is no command \"{}\"", arguments.operands()[0]);
    std::printf("%s\n\n%s", usage_of(*command).c_str(), flags_help(command->flags).c_str());
    return {};
  }
  for (const auto commands : {transfer_commands(), file_commands(), program_commands()})
    for (const Command& command : commands) std::printf("%s\n", usage_of(command).c_str());
  std::printf("\n'help COMMAND' tells of its letters.\n");
  return {};
}

constexpr Command kCommands[] = {
    {"abort", "", "", "ends the program as a bug would", {}, 0, 0, false, abort_now},
    {"break",
     "",
     "POINT TAG",
     "stops the request that comes to a point (blkdebug)",
     {},
     2,
     2,
     true,
     set_break},
    {"help", "?", "[COMMAND]", "lists the commands", {}, 0, 1, false, help},
    {"quit", "q", "", "ends the program", {}, 0, 0, false, quit},
    {"remove_break",
     "",
     "TAG",
     "forgets a point, and lets go who is stopped there",
     {},
     1,
     1,
     true,
     remove_break},
    {"resume", "", "TAG", "lets a stopped request go on", {}, 1, 1, true, resume},
    {"sigraise", "", "NUMBER", "sends the program a signal", {}, 1, 1, false, sigraise},
    {"sleep", "", "MILLISECONDS", "lets requests go on meanwhile", {}, 1, 1, false, sleep},
    {"wait_break", "", "TAG", "waits until a request is stopped", {}, 1, 1, true, wait_break},
};

}  // namespace

std::span<const Command> program_commands() { return kCommands; }

}  // namespace menura::io
