#include "control/monitor/expression.h"

#include "base/text.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr std::string_view kGprs[] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
constexpr std::string_view kSegments[] = {"es", "cs", "ss", "ds", "fs", "gs"};

struct NamedValue {
  std::string name;
  u64 value;
};

std::vector<NamedValue> registers_of(const x86::State& s) {
  std::vector<NamedValue> all;
  for (size_t i = 0; i < x86::kGprCount; i++)
    all.push_back({"r" + (i < 8 ? std::string(kGprs[i]) : format("{}", i)), s.gpr[i]});
  for (size_t i = 0; i < 8; i++) all.push_back({format("e{}", kGprs[i]), s.gpr[i] & 0xffff'ffff});
  const u64 pc = s.code64() ? s.rip : s.seg[x86::Cs].base + s.rip;
  for (const std::string_view name : {"pc", "rip", "eip"}) all.push_back({std::string(name), pc});
  all.push_back({"eflags", s.rflags});
  all.push_back({"rflags", s.rflags});
  for (size_t i = 0; i < x86::kSegCount; i++) {
    all.push_back({std::string(kSegments[i]), s.seg[i].selector});
    all.push_back({format("{}_base", kSegments[i]), s.seg[i].base});
    all.push_back({format("{}_limit", kSegments[i]), s.seg[i].limit});
  }
  for (const auto& [name, value] : {std::pair<std::string_view, u64>{"cr0", s.cr0},
                                    {"cr2", s.cr2},
                                    {"cr3", s.cr3},
                                    {"cr4", s.cr4},
                                    {"cr8", s.cr8},
                                    {"efer", s.efer},
                                    {"dr6", s.dr6},
                                    {"dr7", s.dr7},
                                    {"gdtr_base", s.gdtr.base},
                                    {"idtr_base", s.idtr.base},
                                    {"tr_base", s.tr.base}})
    all.push_back({std::string(name), value});
  return all;
}

class Parser {
 public:
  Parser(const x86::State& state, std::string_view text) : state_(state), rest_(text) {}

  Result<u64> all() {
    const u64 value = TRY(sum(0));
    skip_spaces();
    if (!rest_.empty())
      return fail(Errc::InvalidArgument, "Expression: '{}' is not understood", rest_);
    return value;
  }

 private:
  static constexpr unsigned kMaxDepth = 32;

  void skip_spaces() {
    while (rest_.starts_with(' ')) rest_.remove_prefix(1);
  }
  // The next character if it is one of these, else 0.
  char take_any(std::string_view characters) {
    skip_spaces();
    if (rest_.empty() || characters.find(rest_[0]) == std::string_view::npos) return 0;
    const char taken = rest_[0];
    rest_.remove_prefix(1);
    return taken;
  }

  Result<u64> sum(unsigned depth) {
    u64 value = TRY(product(depth));
    while (const char op = take_any("+-")) {
      const u64 right = TRY(product(depth));
      value = op == '+' ? value + right : value - right;
    }
    return value;
  }

  Result<u64> product(unsigned depth) {
    u64 value = TRY(term(depth));
    while (const char op = take_any("*/%&|^")) {
      const u64 right = TRY(term(depth));
      if ((op == '/' || op == '%') && right == 0)
        return fail(Errc::InvalidArgument, "Expression: division by zero");
      switch (op) {
        case '*': value *= right; break;
        case '/': value /= right; break;
        case '%': value %= right; break;
        case '&': value &= right; break;
        case '|': value |= right; break;
        default: value ^= right; break;
      }
    }
    return value;
  }

  Result<u64> term(unsigned depth) {
    if (depth > kMaxDepth) return fail(Errc::InvalidArgument, "Expression: nested too deeply");
    if (take_any("(")) {
      const u64 value = TRY(sum(depth + 1));
      if (!take_any(")")) return fail(Errc::InvalidArgument, "Expression: ')' is missing");
      return value;
    }
    if (const char op = take_any("-+~")) {
      const u64 value = TRY(term(depth + 1));
      return op == '-' ? -value : op == '~' ? ~value : value;
    }
    if (take_any("$")) return register_value(take_word());
    const std::string_view word = take_word();
    if (word.empty()) return fail(Errc::InvalidArgument, "Expression: a number is missing");
    return parse_u64(word);
  }

  std::string_view take_word() {
    size_t length = 0;
    while (length < rest_.size() &&
           (std::isalnum(static_cast<unsigned char>(rest_[length])) || rest_[length] == '_'))
      length++;
    const std::string_view word = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return word;
  }

  Result<u64> register_value(std::string_view name) const {
    std::vector<std::string_view> names;
    const std::vector<NamedValue> registers = registers_of(state_);
    for (const NamedValue& r : registers) {
      if (r.name == name) return r.value;
      names.push_back(r.name);
    }
    return fail(Errc::NotFound, "There is no register '${}'{}", name, suggestion(name, names));
  }

  const x86::State& state_;
  std::string_view rest_;
};

}  // namespace

Result<u64> evaluate(const x86::State& state, std::string_view text) {
  return Parser(state, text).all();
}

std::vector<std::string> register_names() {
  std::vector<std::string> names;
  for (NamedValue& r : registers_of({})) names.push_back(std::move(r.name));
  return names;
}

}  // namespace menura
