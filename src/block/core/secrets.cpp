#include "block/core/secrets.h"

#include <cstring>

#include "base/base64.h"
#include "base/fd.h"
#include "base/text.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr std::string_view kFormats[] = {"raw", "base64"};
constexpr u64 kLargestSecret = 1 * MiB;

void wipe(std::string& secret) { ::explicit_bzero(secret.data(), secret.size()); }

}  // namespace

std::span<const std::string_view> enum_names(SecretConfig::Format) { return kFormats; }

void SecretConfig::describe(PropertyVisitor& p) {
  p.field("data", data, "the secret itself (other users see the command line: prefer file)");
  p.field("file", file, "a file that holds it");
  p.field("format", format, "how it is written there");
}

Secrets::~Secrets() {
  for (auto& [id, secret] : secrets_) wipe(secret);
}

Result<void> Secrets::add(const std::string& id, const SecretConfig& config) {
  if (has(id)) return fail(Errc::Exists, "There is a secret '{}' already", id);
  if (config.data.has_value() == !config.file.empty())
    return fail(Errc::InvalidArgument, "Secret '{}': expected either data or file", id);
  std::string text =
      config.data ? *config.data : TRY(read_file(config.file, kLargestSecret), "Secret '{}'", id);
  if (config.format == SecretConfig::Format::Base64) {
    const std::vector<std::byte> plain = TRY(base64_decode(trim(text)), "Secret '{}'", id);
    wipe(text);
    text.assign(reinterpret_cast<const char*>(plain.data()), plain.size());
  }
  secrets_[id] = std::move(text);
  return {};
}

void Secrets::remove(std::string_view id) {
  const auto found = secrets_.find(id);
  if (found == secrets_.end()) return;
  wipe(found->second);
  secrets_.erase(found);
}

Result<std::string> Secrets::find(std::string_view id) const {
  const auto found = secrets_.find(id);
  if (found == secrets_.end()) return fail(Errc::NotFound, "There is no secret '{}'", id);
  return found->second;
}

}  // namespace menura
