// PcapFile: frames written to a file as tcpdump and Wireshark read them (draft-ietf-opsawg-pcap).
//
// Owner: a filter-dump object. Threads: under the machine lock; the file's page cache takes the
// bytes. Example: `auto file = TRY(PcapFile::create(path, 65536, clock));  port.add_capture(*file);`
#pragma once

#include <memory>
#include <string>

#include "base/fd.h"
#include "event/event_loop.h"
#include "net/net_port.h"

namespace menura {

class PcapFile final : public NetCapture {
 public:
  enum class Queue : u8 { All, Rx, Tx };  // Rx: what the back end receives from the guest
  struct Options {
    u32 max_length = 65536;  // bytes kept of a frame
    Queue queue = Queue::All;
  };
  // Replaces a file. Times are those of guest time, counted from the host's date at creation.
  static Result<std::unique_ptr<PcapFile>> create(EventLoop& loop, const std::string& path,
                                                  const Options& options);
  void frame(NetDirection direction, ConstBytes frame) override;
  void set_enabled(bool on) { enabled_ = on; }

 private:
  PcapFile(EventLoop& loop, UniqueFd fd, std::string path, const Options& options)
      : options_(options), path_(std::move(path)), loop_(loop), fd_(std::move(fd)) {}

  // Configuration
  const Options options_;
  const std::string path_;
  // Wiring
  EventLoop& loop_;
  UniqueFd fd_;
  // State
  i64 started_ns_ = 0;  // since 1970, at guest time 0
  bool enabled_ = true;
  bool failed_ = false;
};

std::span<const std::string_view> enum_names(PcapFile::Queue);

}  // namespace menura
