#include "control/session.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/log.h"
#include "control/options/chardev_forms.h"
#include "machine/catalogue/catalogue_tables.h"
#include "machine/chardevs.h"
#include "machine/drives.h"

namespace menura {

namespace {

// -machine dump-guest-core=off
void keep_ram_out_of_core_dumps(Machine& machine) {
  const auto view = machine.memory().view();
  for (const FlatRange& range : view->ranges())
    if (range.ram) ::madvise(range.ram->host(), range.ram->size(), MADV_DONTDUMP);
}

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
  if (!machine.config().machine.dump_guest_core) keep_ram_out_of_core_dumps(machine);
  session->signals_ =
      TRY(SignalWatch::create(machine.loop(), {SIGINT, SIGTERM, SIGHUP},
                              [&machine](int) { machine.request_shutdown(Cause::HostSignal); }));
  session->target_ = std::make_unique<MonitorTarget>(machine);
  for (const NamedOptions& object : options.machine.objects)
    TRY(session->target_->objects.create(object), "-object");
  TRY(session->open_vnc(options));
  TRY(session->open_monitors(options.monitors));
  if (!options.gdb_chardev.empty()) TRY(session->open_gdb(options.gdb_chardev), "-gdb");
  session->target_->start_gdb = [s = session.get()](std::string_view form) {
    return s->start_gdb(form);
  };
  TRY(session->open_qtest(options));
  return session;
}

Session::~Session() {
  if (!machine_) return;
  const MachineLock::Guard guard(machine_->lock());
  machine_->stop(RunState::Shutdown);
  qtest_.reset();
  gdb_.reset();
  hmp_monitors_.clear();
  qmp_monitors_.clear();
  vnc_servers_.clear();
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

Result<void> Session::open_vnc(const ProgramOptions& options) {
  Machine& machine = *machine_;
  const Keymap* keymap = TRY(Keymap::of(options.keyboard_layout));
  for (const VncOptions& vnc : options.vncs) {
    VncEnvironment environment{.loop = machine.loop(),
                               .workers = machine.workers(),
                               .displays = machine.displays(),
                               .inputs = machine.inputs(),
                               .name = machine.config().name,
                               .keymap = keymap};
    environment.emit = [&machine](std::string event, Value data) {
      machine.emit(std::move(event), std::move(data));
    };
    if (!vnc.tls_creds.empty()) {
      environment.tls = TRY(machine.drives().tls().find(vnc.tls_creds), "-vnc tls-creds");
      TRY(environment.tls->check_endpoint(TlsEndpoint::Server), "-vnc tls-creds");
      if (environment.tls->kind() == TlsCredentials::Kind::Psk)
        return fail(Errc::Unsupported, "-vnc tls-creds: VNC knows no pre-shared keys");
    }
    if (!vnc.password_secret.empty()) {
      environment.password =
          TRY(target_->objects.secret(vnc.password_secret), "-vnc password-secret");
    }
    if (!vnc.audiodev.empty() &&
        std::ranges::find(options.audiodevs, vnc.audiodev) == options.audiodevs.end())
      return fail(Errc::NotFound, "-vnc audiodev: there is no audio device '{}'", vnc.audiodev);
    vnc_servers_.push_back(TRY(VncServer::open(vnc, std::move(environment)), "-vnc {}", vnc.where));
    target_->vnc_servers.push_back(vnc_servers_.back().get());
  }
  return {};
}

Result<void> Session::open_gdb(const std::string& chardev) {
  gdb_ = std::make_unique<GdbStub>(*target_, *TRY(machine_->chardevs().connect(chardev)));
  return {};
}

Result<std::string> Session::start_gdb(std::string_view form) {
  constexpr std::string_view kId = "gdb";
  ChardevForm chardev = TRY(parse_gdb_form(form));
  gdb_.reset();
  machine_->chardevs().disconnect(kId);
  if (chardev.kind == ChardevForm::Kind::None) return std::string("Disabled gdbserver\n");
  if (chardev.kind == ChardevForm::Kind::New) TRY(machine_->chardevs().create(chardev.chardev));
  TRY(open_gdb(chardev.id));
  return format("Waiting for gdb connection on device '{}'\n", form);
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
