// HmpMonitor: the monitor for people on a terminal: a prompt, a line editor, answers as text.
//
// Owner: the program's session. Threads: in the loop under the machine lock. The prompt is
// "(qemu) ", which people's expect scripts wait for. Keys: see line_editor.h.
// Example: `HmpMonitor monitor(target, chardev);`
#pragma once

#include <string>
#include <string_view>

#include "control/monitor/hmp.h"
#include "control/monitor/line_editor.h"
#include "control/monitor/monitor_output.h"
#include "io/chardev.h"

namespace menura {

class HmpMonitor final : private CharSink {
 public:
  HmpMonitor(MonitorTarget& target, Chardev& chardev);
  ~HmpMonitor() override;
  HmpMonitor(const HmpMonitor&) = delete;
  HmpMonitor& operator=(const HmpMonitor&) = delete;

 private:
  size_t room() override;
  void receive(ConstBytes bytes) override;
  void event(CharEvent event) override;
  void writable() override;

  void greet();
  void run(const std::string& line);
  // With the line ends that a raw terminal needs.
  void print(std::string_view text);

  // Wiring
  Chardev& chardev_;
  HmpContext context_;
  MonitorOutput output_;
  // Configuration
  bool shared_;  // a mux's port: greets when it gets the keys
  // State
  LineEditor editor_;
};

}  // namespace menura
