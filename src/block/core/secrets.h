// Secrets: passwords and keys by id (secret objects), for images that are encrypted and servers that
// ask.
//
// Owner: a Graph. Threads: main. Errors name the id. Example:
//   TRY(graph.secrets().add("s0", {.file = "/x"}));  std::string key = TRY(graph.secrets().find("s0"));
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>

#include "state/properties.h"

namespace menura {

// Given as text or in a file, plain or in base64.
struct SecretConfig {
  enum class Format : u8 { Raw, Base64 };
  std::optional<std::string> data;
  std::string file;
  Format format = Format::Raw;
  void describe(PropertyVisitor& p);
};
std::span<const std::string_view> enum_names(SecretConfig::Format);

class Secrets {
 public:
  ~Secrets();
  // Errc::Exists when there is one of that id.
  Result<void> add(const std::string& id, const SecretConfig& config);
  void remove(std::string_view id);
  bool has(std::string_view id) const { return secrets_.find(id) != secrets_.end(); }
  Result<std::string> find(std::string_view id) const;

 private:
  std::map<std::string, std::string, std::less<>> secrets_;
};

}  // namespace menura
