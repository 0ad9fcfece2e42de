#include "control/host_process.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/code_log.h"
#include "base/log.h"
#include "base/trace.h"
#include "base/units.h"

namespace menura {

namespace {

// ISO 8601, in UTC: "2026-11-23T12:00:00.000000Z ".
std::string timestamp() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm date{};
  ::gmtime_r(&now.tv_sec, &date);
  return format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z ", date.tm_year + 1900, date.tm_mon + 1,
                date.tm_mday, date.tm_hour, date.tm_min, date.tm_sec, now.tv_nsec / kNsPerUs);
}

constexpr std::string_view kProgram = "menura-system-x86_64";

void write_line(int fd, std::string line) {
  line += '\n';
  // Nobody is left to hear that stderr or the log is gone.
  (void)write_all(fd, std::as_bytes(std::span(line)));
}

std::string_view prefix_of(LogLevel level) {
  switch (level) {
    case LogLevel::Warning: return "warning: ";
    case LogLevel::Error: return "error: ";
    default: return "";
  }
}

}  // namespace

Result<void> set_up_messages(const ProgramOptions& options) {
  auto file = std::make_shared<UniqueFd>();
  if (!options.log_file.empty())
    *file = TRY(open_file(options.log_file, O_WRONLY | O_CREAT | O_APPEND), "-D");
  const bool dated = options.messages.timestamp;
  const auto write = [file, dated](std::string_view text) {
    write_line(*file ? file->get() : STDERR_FILENO,
               format("{}{}", dated ? timestamp() : std::string(), text));
  };
  set_log_sink([write](LogLevel level, std::string_view text) {
    write(format("{}: {}{}", kProgram, prefix_of(level), text));
  });
  set_trace_sink([write](const TraceEvent& event, std::string_view text) {
    write(format("{} {}", event.name, text));
  });
  set_code_log_sink([file](std::string_view text) {
    // Nobody is left to hear that stderr or the log is gone.
    (void)write_all(*file ? file->get() : STDERR_FILENO, std::as_bytes(std::span(text)));
  });
  set_code_log(options.code_log);
  set_code_log_ranges(options.code_ranges);
  enable_guest_errors(options.guest_errors);
  for (const std::string& pattern : options.traces) enable_trace(pattern);
  return {};
}

void print_error(const ProgramOptions& options, std::string_view text) {
  write_line(STDERR_FILENO,
             format("{}{}: {}", options.messages.timestamp ? timestamp() : "", kProgram, text));
}

Result<void> lock_memory() {
  if (::mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
    return fail_errno(errno, "-overcommit mem-lock=on: locking memory");
  return {};
}

Result<void> become_user(const std::string& name) {
  const passwd* user = ::getpwnam(name.c_str());
  if (!user) return fail(Errc::NotFound, "-runas: there is no user '{}'", name);
  if (::setgid(user->pw_gid) != 0 || ::initgroups(name.c_str(), user->pw_gid) != 0 ||
      ::setuid(user->pw_uid) != 0)
    return fail_errno(errno, "-runas: becoming user '{}'", name);
  // Whoever could come back has not gone.
  if (user->pw_uid != 0 && ::setuid(0) == 0)
    return fail(Errc::Permission, "-runas: user '{}' can become root again", name);
  return {};
}

Result<std::unique_ptr<Background>> Background::enter() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "-daemonize: making a pipe");
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(errno, "-daemonize: forking");
  if (child > 0) {
    write_end.reset();
    std::byte ready{};
    ::_exit(read_all(read_end.get(), Bytes(&ready, 1)) ? EXIT_SUCCESS : EXIT_FAILURE);
  }
  if (::setsid() < 0) return fail_errno(errno, "-daemonize: leaving the terminal");
  return std::unique_ptr<Background>(new Background(std::move(write_end)));
}

Result<void> Background::ready() {
  const UniqueFd nowhere = TRY(open_file("/dev/null", O_RDWR), "-daemonize");
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::dup2(nowhere.get(), fd) < 0) return fail_errno(errno, "-daemonize: closing descriptors");
  constexpr std::byte kReady{1};
  TRY(write_all(parent_.get(), ConstBytes(&kReady, 1)), "-daemonize");
  parent_.reset();
  return {};
}

Result<std::unique_ptr<Pidfile>> Pidfile::write(std::string path) {
  const UniqueFd file = TRY(open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0644), "-pidfile");
  const std::string text = format("{}\n", ::getpid());
  TRY(write_all(file.get(), std::as_bytes(std::span(text))), "-pidfile {}", path);
  return std::unique_ptr<Pidfile>(new Pidfile(std::move(path)));
}

Pidfile::~Pidfile() { ::unlink(path_.c_str()); }

Result<std::unique_ptr<QtestLog>> QtestLog::open(const std::string& path) {
  return std::unique_ptr<QtestLog>(
      new QtestLog(TRY(open_file(path, O_WRONLY | O_CREAT | O_APPEND), "-qtest-log")));
}

void QtestLog::line(std::string_view text) { write_line(file_.get(), std::string(text)); }

}  // namespace menura
