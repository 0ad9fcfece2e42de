#include "control/session.h"

#include "base/log.h"
#include "machine/catalogue/catalogue_tables.h"
#include "machine/chardevs.h"

namespace menura {

namespace {

// A default for a device that does not exist changes nothing, which users should know.
void warn_of_unused_globals(const MachineConfig& config) {
  for (const NamedOptions& global : config.globals)
    if (!catalogue().takes_globals(global.name))
      log_warning("-global {}: no such device takes properties, ignored", global.name);
}

}  // namespace

Result<std::unique_ptr<Session>> Session::build(ProgramOptions options) {
  std::unique_ptr<Session> session(new Session);
  warn_of_unused_globals(options.machine);
  session->machine_ = TRY(Machine::build(options.machine, catalogue()));
  Machine& machine = *session->machine_;
  const MachineLock::Guard guard(machine.lock());
  session->signals_ =
      TRY(SignalWatch::create(machine.loop(), {SIGINT, SIGTERM, SIGHUP},
                              [&machine](int) { machine.request_shutdown(Cause::HostSignal); }));
  session->target_ = std::make_unique<MonitorTarget>(machine);
  TRY(session->open_monitors(options.monitors));
  TRY(session->open_qtest(options));
  return session;
}

Session::~Session() {
  if (!machine_) return;
  const MachineLock::Guard guard(machine_->lock());
  machine_->stop(RunState::Shutdown);
  qtest_.reset();
  hmp_monitors_.clear();
  qmp_monitors_.clear();
  target_.reset();
  signals_.reset();
}

Result<void> Session::open_monitors(const std::vector<MonitorOptions>& monitors) {
  for (const MonitorOptions& monitor : monitors) {
    Chardev& chardev = *TRY(machine_->chardevs().connect(monitor.chardev), "-mon");
    if (monitor.mode == MonitorOptions::Mode::Readline)
      hmp_monitors_.push_back(std::make_unique<HmpMonitor>(*target_, chardev));
    else
      qmp_monitors_.push_back(std::make_unique<QmpMonitor>(
          *target_, chardev, monitor.pretty ? QmpFormat::Pretty : QmpFormat::Compact));
  }
  return {};
}

Result<void> Session::open_qtest(const ProgramOptions& options) {
  if (options.qtest_chardev.empty()) return {};
  Machine& machine = *machine_;
  Chardev& chardev = *TRY(machine.chardevs().connect(options.qtest_chardev), "-qtest");
  QtestServer::Log log;
  if (!options.qtest_log.empty()) {
    qtest_log_ = TRY(QtestLog::open(options.qtest_log));
    log = [this](std::string_view line) { qtest_log_->line(line); };
  }
  qtest_pins_ = std::make_unique<QtestPins>(machine);
  qtest_ = std::make_unique<QtestServer>(
      chardev,
      QtestTarget{.memory = machine.memory(),
                  .io = machine.io(),
                  .clock = machine.loop().virtual_clock(),
                  .timers = machine.loop().virtual_time(),
                  .devices = *qtest_pins_,
                  .steps_clock = !machine.accelerator().executes(),
                  .running = [&machine] { return machine.running(); }},
      std::move(log));
  return {};
}

int Session::run() {
  if (!machine_->config().start_paused) {
    const MachineLock::Guard guard(machine_->lock());
    machine_->cont();
  }
  return machine_->loop().run();
}

}  // namespace menura
