#include "state/value.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"

namespace menura {

const Value* Value::find(std::string_view key) const {
  const Object* members = as<Object>();
  if (!members) return nullptr;
  const auto at =
      std::ranges::find(*members, key, [](const auto& m) { return std::string_view(m.first); });
  return at == members->end() ? nullptr : &at->second;
}

Value* Value::find(std::string_view key) {
  return const_cast<Value*>(static_cast<const Value*>(this)->find(key));
}

void Value::set(std::string_view key, Value value) {
  Object* members = as<Object>();
  ensure(members, "only an object has members");
  if (Value* present = find(key))
    *present = std::move(value);
  else
    members->emplace_back(key, std::move(value));
}

bool Value::erase(std::string_view key) {
  Object* members = as<Object>();
  return members && std::erase_if(*members, [&](const auto& m) { return m.first == key; }) > 0;
}

std::string_view Value::kind_name() const {
  constexpr std::string_view kNames[] = {"null",     "a boolean", "an integer", "an integer",
                                         "a number", "a string",  "a list",     "an object"};
  return kNames[content_.index()];
}

namespace {

struct Pair {
  std::string key;
  std::string value;
};

constexpr size_t kNesting = 32;

// Takes one value up to a single comma, undoubling ",,".
std::string take_value(std::string_view& text) {
  std::string value;
  while (!text.empty()) {
    if (text[0] == ',') {
      if (text.size() < 2 || text[1] != ',') break;
      text.remove_prefix(1);
    }
    value += text[0];
    text.remove_prefix(1);
  }
  return value;
}

Result<void> set_dotted(Value& root, std::string_view key, Value value) {
  const std::vector<std::string_view> parts = split(key, '.');
  if (parts.size() > kNesting)
    return fail(Errc::InvalidArgument, "Key '{}' is nested too deeply", key.substr(0, 60));
  Value* at = &root;
  for (size_t i = 0; i + 1 < parts.size(); i++) {
    if (parts[i].empty()) break;
    Value* next = at->find(parts[i]);
    if (!next) {
      at->set(parts[i], Value::object());
      next = at->find(parts[i]);
    }
    if (!next->as<Value::Object>())
      return fail(Errc::InvalidArgument, "'{}' gives a member to '{}', which has a value already",
                  key, parts[i]);
    at = next;
  }
  if (std::ranges::any_of(parts, &std::string_view::empty))
    return fail(Errc::InvalidArgument, "Key '{}' has an empty part", key);
  at->set(parts.back(), std::move(value));
  return {};
}

// Objects whose keys are 0, 1, ... n-1 become lists.
void make_lists(Value& value) {
  Value::Object* members = value.as<Value::Object>();
  if (!members) return;
  for (auto& [key, member] : *members) make_lists(member);
  if (members->empty()) return;
  Value::List list;
  for (size_t i = 0; i < members->size(); i++) {
    Value* element = value.find(std::to_string(i));
    if (!element) return;
    list.push_back(*element);
  }
  value = Value(std::move(list));
}

}  // namespace

Result<Value> parse_keyval(std::string_view text, std::string_view implied_key) {
  Value root = Value::object();
  bool first = true;
  while (!text.empty()) {
    const size_t end = text.find_first_of("=,");
    const bool assigned = end != std::string_view::npos && text[end] == '=';
    if (assigned) {
      const std::string_view key = text.substr(0, end);
      text.remove_prefix(end + 1);
      TRY(set_dotted(root, key, take_value(text)));
    } else {
      const std::string word = take_value(text);
      if (first && !implied_key.empty())
        root.set(implied_key, word);
      else if (word.size() > 2 && word.starts_with("no"))
        TRY(set_dotted(root, word.substr(2), "off"));
      else
        TRY(set_dotted(root, word, "on"));
    }
    first = false;
    if (!text.empty()) text.remove_prefix(1);  // the comma
  }
  if (Value::Object* members = root.as<Value::Object>())
    for (auto& [key, member] : *members) make_lists(member);
  return root;
}

namespace {

Result<void> expand_into(Value& root, std::string_view prefix, Value value) {
  Value::Object* members = value.as<Value::Object>();
  if (!members || (members->empty() && !prefix.empty()))
    return set_dotted(root, prefix, std::move(value));
  for (auto& [key, member] : *members)
    TRY(expand_into(root, prefix.empty() ? key : format("{}.{}", prefix, key), std::move(member)));
  return {};
}

}  // namespace

Result<Value> expand_dots(Value object) {
  Value root = Value::object();
  TRY(expand_into(root, "", std::move(object)));
  for (auto& [key, member] : *root.as<Value::Object>()) make_lists(member);
  return root;
}

namespace {

// The length of the well-formed UTF-8 character at the front, 0 when there is none (Unicode 15.0
// table 3-7: no overlong forms, no surrogates, nothing above 10FFFFh).
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<u8>(text[i]) : u8{0}; };
  const auto tails = [&](size_t from, size_t end) {
    for (size_t i = from; i < end; i++)
      if ((byte(i) & 0xc0) != 0x80) return false;
    return true;
  };
  const u8 lead = byte(0);
  const u8 second = byte(1);
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  if (lead < 0xe0) return tails(1, 2) ? 2 : 0;
  if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f)) return 0;
  if ((lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) return 0;
  const size_t length = lead < 0xf0 ? 3 : 4;
  return tails(1, length) ? length : 0;
}

// JSON is UTF-8: what is not (a file name, a client's garbage) becomes U+FFFD.
void write_string(std::string_view text, std::string& out) {
  out += '"';
  for (size_t at = 0, length = 0; at < text.size(); at += std::max<size_t>(length, 1)) {
    const char c = text[at];
    length = utf8_length(text.substr(at));
    if (length != 1) {
      out.append(length ? text.substr(at, length) : "\\ufffd");
      continue;
    }
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20)
          out += format("\\u{:04x}", static_cast<unsigned>(c));
        else
          out += c;
    }
  }
  out += '"';
}

void write_json(const Value& value, std::string& out) {
  if (value.is_null()) {
    out += "null";
  } else if (const bool* b = value.as<bool>()) {
    out += *b ? "true" : "false";
  } else if (const i64* i = value.as<i64>()) {
    out += format("{}", *i);
  } else if (const u64* u = value.as<u64>()) {
    out += format("{}", *u);
  } else if (const double* d = value.as<double>()) {
    out += format("{}", *d);
  } else if (const std::string* s = value.as<std::string>()) {
    write_string(*s, out);
  } else if (const Value::List* list = value.as<Value::List>()) {
    out += '[';
    for (size_t i = 0; i < list->size(); i++) {
      if (i) out += ", ";
      write_json((*list)[i], out);
    }
    out += ']';
  } else if (const Value::Object* object = value.as<Value::Object>()) {
    out += '{';
    for (size_t i = 0; i < object->size(); i++) {
      if (i) out += ", ";
      write_string((*object)[i].first, out);
      out += ": ";
      write_json((*object)[i].second, out);
    }
    out += '}';
  }
}

}  // namespace

std::string to_json(const Value& value) {
  std::string out;
  write_json(value, out);
  return out;
}

}  // namespace menura
