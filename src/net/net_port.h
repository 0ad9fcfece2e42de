// NetPort: the cable between a card and a back end: it can be unplugged, rests while the machine
// does, outlives a back end that is taken away, and lets captures listen.
//
// Owner: the machine; outlives the card. Threads: as NetBackend. Example:
//   NetPort port(std::move(netdev));  card.connect(port);  port.set_link(false);
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "net/netdev.h"

namespace menura {

// Which way a frame goes, seen from the back end.
enum class NetDirection : u8 { ToGuest, ToHost };

class NetCapture {
 public:
  virtual ~NetCapture() = default;
  virtual void frame(NetDirection direction, ConstBytes frame) = 0;
};

class NetPort final : public NetBackend, private NetSink {
 public:
  // Without a back end all frames are lost.
  explicit NetPort(std::unique_ptr<Netdev> netdev);
  ~NetPort() override;

  // The card's side.
  bool send(const NetPacket& packet) override;
  void attach(NetSink* sink) override;
  void accept_input() override;
  bool link_up() const override { return link_; }
  NetOffloads offered() const override { return netdev_ ? netdev_->offered() : NetOffloads{}; }
  void accept_offloads(const NetOffloads& offloads) override;

  void set_link(bool up);
  // While it rests (at first) no frame reaches the card.
  void set_running(bool running);
  NetSink* card() const { return card_; }
  Netdev* netdev() const { return netdev_.get(); }
  // Takes the back end away for good; the link goes down.
  void remove_netdev();
  // It stays the caller's, until removed.
  void add_capture(NetCapture& capture) { captures_.push_back(&capture); }
  void remove_capture(NetCapture& capture) { std::erase(captures_, &capture); }

 private:
  bool ready() override;
  void receive(const NetPacket& packet) override;
  void writable() override;

  // Wiring
  std::unique_ptr<Netdev> netdev_;
  NetSink* card_ = nullptr;
  std::vector<NetCapture*> captures_;
  // State
  bool link_ = true;
  bool running_ = false;
};

}  // namespace menura
