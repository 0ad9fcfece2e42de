// menura-io: exercises a disk image by single requests, as qemu-io(1) does.
#include <cstdio>
#include <cstdlib>

#include "app/io/exerciser.h"
#include "base/text.h"
#include "base/trace.h"
#include "base/version.h"

namespace menura::io {
namespace {

constexpr Flag kProgramFlags[] = {
    {'c', "cmd", "COMMAND", "do this command (several times: one after the other)"},
    {'f', "format", "FORMAT", "the image's format; else its first bytes say it"},
    {0, "image-opts", "", "FILE is a list of options: driver=qcow2,file.filename=…"},
    {0, "object", "OBJECT", "a secret or a throttle-group"},
    {'m', "misalign", "", "buffers lie where O_DIRECT does not like them"},
    {'T', "trace", "PATTERN", "show trace events by name"},
    {'h', "help", "", "this text"},
    {'V', "version", "", "the version"}};

std::vector<Flag> program_flags() {
  std::vector<Flag> flags(std::begin(kProgramFlags), std::end(kProgramFlags));
  for (const Flag& flag : kOpenFlags)
    if (flag.is_long) flags.push_back(flag);
  return flags;
}

Result<void> open_first(Exerciser& io, const Arguments& arguments) {
  if (arguments.operands().size() > 1)
    return fail(Errc::InvalidArgument, "One image at a time, not {}", arguments.operands().size());
  OpenImage how = TRY(open_flags(arguments));
  how.format = arguments.value_or("format", "");
  how.image_opts = arguments.has("image-opts");
  for (const std::string& object : arguments.values("object")) TRY(io.session().add_object(object));
  if (arguments.operands().empty()) return {};
  return io.open(arguments.operands()[0], how);
}

int talk(Exerciser& io) {
  bool good = true;
  char* line = nullptr;
  size_t room = 0;
  while (!io.quits()) {
    std::fputs("menura-io> ", stdout), std::fflush(stdout);
    const ssize_t length = ::getline(&line, &room, stdin);
    if (length < 0) break;
    good = io.run(trim({line, static_cast<size_t>(length)})) && good;
  }
  std::free(line);
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

Result<int> run(const Arguments& arguments) {
  for (std::string pattern : arguments.values("trace")) {
    if (pattern.starts_with("enable=")) pattern = pattern.substr(7);
    if (!enable_trace(pattern))
      return fail(Errc::InvalidArgument, "--trace: no event's name matches '{}'", pattern);
  }
  Exerciser io(arguments.has("misalign") ? Buffer::Placing::Misaligned : Buffer::Placing::Aligned);
  TRY(open_first(io, arguments));
  if (!arguments.has("cmd")) return talk(io);
  bool good = true;
  for (const std::string& command : arguments.values("cmd")) {
    good = io.run(command) && good;
    if (io.quits()) break;
  }
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

int run_program(const std::vector<std::string>& words) {
  const std::vector<Flag> flags = program_flags();
  const Result<Arguments> arguments = Arguments::parse(flags, words);
  Result<int> status = EXIT_SUCCESS;
  if (!arguments) {
    status = arguments.error();
  } else if (arguments->has("help")) {
    std::fputs(("usage: menura-io [OPTION...] [-c COMMAND]... [FILE]\n\nExercises a disk image by "
                "single requests; without -c it asks for commands.\n'menura-io -c help' lists "
                "them.\n\nOptions:\n" +
                flags_help(flags))
                   .c_str(),
               stdout);
  } else if (arguments->has("version")) {
    std::printf("menura-io version %s\n", std::string(version()).c_str());
  } else {
    status = run(*arguments);
  }
  if (status) return *status;
  std::fflush(stdout);
  std::fprintf(stderr, "menura-io: %s\n", status.error().text.c_str());
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace menura::io

int main(int count, char** words) {
  return menura::io::run_program(std::vector<std::string>(words + 1, words + count));
}
