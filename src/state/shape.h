// Shape: what kind of value a property holds, nested ones included: from it come the schemas that
// clients ask for. Derived from the same describe() that reads and writes the property.
//
// Owner: state. Threads: values. Choices' names live as long as the program.
// Example: `Shape s = shape_of<SerialConfig>();  for (const Shape::Member& m : s.members) ...`
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace menura {

struct Shape {
  enum class Kind : u8 { Any, Boolean, Integer, Size, Number, Text, Choice, List, Object };
  struct Member;
  struct Variant;

  Kind kind = Kind::Any;
  std::vector<std::string> choices = {};  // Choice
  std::vector<Shape> element = {};        // List: one
  std::vector<Member> members;            // Object
  // Object: the member whose value says which further members there are, and those.
  std::string tag = {};
  std::vector<Variant> variants;
};

struct Shape::Member {
  std::string name;
  std::string help;
  Shape shape;
  bool required = false;  // of a user's input
  bool optional = false;  // may be missing in what we say
};

struct Shape::Variant {
  std::string choice;
  Shape shape;  // an Object
};

}  // namespace menura
