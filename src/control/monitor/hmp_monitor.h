// HmpMonitor: the monitor for people on a terminal: a prompt, a line editor, answers as text.
//
// Owner: the program's session. Threads: in the loop under the machine lock. The prompt is
// "(qemu) ", which people's expect scripts wait for. Keys: backspace, Ctrl-U, Ctrl-C (forget the
// line), up and down (history). Example: `HmpMonitor monitor(target, chardev);`
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/monitor/hmp.h"
#include "control/monitor/monitor_output.h"
#include "io/chardev.h"

namespace menura {

class HmpMonitor final : private CharSink {
 public:
  HmpMonitor(MonitorTarget& target, Chardev& chardev);
  ~HmpMonitor() override;
  HmpMonitor(const HmpMonitor&) = delete;
  HmpMonitor& operator=(const HmpMonitor&) = delete;

  static constexpr size_t kMaxLine = 4096;
  static constexpr size_t kMaxHistory = 64;

 private:
  size_t room() override;
  void receive(ConstBytes bytes) override;
  void event(CharEvent event) override;
  void writable() override;

  void greet();
  void prompt();
  void on_key(char key);
  void on_escape_key(char key);
  void replace_line(std::string line);
  void run_line();
  // With the line ends that a raw terminal needs.
  void print(std::string_view text);

  // Wiring
  Chardev& chardev_;
  HmpContext context_;
  MonitorOutput output_;
  // Configuration
  bool shared_;  // a mux's port: greets when it gets the keys
  // State
  std::string line_;
  std::vector<std::string> history_;
  size_t history_at_ = 0;  // history_.size(): the new line
  enum class Escape : u8 { None, Begun, Bracket } escape_ = Escape::None;
};

}  // namespace menura
