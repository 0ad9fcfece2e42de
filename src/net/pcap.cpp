#include "net/pcap.h"

#include <fcntl.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/bytes.h"
#include "base/log.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr u32 kMagic = 0xa1b2c3d4;  // times in microseconds
constexpr u16 kMajor = 2;
constexpr u16 kMinor = 4;
constexpr u32 kEthernet = 1;
constexpr std::string_view kQueues[] = {"all", "rx", "tx"};

}  // namespace

std::span<const std::string_view> enum_names(PcapFile::Queue) { return kQueues; }

Result<std::unique_ptr<PcapFile>> PcapFile::create(EventLoop& loop, const std::string& path,
                                                   const Options& options) {
  UniqueFd fd = TRY(open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0644), "Capturing frames");
  std::array<std::byte, 24> header{};
  store_le<u32>(header, 0, kMagic);
  store_le<u16>(header, 4, kMajor);
  store_le<u16>(header, 6, kMinor);
  store_le<u32>(header, 16, options.max_length);
  store_le<u32>(header, 20, kEthernet);
  TRY(write_all(fd.get(), header), "Capturing frames to '{}'", path);
  std::unique_ptr<PcapFile> file(new PcapFile(loop, std::move(fd), path, options));
  file->started_ns_ = loop.tape().wall_clock_ns() - loop.virtual_clock().now_ns();
  return file;
}

void PcapFile::frame(NetDirection direction, ConstBytes frame) {
  if (!enabled_ || failed_) return;
  if (options_.queue == Queue::Rx && direction != NetDirection::ToHost) return;
  if (options_.queue == Queue::Tx && direction != NetDirection::ToGuest) return;
  const i64 now = started_ns_ + loop_.virtual_clock().now_ns();
  const size_t kept = std::min<size_t>(frame.size(), options_.max_length);
  std::array<std::byte, 16> header;
  store_le<u32>(header, 0, static_cast<u32>(now / kNsPerSecond));
  store_le<u32>(header, 4, static_cast<u32>(now % kNsPerSecond / 1000));
  store_le<u32>(header, 8, static_cast<u32>(kept));
  store_le<u32>(header, 12, static_cast<u32>(frame.size()));
  const iovec parts[] = {{header.data(), header.size()},
                         {const_cast<std::byte*>(frame.data()), kept}};
  const ssize_t written = ::writev(fd_.get(), parts, 2);
  if (written == static_cast<ssize_t>(header.size() + kept)) return;
  failed_ = true;
  log_error("{}", os_error(written < 0 ? errno : ENOSPC,
                           format("Capturing frames to '{}' has ended", path_))
                      .text);
}

}  // namespace menura
