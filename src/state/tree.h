// StateTree: a described object as a tree of named values, and what is done with such trees:
// save, load, print, compare, JSON, and a checked binary stream.
//
// Owner: state. Threads: values. Untrusted streams and JSON give an Error, never a crash.
// Example:
//   StateTree before = save_state(pit);  ...  TRY(load_state(pit, before));
//   for (const StateDifference& d : compare(before, save_state(pit))) ...
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "state/value.h"
#include "state/visitor.h"

namespace menura {

struct StateTree {
  enum class Kind : u8 { Struct, List, Integer, Boolean, Text, Bytes };

  std::string name;  // empty inside a list
  Kind kind = Kind::Struct;
  u64 integer = 0;  // Integer and Boolean
  u8 width_bits = 64;
  bool is_signed = false;
  std::string text;
  std::vector<std::byte> bytes;
  std::vector<StateTree> children;  // Struct and List
  u32 version = 1;                  // Struct: of its section

  const StateTree* find(std::string_view child) const;
  bool operator==(const StateTree&) const = default;
};

// Drives describe(); the section's version is recorded with it.
class StateSaver final : public StateVisitor {
 public:
  explicit StateSaver(StateTree& root) { stack_.push_back(&root); }
  bool loading() const override { return false; }

 protected:
  void integer(std::string_view name, u64& value, unsigned width_bits, bool is_signed) override;
  void boolean(std::string_view name, bool& value) override;
  void text(std::string_view name, std::string& value) override;
  void bytes(std::string_view name, std::vector<std::byte>& value) override;
  bool begin_struct(std::string_view name) override;
  void end_struct() override;
  bool begin_list(std::string_view name, size_t& length) override;
  void end_list() override;
  bool older_than(unsigned) const override { return false; }

 private:
  StateTree& add(std::string_view name, StateTree::Kind kind);
  std::vector<StateTree*> stack_;
};

// A field that the tree lacks is an error, unless since() excuses it by the tree's version.
class StateLoader final : public StateVisitor {
 public:
  explicit StateLoader(const StateTree& root) { stack_.push_back({&root, 0}); }
  bool loading() const override { return true; }

 protected:
  void integer(std::string_view name, u64& value, unsigned width_bits, bool is_signed) override;
  void boolean(std::string_view name, bool& value) override;
  void text(std::string_view name, std::string& value) override;
  void bytes(std::string_view name, std::vector<std::byte>& value) override;
  bool begin_struct(std::string_view name) override;
  void end_struct() override;
  bool begin_list(std::string_view name, size_t& length) override;
  void end_list() override;
  bool older_than(unsigned version) const override;

 private:
  struct Level {
    const StateTree* node;
    size_t next;  // List: the next element
  };
  const StateTree* take(std::string_view name, StateTree::Kind kind);
  std::vector<Level> stack_;
};

template <Described T>
StateTree save_state(T& object, std::string_view name = {}, u32 version = 1) {
  StateTree tree;
  tree.name = name;
  tree.version = version;
  StateSaver saver(tree);
  object.describe(saver);
  return tree;
}

template <Described T>
Result<void> load_state(T& object, const StateTree& tree) {
  StateLoader loader(tree);
  object.describe(loader);
  return loader.status();
}

struct StateDifference {
  std::string path;  // "pit.counters[2].reload"
  std::string left;  // printed values; "(absent)" where a side lacks it
  std::string right;
};
std::vector<StateDifference> compare(const StateTree& left, const StateTree& right);

// One line a value, indented: for people.
std::string print_tree(const StateTree& tree);

// The values alone, for JSON; byte strings in hexadecimal.
Value to_value(const StateTree& tree);
std::string to_json(const StateTree& tree);

// The binary stream: magic, version, length, tree, CRC-32C. from_stream checks all of it and limits
// depth and sizes to those of the input.
std::vector<std::byte> to_stream(const StateTree& tree);
Result<StateTree> from_stream(ConstBytes stream);

}  // namespace menura
