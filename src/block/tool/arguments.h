// Arguments: a tool's command line as getopt_long(3) reads one: letters that may be joined, long
// names, values apart or joined, options and operands in any order, "--" ends the options.
//
// Owner: a tool's main(). Threads: values. Errors name the option, and the nearest there is.
// Example: `Arguments a = TRY(Arguments::parse(kFlags, words));  if (a.has("force-share")) …`
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace menura {

struct Flag {
  char letter;             // 0: none
  std::string_view name;   // of "--name"; for a flag of a letter alone, what the program calls it
  std::string_view value;  // what help calls its value; empty: it takes none
  std::string_view help;   // one line
  bool is_long = true;     // whether --name is understood
};

// One line for each flag, as --help shows them.
std::string flags_help(std::span<const Flag> flags);

class Arguments {
 public:
  static Result<Arguments> parse(std::span<const Flag> flags, std::span<const std::string> words);

  bool has(std::string_view name) const { return count(name) > 0; }
  size_t count(std::string_view name) const;
  // The last one given.
  std::optional<std::string> value(std::string_view name) const;
  std::string value_or(std::string_view name, std::string_view fallback) const;
  std::vector<std::string> values(std::string_view name) const;
  const std::vector<std::string>& operands() const { return operands_; }
  // Every option in the order given, for tools where it matters.
  const std::vector<std::pair<std::string, std::string>>& given() const { return given_; }

 private:
  std::vector<std::pair<std::string, std::string>> given_;
  std::vector<std::string> operands_;
};

}  // namespace menura
