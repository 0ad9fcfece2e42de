#include "control/monitor/json_splitter.h"

namespace menura {

void JsonSplitter::feed(std::string_view bytes, const Take& take) {
  for (const char c : bytes) feed_char(c, take);
}

void JsonSplitter::refuse(Error error, const Take& take) {
  forget();
  skipping_ = true;
  take(std::move(error));
}

void JsonSplitter::feed_char(char c, const Take& take) {
  if (skipping_) {
    skipping_ = c != '\n';
    return;
  }
  const bool blank = c == ' ' || c == '\t' || c == '\r' || c == '\n';
  if (text_.empty() && blank) return;
  // Outside of brackets a value ends with its line.
  if (depth_ == 0 && c == '\n') return take(std::exchange(text_, {}));
  text_ += c;
  if (text_.size() > kMaxLength)
    return refuse(fail(Errc::OutOfRange, "JSON text is longer than {} bytes", kMaxLength), take);
  if (in_string_) {
    if (escaped_)
      escaped_ = false;
    else if (c == '\\')
      escaped_ = true;
    else if (c == '"')
      in_string_ = false;
    if (c != '\n') return;
    forget();
    return take(fail(Errc::InvalidArgument, "JSON string does not end in its line"));
  }
  if (c == '"') in_string_ = depth_ > 0;
  if (c == '{' || c == '[') depth_++;
  if (depth_ > kMaxDepth)
    return refuse(fail(Errc::OutOfRange, "JSON is nested more than {} deep", kMaxDepth), take);
  if ((c == '}' || c == ']') && (depth_ == 0 || --depth_ == 0)) {
    depth_ = 0;
    take(std::exchange(text_, {}));
  }
}

}  // namespace menura
