#include "control/options/config_file.h"

#include "base/text.h"

namespace menura {

namespace {

void add_property(ConfigGroup& group, std::string_view key, std::string_view value) {
  if (!group.argument.empty()) group.argument += ',';
  group.argument += format("{}=", key);
  for (const char c : value) {
    if (c == ',') group.argument += c;  // a comma inside of a value is doubled
    group.argument += c;
  }
}

// A text in quotes; nothing when it is none.
bool take_quotes(std::string_view& text) {
  if (text.size() < 2 || text.front() != '"' || text.back() != '"') return false;
  text = text.substr(1, text.size() - 2);
  return text.find('"') == std::string_view::npos;
}

// [group] or [group "id"]
Result<ConfigGroup> parse_head(std::string_view text, unsigned line) {
  const Error malformed = fail(
      Errc::InvalidArgument, "line {}: expected [option] or [option \"id\"], not '{}'", line, text);
  if (!text.ends_with(']')) return malformed;
  text = trim(text.substr(1, text.size() - 2));
  const size_t space = text.find(' ');
  ConfigGroup group{.option = std::string(text.substr(0, space)), .argument = {}, .line = line};
  if (group.option.empty()) return malformed;
  if (space == std::string_view::npos) return group;
  std::string_view id = trim(text.substr(space));
  if (!take_quotes(id)) return malformed;
  add_property(group, "id", id);
  return group;
}

}  // namespace

Result<std::vector<ConfigGroup>> parse_config_file(std::string_view text) {
  std::vector<ConfigGroup> groups;
  unsigned number = 0;
  for (const std::string_view whole : split(text, '\n')) {
    number++;
    const std::string_view line = trim(whole);
    if (line.empty() || line.starts_with('#')) continue;
    if (line.starts_with('[')) {
      groups.push_back(TRY(parse_head(line, number)));
      continue;
    }
    const size_t equals = line.find('=');
    std::string_view value = equals == std::string_view::npos ? "" : trim(line.substr(equals + 1));
    if (equals == std::string_view::npos || !take_quotes(value))
      return fail(Errc::InvalidArgument, "line {}: expected property = \"value\", not '{}'", number,
                  line);
    if (groups.empty())
      return fail(Errc::InvalidArgument, "line {}: a property before the first [option]", number);
    add_property(groups.back(), trim(line.substr(0, equals)), value);
  }
  return groups;
}

}  // namespace menura
