#include "block/file/file_create.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/fd.h"
#include "base/units.h"
#include "block/core/graph.h"
#include "block/file/file_lock.h"

namespace menura {

void FileCreate::describe(PropertyVisitor& p) {
  p.field("preallocation", preallocation, "off, falloc (give space), full (write zeroes)");
  p.field("nocow", nocow, "overwrite in place on btrfs, instead of copying");
  p.field("extent_size_hint", extent_size_hint, "space that XFS takes at a time");
}

namespace {

Result<void> write_full(int fd, const std::string& path, u64 from, u64 to) {
  const std::vector<std::byte> zeroes(static_cast<size_t>(std::min<u64>(to - from, 1 * MiB)));
  while (from < to) {
    const size_t here = static_cast<size_t>(std::min<u64>(zeroes.size(), to - from));
    TRY(pwrite_all(fd, ConstBytes(zeroes).first(here), from), "Preallocating '{}'", path);
    from += here;
  }
  if (::fdatasync(fd) != 0) return fail_errno(errno, "Flushing '{}'", path);
  return {};
}

}  // namespace

Result<void> resize_file(int fd, const std::string& path, u64 from, u64 to,
                         Preallocation preallocation) {
  if (preallocation == Preallocation::Metadata)
    return fail(Errc::InvalidArgument, "Preallocation mode 'metadata' is none of a plain file");
  if (preallocation == Preallocation::Falloc && to > from) {
    const int failed =
        ::posix_fallocate(fd, static_cast<off_t>(from), static_cast<off_t>(to - from));
    if (failed) {
      // No half-grown file stays behind.
      (void)!::ftruncate(fd, static_cast<off_t>(from));
      return fail_errno(failed, "Taking {} bytes of space for '{}'", to - from, path);
    }
    return {};
  }
  if (preallocation == Preallocation::Full && to > from) {
    Result<void> written = write_full(fd, path, from, to);
    if (!written) (void)!::ftruncate(fd, static_cast<off_t>(from));
    return written;
  }
  if (::ftruncate(fd, static_cast<off_t>(to)) != 0)
    return fail_errno(errno, "Resizing '{}' to {} bytes", path, to);
  return {};
}

Result<void> create_file_image(CreateContext& context) {
  const auto options = TRY(context.read_options<FileCreate>("file"));
  const Value file = TRY(context.graph.options_for(context.filename));
  const std::string& path = *file.find("filename")->as<std::string>();
  const UniqueFd fd = TRY(open_file(path, O_RDWR | O_CREAT, 0644));
  FileLock lock;
  TRY(lock.set(fd.get(), path,
               {kWrite | kResize, static_cast<u8>(kAllPermissions & ~(kWrite | kResize))},
               Locking::Auto));
  if (::ftruncate(fd.get(), 0) != 0) return fail_errno(errno, "Emptying '{}'", path);
  if (options.nocow) {
    int flags = 0;
    if (::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) == 0) {
      flags |= FS_NOCOW_FL;
      ::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags);
    }
  }
  return resize_file(fd.get(), path, 0, context.size, options.preallocation);
}

Result<void> create_on_device(CreateContext& context) {
  const Value device = TRY(context.graph.options_for(context.filename));
  const std::string& path = *device.find("filename")->as<std::string>();
  const UniqueFd fd = TRY(open_file(path, O_RDWR));
  u64 size = 0;
  if (::ioctl(fd.get(), BLKGETSIZE64, &size) != 0)
    return fail_errno(errno, "Reading the size of '{}'", path);
  if (size < context.size)
    return fail(Errc::NoSpace, "Device '{}' has {} bytes, fewer than the {} asked for", path, size,
                context.size);
  // The first bytes are what a probe would recognise.
  const std::vector<std::byte> zeroes(static_cast<size_t>(std::min<u64>(size, 64 * KiB)));
  return pwrite_all(fd.get(), zeroes, 0);
}

}  // namespace menura
