#include "block/file/file_image.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/units.h"
#include "block/file/file_create.h"

namespace menura {

namespace {

constexpr std::string_view kAio[] = {"threads", "native", "io_uring"};
constexpr u64 kBounceLimit = 1 * MiB;

struct FreeDeleter {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};
using AlignedBuffer = std::unique_ptr<std::byte, FreeDeleter>;

AlignedBuffer aligned_buffer(u32 alignment, u64 size) {
  void* bytes = nullptr;
  if (::posix_memalign(&bytes, alignment, static_cast<size_t>(size)) != 0) return nullptr;
  return AlignedBuffer(static_cast<std::byte*>(bytes));
}

Result<Value> parse_file_name(const std::string& name) {
  Value options = Value::object();
  options.set("filename", name.substr(name.find(':') + 1));
  return options;
}

int fallocate_again(int fd, int mode, u64 offset, u64 length) {
  for (;;) {
    if (::fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length)) == 0)
      return 0;
    if (errno != EINTR) return errno;
  }
}

bool means_unsupported(int os_errno) {
  return os_errno == EOPNOTSUPP || os_errno == ENOSYS || os_errno == ENODEV || os_errno == ENOTTY ||
         os_errno == EINVAL;
}

}  // namespace

std::span<const std::string_view> enum_names(FileAio) { return kAio; }

void FileNodeConfig::describe(PropertyVisitor& p) {
  p.required("filename", filename, "path of the file or device");
  p.field("locking", locking, "lock the file against other processes");
  p.field("aio", aio, "who moves the bytes: threads, or the kernel (native, io_uring)");
}

const Driver kFileDriver{.name = "file",
                         .help = "a file of the host",
                         .kind = DriverKind::Protocol,
                         .parse_filename = parse_file_name,
                         .open = FileImage::open,
                         .open_options = properties_of<FileNodeConfig>,
                         .create = create_file_image,
                         .create_options = properties_of<FileCreate>};
const Driver kHostDeviceDriver{.name = "host_device",
                               .help = "a block device of the host",
                               .kind = DriverKind::Protocol,
                               .parse_filename = parse_file_name,
                               .open = FileImage::open,
                               .open_options = properties_of<FileNodeConfig>,
                               .create = create_on_device};

Result<UniqueFd> FileImage::open_fd(const FileNodeConfig& config, bool read_only, bool direct) {
  return open_file(config.filename, (read_only ? O_RDONLY : O_RDWR) | (direct ? O_DIRECT : 0));
}

Result<std::unique_ptr<Image>> FileImage::open(OpenContext& context) {
  auto config = TRY(context.options<FileNodeConfig>());
  const bool direct = context.node().options().cache.direct;
  if (config.aio == FileAio::Native && !direct)
    return fail(Errc::InvalidArgument,
                "aio=native reaches the disk only past the page cache: say cache.direct=on too");
  Result<UniqueFd> fd = open_fd(config, context.read_only(), direct);
  if (!fd && !context.read_only()) {
    const int why = fd.error().os_errno;
    if (why != EACCES && why != EROFS && why != EPERM) return std::move(fd.error());
    TRY(context.fall_back_to_read_only(std::move(fd.error())));
    fd = open_fd(config, true, direct);
  }
  std::unique_ptr<FileImage> image(new FileImage(std::move(config), TRY(std::move(fd))));
  TRY(image->learn_about_file(direct));
  return std::unique_ptr<Image>(std::move(image));
}

FileImage::~FileImage() = default;

Result<void> FileImage::learn_about_file(bool direct) {
  struct stat info {};
  if (::fstat(fd_.get(), &info) != 0)
    return fail_errno(errno, "Reading the size of '{}'", config_.filename);
  direct_ = direct;
  is_file_ = S_ISREG(info.st_mode);
  u64 size = static_cast<u64>(info.st_size);
  int sector = 4096;
  if (S_ISBLK(info.st_mode)) {
    if (::ioctl(fd_.get(), BLKGETSIZE64, &size) != 0)
      return fail_errno(errno, "Reading the size of '{}'", config_.filename);
    if (::ioctl(fd_.get(), BLKSSZGET, &sector) != 0) sector = 4096;
  } else if (!is_file_) {
    return fail(Errc::InvalidArgument, "'{}' is neither a file nor a block device",
                config_.filename);
  }
  if (direct) alignment_ = static_cast<u32>(std::clamp(sector, 512, 65536));
  size_.store(size, std::memory_order_relaxed);
  return {};
}

Error FileImage::error(int os_errno, std::string_view verb, u64 offset, u64 length) const {
  return fail_errno(os_errno, "{} {} bytes at {} of '{}'", verb, length, offset, config_.filename);
}

bool FileImage::aligned(u64 offset, const void* buffer, u64 length) const {
  return ((offset | length | reinterpret_cast<uintptr_t>(buffer)) & (alignment_ - 1)) == 0;
}

Result<Extent> FileImage::map(u64 offset, u64 length) {
  Extent extent{ExtentKind::Data, length, this, offset};
  if (!is_file_) return extent;
  const off_t data = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_DATA);
  if (data < 0 && errno != ENXIO) return extent;  // a file system that does not know
  if (data < 0 || static_cast<u64>(data) > offset) {
    extent.kind = ExtentKind::Zero;
    if (data > 0) extent.length = std::min(length, static_cast<u64>(data) - offset);
    return extent;
  }
  const off_t hole = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_HOLE);
  if (hole > data) extent.length = std::min(length, static_cast<u64>(hole) - offset);
  return extent;
}

std::optional<Direct> FileImage::peek(u64 offset, u64 length) {
  const u64 end = size();
  if (offset >= end || config_.aio == FileAio::Threads) return {};
  return Direct{.fd = fd_.get(),
                .offset = offset,
                .length = std::min(length, end - offset),
                .writable = true,
                .alignment = alignment_};
}

Result<void> FileImage::read(u64 offset, Bytes to) {
  if (!aligned(offset, to.data(), to.size())) return read_bounced(offset, to);
  return read_plain(offset, to);
}

Result<void> FileImage::read_plain(u64 offset, Bytes to) {
  while (!to.empty()) {
    const ssize_t got = ::pread(fd_.get(), to.data(), to.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return error(errno, "Reading", offset, to.size());
    if (got == 0) {  // somebody else made the file shorter, or a block beyond its end
      std::memset(to.data(), 0, to.size());
      return {};
    }
    to = to.subspan(static_cast<size_t>(got));
    offset += static_cast<u64>(got);
  }
  return {};
}

Result<void> FileImage::read_bounced(u64 offset, Bytes to) {
  const u64 mask = alignment_ - 1;
  while (!to.empty()) {
    const u64 start = offset & ~mask;
    const u64 length = std::min(kBounceLimit, (offset - start + to.size() + mask) & ~mask);
    const AlignedBuffer buffer = aligned_buffer(alignment_, length);
    if (!buffer) return fail(Errc::NoMemory, "Reading '{}'", config_.filename);
    TRY(read_plain(start, {buffer.get(), static_cast<size_t>(length)}));
    const size_t here = std::min<size_t>(to.size(), static_cast<size_t>(length - (offset - start)));
    std::memcpy(to.data(), buffer.get() + (offset - start), here);
    to = to.subspan(here);
    offset += here;
  }
  return {};
}

Result<void> FileImage::write(u64 offset, ConstBytes from, WriteMode mode) {
  const u64 end = offset + from.size();
  if (!aligned(offset, from.data(), from.size()))
    TRY(write_bounced(offset, from, mode.fua));
  else
    TRY(write_plain(offset, from, mode.fua));
  if (is_file_) grown_to(end);
  return {};
}

Result<void> FileImage::write_plain(u64 offset, ConstBytes from, bool durable) {
  while (!from.empty()) {
    iovec buffer{const_cast<std::byte*>(from.data()), from.size()};
    const ssize_t put =
        durable ? ::pwritev2(fd_.get(), &buffer, 1, static_cast<off_t>(offset), RWF_DSYNC)
                : ::pwrite(fd_.get(), from.data(), from.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return error(errno, "Writing", offset, from.size());
    if (put == 0) return error(ENOSPC, "Writing", offset, from.size());
    from = from.subspan(static_cast<size_t>(put));
    offset += static_cast<u64>(put);
  }
  return {};
}

Result<void> FileImage::write_bounced(u64 offset, ConstBytes from, bool durable) {
  const std::lock_guard guard(bounce_);
  const u64 mask = alignment_ - 1;
  const u64 true_size = std::max(size(), offset + from.size());
  u64 written_to = 0;
  while (!from.empty()) {
    const u64 start = offset & ~mask;
    const u64 length = std::min(kBounceLimit, (offset - start + from.size() + mask) & ~mask);
    const AlignedBuffer buffer = aligned_buffer(alignment_, length);
    if (!buffer) return fail(Errc::NoMemory, "Writing '{}'", config_.filename);
    const size_t here =
        std::min<size_t>(from.size(), static_cast<size_t>(length - (offset - start)));
    if (start != offset || here != length)
      TRY(read_plain(start, {buffer.get(), static_cast<size_t>(length)}));
    std::memcpy(buffer.get() + (offset - start), from.data(), here);
    TRY(write_plain(start, {buffer.get(), static_cast<size_t>(length)}, durable));
    written_to = start + length;
    from = from.subspan(here);
    offset += here;
  }
  // The last block went beyond what was asked for.
  if (is_file_ && written_to > true_size &&
      ::ftruncate(fd_.get(), static_cast<off_t>(true_size)) != 0)
    return error(errno, "Resizing", true_size, 0);
  return {};
}

void FileImage::grown_to(u64 end) {
  u64 now = size_.load(std::memory_order_relaxed);
  while (now < end && !size_.compare_exchange_weak(now, end, std::memory_order_relaxed)) {}
}

Result<void> FileImage::grow_to(u64 end) {
  const std::lock_guard guard(bounce_);
  if (end <= size()) return {};
  if (::ftruncate(fd_.get(), static_cast<off_t>(end)) != 0) return error(errno, "Resizing", end, 0);
  grown_to(end);
  return {};
}

Result<void> FileImage::zero(u64 offset, u64 length, WriteMode mode) {
  if (!is_file_) {
    u64 range[2] = {offset, length};
    if (((offset | length) & 511) != 0 || ::ioctl(fd_.get(), BLKZEROOUT, range) != 0)
      return fail(Errc::Unsupported, "'{}' cannot zero in place", config_.filename);
    return mode.fua ? flush() : Result<void>();
  }
  const u64 end = offset + length;
  if (end > size()) {
    TRY(grow_to(end));  // what is new is a hole, and the rest may be old
  }
  int failed = EOPNOTSUPP;
  if (mode.may_unmap)
    failed = fallocate_again(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
  if (failed && means_unsupported(failed))
    failed = fallocate_again(fd_.get(), FALLOC_FL_ZERO_RANGE, offset, length);
  if (failed && means_unsupported(failed) && !mode.may_unmap) {
    // Two steps where there is no one-step zeroing (tmpfs): a hole, then space for it.
    failed = fallocate_again(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
    if (!failed) failed = fallocate_again(fd_.get(), 0, offset, length);
  }
  if (failed && means_unsupported(failed))
    return fail(Errc::Unsupported, "'{}' cannot zero in place", config_.filename);
  if (failed) return error(failed, "Zeroing", offset, length);
  return mode.fua ? flush() : Result<void>();
}

Result<void> FileImage::discard(u64 offset, u64 length) {
  if (!is_file_) {
    u64 range[2] = {offset, length};
    if (::ioctl(fd_.get(), BLKDISCARD, range) == 0 || means_unsupported(errno)) return {};
    return error(errno, "Discarding", offset, length);
  }
  const int failed =
      fallocate_again(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
  if (failed && !means_unsupported(failed)) return error(failed, "Discarding", offset, length);
  return {};
}

Result<void> FileImage::flush() {
  int failed = flush_errno_.load(std::memory_order_relaxed);
  if (!failed && ::fdatasync(fd_.get()) != 0) {
    failed = errno;
    flush_errno_.store(failed, std::memory_order_relaxed);
  }
  if (failed) return fail_errno(failed, "Flushing '{}'", config_.filename);
  return {};
}

Result<void> FileImage::truncate(u64 size, Preallocation preallocation) {
  if (!is_file_) {
    if (size <= this->size()) return {};
    return fail(Errc::Unsupported, "Cannot grow the device '{}'", config_.filename);
  }
  const u64 before = this->size();
  if (size < before && preallocation != Preallocation::Off)
    return fail(Errc::Unsupported, "Preallocation cannot be used for shrinking files");
  TRY(resize_file(fd_.get(), config_.filename, before, size, preallocation));
  size_.store(size, std::memory_order_relaxed);
  return {};
}

std::optional<u64> FileImage::allocated_size() {
  struct stat info {};
  if (::fstat(fd_.get(), &info) != 0) return {};
  return static_cast<u64>(info.st_blocks) * 512;
}

Result<void> FileImage::set_permissions(Permissions now) {
  TRY(lock_.set(fd_.get(), config_.filename, now, config_.locking));
  permissions_ = now;
  return {};
}

Result<void> FileImage::reopen(bool read_only) {
  UniqueFd fresh = TRY(open_fd(config_, read_only, direct_));
  // Locks belong to the open file, so the new one takes them before the old one goes.
  FileLock lock;
  lock_ = {};
  std::swap(fd_, fresh);
  fresh.reset();
  TRY(lock.set(fd_.get(), config_.filename, permissions_, config_.locking));
  lock_ = lock;
  return {};
}

}  // namespace menura
