// What the program does to its own process: log files, the pid file, going into the background, the
// transcript of qtest.
//
// Owner: main() and Session. Threads: the main thread, before others start (the transcript: under
// the machine lock). Example: `auto background = TRY(Background::enter());  ...  background->ready();`
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "control/options/program_options.h"

namespace menura {

// -d, -D, -trace, -msg: where messages and traces go, and what is before them.
Result<void> set_up_messages(const ProgramOptions& options);

// -overcommit mem-lock=on: nothing of this process is ever swapped.
Result<void> lock_memory();

// -runas: gives up the rights of whoever started the program, for good.
Result<void> become_user(const std::string& name);

// "menura-system-x86_64: text", perhaps with the time in front.
void print_error(const ProgramOptions& options, std::string_view text);

// -daemonize: the rest of the program runs in a child without a terminal. The parent waits: it ends
// with status 0 when the child is ready, and with 1 when it ended before.
class Background {
 public:
  // Returns in the child only.
  static Result<std::unique_ptr<Background>> enter();
  // Lets go of the terminal, and of the parent.
  Result<void> ready();

 private:
  explicit Background(UniqueFd parent) : parent_(std::move(parent)) {}
  UniqueFd parent_;
};

// -pidfile: the file, with this process's number, until the end.
class Pidfile {
 public:
  static Result<std::unique_ptr<Pidfile>> write(std::string path);
  ~Pidfile();
  Pidfile(const Pidfile&) = delete;
  Pidfile& operator=(const Pidfile&) = delete;

 private:
  explicit Pidfile(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// -qtest-log
class QtestLog {
 public:
  static Result<std::unique_ptr<QtestLog>> open(const std::string& path);
  void line(std::string_view text);

 private:
  explicit QtestLog(UniqueFd file) : file_(std::move(file)) {}
  UniqueFd file_;
};

}  // namespace menura
