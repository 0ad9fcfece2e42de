#include "state/tree.h"

#include <algorithm>
#include <limits>

namespace menura {

const StateTree* StateTree::find(std::string_view child) const {
  for (const StateTree& node : children)
    if (node.name == child) return &node;
  return nullptr;
}

StateTree& StateSaver::add(std::string_view name, StateTree::Kind kind) {
  StateTree& parent = *stack_.back();
  ensure(parent.kind == StateTree::Kind::List || !parent.find(name), "a field is described twice");
  StateTree& node = parent.children.emplace_back();
  node.name = name;
  node.kind = kind;
  return node;
}

void StateSaver::integer(std::string_view name, u64& value, unsigned width_bits, bool is_signed) {
  StateTree& node = add(name, StateTree::Kind::Integer);
  node.integer = value;
  node.width_bits = static_cast<u8>(width_bits);
  node.is_signed = is_signed;
}

void StateSaver::boolean(std::string_view name, bool& value) {
  add(name, StateTree::Kind::Boolean).integer = value ? 1 : 0;
}

void StateSaver::text(std::string_view name, std::string& value) {
  add(name, StateTree::Kind::Text).text = value;
}

void StateSaver::bytes(std::string_view name, std::vector<std::byte>& value) {
  add(name, StateTree::Kind::Bytes).bytes = value;
}

// Children are added only to the innermost node, so pointers to its ancestors stay valid.
bool StateSaver::begin_struct(std::string_view name) {
  stack_.push_back(&add(name, StateTree::Kind::Struct));
  return true;
}

void StateSaver::end_struct() { stack_.pop_back(); }

bool StateSaver::begin_list(std::string_view name, size_t&) {
  stack_.push_back(&add(name, StateTree::Kind::List));
  return true;
}

void StateSaver::end_list() { stack_.pop_back(); }

const StateTree* StateLoader::take(std::string_view name, StateTree::Kind kind) {
  Level& level = stack_.back();
  const StateTree* node = nullptr;
  if (level.node->kind == StateTree::Kind::List) {
    if (level.next < level.node->children.size()) node = &level.node->children[level.next++];
  } else {
    node = level.node->find(name);
  }
  if (!node) {
    fail(menura::fail(Errc::Corrupt, "Saved state lacks '{}'", name));
    return nullptr;
  }
  if (node->kind != kind) {
    fail(menura::fail(Errc::Corrupt, "Saved state holds another type in '{}'", name));
    return nullptr;
  }
  return node;
}

void StateLoader::integer(std::string_view name, u64& value, unsigned width_bits, bool is_signed) {
  const StateTree* node = take(name, StateTree::Kind::Integer);
  if (!node) return;
  const u64 saved = node->integer;
  const bool fits =
      width_bits == 64 || (is_signed ? static_cast<i64>(saved) >= -(i64{1} << (width_bits - 1)) &&
                                           static_cast<i64>(saved) < (i64{1} << (width_bits - 1))
                                     : saved >> width_bits == 0);
  if (!fits)
    return fail(menura::fail(Errc::Corrupt, "Saved '{}' = {:#x} does not fit {} bits", name, saved,
                             width_bits));
  value = saved;
}

void StateLoader::boolean(std::string_view name, bool& value) {
  if (const StateTree* node = take(name, StateTree::Kind::Boolean)) value = node->integer != 0;
}

void StateLoader::text(std::string_view name, std::string& value) {
  if (const StateTree* node = take(name, StateTree::Kind::Text)) value = node->text;
}

void StateLoader::bytes(std::string_view name, std::vector<std::byte>& value) {
  if (const StateTree* node = take(name, StateTree::Kind::Bytes)) value = node->bytes;
}

bool StateLoader::begin_struct(std::string_view name) {
  const StateTree* node = take(name, StateTree::Kind::Struct);
  if (!node) return false;
  stack_.push_back({node, 0});
  return true;
}

void StateLoader::end_struct() { stack_.pop_back(); }

bool StateLoader::begin_list(std::string_view name, size_t& length) {
  const StateTree* node = take(name, StateTree::Kind::List);
  if (!node) return false;
  length = node->children.size();
  stack_.push_back({node, 0});
  return true;
}

void StateLoader::end_list() { stack_.pop_back(); }

// Nested structs belong to the section whose version stands at the root.
bool StateLoader::older_than(unsigned version) const {
  return stack_.front().node->version < version;
}

namespace {

void print_value(const StateTree& node, std::string& out) {
  switch (node.kind) {
    case StateTree::Kind::Integer:
      out += node.is_signed ? format("{}", static_cast<i64>(node.integer))
                            : format("{:#x}", node.integer);
      return;
    case StateTree::Kind::Boolean: out += node.integer ? "on" : "off"; return;
    case StateTree::Kind::Text: out += format("'{}'", node.text); return;
    case StateTree::Kind::Bytes: {
      constexpr size_t kShown = 32;
      for (size_t i = 0; i < std::min(node.bytes.size(), kShown); i++)
        out += format("{:02x}", static_cast<unsigned>(node.bytes[i]));
      if (node.bytes.size() > kShown) out += format("... ({} bytes)", node.bytes.size());
      return;
    }
    case StateTree::Kind::Struct:
    case StateTree::Kind::List: out += format("({} members)", node.children.size()); return;
  }
}

std::string value_text(const StateTree& node) {
  std::string out;
  print_value(node, out);
  return out;
}

bool is_leaf(const StateTree& node) {
  return node.kind != StateTree::Kind::Struct && node.kind != StateTree::Kind::List;
}

void print_node(const StateTree& node, const std::string& label, unsigned depth, std::string& out) {
  out.append(2 * depth, ' ').append(label);
  if (is_leaf(node)) {
    out += ": ";
    print_value(node, out);
    out += '\n';
    return;
  }
  const bool flat = node.kind == StateTree::Kind::List &&
                    std::all_of(node.children.begin(), node.children.end(), is_leaf);
  out += ':';
  if (flat) {
    for (const StateTree& child : node.children) out += " " + value_text(child);
    out += '\n';
    return;
  }
  out += '\n';
  size_t index = 0;
  for (const StateTree& child : node.children)
    print_node(child, child.name.empty() ? format("[{}]", index++) : child.name, depth + 1, out);
}

// Of byte strings only the first byte that differs, when they are of one size.
StateDifference bytes_difference(const StateTree& left, const StateTree& right,
                                 const std::string& path) {
  if (left.bytes.size() != right.bytes.size())
    return {path, format("({} bytes)", left.bytes.size()),
            format("({} bytes)", right.bytes.size())};
  const auto [l, r] = std::ranges::mismatch(left.bytes, right.bytes);
  return {format("{}[{}]", path, l - left.bytes.begin()),
          format("{:#x}", static_cast<unsigned>(*l)), format("{:#x}", static_cast<unsigned>(*r))};
}

void compare_nodes(const StateTree& left, const StateTree& right, const std::string& path,
                   std::vector<StateDifference>& out) {
  if (left.kind == StateTree::Kind::Bytes && right.kind == left.kind) {
    if (left.bytes != right.bytes) out.push_back(bytes_difference(left, right, path));
    return;
  }
  if (left.kind != right.kind || (is_leaf(left) && value_text(left) != value_text(right))) {
    out.push_back({path, value_text(left), value_text(right)});
    return;
  }
  if (left.kind == StateTree::Kind::List) {
    for (size_t i = 0; i < std::max(left.children.size(), right.children.size()); i++) {
      const std::string element = format("{}[{}]", path, i);
      if (i >= left.children.size())
        out.push_back({element, "(absent)", value_text(right.children[i])});
      else if (i >= right.children.size())
        out.push_back({element, value_text(left.children[i]), "(absent)"});
      else
        compare_nodes(left.children[i], right.children[i], element, out);
    }
    return;
  }
  const std::string prefix = path.empty() ? "" : path + ".";
  for (const StateTree& child : left.children) {
    if (const StateTree* other = right.find(child.name))
      compare_nodes(child, *other, prefix + child.name, out);
    else
      out.push_back({prefix + child.name, value_text(child), "(absent)"});
  }
  for (const StateTree& child : right.children)
    if (!left.find(child.name)) out.push_back({prefix + child.name, "(absent)", value_text(child)});
}

}  // namespace

std::string print_tree(const StateTree& tree) {
  std::string out;
  print_node(tree, tree.name.empty() ? "state" : tree.name, 0, out);
  return out;
}

std::vector<StateDifference> compare(const StateTree& left, const StateTree& right) {
  std::vector<StateDifference> differences;
  compare_nodes(left, right, left.name, differences);
  return differences;
}

Value to_value(const StateTree& tree) {
  switch (tree.kind) {
    case StateTree::Kind::Integer:
      // As parse_json() gives it: unsigned only what does not fit a signed number.
      if (tree.is_signed || tree.integer <= u64{std::numeric_limits<i64>::max()})
        return static_cast<i64>(tree.integer);
      return tree.integer;
    case StateTree::Kind::Boolean: return tree.integer != 0;
    case StateTree::Kind::Text: return tree.text;
    case StateTree::Kind::Bytes: {
      std::string digits;
      for (const std::byte b : tree.bytes) digits += format("{:02x}", static_cast<unsigned>(b));
      return digits;
    }
    case StateTree::Kind::List: {
      Value::List list;
      for (const StateTree& child : tree.children) list.push_back(to_value(child));
      return list;
    }
    case StateTree::Kind::Struct: break;
  }
  Value::Object object;
  for (const StateTree& child : tree.children) object.emplace_back(child.name, to_value(child));
  return object;
}

std::string to_json(const StateTree& tree) { return to_json(to_value(tree)); }

}  // namespace menura
