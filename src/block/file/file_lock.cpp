#include "block/file/file_lock.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "base/fd.h"
#include "base/text.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr std::string_view kLocking[] = {"auto", "on", "off"};
constexpr u64 kUsedByte = 100;
constexpr u64 kRefusedByte = 200;
constexpr u64 kTextLimit = 65536;

struct flock byte_lock(short type, u64 byte) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(byte);
  lock.l_len = 1;
  return lock;
}

int set_byte(int fd, short type, u64 byte) {
  struct flock lock = byte_lock(type, byte);
  return ::fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

// Whether somebody else has it.
bool is_locked(int fd, u64 byte) {
  struct flock lock = byte_lock(F_WRLCK, byte);
  return ::fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

// Locks the bytes of `bits`, or unlocks them; the first errno.
int set_bits(int fd, short type, u64 base, u8 bits) {
  int failed = 0;
  for (unsigned i = 0; i < kPermissionBits; i++)
    if (bits & 1u << i)
      if (const int error = set_byte(fd, type, base + i); error && !failed) failed = error;
  return failed;
}

// Whether one of /proc/PID/fdinfo's texts has a lock on that byte of that file:
// "lock:  1: OFDLCK ADVISORY READ -1 fe:00:1234 100 101".
bool text_has_lock(std::string_view text, std::string_view file, u64 byte) {
  for (const std::string_view line : split(text, '\n')) {
    if (!line.starts_with("lock:")) continue;
    std::vector<std::string_view> words;
    for (const std::string_view word : split(line, ' '))
      if (!word.empty()) words.push_back(word);
    if (words.size() < 4 || words[words.size() - 3] != file) continue;
    const Result<u64> first = parse_u64(words[words.size() - 2]);
    const Result<u64> last = parse_u64(words.back());
    if (first && *first <= byte && (!last || byte <= *last)) return true;
  }
  return false;
}

bool process_has_lock(const std::string& pid, std::string_view file, u64 byte) {
  const std::string folder = format("/proc/{}/fdinfo", pid);
  const std::unique_ptr<DIR, int (*)(DIR*)> fds(::opendir(folder.c_str()), &::closedir);
  if (!fds) return false;
  while (const dirent* entry = ::readdir(fds.get())) {
    if (entry->d_name[0] == '.') continue;
    const Result<std::string> text = read_file(format("{}/{}", folder, entry->d_name), kTextLimit);
    if (text && text_has_lock(*text, file, byte)) return true;
  }
  return false;
}

Error refusal(int fd, const std::string& path, unsigned bit, u64 byte) {
  return fail(Errc::Busy, "Failed to get \"{}\" lock on '{}': {} uses the image",
              permission_names(static_cast<u8>(1u << bit)), path, lock_holder(fd, byte));
}

Result<void> check_others(int fd, const std::string& path, Permissions now) {
  for (unsigned i = 0; i < kPermissionBits; i++) {
    const u8 bit = static_cast<u8>(1u << i);
    if ((now.needed & bit) && is_locked(fd, kRefusedByte + i))
      return refusal(fd, path, i, kRefusedByte + i);
    if (!(now.shared & bit) && is_locked(fd, kUsedByte + i))
      return refusal(fd, path, i, kUsedByte + i);
  }
  return {};
}

}  // namespace

std::span<const std::string_view> enum_names(Locking) { return kLocking; }

std::string lock_holder(int fd, u64 byte) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return "another process";
  const std::string file =
      format("{:02x}:{:02x}:{}", major(info.st_dev), minor(info.st_dev), info.st_ino);
  const std::unique_ptr<DIR, int (*)(DIR*)> processes(::opendir("/proc"), &::closedir);
  const std::string self = std::to_string(::getpid());
  bool here = false;
  while (const dirent* entry = processes ? ::readdir(processes.get()) : nullptr) {
    const std::string pid = entry->d_name;
    if (pid[0] < '1' || pid[0] > '9' || !process_has_lock(pid, file, byte)) continue;
    if (pid == self) {
      here = true;
      continue;
    }
    const Result<std::string> command = read_file(format("/proc/{}/comm", pid), kTextLimit);
    return format("{} (PID {})", command ? trim(*command) : "a process", pid);
  }
  return here ? "another part of this process" : "another process";
}

Result<void> FileLock::set(int fd, const std::string& path, Permissions now, Locking locking) {
  if (locking == Locking::Off) return {};
  const u8 refused = static_cast<u8>(~now.shared & kAllPermissions);
  const u8 refused_before = static_cast<u8>(~held_.shared & kAllPermissions);
  int error = set_bits(fd, F_RDLCK, kUsedByte, now.needed);
  if (!error) error = set_bits(fd, F_RDLCK, kRefusedByte, refused);
  Result<void> allowed;
  if (error)
    allowed = fail_errno(error, "Locking '{}'", path);
  else
    allowed = check_others(fd, path, now);
  const Permissions keep = allowed ? now : held_;
  const u8 keep_refused = allowed ? refused : refused_before;
  set_bits(fd, F_UNLCK, kUsedByte, static_cast<u8>((now.needed | held_.needed) & ~keep.needed));
  set_bits(fd, F_UNLCK, kRefusedByte, static_cast<u8>((refused | refused_before) & ~keep_refused));
  held_ = keep;
  const bool no_locks_here =
      error == EINVAL || error == ENOLCK || error == ENOSYS || error == EOPNOTSUPP;
  if (no_locks_here && locking == Locking::Auto) return {};
  return allowed;
}

}  // namespace menura
