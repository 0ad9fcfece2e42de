#include "control/monitor/line_editor.h"

#include <algorithm>
#include <utility>

#include "base/format.h"

namespace menura {

namespace {

constexpr char kEscapeKey = 0x1b;
constexpr char kDelete = 0x7f;
constexpr std::string_view kEraseToEnd = "\x1b[K";
constexpr std::string_view kClearScreen = "\x1b[2J\x1b[1;1H";

constexpr char ctrl(char letter) { return static_cast<char>(letter - 'A' + 1); }

}  // namespace

void LineEditor::prompt() {
  history_at_ = history_.size();
  host_.print(prompt_);
}

void LineEditor::key(char key) {
  if (escape_ != Escape::None) return escape_key(key);
  if (key == kEscapeKey)
    escape_ = Escape::Begun;
  else if (key == '\r' || key == '\n')
    finish();
  else if (key == '\b' || key == kDelete)
    erase(at_ - std::min<size_t>(at_, 1), at_);
  else if (key == '\t')
    complete();
  else if (static_cast<unsigned char>(key) < ' ')
    control_key(key);
  else
    insert(key);
}

void LineEditor::control_key(char key) {
  switch (key) {
    case ctrl('A'): return move(0);
    case ctrl('E'): return move(line_.size());
    case ctrl('B'): return move(at_ - std::min<size_t>(at_, 1));
    case ctrl('F'): return move(std::min(at_ + 1, line_.size()));
    case ctrl('D'): return erase(at_, std::min(at_ + 1, line_.size()));
    case ctrl('K'): return erase(at_, line_.size());
    case ctrl('U'): return erase(0, at_);
    case ctrl('W'): {
      size_t from = at_;
      while (from > 0 && line_[from - 1] == ' ') from--;
      while (from > 0 && line_[from - 1] != ' ') from--;
      return erase(from, at_);
    }
    case ctrl('P'): return special_key('A');
    case ctrl('N'): return special_key('B');
    case ctrl('L'): {
      host_.print(kClearScreen);
      host_.print(prompt_);
      host_.print(line_);
      return host_.print(std::string(line_.size() - at_, '\b'));
    }
    case ctrl('C'):
      forget();
      host_.print("\n");
      return prompt();
    default: return;
  }
}

// ESC [ A, or with a number before a ~: ESC [ 3 ~.
void LineEditor::escape_key(char key) {
  if (escape_ == Escape::Begun) {
    escape_ = key == '[' || key == 'O' ? Escape::Bracket : Escape::None;
    escape_digit_ = 0;
    return;
  }
  if (key >= '0' && key <= '9') {
    escape_digit_ = key;
    return;
  }
  if (key == ';') return;
  escape_ = Escape::None;
  if (key != '~') return special_key(key);
  switch (escape_digit_) {
    case '1': return move(0);
    case '3': return erase(at_, std::min(at_ + 1, line_.size()));
    case '4': return move(line_.size());
    default: return;
  }
}

void LineEditor::special_key(char final_char) {
  switch (final_char) {
    case 'A':
      if (history_at_ > 0) from_history(history_at_ - 1);
      return;
    case 'B':
      if (history_at_ < history_.size()) from_history(history_at_ + 1);
      return;
    case 'C': return move(std::min(at_ + 1, line_.size()));
    case 'D': return move(at_ - std::min<size_t>(at_, 1));
    case 'H': return move(0);
    case 'F': return move(line_.size());
    default: return;
  }
}

void LineEditor::insert(char c) {
  if (line_.size() >= kMaxLine) return;
  line_.insert(at_, 1, c);
  at_++;
  host_.print({&c, 1});
  if (at_ < line_.size()) redraw_tail();
}

void LineEditor::erase(size_t from, size_t to) {
  if (from == to) return;
  const bool last_one = to == line_.size() && to - from == 1;
  move(from);
  line_.erase(from, to - from);
  if (last_one) return host_.print(" \b");
  redraw_tail();
}

void LineEditor::move(size_t to) {
  if (to < at_) host_.print(std::string(at_ - to, '\b'));
  if (to > at_) host_.print(std::string_view(line_).substr(at_, to - at_));
  at_ = to;
}

void LineEditor::redraw_tail() {
  const std::string_view tail = std::string_view(line_).substr(at_);
  host_.print(format("{}{}{}", tail, kEraseToEnd, std::string(tail.size(), '\b')));
}

void LineEditor::replace(std::string line) {
  move(0);
  line_ = std::move(line);
  host_.print(kEraseToEnd);
  host_.print(line_);
  at_ = line_.size();
}

void LineEditor::from_history(size_t entry) {
  history_at_ = entry;
  replace(entry < history_.size() ? history_[entry] : std::string());
}

void LineEditor::finish() {
  std::string line = std::exchange(line_, {});
  at_ = 0;
  host_.print("\n");
  if (!line.empty() && (history_.empty() || history_.back() != line)) {
    if (history_.size() == kMaxHistory) history_.erase(history_.begin());
    history_.push_back(line);
  }
  history_at_ = history_.size();
  host_.run(std::move(line));
}

// One possibility is taken; of several what they have in common, and they are shown.
void LineEditor::complete() {
  const std::string before = line_.substr(0, at_);
  const size_t word_at = before.rfind(' ') + 1;  // 0 when there is none
  const std::string_view word = std::string_view(before).substr(word_at);
  std::vector<std::string> words = host_.complete(before);
  std::erase_if(words, [&](const std::string& w) { return !w.starts_with(word); });
  if (words.empty()) return;
  std::ranges::sort(words);
  const std::string& first = words.front();
  const std::string& last = words.back();
  const size_t length = std::min(first.size(), last.size());
  const auto common = static_cast<size_t>(
      std::mismatch(first.begin(), first.begin() + static_cast<std::ptrdiff_t>(length),
                    last.begin())
          .first -
      first.begin());
  const std::string_view more = std::string_view(first).substr(word.size(), common - word.size());
  for (const char c : more) insert(c);
  if (words.size() == 1) return insert(' ');
  if (!more.empty()) return;
  std::string list = "\n";
  for (const std::string& w : words) list += w + "\n";
  host_.print(list);
  prompt();
  host_.print(line_);
  host_.print(std::string(line_.size() - at_, '\b'));
}

}  // namespace menura
