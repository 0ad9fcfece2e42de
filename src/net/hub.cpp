#include "net/hub.h"

#include "base/format.h"

namespace menura {

class NetHubs::Port final : public Netdev, private NetSink {
 public:
  Port(NetHubs& hubs, i32 hub, NetBackend* backend) : hubs_(hubs), hub_(hub), backend_(backend) {
    hubs_.hubs_[hub_].push_back(this);
    if (backend_) backend_->attach(this);
  }
  ~Port() override {
    if (backend_) backend_->attach(nullptr);
    std::erase(hubs_.hubs_[hub_], this);
  }

  // From the card.
  bool send(const NetPacket& packet) override {
    hubs_.spread(*this, packet);
    return true;
  }
  void attach(NetSink* sink) override {
    card_ = sink;
    flush();
  }
  void accept_input() override { flush(); }
  std::string where() const override { return format("hub={}", hub_); }

  // From the hub.
  void leave(const NetPacket& packet) {
    if (!card_ && !backend_) return;
    queue_.push(packet.frame);
    flush();
  }

 private:
  friend class NetHubs;
  // From the back end.
  bool ready() override { return true; }
  void receive(const NetPacket& packet) override { hubs_.spread(*this, packet); }
  void writable() override { flush(); }

  void flush() {
    if (!backend_) return queue_.deliver(hubs_.tape_, card_);
    while (!queue_.empty() && backend_->send({.frame = queue_.front()})) queue_.pop();
  }

  NetHubs& hubs_;
  const i32 hub_;
  NetBackend* const backend_;
  NetSink* card_ = nullptr;
  FrameQueue queue_;
};

std::unique_ptr<Netdev> NetHubs::open_port(i32 hub, NetBackend* backend) {
  return std::make_unique<Port>(*this, hub, backend);
}

void NetHubs::spread(const Port& from, const NetPacket& packet) {
  for (Port* port : std::vector(hubs_[from.hub_]))
    if (port != &from) port->leave(packet);
}

}  // namespace menura
