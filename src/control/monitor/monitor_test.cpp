#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "accel/dummy/qtest_double.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/units.h"
#include "control/monitor/command.h"
#include "control/monitor/hmp_machine_check.h"
#include "control/monitor/hmp_monitor.h"
#include "control/monitor/line_editor.h"
#include "control/monitor/memory_dump.h"
#include "control/monitor/qmp_monitor.h"
#include "machine/catalogue/catalogue_tables.h"
#include "machine/chardevs.h"

namespace menura {
namespace {

struct Client final : Chardev {
  size_t write(ConstBytes bytes) override {
    if (refusals > 0) {
      refusals--;
      return 0;
    }
    const size_t taken = std::min(bytes.size(), takes);
    sent.append(reinterpret_cast<const char*>(bytes.data()), taken);
    return taken;
  }
  void attach(CharSink* s) override { sink = s; }
  void accept_input() override { accepts++; }
  std::vector<UniqueFd> take_fds() override { return std::exchange(fds, {}); }
  void type(std::string_view text) {
    while (!text.empty() && sink->room() > 0) {
      const size_t length = std::min(text.size(), sink->room());
      sink->receive(std::as_bytes(std::span(text.substr(0, length))));
      text.remove_prefix(length);
    }
  }
  std::string take() { return std::exchange(sent, {}); }

  std::string sent;
  size_t takes = ~size_t{0};
  unsigned refusals = 0;  // before it takes anything
  unsigned accepts = 0;
  std::vector<UniqueFd> fds;
  CharSink* sink = nullptr;
};

// A PC whose CPUs do not run.
struct Rig {
  Rig() {
    MachineConfig config;
    config.name = "box";
    config.smp.cpus = 2;
    config.accelerators.push_back({.name = "qtest", .id = {}, .options = Value::object()});
    auto built = Machine::build(std::move(config), catalogue());
    ensure(built.ok(), "the machine is built");
    machine = std::move(built).value();
    target = std::make_unique<MonitorTarget>(*machine);
  }
  ~Rig() {
    const MachineLock::Guard guard(machine->lock());
    target.reset();
  }
  void turn() {
    for (int i = 0; i < 20; i++) machine->loop().run_once(0);
  }
  std::unique_ptr<Machine> machine;
  std::unique_ptr<MonitorTarget> target;
};

struct QmpRig : Rig {
  explicit QmpRig(QmpFormat format = QmpFormat::Compact) {
    const MachineLock::Guard guard(machine->lock());
    monitor = std::make_unique<QmpMonitor>(*target, client, format);
    client.sink->event(CharEvent::Opened);
  }
  ~QmpRig() {
    const MachineLock::Guard guard(machine->lock());
    monitor.reset();
  }
  std::string say(std::string_view text) {
    const MachineLock::Guard guard(machine->lock());
    client.take();
    client.type(text);
    return client.take();
  }
  void negotiate() { EXPECT_EQ(say("{\"execute\":\"qmp_capabilities\"}"), "{\"return\": {}}\r\n"); }
  // The value of "return", of the command whose arguments are JSON.
  Value ask(std::string_view command, std::string_view arguments = "{}") {
    const auto reply =
        parse_json(say(format("{{\"execute\": \"{}\", \"arguments\": {}}}", command, arguments)));
    if (!reply || !reply->find("return")) {
      ADD_FAILURE() << command;
      return {};
    }
    return *reply->find("return");
  }
  std::string json(std::string_view command, std::string_view arguments = "{}") {
    return to_json(ask(command, arguments));
  }
  Client client;
  std::unique_ptr<QmpMonitor> monitor;
};

std::string error_class(const std::string& reply) {
  const auto value = parse_json(reply);
  if (!value || !value->find("error")) return "no error: " + reply;
  return *value->find("error")->find("class")->as<std::string>();
}

TEST(QmpTest, GreetsAndWantsToNegotiate) {
  QmpRig qmp;
  const auto greeting = parse_json(qmp.client.take());
  ASSERT_TRUE(greeting);
  const Value* q = greeting->find("QMP");
  ASSERT_TRUE(q && q->find("capabilities") && q->find("version"));
  EXPECT_EQ(to_json(*q->find("version")->find("qemu")),
            "{\"major\": 8, \"minor\": 2, \"micro\": 0}");
  EXPECT_EQ(error_class(qmp.say("{\"execute\": \"query-status\"}")), "CommandNotFound");
  EXPECT_EQ(
      error_class(qmp.say(R"({"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}})")),
      "GenericError");
  qmp.negotiate();
  EXPECT_EQ(error_class(qmp.say("{\"execute\": \"qmp_capabilities\"}")), "GenericError");
}

TEST(QmpTest, EveryReplyCarriesItsId) {
  QmpRig qmp;
  qmp.negotiate();
  EXPECT_EQ(qmp.say(R"({"execute": "query-target", "id": "libvirt-7"})"),
            "{\"return\": {\"arch\": \"x86_64\"}, \"id\": \"libvirt-7\"}\r\n");
  EXPECT_NE(qmp.say(R"({"execute": "nothing", "id": {"a": [1]}})").find(R"("id": {"a": [1]})"),
            std::string::npos);
}

TEST(QmpTest, BadInputIsAnErrorAndNotTheEnd) {
  QmpRig qmp;
  qmp.negotiate();
  for (const std::string_view bad :
       {"{\"execute\" \"stop\"}", "[1, 2]", "nonsense\n", "}\n", "{}", "{\"execute\": 3}",
        "{\"execute\": \"stop\", \"arguments\": []}", "{\"execute\": \"stop\", \"extra\": 1}",
        "{\"execute\": \"stop\", \"arguments\": {\"x\": 1}}", "\"text\"\n", "{\"a\": \"x\n"})
    EXPECT_EQ(error_class(qmp.say(bad)), "GenericError") << bad;
  EXPECT_EQ(error_class(qmp.say("{\"execute\": \"query-statu\"}")), "CommandNotFound");
  EXPECT_EQ(error_class(qmp.say(std::string(300, '['))), "GenericError");
  qmp.say("\n");
  EXPECT_EQ(error_class(qmp.say("{\"a\": \"" + std::string(JsonSplitter::kMaxLength, 'x'))),
            "GenericError");
  qmp.say("\n");
  EXPECT_EQ(qmp.json("query-target"), "{\"arch\": \"x86_64\"}");
}

TEST(QmpTest, CommandsMayComeInPiecesAndTogether) {
  QmpRig qmp;
  qmp.negotiate();
  const std::string command = R"({"execute": "query-target", "id": "}\"{"})";
  for (const char c : command.substr(0, command.size() - 1)) EXPECT_EQ(qmp.say({&c, 1}), "");
  EXPECT_NE(qmp.say("}"), "");
  const std::string both = qmp.say(command + command);
  EXPECT_EQ(both.substr(0, both.size() / 2), both.substr(both.size() / 2));
}

TEST(QmpTest, ContStopAndResetAreEvents) {
  QmpRig qmp;
  qmp.negotiate();
  EXPECT_EQ(qmp.json("query-status"), "{\"running\": false, \"status\": \"prelaunch\"}");
  const std::string cont = qmp.say("{\"execute\": \"cont\"}");
  EXPECT_NE(cont.find("\"event\": \"RESUME\""), std::string::npos) << cont;
  EXPECT_NE(cont.find("\"timestamp\": {\"seconds\": "), std::string::npos);
  EXPECT_EQ(qmp.json("query-status"), "{\"running\": true, \"status\": \"running\"}");
  EXPECT_NE(qmp.say("{\"execute\": \"stop\"}").find("\"event\": \"STOP\""), std::string::npos);
  EXPECT_EQ(qmp.json("query-status"), "{\"running\": false, \"status\": \"paused\"}");
  EXPECT_EQ(qmp.json("system_reset"), "{}");
  qmp.turn();
  EXPECT_NE(qmp.client.take().find(
                R"("event": "RESET", "data": {"guest": false, "reason": "host-qmp-system-reset"})"),
            std::string::npos);
  qmp.ask("system_powerdown");
  qmp.turn();
  EXPECT_NE(qmp.client.take().find("\"event\": \"POWERDOWN\""), std::string::npos);
  EXPECT_EQ(error_class(qmp.say("{\"execute\": \"system_wakeup\"}")), "GenericError");
}

TEST(QmpTest, QuitEndsTheLoopWithSuccess) {
  QmpRig qmp;
  qmp.negotiate();
  EXPECT_EQ(qmp.json("quit"), "{}");
  EXPECT_EQ(qmp.machine->loop().run(), 0);
  EXPECT_NE(qmp.client.take().find("\"reason\": \"host-qmp-quit\""), std::string::npos);
}

TEST(QmpTest, TellsAboutTheMachine) {
  QmpRig qmp;
  qmp.negotiate();
  EXPECT_EQ(qmp.json("query-name"), "{\"name\": \"box\"}");
  EXPECT_EQ(qmp.json("query-uuid"), "{\"UUID\": \"00000000-0000-0000-0000-000000000000\"}");
  const Value cpus = qmp.ask("query-cpus-fast");
  ASSERT_TRUE(cpus.as<Value::List>());
  ASSERT_EQ(cpus.as<Value::List>()->size(), 2u);
  for (const Value& cpu : *cpus.as<Value::List>()) {
    const auto status =
        read_file(format("/proc/self/task/{}/comm", *cpu.find("thread-id")->as<i64>()), 100);
    ASSERT_TRUE(status);
    EXPECT_EQ(status->substr(0, 4), "CPU ");
  }
  EXPECT_NE(qmp.json("query-machines").find("\"name\": \"pc-i440fx-8.2\", \"alias\": \"pc\""),
            std::string::npos);
  const std::string devices = qmp.json("qom-list-types", R"({"implements": "device"})");
  EXPECT_NE(devices.find("\"isa-debug-exit\""), std::string::npos);
  EXPECT_EQ(devices.find("-accel"), std::string::npos);
  EXPECT_NE(qmp.json("qom-list-types").find("\"kvm-accel\""), std::string::npos);
  EXPECT_NE(qmp.json("device-list-properties", R"({"typename": "isa-serial"})").find("iobase"),
            std::string::npos);
  EXPECT_EQ(error_class(qmp.say(
                R"({"execute": "device-list-properties", "arguments": {"typename": "sgx-epc"}})")),
            "DeviceNotFound");
}

TEST(QmpTest, EveryCommandIsListedAndAnswersJson) {
  QmpRig qmp;
  qmp.negotiate();
  EXPECT_EQ(qmp.ask("query-commands").as<Value::List>()->size(), qmp_commands().size());
  for (const Command& command : qmp_commands()) {
    const auto reply = parse_json(qmp.say(format("{{\"execute\": \"{}\"}}", command.name)).c_str());
    EXPECT_TRUE(reply || command.name == "cont" || command.name == "stop") << command.name;
    EXPECT_FALSE(command.help.empty());
    for (const Shape::Member& argument : command.arguments().members)
      EXPECT_FALSE(argument.help.empty()) << command.name << " " << argument.name;
  }
}

TEST(QmpTest, TheMachineIsATree) {
  QmpRig qmp;
  qmp.negotiate();
  const std::string machine = qmp.json("qom-list", R"({"path": "/machine"})");
  EXPECT_NE(machine.find(R"({"name": "unattached", "type": "child<container>"})"),
            std::string::npos);
  EXPECT_EQ(qmp.json("qom-get", R"({"path": "/machine", "property": "type"})"),
            "\"pc-i440fx-8.2-machine\"");
  EXPECT_EQ(qmp.json("qom-get", R"({"path": "/machine/unattached/device[1]", "property": "type"})"),
            "\"max-x86_64-cpu\"");
  // A chip by the end of its path, and its state.
  EXPECT_NE(qmp.json("qom-get", R"({"path": "pit", "property": "state"})").find("counters"),
            std::string::npos);
  EXPECT_EQ(error_class(qmp.say(R"({"execute": "qom-list", "arguments": {"path": "/nothing"}})")),
            "DeviceNotFound");
  EXPECT_EQ(error_class(qmp.say(
                R"({"execute": "qom-get", "arguments": {"path": "/machine", "property": "x"}})")),
            "GenericError");
  // Every object is listed by its parent and knows its type.
  std::vector<std::string> open{""};
  size_t seen = 0;
  while (!open.empty()) {
    const std::string path = open.back();
    open.pop_back();
    seen++;
    const Value list = qmp.ask("qom-list", format(R"({{"path": "{}"}})", path + "/"));
    for (const Value& property : *list.as<Value::List>())
      if (property.find("type")->as<std::string>()->starts_with("child<"))
        open.push_back(path + "/" + *property.find("name")->as<std::string>());
  }
  EXPECT_GT(seen, 20u);
}

TEST(QmpTest, TellsOfPlacesAndMemory) {
  QmpRig qmp;
  qmp.negotiate();
  const std::string slots = qmp.json("query-hotpluggable-cpus");
  EXPECT_NE(slots.find(R"("socket-id": 1)"), std::string::npos);
  EXPECT_NE(slots.find("/machine/unattached/device[0]"), std::string::npos);
  EXPECT_EQ(qmp.json("query-memory-size-summary"), "{\"base-memory\": 134217728}");
  EXPECT_NE(qmp.json("query-memdev").find("\"id\": \"pc.ram\""), std::string::npos);
  EXPECT_EQ(qmp.json("query-iothreads"), "[]");
  EXPECT_NE(qmp.json("query-cpu-definitions").find("qemu64"), std::string::npos);
  EXPECT_NE(
      qmp.json("qom-list-properties", R"({"typename": "memory-backend-file"})").find("mem-path"),
      std::string::npos);
  EXPECT_NE(qmp.json("device-list-properties", R"({"typename": "PIIX4_PM"})").find("disable_s3"),
            std::string::npos);
  EXPECT_NE(qmp.json("query-command-line-options", R"({"option": "machine"})").find("hpet"),
            std::string::npos);
}

TEST(QmpTest, ObjectsAndCharacterDevicesComeAndGo) {
  QmpRig qmp;
  qmp.negotiate();
  EXPECT_EQ(qmp.json("object-add", R"({"qom-type": "secret", "id": "s", "data": "x"})"), "{}");
  EXPECT_EQ(error_class(qmp.say(
                R"({"execute": "object-add", "arguments": {"qom-type": "secrt", "id": "t"}})")),
            "GenericError");
  EXPECT_EQ(qmp.json("object-del", R"({"id": "s"})"), "{}");
  const Value pty =
      qmp.ask("chardev-add", R"({"id": "p", "backend": {"type": "pty", "data": {}}})");
  ASSERT_TRUE(pty.find("pty"));
  EXPECT_TRUE(pty.find("pty")->as<std::string>()->starts_with("/dev/pts/"));
  EXPECT_EQ(qmp.json("chardev-remove", R"({"id": "p"})"), "{}");
  EXPECT_EQ(qmp.json("chardev-add",
                     R"({"id": "r", "backend": {"type": "ringbuf", "data": {"size": 64}}})"),
            "{}");
  EXPECT_EQ(qmp.json("ringbuf-read", R"({"device": "r", "size": 9, "format": "base64"})"), "\"\"");
}

TEST(QmpTest, ARingWithALogIsStillARing) {
  QmpRig qmp;
  qmp.negotiate();
  const std::string log = testing::TempDir() + format("menura-ring-{}", ::getpid());
  EXPECT_EQ(qmp.json("chardev-add", format(R"({{"id": "r", "backend": {{"type": "ringbuf",
                     "data": {{"size": 64, "logfile": "{}"}}}}}})",
                                           log)),
            "{}");
  {
    const MachineLock::Guard guard(qmp.machine->lock());
    qmp.machine->chardevs().connect("r").value()->write(bytes_of(std::string("said")));
  }
  EXPECT_EQ(qmp.json("ringbuf-read", R"({"device": "r", "size": 9})"), "\"said\"");
  EXPECT_EQ(read_file(log, 100).value(), "said");
  ::unlink(log.c_str());
}

struct Listener final : CharSink {
  size_t room() override { return 100; }
  void receive(ConstBytes) override {}
  void event(CharEvent event) override { events.push_back(event); }
  std::vector<CharEvent> events;
};

TEST(QmpTest, CharacterDevicesAreExchangedUnderTheirUsers) {
  QmpRig qmp;
  qmp.negotiate();
  const auto ring = [](std::string_view id) {
    return format(R"({{"id": "{}", "backend": {{"type": "ringbuf", "data": {{"size": 64}}}}}})",
                  id);
  };
  EXPECT_EQ(qmp.json("chardev-add", R"({"id": "c", "backend": {"type": "null", "data": {}}})"),
            "{}");
  Listener listener;
  Chardev* user = nullptr;
  {
    const MachineLock::Guard guard(qmp.machine->lock());
    user = qmp.machine->chardevs().connect("c").value();
    user->attach(&listener);
    user->write(bytes_of(std::string("lost")));
  }
  listener.events.clear();
  EXPECT_EQ(qmp.json("chardev-change", ring("c")), "{}");
  EXPECT_EQ(listener.events, (std::vector{CharEvent::Closed, CharEvent::Opened}));
  {
    const MachineLock::Guard guard(qmp.machine->lock());
    user->write(bytes_of(std::string("kept")));
  }
  EXPECT_EQ(qmp.json("ringbuf-read", R"({"device": "c", "size": 9})"), "\"kept\"");
  EXPECT_EQ(error_class(qmp.say(R"({"execute": "chardev-change", "arguments": {"id": "c",
            "backend": {"type": "file", "data": {"out": "/"}}}})")),
            "GenericError");
  EXPECT_EQ(qmp.json("ringbuf-write", R"({"device": "c", "data": "x"})"), "{}") << "as before";
  EXPECT_EQ(error_class(
                qmp.say(format(R"({{"execute": "chardev-change", "arguments": {}}})", ring("d")))),
            "DeviceNotFound");
  qmp.target->asking = nullptr;
  const MachineLock::Guard guard(qmp.machine->lock());
  EXPECT_EQ(qmp.machine->chardevs()
                .change({.name = "null", .id = "c", .options = Value::object()}, user)
                .error()
                .code,
            Errc::Busy);
  user->attach(nullptr);
}

TEST(QmpTest, DescriptorsAreSentAndNamed) {
  QmpRig qmp;
  qmp.negotiate();
  const auto refused = [&](std::string_view command, std::string_view arguments) {
    return error_class(
        qmp.say(format(R"({{"execute": "{}", "arguments": {}}})", command, arguments)));
  };
  EXPECT_EQ(refused("getfd", R"({"fdname": "tap"})"), "GenericError") << "none came along";
  const auto send = [&] {
    qmp.client.fds.push_back(open_file("/dev/null", O_RDWR).value());
    return qmp.client.fds.back().get();
  };
  const int first = send();
  EXPECT_EQ(qmp.json("getfd", R"({"fdname": "tap"})"), "{}");
  EXPECT_GE(::fcntl(first, F_GETFD), 0);
  EXPECT_EQ(qmp.json("closefd", R"({"fdname": "tap"})"), "{}");
  EXPECT_LT(::fcntl(first, F_GETFD), 0);
  EXPECT_EQ(refused("closefd", R"({"fdname": "tap"})"), "DeviceNotFound");
  const int second = send();
  EXPECT_EQ(qmp.json("add-fd", R"({"fdset-id": 3, "opaque": "rw:log"})"),
            format(R"({{"fdset-id": 3, "fd": {}}})", second));
  EXPECT_NE(qmp.json("query-fdsets").find("rw:log"), std::string::npos);
  EXPECT_TRUE(open_file("/dev/fdset/3", O_RDWR));
  EXPECT_EQ(qmp.json("remove-fd", R"({"fdset-id": 3})"), "{}");
}

TEST(QmpTest, DevicesAreNotPluggedAndThatIsSaid) {
  QmpRig qmp;
  qmp.negotiate();
  const auto error = [&](std::string_view command, std::string_view arguments) {
    return qmp.say(format(R"({{"execute": "{}", "arguments": {}}})", command, arguments));
  };
  EXPECT_NE(error("device_add", R"({"driver": "isa-serial", "id": "x"})").find("ISA bus"),
            std::string::npos);
  EXPECT_NE(error("device_add", R"({"driver": "isa-serail"})").find("did you mean 'isa-serial'"),
            std::string::npos);
  EXPECT_EQ(error_class(error("device_add", "{}")), "GenericError");
  EXPECT_EQ(error_class(error("device_del", R"({"id": "nothing"})")), "DeviceNotFound");
  EXPECT_EQ(error_class(error("device_del", R"({"id": "pit"})")), "GenericError");
}

TEST(QmpTest, KeysReachTheKeyboard) {
  QmpRig qmp;
  qmp.negotiate();
  EXPECT_EQ(qmp.json("send-key", R"({"keys": [{"type": "qcode", "data": "a"}], "hold-time": 1})"),
            "{}");
  const auto scan_code = [&] {
    const MachineLock::Guard guard(qmp.machine->lock());
    EXPECT_EQ(qmp.machine->io().load({0x64}, 1) & 1, 1u);
    return qmp.machine->io().load({0x60}, 1);
  };
  EXPECT_EQ(scan_code(), 0x1eu);
  for (int i = 0; i < 1000 && (qmp.machine->io().load({0x64}, 1) & 1) == 0; i++)
    qmp.machine->loop().run_once(kNsPerMs);
  EXPECT_EQ(scan_code(), 0x9eu);
  EXPECT_EQ(qmp.json("send-key", R"({"keys": [{"type": "number", "data": 200}]})"), "{}");
  for (const std::string_view bad :
       {R"([])", R"([{"type": "qcode", "data": "nokey"}])", R"([{"type": "number", "data": 0}])",
        R"([{"type": "what", "data": 0}])", R"([{"data": 0}])", R"("a")"})
    EXPECT_EQ(error_class(qmp.say(
                  format(R"({{"execute": "send-key", "arguments": {{"keys": {}}}}})", bad))),
              "GenericError")
        << bad;
}

TEST(QmpTest, AClientThatDoesNotReadIsNotRead) {
  QmpRig qmp;
  qmp.negotiate();
  const MachineLock::Guard guard(qmp.machine->lock());
  qmp.client.takes = 0;
  int commands = 0;
  for (; commands < 100'000 && qmp.client.sink->room() > 0; commands++)
    qmp.client.type("{\"execute\": \"query-commands\"}");
  EXPECT_LT(commands, 100'000);
  qmp.client.takes = ~size_t{0};
  qmp.client.sink->writable();
  EXPECT_GT(qmp.client.sink->room(), 0u);
  EXPECT_EQ(qmp.client.accepts, 1u);
}

TEST(QmpTest, TheLastAnswersReachASlowReader) {
  Client client;
  {
    Rig rig;
    const MachineLock::Guard guard(rig.machine->lock());
    QmpMonitor monitor(*rig.target, client, QmpFormat::Compact);
    client.sink->event(CharEvent::Opened);
    client.refusals = 10;
    client.takes = 100;
    client.type(R"({"execute":"qmp_capabilities","id":"last"})");
    EXPECT_EQ(client.sent.find("last"), std::string::npos);
  }
  EXPECT_NE(client.sent.find("last"), std::string::npos);
}

TEST(QmpTest, AnotherClientBeginsAnew) {
  QmpRig qmp;
  qmp.negotiate();
  {
    const MachineLock::Guard guard(qmp.machine->lock());
    qmp.client.type("{\"execute\": ");
    qmp.client.sink->event(CharEvent::Closed);
    qmp.client.sink->event(CharEvent::Opened);
  }
  EXPECT_EQ(error_class(qmp.say("{\"execute\": \"query-status\"}")), "CommandNotFound");
  qmp.negotiate();
}

TEST(QmpTest, PrettyTextMeansTheSame) {
  const std::string json = R"({"a": [1, {"b": "x, {\"y"}], "c": {}, "d": []})";
  const std::string pretty = indent_json(json);
  EXPECT_EQ(to_json(parse_json(pretty).value()), json);
  EXPECT_EQ(pretty.substr(0, 13), "{\n    \"a\": [\n");
}

TEST(QmpTest, HumanCommandsGiveText) {
  QmpRig qmp;
  qmp.negotiate();
  EXPECT_EQ(qmp.json("human-monitor-command", R"({"command-line": "info status"})"),
            "\"VM status: paused (prelaunch)\\n\"");
  EXPECT_NE(qmp.json("human-monitor-command", R"({"command-line": "inof"})").find("'inof'"),
            std::string::npos);
}

struct HmpRig : Rig {
  std::string run(std::string_view line) {
    const MachineLock::Guard guard(machine->lock());
    HmpContext context{.target = *target};
    const auto answer = run_hmp(context, line);
    return answer ? *answer : "Error: " + answer.error().text;
  }
};

TEST(HmpTest, EverySubjectAnswersOrSaysWhyNot) {
  HmpRig hmp;
  for (const HmpCommand& subject : hmp_info_commands()) {
    const std::string answer = hmp.run(format("info {}", subject.name));
    EXPECT_EQ(answer.find("Error"), std::string::npos) << subject.name << ": " << answer;
  }
  EXPECT_NE(hmp.run("info mtree").find("pc.ram"), std::string::npos);
  EXPECT_NE(hmp.run("info mtree -f").find("pc.bios"), std::string::npos);
  EXPECT_NE(hmp.run("info pci").find("IDE controller"), std::string::npos);
  EXPECT_NE(hmp.run("info registers").find("000000000000fff0"), std::string::npos);
  EXPECT_NE(hmp.run("info qtree ps2-kbd").find("scan"), std::string::npos);
  EXPECT_NE(hmp.run("info regsters").find("did you mean 'registers'"), std::string::npos);
  EXPECT_NE(hmp.run("info mtree -x").find("expected -f"), std::string::npos);
  EXPECT_NE(hmp.run("help").find("system_powerdown"), std::string::npos);
}

TEST(HmpTest, DumpsMemory) {
  HmpRig hmp;
  {
    const MachineLock::Guard guard(hmp.machine->lock());
    hmp.machine->memory().store({0x1000}, 8, 0x8877'6655'4433'2211);
  }
  EXPECT_EQ(hmp.run("xp /4xb 0x1000"), "0000000000001000: 0x11 0x22 0x33 0x44\n");
  EXPECT_EQ(hmp.run("xp/2xh 0x1000 + 2"), "0000000000001002: 0x4433 0x6655\n");
  EXPECT_EQ(hmp.run("x 0x1004"), "0000000000001004: 0x88776655\n");
  EXPECT_EQ(hmp.run("xp /1dw 0x1004"), "0000000000001004: -2005440939\n");
  EXPECT_EQ(hmp.run("xp /2c 0x1001"), "0000000000001001: '\"' '3'\n");
  EXPECT_EQ(hmp.run("x /1xb $rip"), "00000000fffffff0: 0xea\n");
  EXPECT_EQ(hmp.run("x /1xb $cs_base+0xfff0"), "00000000fffffff0: 0xea\n");
  EXPECT_EQ(hmp.run("xp /20xb 0x1000").substr(98, 18), "0000000000001010: ");
  for (const std::string_view bad :
       {"xp", "xp /0x 0", "xp /9999999x 0", "xp /q 0", "x $nothing", "xp 0xfec00000", "x 1+",
        "x zero", "p", "p 1/0", "p (1", "i 0x10000", "i /q 0", "gva2gpa", "memsave 0 1"})
    EXPECT_EQ(hmp.run(bad).substr(0, 5), "Error") << bad;
}

TEST(HmpTest, EvaluatesExpressions) {
  HmpRig hmp;
  EXPECT_EQ(hmp.run("p 2+3*4"), "0xe\n");
  EXPECT_EQ(hmp.run("p/d (2+3)*4 - 21"), "-1\n");
  EXPECT_EQ(hmp.run("print /x ~0xff & 0xfff"), "0xf00\n");
  EXPECT_EQ(hmp.run("p /u 17 % 5 | 8"), "10\n");
  EXPECT_EQ(hmp.run("p $cs_base + 0xfff0"), "0xfffffff0\n");
  EXPECT_EQ(hmp.run("p $pc"), "0xfffffff0\n");
  EXPECT_NE(hmp.run("p $ripp").find("did you mean"), std::string::npos);
  EXPECT_NE(hmp.run("p " + std::string(100, '(')).find("too deeply"), std::string::npos);
}

TEST(HmpTest, ReadsPortsAndTranslatesAddresses) {
  HmpRig hmp;
  EXPECT_EQ(hmp.run("o /b 0x70 0xf"), "");
  EXPECT_EQ(hmp.run("i /b 0x71"), "portb[0x0071] = 0x00\n");
  EXPECT_EQ(hmp.run("o /w 0xcf8 0x80000000"), "");
  EXPECT_EQ(hmp.run("i /w 0xcfc"), "portl[0x0cfc] = 0x12378086\n");
  EXPECT_EQ(hmp.run("gva2gpa 0x1234"), "gpa: 0x1234\n");  // paging is off
  EXPECT_NE(hmp.run("gpa2hva 0x1000").find("in this process (0x1000 of the guest, pc.ram)"),
            std::string::npos);
  EXPECT_NE(hmp.run("gpa2hva 0xfee00000").find("No RAM"), std::string::npos);
}

// The reset vector of every PC BIOS is a far jump; its disassembly as `objdump -d -m i8086` has it.
TEST(HmpTest, Disassembles) {
  HmpRig hmp;
  const std::string text = hmp.run("x /2i $pc");
  EXPECT_NE(text.find("0x00000000fffffff0:  ea 5b e0 00 f0"), std::string::npos) << text;
  EXPECT_NE(text.find("0x00000000fffffff5:  "), std::string::npos) << text;
}

// Page tables of our own in guest memory: 4 KiB at 0 (user, writable), and 2 MiB at 2 MiB (NX).
TEST(HmpTest, WalksPageTables) {
  HmpRig hmp;
  {
    const MachineLock::Guard guard(hmp.machine->lock());
    AddressSpace& memory = hmp.machine->memory();
    memory.store({0x10000}, 8, 0x11000 | 7);
    memory.store({0x11000}, 8, 0x12000 | 7);
    memory.store({0x12000}, 8, 0x13000 | 7);
    memory.store({0x12008}, 8, 0x40'0000 | 0x83 | u64{1} << 63);
    memory.store({0x13000}, 8, 0x5000 | 7);
    hmp.machine->cpus()[0]->run_on([](Vcpu& vcpu) {
      x86::State s;
      vcpu.get(s);
      s.cr0 |= x86::kCr0Pg | x86::kCr0Pe;
      s.cr3 = 0x10000;
      s.cr4 |= x86::kCr4Pae;
      s.efer |= x86::kEferLme | x86::kEferLma | x86::kEferNxe;
      vcpu.set(s);
    });
  }
  EXPECT_EQ(hmp.run("info tlb"),
            "0000000000000000: 0000000000005000 -------UW\n"
            "0000000000200000: 0000000000400000 X-P-----W\n");
  EXPECT_EQ(hmp.run("info mem"),
            "0000000000000000-0000000000001000 0000000000001000 urwx\n"
            "0000000000200000-0000000000400000 0000000000200000 -rw-\n");
  EXPECT_EQ(hmp.run("gva2gpa 0x200123"), "gpa: 0x400123\n");
  EXPECT_NE(hmp.run("x 0x1000").find("not mapped"), std::string::npos);
}

TEST(HmpTest, PrintsTheInterruptChips) {
  HmpRig hmp;
  EXPECT_NE(hmp.run("info pic").find("irr=00"), std::string::npos);
  EXPECT_NE(hmp.run("info ioapic").find("masked"), std::string::npos);
  EXPECT_NE(hmp.run("info lapic").find("lvt"), std::string::npos);
  EXPECT_GT(hmp.run("info lapic -a").size(), hmp.run("info lapic").size());
}

TEST(HmpTest, SavesMemory) {
  HmpRig hmp;
  const std::string path = testing::TempDir() + "menura_memsave";
  EXPECT_EQ(hmp.run("pmemsave 0xfffffff0 16 " + path), "");
  const auto saved = read_file(path, 100);
  ASSERT_TRUE(saved);
  EXPECT_EQ(saved->size(), 16u);
  EXPECT_EQ((*saved)[0], '\xea');
  EXPECT_NE(hmp.run("pmemsave 0xfec00000 16 " + path).find("Error"), std::string::npos);
  EXPECT_EQ(hmp.run("sum 0xfffffff0 1"), "00234\n");
}

TEST(HmpTest, LogsAndTraces) {
  HmpRig hmp;
  EXPECT_EQ(hmp.run("log guest_errors"), "");
  EXPECT_TRUE(guest_errors_enabled());
  EXPECT_EQ(hmp.run("log none"), "");
  EXPECT_FALSE(guest_errors_enabled());
  EXPECT_NE(hmp.run("log guest_error").find("did you mean 'guest_errors'"), std::string::npos);
  EXPECT_EQ(hmp.run("trace-event machine.run_state on"), "");
  EXPECT_EQ(hmp.run("info trace-events machine.run_state"), "machine.run_state : state 1\n");
  EXPECT_EQ(hmp.run("trace-event machine.* off"), "");
  EXPECT_EQ(hmp.run("info trace-events machine.run_state"), "machine.run_state : state 0\n");
  EXPECT_NE(hmp.run("trace-event nothing on").find("Error"), std::string::npos);
}

TEST(HmpTest, MakesObjectsAndCharacterDevices) {
  HmpRig hmp;
  EXPECT_EQ(hmp.run("object_add secret,id=s0,data=hidden"), "");
  EXPECT_NE(hmp.run("qom-list /objects").find("s0 (child<secret>)"), std::string::npos);
  EXPECT_EQ(hmp.run("object_del s0"), "");
  EXPECT_NE(hmp.run("object_del s0").find("Error"), std::string::npos);
  EXPECT_EQ(hmp.run("chardev-add ringbuf,id=r0,size=64"), "");
  EXPECT_NE(hmp.run("info chardev").find("r0: filename=ringbuf"), std::string::npos);
  EXPECT_EQ(hmp.run("ringbuf_read r0 10"), "\n");
  EXPECT_EQ(hmp.run("chardev-remove r0"), "");
  EXPECT_NE(hmp.run("chardev-remove r0").find("Error"), std::string::npos);
}

// Intel SDM vol. 3 §16.3 and §16.4.
TEST(HmpTest, HardwareErrorsStandInABank) {
  using hmp::ErrorEffect;
  constexpr u64 kVal = u64{1} << 63, kOver = u64{1} << 62, kUc = u64{1} << 61;
  x86::State state;
  state.mcg_cap = 0x109;
  EXPECT_FALSE(hmp::report_error(state, {.bank = 9, .status = kVal}));
  EXPECT_FALSE(hmp::report_error(state, {.bank = 0, .status = 5}));
  EXPECT_EQ(hmp::report_error(state, {.bank = 2, .status = kVal | 5, .addr = 7, .misc = 8}).value(),
            ErrorEffect::Logged);
  EXPECT_EQ(state.mce[9], kVal | 5);
  EXPECT_EQ(state.mce[10], 7u);
  EXPECT_EQ(state.mce[11], 8u);
  EXPECT_FALSE(state.event.valid);
  const hmp::MachineCheck bad{.bank = 2, .status = kVal | kUc | 6, .mcgstatus = 5};
  EXPECT_EQ(hmp::report_error(state, bad).error().code, Errc::Permission) << "MCG_CTL";
  state.mcg_ctl = ~u64{0};
  EXPECT_EQ(hmp::report_error(state, bad).error().code, Errc::Permission) << "MC2_CTL";
  state.mce[8] = ~u64{0};
  EXPECT_EQ(hmp::report_error(state, bad).value(), ErrorEffect::Shutdown) << "CR4.MCE";
  state.cr4 = x86::kCr4Mce;
  state.activity = x86::Activity::Halted;
  EXPECT_EQ(hmp::report_error(state, bad).value(), ErrorEffect::Raised);
  EXPECT_EQ(state.mce[9], kVal | kOver | kUc | 6);
  EXPECT_EQ(state.mcg_status, 5u);
  EXPECT_TRUE(state.event.valid && state.event.is_exception);
  EXPECT_EQ(state.event.vector, 18);
  EXPECT_EQ(state.activity, x86::Activity::Running);
  EXPECT_EQ(hmp::report_error(state, {.bank = 2, .status = kVal | 9}).value(), ErrorEffect::Logged);
  EXPECT_EQ(state.mce[9], kVal | kOver | kUc | 6) << "the worse one stays";
  EXPECT_EQ(hmp::report_error(state, bad).value(), ErrorEffect::Shutdown) << "MCIP";
  HmpRig hmp;
  EXPECT_NE(hmp.run("mce 0 1").find("Error"), std::string::npos);
  EXPECT_NE(hmp.run("mce 9 0 1 1 1 1").find("There is no CPU 9"), std::string::npos);
}

TEST(HmpTest, CompletesWords) {
  HmpRig hmp;
  const MachineLock::Guard guard(hmp.machine->lock());
  Client client;
  HmpMonitor monitor(*hmp.target, client);
  client.sink->event(CharEvent::Opened);
  client.take();
  client.type("system_po\t");
  EXPECT_EQ(client.take(), "system_powerdown ");
  client.type("\x15info ioa\t");
  EXPECT_TRUE(client.take().ends_with("info ioapic "));
  client.type("\x15system_\t");
  EXPECT_TRUE(client.take().ends_with(
      "system_\r\nsystem_powerdown\r\nsystem_reset\r\nsystem_wakeup\r\n(qemu) system_"));
  client.type(
      "\x15p $cr3\x01\x1b[C\x1b[C\x0b$rip\x17x\r");  // home, right twice, kill, type, word away
  EXPECT_TRUE(client.take().find("Error") != std::string::npos);
}

TEST(LineEditorTest, EditsInTheMiddle) {
  std::string printed;
  std::vector<std::string> lines;
  LineEditor editor("> ",
                    {.print = [&](std::string_view text) { printed += text; },
                     .run = [&](std::string line) { lines.push_back(std::move(line)); },
                     .complete = [](std::string_view) { return std::vector<std::string>{}; }});
  const auto type = [&](std::string_view keys) {
    for (const char key : keys) editor.key(key);
    return lines.empty() ? std::string() : lines.back();
  };
  EXPECT_EQ(type("acd\x1b[D\x1b[Db\r"), "abcd");       // left twice
  EXPECT_EQ(type("abc\x01x\x05y\r"), "xabcy");         // Ctrl-A, Ctrl-E
  EXPECT_EQ(type("one two three\x17\x17\r"), "one ");  // Ctrl-W
  EXPECT_EQ(type("abcdef\x02\x02\x0b\r"), "abcd");     // Ctrl-B, Ctrl-K
  EXPECT_EQ(type("abcdef\x02\x02\x15\r"), "ef");       // Ctrl-U
  EXPECT_EQ(type("abc\x1b[H\x1b[3~\x04\r"), "c");      // Home, Delete, Ctrl-D
  EXPECT_EQ(type("abc\x02\x7f\r"), "ac");
  EXPECT_EQ(type("\x1b[A\r"), "ac");             // up
  EXPECT_EQ(type("\x10\x10\x0e\r"), "ac");       // Ctrl-P twice, Ctrl-N
  EXPECT_EQ(type("x\x1b[1;5C\x1bOHy\r"), "yx");  // Ctrl-right is swallowed, Home
  EXPECT_EQ(type("lost\x03kept\r"), "kept");
}

TEST(HmpTest, CommandsAct) {
  HmpRig hmp;
  EXPECT_EQ(hmp.run("cont"), "");
  EXPECT_TRUE(hmp.machine->running());
  EXPECT_EQ(hmp.run("s"), "");
  EXPECT_FALSE(hmp.machine->running());
  EXPECT_EQ(hmp.run("sendkey ctrl-alt-delete"), "");
  EXPECT_NE(hmp.run("sendkey contrl").find("did you mean"), std::string::npos);
  EXPECT_EQ(hmp.run("cpu 1"), "");
  EXPECT_NE(hmp.run("cpu 2").find("no CPU 2"), std::string::npos);
  EXPECT_EQ(hmp.run(""), "");
  EXPECT_EQ(hmp.run("quit"), "");
  EXPECT_EQ(hmp.machine->loop().run(), 0);
}

TEST(HmpTest, TheTerminalHasAPromptAndALineEditor) {
  Rig rig;
  Client client;
  const MachineLock::Guard guard(rig.machine->lock());
  HmpMonitor monitor(*rig.target, client);
  client.sink->event(CharEvent::Opened);
  EXPECT_TRUE(client.take().ends_with("(qemu) "));
  client.type(
      "info nx\x7f"
      "ame\r");
  EXPECT_EQ(client.take(), "info nx\b \bame\r\nbox\r\n(qemu) ");
  client.type("\x1b[A");  // up
  EXPECT_EQ(client.take(), "\x1b[Kinfo name");
  client.type("\x15stopp\r");
  EXPECT_TRUE(client.take().ends_with(
      "Error: No command is called 'stopp' (did you mean 'stop'?)\r\n(qemu) "));
  client.type(std::string(3 * LineEditor::kMaxLine, 'y') + "\x03");
  EXPECT_LE(client.take().size(), LineEditor::kMaxLine + 20);
}

}  // namespace
}  // namespace menura
