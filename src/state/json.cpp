// JSON text into Value, through nlohmann's streaming parser: bounded depth, errors with a position.
#include <nlohmann/json.hpp>

#include "state/value.h"

namespace menura {

namespace {

constexpr size_t kDepthLimit = 256;

// Builds the value as the parser walks; false stops the parser.
class Builder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  Value root;
  std::optional<Error> error;

  bool null() override { return add(Value()); }
  bool boolean(bool v) override { return add(v); }
  bool number_integer(number_integer_t v) override { return add(i64{v}); }
  // Small numbers are signed, so that equal numbers are equal Values.
  bool number_unsigned(number_unsigned_t v) override {
    return v <= std::numeric_limits<i64>::max() ? add(static_cast<i64>(v)) : add(u64{v});
  }
  bool number_float(number_float_t v, const string_t&) override { return add(v); }
  bool string(string_t& v) override { return add(std::move(v)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return open(Value::object()); }
  bool start_array(size_t) override { return open(Value::list()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (open_.back()->find(name))
      return refuse(fail(Errc::InvalidArgument, "JSON member '{}' appears twice", name));
    key_ = std::move(name);
    return true;
  }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& e) override {
    // The library's text begins with its own error number.
    const std::string_view what = e.what();
    const size_t text = what.find("] ");
    return refuse(fail(Errc::InvalidArgument, "JSON is malformed near character {}: {}", position,
                       text == std::string_view::npos ? what : what.substr(text + 2)));
  }

 private:
  bool refuse(Error e) {
    if (!error) error = std::move(e);
    return false;
  }
  Value* place(Value v) {
    if (open_.empty()) {
      root = std::move(v);
      return &root;
    }
    if (Value::List* list = open_.back()->as<Value::List>())
      return &list->emplace_back(std::move(v));
    Value::Object* object = open_.back()->as<Value::Object>();
    return &object->emplace_back(std::move(key_), std::move(v)).second;
  }
  bool add(Value v) {
    place(std::move(v));
    return true;
  }
  // Containers grow only at their end while they are innermost, so the pointers stay valid.
  bool open(Value v) {
    if (open_.size() >= kDepthLimit)
      return refuse(fail(Errc::InvalidArgument, "JSON is nested deeper than {}", kDepthLimit));
    open_.push_back(place(std::move(v)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::vector<Value*> open_;
  std::string key_;
};

}  // namespace

Result<Value> parse_json(std::string_view text) {
  Builder builder;
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  if (builder.error) return std::move(*builder.error);
  return std::move(builder.root);
}

}  // namespace menura
