// NbdImage: the protocol driver "nbd": an export of an NBD server as an image.
//
// Owner: its Node. Threads: as Image. A lost connection is made again at the next request; with
// reconnect-delay, requests wait for that and are sent again.
// Example: `{"driver": "nbd", "server": {"type": "unix", "path": "/s"}, "export": "disk"}`
#pragma once

#include "block/core/driver.h"
#include "block/nbd/nbd_client.h"
#include "block/nbd/server_address.h"

namespace menura {

extern const Driver kNbdDriver;

struct NbdImageConfig {
  std::optional<NbdServerAddress> server;
  std::string export_name;
  std::string tls_creds;
  std::string tls_hostname;
  u32 reconnect_delay = 0;  // seconds
  u32 open_timeout = 0;     // seconds
  // The server in the words of old command lines
  std::string host, port, path;
  void describe(PropertyVisitor& p);
};

class NbdImage final : public Image {
 public:
  static Result<std::unique_ptr<Image>> open(OpenContext& context);

  u64 size() const override { return info_.size; }
  Result<Extent> map(u64 offset, u64 length) override;
  Result<void> read(u64 offset, Bytes to) override;
  Result<void> write(u64 offset, ConstBytes from, WriteMode mode) override;
  Result<void> zero(u64 offset, u64 length, WriteMode mode) override;
  Result<void> discard(u64 offset, u64 length) override;
  Result<void> flush() override;
  Result<void> truncate(u64 size, Preallocation preallocation) override;
  bool supports_fua() const override { return info_.can(kNbdSendFua); }
  std::string filename() const override { return address_.uri(target_.export_name); }
  Result<void> reopen(bool read_only) override;

 private:
  using Clock = NbdStream::Clock;
  NbdImage(NbdImageConfig config, NbdServerAddress address, NbdTarget target)
      : config_(std::move(config)), address_(std::move(address)), target_(std::move(target)) {}
  Result<void> first_connection();
  Result<std::shared_ptr<NbdClient>> connected();
  Result<std::shared_ptr<NbdClient>> connect_again();
  // Runs the request, again on new connections while reconnect-delay allows.
  template <class Request>
  auto with_client(const Request& request);
  Result<void> for_pieces(u64 offset, u64 length, NbdCommand command, u16 flags);
  bool aligned(u64 offset, u64 length) const;
  Result<void> write_aligned(u64 offset, ConstBytes from, u16 flags);
  Result<void> write_around(u64 offset, ConstBytes from, u16 flags);
  u64 piece() const;

  // Configuration
  const NbdImageConfig config_;
  const NbdServerAddress address_;
  const NbdTarget target_;
  NbdExportInfo info_;  // of the first connection: later ones must agree
  // State
  std::mutex connecting_;
  std::shared_ptr<NbdClient> client_;
  std::optional<Clock::time_point> lost_since_;
  std::optional<Clock::time_point> last_attempt_;
  std::mutex around_;  // read-modify-write of the server's blocks, one at a time
};

}  // namespace menura
