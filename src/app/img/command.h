// Command: one subcommand of menura-img: name, flags, and what it does. The table is in main.cpp.
//
// Owner: app/img. Threads: main, except in convert. A command's Result is the exit status.
// Example: `Result<int> check(ImageSession& session, const Arguments& arguments);`
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "block/tool/arguments.h"
#include "block/tool/image_session.h"

namespace menura::img {

struct Command {
  std::string_view name;
  std::string_view operands;  // what follows the options
  std::string_view summary;   // one line
  std::span<const Flag> flags;
  Result<int> (*run)(ImageSession& session, const Arguments& arguments);
};

extern const Command kAmend, kBench, kBitmap, kCheck, kCommit, kCompare, kConvert, kCreate, kDd,
    kInfo, kMap, kMeasure, kRebase, kResize, kSnapshot;

// Flags that most commands have.
inline constexpr Flag kObject{0, "object", "KEY=VALUE,...", "a secret that an image needs"};
inline constexpr Flag kImageOpts{0, "image-opts", "", "IMAGE is a list driver=...,key=value"};
inline constexpr Flag kFormat{'f', "format", "FORMAT", "the image's format (else: probed)", false};
inline constexpr Flag kForceShare{'U', "force-share", "", "open although another has it locked"};
inline constexpr Flag kQuiet{'q', "quiet", "", "print errors only", false};
inline constexpr Flag kProgress{'p', "progress", "", "show how far it is", false};
inline constexpr Flag kOptions{'o', "options", "KEY=VALUE,...", "the format's options; -o help",
                               false};
inline constexpr Flag kCache{'t', "cache", "MODE", "cache mode of the image written to", false};
inline constexpr Flag kSourceCache{'T', "source-cache", "MODE", "cache mode of images only read",
                                   false};
inline constexpr Flag kOutput{0, "output", "FORM", "human or json"};

// The one operand of most commands.
Result<std::string> only_file(const Arguments& arguments);
Result<bool> wants_json(const Arguments& arguments);
// -f, --image-opts, -U, and the cache mode of that flag.
Result<OpenImage> open_flags(const Arguments& arguments, std::string_view cache_flag = {},
                             std::string_view cache_default = "writeback");
// The image shows that snapshot: "snapshot.id=1", "snapshot.name=x", or either alone.
Result<void> show_snapshot(Node& image, std::string which);
// -o a=b,c=d, several times; the options of a driver and those of its file.
Result<Value> creation_options(const Arguments& arguments);
// "-o help" among them.
bool asks_for_help(const Arguments& arguments);
std::string options_help(const Graph& graph, const Driver& driver);
Result<u64> size_argument(std::string_view what, std::string_view text);
// To standard output, unless -q.
void say(const Arguments& arguments, std::string_view text);

// "    (12.34/100%)\r" on standard output, when -p is given.
class Progress {
 public:
  Progress(const Arguments& arguments, u64 total);
  ~Progress();
  void done(u64 bytes);

 private:
  const bool shown_;
  const u64 total_;
  u64 so_far_ = 0;
  int last_percent_ = -1;
};

}  // namespace menura::img
