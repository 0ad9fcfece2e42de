// menura-system-x86_64: from the command line to a running machine, and its exit status: that of the
// guest's end, 0 after a signal, 1 when something could not be set up.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <vector>

#include "control/host_process.h"
#include "control/options/program_options.h"
#include "control/session.h"
#include "machine/catalogue/catalogue_tables.h"

namespace menura {
namespace {

Result<int> run(const ProgramOptions& options) {
  std::unique_ptr<Background> background;
  if (options.daemonize) background = TRY(Background::enter());
  TRY(set_up_messages(options));
  if (options.overcommit.mem_lock) TRY(lock_memory());
  const std::unique_ptr<Session> session = TRY(Session::build(options));
  std::unique_ptr<Pidfile> pidfile;
  if (!options.pidfile.empty()) pidfile = TRY(Pidfile::write(options.pidfile));
  if (background) TRY(background->ready());
  if (!options.user.empty()) TRY(become_user(options.user));
  TRY(enter_sandbox(options.sandbox));
  return session->run();
}

int run_program(const std::vector<std::string_view>& arguments) {
  Result<ProgramOptions> options = parse_command_line(arguments, catalogue());
  if (!options) {
    print_error({}, options.error().text);
    return EXIT_FAILURE;
  }
  if (!options->answer.empty()) {
    std::fputs(options->answer.c_str(), stdout);
    return EXIT_SUCCESS;
  }
  const Result<int> status = run(*options);
  if (status) return *status;
  print_error(*options, status.error().text);
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace menura

int main(int count, char** words) {
  return menura::run_program(std::vector<std::string_view>(words + 1, words + count));
}
