// menura-img: makes, converts, checks and changes disk images, as qemu-img(1) does.
#include <cstdio>
#include <cstdlib>

#include "app/img/command.h"
#include "base/text.h"
#include "base/trace.h"
#include "base/version.h"
#include "block/drivers.h"

namespace menura::img {
namespace {

const Command* const kCommands[] = {&kAmend,   &kBench,   &kBitmap,   &kCheck,  &kCommit,
                                    &kCompare, &kConvert, &kCreate,   &kDd,     &kInfo,
                                    &kMap,     &kMeasure, &kSnapshot, &kRebase, &kResize};

void print_version() {
  const std::string_view v = version();
  std::printf("menura-img version %.*s\n", static_cast<int>(v.size()), v.data());
}

void print_help() {
  print_version();
  std::puts(
      "Makes, checks, converts, compares and changes disk images.\n\n"
      "usage: menura-img COMMAND [OPTION...] IMAGE...\n\nCommands:");
  for (const Command* c : kCommands)
    std::fputs(format("  {:<10} {}\n", c->name, c->summary).c_str(), stdout);
  std::string formats;
  for (const Driver* driver : all_drivers()) formats.append(" ").append(driver->name);
  std::printf(
      "\nmenura-img COMMAND --help shows a command's options, -o help those of a format; they mean "
      "what qemu-img(1) says.\n\nSupported formats:%s\n",
      formats.c_str());
}

Result<int> run(const Command& command, std::vector<std::string> words) {
  // resize's "-1G" is a size, no letters.
  if (&command == &kResize && words.size() > 1 && words.back()[0] == '-')
    words.insert(words.end() - 1, "--");
  std::vector<Flag> flags(command.flags.begin(), command.flags.end());
  flags.push_back({'h', "help", "", "this text"});
  const Arguments arguments = TRY(Arguments::parse(flags, words));
  if (arguments.has("help")) {
    std::fputs(format("usage: menura-img {} [OPTION...] {}\n\n{}\n\nOptions:\n{}", command.name,
                      command.operands, command.summary, flags_help(flags))
                   .c_str(),
               stdout);
    return EXIT_SUCCESS;
  }
  ImageSession session;
  for (const std::string& object : arguments.values("object")) TRY(session.add_object(object));
  return command.run(session, arguments);
}

int run_program(std::vector<std::string> words) {
  while (words.size() > 1 && (words[0] == "-T" || words[0] == "--trace")) {
    const std::string pattern = words[1].starts_with("enable=") ? words[1].substr(7) : words[1];
    if (!enable_trace(pattern)) {
      std::fprintf(stderr, "menura-img: --trace: no event's name matches '%s'\n", pattern.c_str());
      return EXIT_FAILURE;
    }
    words.erase(words.begin(), words.begin() + 2);
  }
  if (words.empty()) {
    std::fputs("menura-img: say what to do: menura-img --help lists the commands\n", stderr);
    return EXIT_FAILURE;
  }
  if (words[0] == "--help" || words[0] == "-h") return print_help(), EXIT_SUCCESS;
  if (words[0] == "--version" || words[0] == "-V") return print_version(), EXIT_SUCCESS;
  std::vector<std::string_view> names;
  for (const Command* command : kCommands) {
    names.push_back(command->name);
    if (command->name != words[0]) continue;
    const Result<int> status = run(*command, {words.begin() + 1, words.end()});
    if (status) return *status;
    std::fflush(stdout);
    std::fprintf(stderr, "menura-img: %s\n", status.error().text.c_str());
    return command->name == "compare" ? 2 : EXIT_FAILURE;
  }
  std::fprintf(stderr, "menura-img: no command is called '%s'%s\n", words[0].c_str(),
               suggestion(words[0], names).c_str());
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace menura::img

int main(int count, char** words) {
  return menura::img::run_program(std::vector<std::string>(words + 1, words + count));
}
