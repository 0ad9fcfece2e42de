// A QMP monitor fed with anything, after the negotiation: every reply is JSON in its line.
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "control/monitor/qmp_monitor.h"
#include "machine/catalogue/catalogue_tables.h"

namespace {

using namespace menura;

class Client final : public Chardev {
 public:
  size_t write(ConstBytes bytes) override {
    sent.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return bytes.size();
  }
  void attach(CharSink* s) override { sink = s; }
  void accept_input() override {}
  std::string sent;
  CharSink* sink = nullptr;
};

Machine& machine() {
  static const std::unique_ptr<Machine> kMachine = [] {
    MachineConfig config;
    config.memory.size = {16 * MiB};
    config.accelerators.push_back({.name = "qtest", .id = {}, .options = Value::object()});
    auto built = Machine::build(std::move(config), catalogue());
    if (!built) std::abort();
    return std::move(built).value();
  }();
  return *kMachine;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, size_t size) {
  const MachineLock::Guard guard(machine().lock());
  MonitorTarget target(machine());
  Client client;
  QmpMonitor monitor(target, client, QmpFormat::Compact);
  const auto say = [&](std::string_view text) {
    client.sink->receive(std::as_bytes(std::span(text)));
  };
  client.sink->event(CharEvent::Opened);
  say("{\"execute\": \"qmp_capabilities\"}");
  if (size > 0) say({reinterpret_cast<const char*>(bytes), size});
  for (size_t at = 0, end = 0; at < client.sent.size(); at = end + 2) {
    end = client.sent.find("\r\n", at);
    if (end == std::string::npos || !parse_json(std::string_view(client.sent).substr(at, end - at)))
      std::abort();
  }
  return 0;
}
