// Session: a machine with everything around it that a command line asks for: monitors, the qtest
// server, signals; from building to the program's exit status.
//
// Owner: main(). Threads: the main thread. Example:
//   auto session = TRY(Session::build(options));  return session->run();
#pragma once

#include <memory>
#include <vector>

#include "accel/dummy/qtest_server.h"
#include "control/gdbstub/gdb_stub.h"
#include "control/host_process.h"
#include "control/monitor/hmp_monitor.h"
#include "control/monitor/monitor_target.h"
#include "control/monitor/qmp_monitor.h"
#include "control/options/program_options.h"
#include "control/qtest_pins.h"
#include "display/vnc_server.h"
#include "event/signals.h"

namespace menura {

class Session {
 public:
  // Everything but started CPUs.
  static Result<std::unique_ptr<Session>> build(ProgramOptions options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Starts the CPUs (without -S) and runs until the end: the program's exit status. SIGINT, SIGTERM
  // and SIGHUP end it in order, with status 0.
  int run();
  Machine& machine() { return *machine_; }

 private:
  Session() = default;
  Result<void> open_monitors(const std::vector<MonitorOptions>& monitors);
  Result<void> open_vnc(const ProgramOptions& options);
  Result<void> open_gdb(const std::string& chardev);
  // For the monitor: on this character device from now on, or nowhere (none).
  Result<std::string> start_gdb(std::string_view form);
  Result<void> open_qtest(const ProgramOptions& options);

  // Wiring, in the order of making
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<SignalWatch> signals_;
  std::unique_ptr<MonitorTarget> target_;
  std::vector<std::unique_ptr<QmpMonitor>> qmp_monitors_;
  std::vector<std::unique_ptr<HmpMonitor>> hmp_monitors_;
  std::vector<std::unique_ptr<VncServer>> vnc_servers_;
  std::unique_ptr<GdbStub> gdb_;
  std::unique_ptr<QtestPins> qtest_pins_;
  std::unique_ptr<QtestLog> qtest_log_;
  std::unique_ptr<QtestServer> qtest_;
};

}  // namespace menura
