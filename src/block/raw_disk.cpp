#include "block/raw_disk.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>

namespace menura {

namespace {

Result<u64> size_of(int fd, const std::string& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return fail_errno(errno, "Reading the size of '{}'", path);
  if (S_ISREG(info.st_mode)) return static_cast<u64>(info.st_size);
  if (!S_ISBLK(info.st_mode))
    return fail(Errc::InvalidArgument, "'{}' is neither a file nor a block device", path);
  u64 size = 0;
  if (::ioctl(fd, BLKGETSIZE64, &size) != 0)
    return fail_errno(errno, "Reading the size of '{}'", path);
  return size;
}

}  // namespace

Result<std::unique_ptr<RawDisk>> RawDisk::open(IoEngine& engine, const std::string& path,
                                               Mode mode) {
  const bool writable = mode == Mode::ReadWrite;
  UniqueFd fd = TRY(open_file(path, writable ? O_RDWR : O_RDONLY), "Opening a disk image{}",
                    writable ? " for writing (readonly=on needs less)" : "");
  const u64 size = TRY(size_of(fd.get(), path));
  return std::unique_ptr<RawDisk>(new RawDisk(engine, std::move(fd), size, mode));
}

RawDisk::RawDisk(IoEngine& engine, UniqueFd fd, u64 size, Mode mode)
    : engine_(engine), fd_(std::move(fd)), size_(size), mode_(mode) {}

RawDisk::~RawDisk() { engine_.drain(); }

Result<void> RawDisk::check(const DiskRequest& request) const {
  const bool moves = request.op == DiskOp::Read || request.op == DiskOp::Write;
  const u64 length = moves ? request.data.size() : request.length;
  if (request.op != DiskOp::Flush && (request.offset > size_ || length > size_ - request.offset))
    return fail(Errc::OutOfRange, "Access of {} bytes at {} on a disk of {} bytes", length,
                request.offset, size_);
  if (request.op != DiskOp::Read && request.op != DiskOp::Flush && read_only())
    return fail(Errc::Permission, "The disk is read-only");
  return {};
}

void RawDisk::submit(DiskRequest request) {
  constexpr auto op_of = [](DiskOp op) {
    switch (op) {
      case DiskOp::Read: return IoOp::Read;
      case DiskOp::Write: return IoOp::Write;
      case DiskOp::Flush: return IoOp::Flush;
      case DiskOp::Discard: return IoOp::Discard;
      case DiskOp::WriteZeroes: return IoOp::Zero;
    }
    unreachable();
  };
  IoRequest io{.op = op_of(request.op),
               .fd = fd_.get(),
               .offset = request.offset,
               .length = request.length,
               .durable = request.fua,
               .done = std::move(request.done)};
  if (!request.data.empty()) io.buffers = {iovec_of(request.data)};
  if (const Result<void> allowed = check(request); !allowed) {
    // An empty flush carries the refusal, so that done still comes through the loop.
    io.op = IoOp::Flush;
    io.buffers.clear();
    io.done = [done = std::move(io.done), error = allowed.error()](Result<void>) {
      done(Error(error));
    };
  }
  engine_.submit(std::move(io));
}

}  // namespace menura
