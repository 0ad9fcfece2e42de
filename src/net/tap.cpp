// A network interface of the host: Linux' tap (Documentation/networking/tuntap), opened here, by a
// helper program, or inherited. With vnet_hdr the kernel computes checksums and cuts segments; each
// frame then has the header of VIRTIO 1.2 §5.1.6 in front, without num_buffers.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/bytes.h"
#include "base/fd_sets.h"
#include "base/log.h"
#include "base/units.h"
#include "net/datagram_net.h"
#include "net/kinds.h"

extern char** environ;

namespace menura {

namespace {

constexpr char kDevice[] = "/dev/net/tun";
constexpr std::string_view kNone = "no";

// In the host's byte order (TUNSETVNETLE is not used).
struct FrameHeader {
  u8 flags;
  u8 gso_type;
  u16 hdr_len;
  u16 gso_size;
  u16 csum_start;
  u16 csum_offset;
};
constexpr u8 kNeedsCsum = 1;
constexpr u8 kDataValid = 2;
constexpr u8 kGsoNone = 0;
constexpr u8 kGsoTcpV4 = 1;
constexpr u8 kGsoUdp = 3;
constexpr u8 kGsoTcpV6 = 4;
constexpr u8 kGsoEcn = 0x80;

Segmentation segmentation_of(u8 gso_type) {
  switch (gso_type & ~kGsoEcn) {
    case kGsoTcpV4: return Segmentation::TcpV4;
    case kGsoTcpV6: return Segmentation::TcpV6;
    case kGsoUdp: return Segmentation::Udp;
    default: return Segmentation::None;
  }
}

u8 gso_type_of(const NetOffload& offload) {
  const u8 ecn = offload.ecn ? kGsoEcn : 0;
  switch (offload.segmentation) {
    case Segmentation::None: return kGsoNone;
    case Segmentation::TcpV4: return kGsoTcpV4 | ecn;
    case Segmentation::TcpV6: return kGsoTcpV6 | ecn;
    case Segmentation::Udp: return kGsoUdp;
  }
  unreachable();
}

FrameHeader header_of(const NetOffload& offload) {
  FrameHeader header{};
  if (offload.needs_checksum) header.flags |= kNeedsCsum;
  header.gso_type = gso_type_of(offload);
  header.hdr_len = offload.header_size;
  header.gso_size = offload.segment_size;
  header.csum_start = offload.checksum_start;
  header.csum_offset = offload.checksum_offset;
  return header;
}

NetOffload offload_of(const FrameHeader& header) {
  return {.needs_checksum = (header.flags & kNeedsCsum) != 0,
          .checksum_good = (header.flags & kDataValid) != 0,
          .checksum_start = header.csum_start,
          .checksum_offset = header.csum_offset,
          .segmentation = segmentation_of(header.gso_type),
          .ecn = (header.gso_type & kGsoEcn) != 0,
          .segment_size = header.gso_size,
          .header_size = header.hdr_len};
}

Result<void> run(std::vector<std::string> words) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  if (const int status =
          ::posix_spawn(&child, arguments[0], nullptr, nullptr, arguments.data(), environ);
      status != 0)
    return fail_errno(status, "Running '{}'", words[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return fail(Errc::Io, "Running '{}': it ended with status {}", words[0],
              WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

class TapNet final : public DatagramNet {
 public:
  struct Parts {
    UniqueFd fd;
    std::string name;
    std::string downscript;
    bool with_headers = false;
  };

  TapNet(EventLoop& loop, Parts parts) : DatagramNet(loop), parts_(std::move(parts)) {}
  ~TapNet() override {
    shut();
    if (parts_.downscript.empty()) return;
    if (const Result<void> status = run({parts_.downscript, parts_.name}); !status)
      log_warning("{}", status.error().text);
  }

  Result<void> open() {
    if (parts_.with_headers) {
      int size = sizeof(FrameHeader);
      if (::ioctl(parts_.fd.get(), TUNSETVNETHDRSZ, &size) != 0)
        return fail_errno(errno, "Setting the size of headers of tap '{}'", parts_.name);
      const unsigned most = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
      offered_ = {.checksum = true, .tcp4 = true, .tcp6 = true, .ecn = true};
      if (::ioctl(parts_.fd.get(), TUNSETOFFLOAD, most | TUN_F_UFO) == 0) offered_.udp = true;
    }
    ::ioctl(parts_.fd.get(), TUNSETOFFLOAD, 0);  // until the card asks
    return start(parts_.fd.get());
  }

  NetOffloads offered() const override { return offered_; }
  void accept_offloads(const NetOffloads& wanted) override {
    unsigned flags = 0;
    if (wanted.checksum) flags |= TUN_F_CSUM;
    if (wanted.checksum && wanted.tcp4) flags |= TUN_F_TSO4;
    if (wanted.checksum && wanted.tcp6) flags |= TUN_F_TSO6;
    if (flags != TUN_F_CSUM && wanted.checksum && wanted.ecn) flags |= TUN_F_TSO_ECN;
    if (wanted.checksum && wanted.udp && offered_.udp) flags |= TUN_F_UFO;
    if (::ioctl(parts_.fd.get(), TUNSETOFFLOAD, flags) != 0)
      log_warning("{}",
                  os_error(errno, format("Tap '{}': setting the offloads", parts_.name)).text);
  }
  std::string where() const override { return "ifname=" + parts_.name; }

 protected:
  ssize_t read_frame(Bytes buffer, NetOffload& offload) override {
    if (!parts_.with_headers) return ::read(fd(), buffer.data(), buffer.size());
    FrameHeader header{};
    iovec both[] = {{&header, sizeof header}, {buffer.data(), buffer.size()}};
    const ssize_t got = ::readv(fd(), both, 2);
    if (got < 0) return got;
    offload = offload_of(header);
    return std::max<ssize_t>(0, got - static_cast<ssize_t>(sizeof header));
  }
  ssize_t write_frame(const NetPacket& packet) override {
    void* const frame = const_cast<std::byte*>(packet.frame.data());
    if (!parts_.with_headers) return ::write(fd(), frame, packet.frame.size());
    FrameHeader header = header_of(packet.offload);
    iovec both[] = {{&header, sizeof header}, {frame, packet.frame.size()}};
    return ::writev(fd(), both, 2);
  }

 private:
  Parts parts_;
  NetOffloads offered_;
};

Result<std::string> interface_name(int fd, short& flags) {
  ifreq request{};
  if (::ioctl(fd, TUNGETIFF, &request) != 0)
    return fail_errno(errno, "Descriptor {} is not an open tap", fd);
  flags = request.ifr_flags;
  return std::string(request.ifr_name);
}

NetdevResult made(EventLoop& loop, TapNet::Parts parts) {
  auto net = std::make_unique<TapNet>(loop, std::move(parts));
  TRY(net->open());
  return NetdevResult(std::move(net));
}

// Inherited, or from a helper: whether frames have headers is decided already.
Result<TapNet::Parts> adopted(UniqueFd fd, std::optional<bool> vnet_hdr) {
  TapNet::Parts parts;
  short flags = 0;
  parts.name = TRY(interface_name(fd.get(), flags));
  parts.with_headers = (flags & IFF_VNET_HDR) != 0;
  if (vnet_hdr && *vnet_hdr != parts.with_headers)
    return fail(Errc::InvalidArgument, "vnet_hdr={}, but tap '{}' was opened with it {}",
                *vnet_hdr ? "on" : "off", parts.name, parts.with_headers ? "on" : "off");
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
  ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  parts.fd = std::move(fd);
  return parts;
}

Result<TapNet::Parts> open_interface(const TapConfig& config) {
  TapNet::Parts parts;
  parts.fd = TRY(open_file(kDevice, O_RDWR | O_NONBLOCK), "Opening a tap");
  if (config.ifname.size() >= IFNAMSIZ)
    return fail(Errc::InvalidArgument, "ifname={}: names have at most {} bytes", config.ifname,
                IFNAMSIZ - 1);
  unsigned features = 0;
  ::ioctl(parts.fd.get(), TUNGETFEATURES, &features);
  parts.with_headers = config.vnet_hdr.value_or((features & IFF_VNET_HDR) != 0);
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI | (parts.with_headers ? IFF_VNET_HDR : 0);
  config.ifname.copy(request.ifr_name, IFNAMSIZ - 1);
  if (::ioctl(parts.fd.get(), TUNSETIFF, &request) != 0)
    return fail_errno(errno, "Opening tap '{}'", config.ifname);
  parts.name = request.ifr_name;
  return parts;
}

// The helper sends the descriptor over a socket, see unix(7) about SCM_RIGHTS.
Result<UniqueFd> receive_fd(int socket) {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = 0;
  do got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  const cmsghdr* const part = got > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (!part || part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
    return fail(Errc::Io, "The helper sent no descriptor");
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(part), sizeof fd);
  return UniqueFd(fd);
}

Result<UniqueFd> ask_helper(const std::string& helper, const std::string& bridge) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
    return fail_errno(errno, "Making a socket for '{}'", helper);
  UniqueFd theirs(ends[1]);
  const UniqueFd ours(ends[0]);
  ::fcntl(ours.get(), F_SETFD, FD_CLOEXEC);
  const Result<void> status =
      run({helper, "--use-vnet", format("--fd={}", theirs.get()), "--br=" + bridge});
  theirs.reset();
  TRY(Result<void>(status), "Bridge '{}'", bridge);
  return TRY(receive_fd(ours.get()), "Running '{}'", helper);
}

Result<UniqueFd> inherited(const TapConfig& config) {
  if (!config.fds.empty() && config.fds.find(':') != std::string::npos)
    return fail(Errc::Unsupported, "fds={}: only one queue is supported", config.fds);
  return take_fd(config.fd.empty() ? config.fds : config.fd);
}

Result<void> set_send_buffer(int fd, const std::optional<u64>& bytes) {
  if (!bytes) return {};
  const int size = *bytes == 0 || *bytes > 0x7fffffff ? 0x7fffffff : static_cast<int>(*bytes);
  if (::ioctl(fd, TUNSETSNDBUF, &size) != 0) return fail_errno(errno, "sndbuf={}", *bytes);
  return {};
}

}  // namespace

NetdevResult open_tap(const NetdevContext& context, const TapConfig& config) {
  if (config.vhost.value_or(false))
    return fail(Errc::Unsupported, "vhost=on: the card's work is done here");
  if (config.queues != 1)
    return fail(Errc::Unsupported, "queues={}: only one queue is supported", config.queues);
  const int ways = !config.fd.empty() + !config.fds.empty() + !config.ifname.empty() +
                   !(config.helper.empty() && config.br.empty());
  if (ways > 1)
    return fail(Errc::InvalidArgument, "only one of ifname, fd, fds and helper (with br) goes");
  TapNet::Parts parts;
  if (!config.helper.empty() || !config.br.empty()) {
    const BridgeConfig bridge;
    parts = TRY(adopted(TRY(ask_helper(config.helper.empty() ? bridge.helper : config.helper,
                                       config.br.empty() ? bridge.br : config.br)),
                        config.vnet_hdr));
  } else if (!config.fd.empty() || !config.fds.empty()) {
    parts = TRY(adopted(TRY(inherited(config)), config.vnet_hdr));
  } else {
    parts = TRY(open_interface(config));
    if (!config.script.empty() && config.script != kNone) TRY(run({config.script, parts.name}));
    if (config.downscript != kNone) parts.downscript = config.downscript;
  }
  TRY(set_send_buffer(parts.fd.get(), config.sndbuf));
  return made(context.loop, std::move(parts));
}

NetdevResult open_bridge(const NetdevContext& context, const BridgeConfig& config) {
  return made(context.loop, TRY(adopted(TRY(ask_helper(config.helper, config.br)), {})));
}

}  // namespace menura
