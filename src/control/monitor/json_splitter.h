// JsonSplitter: cuts a stream of bytes into JSON values, by counting brackets outside of strings:
// clients need not end a command with a new line.
//
// Owner: a QMP monitor. Threads: none. Bounded: a value longer than kMaxLength comes out as an
// error, once, and is skipped up to the next line. Example:
//   splitter.feed(R"({"execute": "stop"})", [&](Result<std::string> text) { run(text); });
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace menura {

class JsonSplitter {
 public:
  static constexpr size_t kMaxLength = size_t{4} << 20;
  static constexpr unsigned kMaxDepth = 200;

  using Take = std::function<void(Result<std::string> text)>;
  void feed(std::string_view bytes, const Take& take);
  void forget() { *this = {}; }

 private:
  void feed_char(char c, const Take& take);
  void refuse(Error error, const Take& take);

  // State
  std::string text_;
  unsigned depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
  bool skipping_ = false;  // until the end of the line
};

}  // namespace menura
