// QmpMonitor: the monitor for programs: JSON commands in, JSON replies and events out (QMP). The
// greeting comes first; until qmp_capabilities nothing else is taken.
//
// Owner: the program's session. Threads: in the loop under the machine lock. Several may live beside
// each other, each with its own client and negotiation. Source: QEMU's docs/interop/qmp-spec.
// Example: `QmpMonitor monitor(target, *TRY(chardevs.connect("qmp")), QmpFormat::Compact);`
#pragma once

#include <string>

#include "control/monitor/json_splitter.h"
#include "control/monitor/monitor_output.h"
#include "control/monitor/monitor_target.h"
#include "io/chardev.h"

namespace menura {

enum class QmpFormat : u8 { Compact, Pretty };

class QmpMonitor final : private CharSink {
 public:
  QmpMonitor(MonitorTarget& target, Chardev& chardev, QmpFormat format);
  ~QmpMonitor() override;
  QmpMonitor(const QmpMonitor&) = delete;
  QmpMonitor& operator=(const QmpMonitor&) = delete;

 private:
  size_t room() override;
  void receive(ConstBytes bytes) override;
  void event(CharEvent event) override;
  void writable() override;

  void greet();
  void handle(Result<std::string> text);
  // The reply to a request, without its id; sets negotiated_.
  Value answer(const Value& request);
  Value execute(const std::string& name, const Value& arguments);
  void report(const MachineEvent& event);
  void send(const Value& message);

  // Configuration
  QmpFormat format_;
  // Wiring
  MonitorTarget& target_;
  Chardev& chardev_;
  MonitorOutput output_;
  unsigned observer_;
  // State
  JsonSplitter splitter_;
  bool negotiated_ = false;
};

// JSON text with a line for each member, indented by four.
std::string indent_json(std::string_view json);

}  // namespace menura
