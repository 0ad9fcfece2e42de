// The named models against what Debian's QEMU says that it would give a guest for the same names.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <set>

#include "cpu/x86/feature_names.h"
#include "cpu/x86/model_table.h"
#include "state/value.h"

namespace menura::x86 {
namespace {

constexpr const char* kQemu = "/usr/bin/qemu-system-x86_64";

// Bits of MSRs, and what QEMU adds because it is a virtual machine: no features of ours.
constexpr std::string_view kNotOurs[] = {
    "hypervisor", "ibrs-all",       "mds-no", "rdctl-no",
    "taa-no",     "pschange-mc-no", "rsba",   "skip-l1dfl-vmentry"};

// Replies to QMP commands, in order.
std::vector<Value> ask_qemu(const std::vector<std::string>& commands) {
  std::string input = R"({"execute":"qmp_capabilities"})";
  for (const std::string& command : commands) input += "\n" + command;
  const std::string line = format(
      "printf '%s\\n' '{}' | {} -machine none -nographic -monitor none -serial none -qmp stdio -S",
      input, kQemu);
  std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(line.c_str(), "r"), pclose);
  std::vector<Value> replies;
  std::string text;
  char part[4096];
  while (std::fgets(part, sizeof part, pipe.get())) {
    text += part;
    if (!text.ends_with('\n')) continue;
    Result<Value> reply = parse_json(text);
    text.clear();
    if (reply && reply->find("return")) replies.push_back(std::move(reply).value());
  }
  if (!replies.empty()) replies.erase(replies.begin());
  return replies;
}

std::set<std::string> features_of(const Value& properties) {
  std::set<std::string> names;
  for (const auto& [name, value] : *properties.as<Value::Object>()) {
    const bool* on = value.as<bool>();
    if (!on || !*on || std::ranges::find(kNotOurs, name) != std::end(kNotOurs)) continue;
    const NamedFeature* f = find_feature(name == "pni" ? "sse3" : name);
    names.insert(f ? std::string(f->name) : name);
  }
  return names;
}

u64 number(const Value& properties, std::string_view name) {
  const Value* value = properties.find(name);
  if (!value) return ~u64{0};
  if (const u64* n = value->as<u64>()) return *n;
  if (const i64* n = value->as<i64>()) return static_cast<u64>(*n);
  return ~u64{0};
}

TEST(CpuModelPeer, ModelsAreQemus) {
  if (::access(kQemu, X_OK) != 0) GTEST_SKIP() << "no QEMU here";
  std::vector<std::string> commands;
  for (const NamedModel& m : named_models())
    commands.push_back(format(
        R"({{"execute":"query-cpu-model-expansion","arguments":{{"type":"static","model":{{"name":"{}"}}}}}})",
        m.name));
  commands.push_back(R"({"execute":"query-cpu-definitions"})");
  commands.push_back(R"({"execute":"quit"})");
  const std::vector<Value> replies = ask_qemu(commands);
  ASSERT_GE(replies.size(), named_models().size() + 1);
  for (size_t i = 0; i < named_models().size(); i++) {
    const NamedModel& model = named_models()[i];
    const Value& properties = *replies[i].find("return")->find("model")->find("props");
    const ResolvedModel ours = resolve(model);
    EXPECT_EQ(number(properties, "family"), ours.family) << model.name;
    EXPECT_EQ(number(properties, "model"), ours.model) << model.name;
    EXPECT_EQ(number(properties, "stepping"), ours.stepping) << model.name;
    EXPECT_EQ(number(properties, "min-level"), ours.level) << model.name;
    EXPECT_EQ(*properties.find("vendor")->as<std::string>(), ours.vendor) << model.name;
    std::set<std::string> names(ours.features.begin(), ours.features.end());
    EXPECT_EQ(names.size(), ours.features.size()) << model.name << " lists a feature twice";
    // Our plain models: no SVM, and the x2APIC that our interrupt chips have.
    if (model.name == "qemu64-v1") names.erase("x2apic"), names.insert("svm");
    EXPECT_EQ(features_of(properties), names) << model.name;
  }
  const Value::List& known = *replies[named_models().size()].find("return")->as<Value::List>();
  for (const ModelAlias& alias : model_aliases()) {
    const auto at = std::ranges::find_if(known, [&](const Value& definition) {
      return *definition.find("name")->as<std::string>() == alias.name;
    });
    ASSERT_NE(at, known.end()) << alias.name;
    EXPECT_EQ(*at->find("alias-of")->as<std::string>(), alias.model);
  }
}

}  // namespace
}  // namespace menura::x86
