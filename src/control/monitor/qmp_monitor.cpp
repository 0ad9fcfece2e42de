#include "control/monitor/qmp_monitor.h"

#include "base/text.h"
#include "base/units.h"
#include "control/monitor/qmp_introspect.h"
#include "control/monitor/qmp_run.h"

namespace menura {

namespace {

constexpr size_t kChunk = 4096;

Value error_reply(std::string_view error_class, std::string text) {
  Value error = Value::object();
  error.set("class", error_class);
  error.set("desc", std::move(text));
  Value reply = Value::object();
  reply.set("error", std::move(error));
  return reply;
}

// What a command was asked for and is not there is a device, to clients.
Value error_reply(const Error& error) {
  return error_reply(error.code == Errc::NotFound ? "DeviceNotFound" : "GenericError", error.text);
}

Value not_found(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Command& command : qmp_commands()) names.push_back(command.name);
  return error_reply("CommandNotFound",
                     format("No command is called '{}'{}", name, suggestion(name, names)));
}

// The members that a request may have; execute is a string.
Result<void> check_request(const Value& request) {
  const Value::Object* members = request.as<Value::Object>();
  if (!members) return fail(Errc::InvalidArgument, "A request is a JSON object");
  for (const auto& [name, value] : *members)
    if (name != "execute" && name != "arguments" && name != "id")
      return fail(Errc::InvalidArgument, "A request has no member '{}' (execute, arguments, id)",
                  name);
  const Value* execute = request.find("execute");
  if (!execute) return fail(Errc::InvalidArgument, "A request says what to 'execute'");
  if (!execute->as<std::string>())
    return fail(Errc::InvalidArgument, "A request's 'execute' is a string");
  const Value* arguments = request.find("arguments");
  if (arguments && !arguments->as<Value::Object>())
    return fail(Errc::InvalidArgument, "A request's 'arguments' are an object");
  return {};
}

}  // namespace

QmpMonitor::QmpMonitor(MonitorTarget& target, Chardev& chardev, QmpFormat format)
    : format_(format), target_(target), chardev_(chardev), output_(chardev) {
  observer_ = target_.machine.observe([this](const MachineEvent& event) { report(event); });
  chardev_.attach(this);
}

QmpMonitor::~QmpMonitor() {
  chardev_.attach(nullptr);
  target_.machine.unobserve(observer_);
}

size_t QmpMonitor::room() { return output_.full() ? 0 : kChunk; }

void QmpMonitor::writable() {
  const bool was_full = output_.full();
  output_.flush();
  if (was_full && !output_.full()) chardev_.accept_input();
}

void QmpMonitor::event(CharEvent event) {
  if (event != CharEvent::Opened && event != CharEvent::Closed) return;
  splitter_.forget();
  output_.forget();
  negotiated_ = false;
  if (event == CharEvent::Opened) greet();
}

void QmpMonitor::greet() {
  Value qmp = Value::object();
  qmp.set("version", write_properties(version_reply()));
  qmp.set("capabilities", Value::list());
  Value greeting = Value::object();
  greeting.set("QMP", std::move(qmp));
  send(greeting);
}

void QmpMonitor::receive(ConstBytes bytes) {
  splitter_.feed({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                 [this](Result<std::string> text) { handle(std::move(text)); });
}

void QmpMonitor::handle(Result<std::string> text) {
  if (!text) return send(error_reply(text.error()));
  const Result<Value> request = parse_json(*text);
  if (!request) return send(error_reply(request.error()));
  Value reply = answer(*request);
  if (const Value* id = request->find("id")) reply.set("id", *id);
  send(reply);
}

Value QmpMonitor::answer(const Value& request) {
  if (const Result<void> good = check_request(request); !good) return error_reply(good.error());
  const std::string& name = *request.find("execute")->as<std::string>();
  const Value* given = request.find("arguments");
  const Value arguments = given ? *given : Value::object();
  if (negotiated_) return execute(name, arguments);
  if (name != "qmp_capabilities")
    return error_reply("CommandNotFound",
                       format("'{}' comes too early: say 'qmp_capabilities' first", name));
  QmpCapabilities wanted;
  if (const Result<void> read = read_properties(wanted, arguments, "arguments"); !read)
    return error_reply(read.error());
  if (!wanted.enable.empty())
    return error_reply("GenericError", "No capability is on offer, see the greeting");
  negotiated_ = true;
  Value reply = Value::object();
  reply.set("return", Value::object());
  return reply;
}

Value QmpMonitor::execute(const std::string& name, const Value& arguments) {
  const Command* command = find_qmp_command(name);
  if (!command) return not_found(name);
  target_.asking = &chardev_;
  Result<Value> result = command->run(target_, arguments);
  target_.asking = nullptr;
  if (!result) return error_reply(result.error());
  Value reply = Value::object();
  reply.set("return", std::move(result).value());
  return reply;
}

void QmpMonitor::report(const MachineEvent& event) {
  if (!negotiated_ || output_.full_for_events()) return;
  const i64 now = target_.machine.tape().wall_clock_ns();
  Value timestamp = Value::object();
  timestamp.set("seconds", now / kNsPerSecond);
  timestamp.set("microseconds", now % kNsPerSecond / kNsPerUs);
  Value message = Value::object();
  message.set("timestamp", std::move(timestamp));
  message.set("event", event.name);
  if (!event.data.is_null()) message.set("data", event.data);
  send(message);
}

void QmpMonitor::send(const Value& message) {
  std::string text = to_json(message);
  if (format_ == QmpFormat::Pretty) text = indent_json(text);
  output_.send(text + "\r\n");
}

std::string indent_json(std::string_view json) {
  std::string out;
  size_t depth = 0;
  bool in_string = false;
  const auto new_line = [&] { out.append("\n").append(4 * depth, ' '); };
  for (size_t i = 0; i < json.size(); i++) {
    const char c = json[i];
    if (in_string) {
      out += c;
      if (c == '\\') out += json[++i];
      in_string = c != '"';
    } else if ((c == '{' || c == '[') && (json[i + 1] == '}' || json[i + 1] == ']')) {
      out.append(json.substr(i++, 2));
    } else if (c == '{' || c == '[') {
      out += c;
      depth++;
      new_line();
    } else if (c == '}' || c == ']') {
      depth--;
      new_line();
      out += c;
    } else if (c == ',') {
      out += c;
      new_line();
      if (json[i + 1] == ' ') i++;
    } else {
      out += c;
      in_string = c == '"';
    }
  }
  return out;
}

}  // namespace menura
