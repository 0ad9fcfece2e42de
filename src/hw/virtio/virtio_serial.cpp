#include "hw/virtio/virtio_serial.h"

#include <algorithm>

#include "base/bytes.h"

namespace menura {

namespace {

constexpr u64 kMultiport = bit(1), kEmergencyWrite = bit(2);
constexpr unsigned kControlReceive = 2, kControlTransmit = 3;
constexpr u16 kDataSize = 128, kControlSize = 32;
constexpr size_t kConfigSize = 12, kEmergencyAt = 8;
constexpr size_t kMessage = 8;
// A driver that asks and asks without taking the answers gets no more.
constexpr size_t kMostMessages = 256;
constexpr size_t kPiece = 4096;

std::vector<u16> queue_sizes(unsigned ports) {
  std::vector<u16> sizes{kDataSize, kDataSize, kControlSize, kControlSize};
  sizes.resize(2 + 2 * size_t{ports}, kDataSize);
  return sizes;
}

}  // namespace

VirtioSerial::VirtioSerial(unsigned max_ports, bool emergency_write)
    : VirtioDevice(kKind, queue_sizes(std::max(max_ports, 1u)), kConfigSize),
      emergency_write_(emergency_write),
      ports_(std::max(max_ports, 1u)) {}

unsigned VirtioSerial::free_number(unsigned first) const {
  while (first < ports_.size() && ports_[first]) first++;
  return first;
}

u64 VirtioSerial::device_features() const {
  return kMultiport | (emergency_write_ ? kEmergencyWrite : 0);
}

bool VirtioSerial::multiport() const { return has(kMultiport); }

void VirtioSerial::fill_config(Bytes config) {
  store_le(config, 4, static_cast<u32>(ports_.size()));
}

// §5.3.4: a byte without any queue, for a kernel in need.
void VirtioSerial::config_written(size_t offset, ConstBytes bytes) {
  if (!emergency_write_ || offset != kEmergencyAt || !ports_[0] || !ports_[0]->chardev_) return;
  (void)ports_[0]->chardev_->write(bytes.first(1));
}

void VirtioSerial::process(unsigned queue) {
  if (queue == kControlReceive) return send_control();
  if (queue == kControlTransmit) return take_control();
  const unsigned number = queue < 2 ? 0 : queue / 2 - 1;
  VirtioSerialPort* port = ports_[number];
  if (!port) return;
  if (queue % 2 != 0) return port->send();
  if (port->chardev_ && port->guest_listens()) port->chardev_->accept_input();
}

void VirtioSerial::take_control() {
  VirtioChain chain;
  while (take(kControlTransmit, chain)) {
    std::array<std::byte, kMessage> message{};
    if (!read_chain(chain, 0, message)) return;
    finish(kControlTransmit, chain, 0);
    handle_control(load_le<u32>(message, 0), static_cast<Event>(load_le<u16>(message, 4)),
                   load_le<u16>(message, 6));
  }
}

// §5.3.6.2
void VirtioSerial::handle_control(u32 number, Event event, u16 value) {
  if (event == Event::DeviceReady) {
    for (unsigned n = 0; n < ports_.size() && value == 1; n++)
      if (ports_[n]) tell(n, Event::PortAdd, 1);
    return;
  }
  if (number >= ports_.size() || !ports_[number]) return;
  VirtioSerialPort& port = *ports_[number];
  if (event == Event::PortOpen) return port.set_guest_open(value != 0);
  if (event != Event::PortReady || value != 1) return;
  if (port.config_.console) tell(number, Event::ConsolePort, 1);
  if (!port.config_.name.empty()) tell(number, Event::PortName, 1, port.config_.name);
  if (port.host_open_) tell(number, Event::PortOpen, 1);
}

void VirtioSerial::tell(unsigned port, Event event, u16 value, std::string_view text) {
  if (!multiport() || control_.size() >= kMostMessages) return;
  std::vector<std::byte> message(kMessage);
  store_le(Bytes(message), 0, u32{port});
  store_le(Bytes(message), 4, static_cast<u16>(event));
  store_le(Bytes(message), 6, value);
  const ConstBytes name = bytes_of(text);
  message.insert(message.end(), name.begin(), name.end());
  control_.push_back(std::move(message));
  send_control();
}

void VirtioSerial::send_control() {
  VirtioChain chain;
  while (!control_.empty() && take(kControlReceive, chain)) {
    const std::vector<std::byte> message = std::move(control_.front());
    control_.pop_front();
    if (!write_chain(chain, 0, message)) return;
    finish(kControlReceive, chain, static_cast<u32>(message.size()));
  }
}

void VirtioSerial::reset_device() {
  control_.clear();
  for (VirtioSerialPort* port : ports_)
    if (port) port->clear();
}

void VirtioSerial::describe_device(StateVisitor& v) {
  std::vector<std::vector<std::byte>> control(control_.begin(), control_.end());
  v.field("control", control);
  if (control.size() > kMostMessages)
    v.fail(fail(Errc::Corrupt, "A serial device with {} messages", control.size()));
  else
    control_.assign(control.begin(), control.end());
}

void VirtioSerial::resumed() { send_control(); }

VirtioSerialPort::VirtioSerialPort(std::string id, VirtioSerial& bus,
                                   const VirtioSerialPortConfig& config, Chardev* chardev,
                                   std::function<void(bool)> on_open)
    : Device(std::move(id)),
      config_(config),
      bus_(bus),
      chardev_(chardev),
      on_open_(std::move(on_open)) {
  ensure(config.number < bus.max_ports() && !bus.port(config.number), "a free port");
  bus_.ports_[config.number] = this;
  if (chardev_) chardev_->attach(this);
}

VirtioSerialPort::~VirtioSerialPort() {
  if (chardev_) chardev_->attach(nullptr);
  bus_.ports_[config_.number] = nullptr;
}

void VirtioSerialPort::clear() {
  set_guest_open(false);
  sending_ = false;
  sent_ = 0;
}

void VirtioSerialPort::set_guest_open(bool open) {
  if (guest_open_ == open) return;
  guest_open_ = open;
  if (on_open_) on_open_(open);
  if (open && chardev_) chardev_->accept_input();
}

// What fits into the buffer that the guest gave next.
size_t VirtioSerialPort::room() {
  if (!guest_listens()) return 0;
  const unsigned queue = VirtioSerial::receive_queue(config_.number);
  VirtioChain chain;
  if (!bus_.take(queue, chain)) return 0;
  bus_.put_back(queue, chain);
  return chain.writable_size();
}

void VirtioSerialPort::receive(ConstBytes bytes) {
  const unsigned queue = VirtioSerial::receive_queue(config_.number);
  VirtioChain chain;
  while (!bytes.empty() && bus_.take(queue, chain)) {
    const ConstBytes part = bytes.first(std::min<u64>(bytes.size(), chain.writable_size()));
    if (!bus_.write_chain(chain, 0, part)) return;
    bus_.finish(queue, chain, static_cast<u32>(part.size()));
    bytes = bytes.subspan(part.size());
  }
}

void VirtioSerialPort::event(CharEvent event) {
  if (event != CharEvent::Opened && event != CharEvent::Closed) return;
  const bool open = event == CharEvent::Opened;
  if (host_open_ == open) return;
  host_open_ = open;
  if (bus_.driver_ok())
    bus_.tell(config_.number, VirtioSerial::Event::PortOpen, static_cast<u16>(open));
}

void VirtioSerialPort::send() {
  const unsigned queue = VirtioSerial::receive_queue(config_.number) + 1;
  if (bus_.is_paused() || !bus_.driver_ok()) return;
  std::array<std::byte, kPiece> piece{};
  while (sending_ || bus_.take(queue, outgoing_)) {
    const u64 size = outgoing_.readable_size();
    sending_ = true;
    while (sent_ < size) {
      const Bytes part = Bytes(piece).first(std::min<u64>(size - sent_, piece.size()));
      if (!bus_.read_chain(outgoing_, sent_, part)) return;
      const size_t taken = chardev_ ? chardev_->write(part) : part.size();
      sent_ += taken;
      if (taken < part.size()) return;  // writable() comes
    }
    sending_ = false;
    sent_ = 0;
    bus_.finish(queue, outgoing_, 0);
  }
}

void VirtioSerialPort::describe(StateVisitor& v) {
  v.field("guest_open", guest_open_);
  v.field("sending", sending_);
  v.field("outgoing", outgoing_);
  v.field("sent", sent_);
}

}  // namespace menura
