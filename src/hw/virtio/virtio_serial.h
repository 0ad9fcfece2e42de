// VirtioSerial: consoles and named byte channels (VIRTIO 1.2 §5.3), each a VirtioSerialPort with a
// Chardev at its other end.
//
// Owner: its transport; the ports are Devices of their own, unplugged before it. Threads: under the
// machine lock. Neither side loses bytes: input waits in the Chardev until the guest has room and has
// opened the port, output waits in the queue until the Chardev takes it. Example:
//   auto serial = std::make_unique<VirtioSerial>(31);   VirtioSerial& bus = *serial;
//   VirtioSerialPort port("agent", bus, {.number = 1, .name = "org.qemu.guest_agent.0"}, chardev);
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "hw/core/device.h"
#include "hw/virtio/virtio_device.h"
#include "io/chardev.h"

namespace menura {

class VirtioSerialPort;

class VirtioSerial final : public VirtioDevice {
 public:
  static constexpr VirtioKind kKind{.id = virtio::kConsole,
                                    .name = "virtio-serial",
                                    .class_code = 0x078000,
                                    .legacy_pci_device = 0x1003};
  static constexpr unsigned kMostPorts = 31;
  // max_ports: 1 to kMostPorts.
  explicit VirtioSerial(unsigned max_ports, bool emergency_write = true);

  unsigned max_ports() const { return static_cast<unsigned>(ports_.size()); }
  VirtioSerialPort* port(unsigned number) const { return ports_[number]; }
  // The first free number from `first` on; max_ports() when there is none.
  unsigned free_number(unsigned first) const;

 protected:
  u64 device_features() const override;
  void fill_config(Bytes config) override;
  void config_written(size_t offset, ConstBytes bytes) override;
  void process(unsigned queue) override;
  void reset_device() override;
  void describe_device(StateVisitor& v) override;
  void resumed() override;

 private:
  friend class VirtioSerialPort;
  enum class Event : u16 {
    DeviceReady,
    PortAdd,
    PortRemove,
    PortReady,
    ConsolePort,
    Resize,
    PortOpen,
    PortName
  };

  static unsigned receive_queue(unsigned port) { return port == 0 ? 0 : 2 * port + 2; }
  void take_control();
  void handle_control(u32 port, Event event, u16 value);
  void tell(unsigned port, Event event, u16 value, std::string_view text = {});
  void send_control();
  bool multiport() const;

  // Configuration
  const bool emergency_write_;

  // Wiring
  std::vector<VirtioSerialPort*> ports_;

  // State
  std::deque<std::vector<std::byte>> control_;  // for the driver, in order
};

struct VirtioSerialPortConfig {
  bool console = false;  // a terminal, with a name in /dev that says so
  unsigned number = 1;
  std::string name = {};
};

class VirtioSerialPort final : public Device, private CharSink {
 public:
  // A free number below max_ports(). on_open: told when the guest opens (true) or closes the port.
  VirtioSerialPort(std::string id, VirtioSerial& bus, const VirtioSerialPortConfig& config,
                   Chardev* chardev, std::function<void(bool)> on_open = {});
  ~VirtioSerialPort() override;

  std::string_view type() const override {
    return config_.console ? "virtconsole" : "virtserialport";
  }
  void reset(ResetKind) override {}  // with its bus
  void describe(StateVisitor& v) override;

 private:
  friend class VirtioSerial;
  // CharSink
  size_t room() override;
  void receive(ConstBytes bytes) override;
  void event(CharEvent event) override;
  void writable() override { send(); }

  bool guest_listens() const { return config_.console || guest_open_; }
  void set_guest_open(bool open);
  void send();  // what the guest wrote
  void clear();

  // Configuration
  const VirtioSerialPortConfig config_;

  // Wiring
  VirtioSerial& bus_;
  Chardev* chardev_;
  std::function<void(bool)> on_open_;

  // State
  bool guest_open_ = false;
  bool host_open_ = false;  // derives from the Chardev
  bool sending_ = false;
  VirtioChain outgoing_;  // while sending_
  u64 sent_ = 0;
};

}  // namespace menura
