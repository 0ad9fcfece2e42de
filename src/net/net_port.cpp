#include "net/net_port.h"

#include <algorithm>
#include <array>

namespace menura {

namespace {

constexpr size_t kHeader = 14;

}  // namespace

NetPort::NetPort(std::unique_ptr<Netdev> netdev) : netdev_(std::move(netdev)) {
  if (netdev_) netdev_->attach(this);
}

NetPort::~NetPort() {
  if (netdev_) netdev_->attach(nullptr);
}

bool NetPort::send(const NetPacket& packet) {
  const size_t size = packet.frame.size();
  if (!link_ || !netdev_ || size < kHeader || size > kMaxFrame) return true;
  if (!netdev_->send(packet)) return false;
  for (NetCapture* capture : captures_) capture->frame(NetDirection::ToHost, packet.frame);
  return true;
}

void NetPort::attach(NetSink* sink) {
  card_ = sink;
  if (!netdev_) return;
  netdev_->accept_offloads({});
  netdev_->accept_input();
}

void NetPort::accept_input() {
  if (netdev_ && running_) netdev_->accept_input();
}

void NetPort::accept_offloads(const NetOffloads& offloads) {
  if (netdev_) netdev_->accept_offloads(offloads);
}

void NetPort::set_link(bool up) {
  if (std::exchange(link_, up) == up) return;
  if (!card_) return;
  card_->link_changed();
  writable();  // what waited may go, or is lost
  accept_input();
}

void NetPort::set_running(bool running) {
  running_ = running;
  accept_input();
}

void NetPort::remove_netdev() {
  if (!netdev_) return;
  netdev_->attach(nullptr);
  netdev_.reset();
  set_link(false);
}

// Frames that nobody can get are taken and lost.
bool NetPort::ready() { return running_ && (!card_ || !link_ || card_->ready()); }

void NetPort::receive(const NetPacket& packet) {
  if (!card_ || !link_ || packet.frame.size() < kHeader) return;
  for (NetCapture* capture : captures_) capture->frame(NetDirection::ToGuest, packet.frame);
  if (packet.frame.size() >= kMinFrame) return card_->receive(packet);
  std::array<std::byte, kMinFrame> padded{};
  std::ranges::copy(packet.frame, padded.begin());
  card_->receive({.frame = padded, .offload = packet.offload});
}

void NetPort::writable() {
  if (card_) card_->writable();
}

}  // namespace menura
