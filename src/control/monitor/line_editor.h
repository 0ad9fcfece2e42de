// LineEditor: a line of text under the fingers of somebody at a terminal, with history and completion.
// Keys: arrows, Home, End, Delete, Ctrl-A B D E F H K L N P U W, Ctrl-C (forget the line), Tab.
//
// Owner: HmpMonitor. Threads: none. Escape sequences are those of ANSI terminals.
// Example: `editor.key('x');` prints an x; `editor.key('\r')` gives the line to run().
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace menura {

class LineEditor {
 public:
  struct Host {
    std::function<void(std::string_view)> print;
    std::function<void(std::string)> run;  // prints the next prompt itself, by prompt()
    // What may stand in the place of the last word of this text, whole words.
    std::function<std::vector<std::string>(std::string_view before)> complete;
  };
  LineEditor(std::string_view prompt, Host host) : prompt_(prompt), host_(std::move(host)) {}

  static constexpr size_t kMaxLine = 4096;
  static constexpr size_t kMaxHistory = 64;

  void key(char key);
  // Begins a line.
  void prompt();
  void forget() { line_.clear(), at_ = 0; }

 private:
  void control_key(char key);
  void escape_key(char key);
  void special_key(char final_char);
  void insert(char c);
  void erase(size_t from, size_t to);  // and the cursor to `from`
  void move(size_t to);
  // Prints the line from the cursor on, after what stood there; the cursor stays.
  void redraw_tail();
  void replace(std::string line);
  void from_history(size_t entry);
  void finish();
  void complete();

  // Configuration
  const std::string prompt_;
  // Wiring
  Host host_;
  // State
  std::string line_;
  size_t at_ = 0;  // the cursor
  std::vector<std::string> history_;
  size_t history_at_ = 0;  // history_.size(): the new line
  enum class Escape : u8 { None, Begun, Bracket } escape_ = Escape::None;
  char escape_digit_ = 0;
};

}  // namespace menura
