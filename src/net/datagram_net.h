// DatagramNet: what back ends share whose descriptor carries one frame per read and write: tap
// interfaces and datagram sockets.
//
// Owner: the room; the kinds derive from it. Threads: as NetBackend. Example: see net/tap.cpp.
#pragma once

#include <vector>

#include "net/netdev.h"

namespace menura {

class DatagramNet : public Netdev {
 public:
  explicit DatagramNet(EventLoop& loop) : loop_(loop), buffer_(kMaxFrame + 1) {}

  bool send(const NetPacket& packet) final;
  void attach(NetSink* sink) final;
  void accept_input() final;

 protected:
  // Starts to move frames through a non-blocking descriptor, the caller's, open until shut().
  Result<void> start(int fd);
  void shut();
  int fd() const { return fd_; }
  // As read(2) and write(2): EAGAIN waits, other errors lose the frame. An empty frame is none.
  virtual ssize_t read_frame(Bytes buffer, NetOffload& offload);
  virtual ssize_t write_frame(const NetPacket& packet);

 private:
  void update_interest();
  void on_events(FdEvents events);
  bool read_one();

  // Wiring
  EventLoop& loop_;
  NetSink* sink_ = nullptr;
  int fd_ = -1;
  Watch watch_;
  std::vector<std::byte> buffer_;
  // State
  bool sink_full_ = false;     // until accept_input()
  bool output_waits_ = false;  // a frame was not taken
};

}  // namespace menura
