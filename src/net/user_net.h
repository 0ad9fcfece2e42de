// UserNet: a private network behind this process, by libslirp: its NAT, DHCP, DNS relay and TFTP
// server, and ports forwarded either way. The one place that sees libslirp.
//
// Owner: net. Threads: as NetBackend. Frames from the card are queued and handled in the loop, so
// that a vCPU does not wait for the host's sockets. Example:
//   auto net = TRY(UserNet::create(context, config));  TRY(net->add_hostfwd("tcp::2222-:22"));
#pragma once

#include <sys/socket.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "net/frame_queue.h"
#include "net/netdev.h"

struct Slirp;

namespace menura {

class UserNet final : public Netdev {
 public:
  static Result<std::unique_ptr<UserNet>> create(const NetdevContext& context,
                                                 const UserNetConfig& config);
  ~UserNet() override;

  bool send(const NetPacket& packet) override;
  void attach(NetSink* sink) override;
  void accept_input() override;
  std::string where() const override;
  UserNet* user_net() override { return this; }

  // "[tcp|udp]:[HOST]:PORT-[GUEST]:PORT"; IPv6 addresses in brackets.
  Result<void> add_hostfwd(const std::string& rule);
  // "[tcp|udp]:[HOST]:PORT"; NotFound when there is none.
  Result<void> remove_hostfwd(const std::string& rule);
  // A table of the connections, for people.
  std::string connections() const;

 private:
  class Callbacks;
  class GuestForward;
  struct Polled {
    int fd;
    int events;    // SLIRP_POLL_*, wanted
    int happened;  // SLIRP_POLL_*
  };

  UserNet(EventLoop& loop, std::string id);
  Result<void> start(const UserNetConfig& config);
  Result<void> forward_guest(const NetdevContext& context, const std::string& rule);
  void schedule() { work_.arm(0); }
  void work();
  void on_sockets();
  void poll();
  void refill();
  void watch_fd(int fd, u32 events);
  void forget_fd(int fd);

  // Configuration
  const std::string id_;
  std::string where_;
  // Wiring
  EventLoop& loop_;
  NetSink* sink_ = nullptr;
  Slirp* slirp_ = nullptr;
  UniqueFd epoll_;  // of libslirp's sockets; the loop watches this one
  Watch watch_;
  Timer work_;                                  // when there are frames to handle, at once
  Timer deadline_;                              // libslirp's own next time
  std::vector<std::unique_ptr<Timer>> timers_;  // libslirp's
  std::vector<std::unique_ptr<GuestForward>> guest_forwards_;
  // State
  FrameQueue to_host_;
  FrameQueue to_guest_;
  bool sender_waits_ = false;
  std::vector<Polled> polled_;
  std::map<int, u32> watched_;  // what epoll_ watches: descriptor and events
};

}  // namespace menura
