#include "net/datagram_net.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace menura {

namespace {

// Frames read before the loop turns to others.
constexpr unsigned kBatch = 64;

}  // namespace

Result<void> DatagramNet::start(int fd) {
  watch_ = TRY(loop_.watch(fd, {}, [this](FdEvents events) { on_events(events); }));
  fd_ = fd;
  update_interest();
  return {};
}

void DatagramNet::shut() {
  sink_ = nullptr;
  watch_.reset();
  fd_ = -1;
}

void DatagramNet::update_interest() {
  if (watch_) watch_.set({.readable = sink_ && !sink_full_, .writable = output_waits_});
}

void DatagramNet::attach(NetSink* sink) {
  sink_ = sink;
  sink_full_ = false;
  update_interest();
}

void DatagramNet::accept_input() {
  if (!std::exchange(sink_full_, false)) return;
  update_interest();
}

bool DatagramNet::send(const NetPacket& packet) {
  if (fd_ < 0) return true;
  ssize_t status = 0;
  do status = write_frame(packet);
  while (status < 0 && errno == EINTR);
  if (status >= 0 || errno != EAGAIN) return true;
  output_waits_ = true;
  update_interest();
  return false;
}

void DatagramNet::on_events(FdEvents events) {
  if (output_waits_ && (events.writable || events.hangup)) {
    output_waits_ = false;
    update_interest();
    if (sink_) sink_->writable();
  }
  if (events.readable || events.hangup)
    for (unsigned i = 0; i < kBatch && read_one(); i++) {}
}

bool DatagramNet::read_one() {
  if (!sink_ || sink_full_) return false;
  if (!sink_->ready()) {
    sink_full_ = true;
    update_interest();
    return false;
  }
  NetOffload offload;
  const ssize_t size = read_frame(buffer_, offload);
  if (size < 0) return errno == EINTR;
  if (size == 0) return true;
  loop_.tape().input([this, offload, frame = std::vector(buffer_.begin(), buffer_.begin() + size)] {
    if (sink_) sink_->receive({.frame = frame, .offload = offload});
  });
  return true;
}

ssize_t DatagramNet::read_frame(Bytes buffer, NetOffload&) {
  return ::recv(fd_, buffer.data(), buffer.size(), 0);
}

ssize_t DatagramNet::write_frame(const NetPacket& packet) {
  return ::send(fd_, packet.frame.data(), packet.frame.size(), MSG_NOSIGNAL);
}

}  // namespace menura
