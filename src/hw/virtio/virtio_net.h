// VirtioNet: a network card (VIRTIO 1.2 §5.1), over an io/net_backend.h NetBackend.
//
// Owner: its transport. Threads: under the machine lock. Offloads are offered as far as the back end
// has them. A frame that the back end does not take stays with us, and its queue waits; frames for
// which the guest has no buffers wait in the back end. Example:
//   std::make_unique<VirtioNet>(VirtioNetConfig{.mac = mac}, *backend)
#pragma once

#include <array>
#include <vector>

#include "hw/virtio/virtio_device.h"
#include "io/net_backend.h"

namespace menura {

struct VirtioNetConfig {
  MacAddress mac{};
  unsigned pairs = 1;  // of queues; with more than one, MQ is offered
  u16 rx_queue_size = 256;
  u16 tx_queue_size = 256;
  u16 host_mtu = 0;  // 0: not told
  bool csum = true, host_tso4 = true, host_tso6 = true, host_ecn = true, host_ufo = true;
  bool guest_csum = true, guest_tso4 = true, guest_tso6 = true, guest_ecn = true, guest_ufo = true;
  bool mrg_rxbuf = true, status = true, guest_announce = true, ctrl_vq = true, ctrl_rx = true,
       ctrl_vlan = true, ctrl_rx_extra = true, ctrl_mac_addr = true, ctrl_guest_offloads = true;
  // All but mac and pairs.
  void describe(PropertyVisitor& p);
  Result<void> check() const;
};

class VirtioNet final : public VirtioDevice, private NetSink {
 public:
  static constexpr VirtioKind kKind{.id = virtio::kNet,
                                    .name = "virtio-net",
                                    .class_code = 0x020000,
                                    .legacy_pci_device = 0x1000};
  VirtioNet(const VirtioNetConfig& config, NetBackend* backend);
  ~VirtioNet() override;

  // Has the guest tell the network where it is now.
  void announce();

 protected:
  u64 device_features() const override;
  void fill_config(Bytes config) override;
  void config_written(size_t offset, ConstBytes bytes) override;
  void features_accepted() override;
  void driver_ready() override;
  void process(unsigned queue) override;
  void reset_device() override;
  void queue_was_reset(unsigned queue) override;
  void describe_device(StateVisitor& v) override;
  Result<void> restored_device() override;
  void resumed() override;

 private:
  enum class Reach : u8 { Ok, Refused };
  struct MacTable {
    bool overflow = false;
    std::vector<MacAddress> entries;
    void describe(StateVisitor& v);
  };
  // A transmit queue whose next frame the back end did not take.
  struct Waiting {
    bool is = false;
    VirtioChain chain;
    void describe(StateVisitor& v);
  };

  // NetSink
  bool ready() override;
  void receive(const NetPacket& packet) override;
  void writable() override;
  void link_changed() override { config_changed(); }
  std::optional<NetFilter> filter() const override;

  unsigned control_queue() const;
  size_t header_size() const;
  u16 link_status() const;
  void apply_offloads();
  // VirtioNet's transmit side.
  void transmit(unsigned queue);
  bool send(const VirtioChain& chain);
  // Its receive side.
  bool lets_in(ConstBytes frame) const;
  unsigned receive_queue_for(ConstBytes frame) const;
  bool collect(unsigned queue, u64 size, std::vector<VirtioChain>& chains);
  // Control queue.
  void take_commands();
  Reach command(u8 kind, u8 code, ConstBytes body);
  Reach receive_mode(u8 code, ConstBytes body);
  Reach mac_command(u8 code, ConstBytes body);
  Reach vlan_command(u8 code, ConstBytes body);
  static bool read_table(ConstBytes& body, MacTable& table);

  // Configuration
  const VirtioNetConfig config_;

  // Wiring
  NetBackend* backend_;  // null: no cable

  // State
  MacAddress mac_;
  bool promiscuous_ = true, all_multicast_ = false, all_unicast_ = false, no_multicast_ = false,
       no_unicast_ = false, no_broadcast_ = false;
  MacTable unicast_, multicast_;
  std::array<u64, 64> vlans_{};  // a bit for each of 4096
  u16 active_pairs_ = 1;
  u64 guest_offloads_ = 0;
  bool announcing_ = false;
  std::vector<Waiting> waiting_;  // by pair

  // Not state
  bool loaded_ = false;  // announce when the machine goes on
};

}  // namespace menura
