// UsbHub: a full-speed hub of eight ports with power for each.
//
// Owner: the user's device. Threads: under the machine lock. Source: USB 1.1 specification, chapter 11.
// A device behind a port that is not enabled does not answer. Deviations: no over-current, remote
// wake-up is storage. Example: `UsbHub hub("hub");  bus.plug(hub).value();  hub.ports().plug(kbd);`
#pragma once

#include <array>

#include "hw/usb/usb_device.h"

namespace menura {

class UsbHub final : public UsbDevice {
 public:
  static constexpr unsigned kPorts = 8;
  explicit UsbHub(std::string id, Device* parent = nullptr);

  std::string_view type() const override { return "usb-hub"; }
  UsbDevice* find(u8 address) override;
  UsbBus* downstream() override { return &ports_; }

 protected:
  const Descriptors& descriptors() const override { return descriptors_; }
  bool class_request(const UsbRequest& request, std::vector<u8>& data) override;
  UsbAnswer data_in(u8 endpoint, Bytes to) override;
  UsbAnswer data_out(u8, ConstBytes) override { return {UsbStatus::Stall}; }
  void reset_function() override;
  void describe_function(StateVisitor& v) override;

 private:
  struct Port {
    u16 status = 0, change = 0;
    void describe(StateVisitor& v) {
      v.field("status", status);
      v.field("change", change);
    }
  };
  void port_changed(unsigned port);
  void connect(unsigned port);
  bool set_feature(u16 feature, Port& port, unsigned number);
  bool clear_feature(u16 feature, Port& port);

  // Configuration
  Descriptors descriptors_;
  // Wiring
  UsbBus ports_;
  // State
  std::array<Port, kPorts> port_{};
};

}  // namespace menura
