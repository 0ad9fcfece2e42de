// menura-nbd: exports a disk image over NBD, as qemu-nbd(8) does.
#include <cstdio>
#include <cstdlib>

#include "app/nbd/list.h"
#include "app/nbd/serve.h"
#include "base/log.h"
#include "base/trace.h"
#include "base/version.h"

namespace menura::nbd {
namespace {

Result<void> start_traces(const std::vector<std::string>& patterns) {
  for (std::string_view pattern : patterns) {
    if (pattern.starts_with("enable=")) pattern.remove_prefix(7);
    if (!enable_trace(pattern))
      return fail(Errc::NotFound, "--trace: no event's name matches '{}'", pattern);
  }
  return {};
}

// The exit status.
Result<int> run(const std::vector<std::string>& words) {
  const Options options = TRY(read_options(words));
  if (options.task == Options::Task::Help) {
    std::fputs(help_text().c_str(), stdout);
    return EXIT_SUCCESS;
  }
  if (options.task == Options::Task::Version) {
    std::printf("menura-nbd version %s\n", std::string(version()).c_str());
    return EXIT_SUCCESS;
  }
  set_log_level(options.verbose ? LogLevel::Info : LogLevel::Warning);
  TRY(start_traces(options.traces));
  ImageSession session;
  for (const std::string& object : options.objects) TRY(session.add_object(object));
  if (options.task == Options::Task::List) {
    TRY(list(session, options));
    return EXIT_SUCCESS;
  }
  UniqueFd inherited = TRY(inherited_socket());
  Background background;
  if (options.fork) background = TRY(Background::start());
  if (const std::optional<int> status = background.parent_status()) return *status;
  TRY(serve(session, options, std::move(inherited), background));
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace menura::nbd

int main(int count, char** words) {
  const menura::Result<int> done =
      menura::nbd::run(std::vector<std::string>(words + 1, words + count));
  std::fflush(stdout);
  if (done) return *done;
  std::fprintf(stderr, "menura-nbd: %s\n", done.error().text.c_str());
  return EXIT_FAILURE;
}
