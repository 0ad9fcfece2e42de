// FileImage: the bytes of a file or a block device of the host: drivers "file" and "host_device".
//
// Owner: its Node. Threads: as Image. Holes are found by SEEK_DATA and made by fallocate(2);
// cache.direct is O_DIRECT, where unaligned requests go through a bounce buffer.
// Example: `{"driver": "file", "filename": "a.img", "cache": {"direct": true}}`
#pragma once

#include <atomic>
#include <mutex>

#include "base/fd.h"
#include "block/core/driver.h"
#include "block/file/file_lock.h"

namespace menura {

extern const Driver kFileDriver;
extern const Driver kHostDeviceDriver;

// Who moves the bytes of requests that come through a machine's loop: worker threads, or the kernel
// by io_uring ("native" besides demands O_DIRECT), where it has one. Unsaid: io_uring.
enum class FileAio : u8 { Threads, Native, IoUring };
std::span<const std::string_view> enum_names(FileAio);

struct FileNodeConfig {
  std::string filename;
  Locking locking = Locking::Auto;
  std::optional<FileAio> aio;
  void describe(PropertyVisitor& p);
};

class FileImage final : public Image {
 public:
  static Result<std::unique_ptr<Image>> open(OpenContext& context);
  ~FileImage() override;

  u64 size() const override { return size_.load(std::memory_order_relaxed); }
  Result<Extent> map(u64 offset, u64 length) override;
  std::optional<Direct> peek(u64 offset, u64 length) override;
  Result<void> read(u64 offset, Bytes to) override;
  Result<void> write(u64 offset, ConstBytes from, WriteMode mode) override;
  Result<void> zero(u64 offset, u64 length, WriteMode mode) override;
  Result<void> discard(u64 offset, u64 length) override;
  Result<void> flush() override;
  Result<void> truncate(u64 size, Preallocation preallocation) override;
  bool supports_fua() const override { return true; }
  bool grows() const override { return is_file_; }
  bool has_zero_init() const override { return is_file_; }
  std::optional<u64> allocated_size() override;
  std::string filename() const override { return config_.filename; }
  Result<void> set_permissions(Permissions now) override;
  Result<void> reopen(bool read_only) override;

 private:
  FileImage(FileNodeConfig config, UniqueFd fd) : config_(std::move(config)), fd_(std::move(fd)) {}
  static Result<UniqueFd> open_fd(const FileNodeConfig& config, bool read_only, bool direct);
  Result<void> learn_about_file(bool direct);
  bool aligned(u64 offset, const void* buffer, u64 length) const;
  Result<void> read_plain(u64 offset, Bytes to);
  Result<void> write_plain(u64 offset, ConstBytes from, bool durable);
  Result<void> read_bounced(u64 offset, Bytes to);
  Result<void> write_bounced(u64 offset, ConstBytes from, bool durable);
  Result<void> grow_to(u64 size);
  void grown_to(u64 size);
  Error error(int os_errno, std::string_view verb, u64 offset, u64 length) const;

  // Configuration
  FileNodeConfig config_;
  bool is_file_ = true;  // else a block device
  u32 alignment_ = 1;
  bool direct_ = false;
  // Wiring
  UniqueFd fd_;
  // State
  std::atomic<u64> size_{0};
  // After a failed flush the kernel has forgotten what was not written: no later flush may succeed.
  std::atomic<int> flush_errno_{0};
  FileLock lock_;
  Permissions permissions_;
  std::mutex bounce_;  // read-modify-write of one block at a time
};

}  // namespace menura
