// Small text work: splitting, globbing, and "did you mean".
//
// Owner: base. Threads: pure functions.
// Example: `suggestion("memry", names)` gives " (did you mean 'memory'?)".
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace menura {

std::vector<std::string_view> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);
std::string join(std::span<const std::string_view> parts, std::string_view separator);

// Shell-style * and ?.
bool glob_match(std::string_view pattern, std::string_view text);

// The candidate nearest to the wrong word, or empty when none is near.
std::string_view nearest(std::string_view wrong, std::span<const std::string_view> candidates);

// " (did you mean 'x'?)" or nothing; to be appended to an error text.
std::string suggestion(std::string_view wrong, std::span<const std::string_view> candidates);

}  // namespace menura
