#include "block/tool/arguments.h"

#include <algorithm>

#include "base/format.h"
#include "base/text.h"

namespace menura {

namespace {

Error unknown_option(std::string_view name, std::span<const Flag> flags) {
  std::vector<std::string_view> names;
  for (const Flag& flag : flags)
    if (flag.is_long) names.push_back(flag.name);
  return fail(Errc::InvalidArgument, "No option is called '--{}'{}", name, suggestion(name, names));
}

}  // namespace

std::string flags_help(std::span<const Flag> flags) {
  std::string out;
  for (const Flag& flag : flags) {
    std::string names = flag.letter ? format("-{}", flag.letter) : "   ";
    if (flag.is_long) names += format("{} --{}", flag.letter ? "," : "", flag.name);
    if (!flag.value.empty()) names += format("{}{}", flag.is_long ? "=" : " ", flag.value);
    out += format("  {:<30} {}\n", names, flag.help);
  }
  return out;
}

Result<Arguments> Arguments::parse(std::span<const Flag> flags,
                                   std::span<const std::string> words) {
  Arguments arguments;
  size_t next = 0;
  const auto take_long = [&](std::string_view word) -> Result<void> {
    const size_t equals = word.find('=');
    const std::string_view name = word.substr(0, equals);
    const auto flag =
        std::ranges::find_if(flags, [&](const Flag& f) { return f.is_long && f.name == name; });
    if (flag == flags.end()) return unknown_option(name, flags);
    std::string value;
    if (equals != std::string_view::npos) {
      if (flag->value.empty())
        return fail(Errc::InvalidArgument, "Option '--{}' stands alone: it takes no value", name);
      value = word.substr(equals + 1);
    } else if (!flag->value.empty()) {
      if (next == words.size())
        return fail(Errc::InvalidArgument, "Option '--{}' wants a value after it", name);
      value = words[next++];
    }
    arguments.given_.emplace_back(flag->name, std::move(value));
    return {};
  };
  const auto take_letters = [&](std::string_view letters) -> Result<void> {
    while (!letters.empty()) {
      const auto flag = std::ranges::find(flags, letters[0], &Flag::letter);
      if (flag == flags.end())
        return fail(Errc::InvalidArgument, "No option is called '-{}' (--help lists them)",
                    letters[0]);
      letters.remove_prefix(1);
      std::string value;
      if (!flag->value.empty()) {
        if (letters.empty() && next == words.size())
          return fail(Errc::InvalidArgument, "Option '-{}' wants a value after it", flag->letter);
        value = letters.empty() ? words[next++] : std::string(letters);
        letters = {};
      }
      arguments.given_.emplace_back(flag->name, std::move(value));
    }
    return {};
  };
  while (next < words.size()) {
    const std::string_view word = words[next++];
    if (word == "--") {
      arguments.operands_.insert(arguments.operands_.end(), words.begin() + static_cast<long>(next),
                                 words.end());
      break;
    }
    if (word.starts_with("--"))
      TRY(take_long(word.substr(2)));
    else if (word.size() > 1 && word[0] == '-')
      TRY(take_letters(word.substr(1)));
    else
      arguments.operands_.emplace_back(word);
  }
  return arguments;
}

size_t Arguments::count(std::string_view name) const {
  return static_cast<size_t>(
      std::ranges::count_if(given_, [&](const auto& g) { return g.first == name; }));
}

std::optional<std::string> Arguments::value(std::string_view name) const {
  for (auto at = given_.rbegin(); at != given_.rend(); ++at)
    if (at->first == name) return at->second;
  return {};
}

std::string Arguments::value_or(std::string_view name, std::string_view fallback) const {
  return value(name).value_or(std::string(fallback));
}

std::vector<std::string> Arguments::values(std::string_view name) const {
  std::vector<std::string> all;
  for (const auto& [key, value] : given_)
    if (key == name) all.push_back(value);
  return all;
}

}  // namespace menura
