#include "share/folder.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/bytes.h"
#include "base/format.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr std::string_view kMetadata = ".virtfs_metadata", kRootMetadata = ".virtfs_metadata_root";
constexpr std::string_view kHidden = "user.virtfs.";
constexpr size_t kMostText = 4096;  // of a link, or of a metadata file
constexpr size_t kMostXattr = 65536;
constexpr size_t kLongestName = 255;

int result(int outcome) { return outcome < 0 ? errno : 0; }

// The thing behind a descriptor that only names it.
std::string by_fd(int fd) { return format("/proc/self/fd/{}", fd); }

UniqueFd open_at(int folder, const std::string& name, int flags, mode_t mode = 0) {
  return UniqueFd(::openat(folder, name.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, mode));
}

// At most so much; nothing on failure.
std::optional<std::string> read_some(int fd) {
  std::string content(kMostText, '\0');
  const ssize_t size = ::pread(fd, content.data(), content.size(), 0);
  if (size < 0) return {};
  content.resize(static_cast<size_t>(size));
  return content;
}

template <class T>
std::optional<T> xattr_value(const std::string& at, const char* name) {
  std::array<std::byte, sizeof(T)> bytes;
  if (::getxattr(at.c_str(), name, bytes.data(), bytes.size()) != sizeof(T)) return {};
  return load_le<T>(bytes);
}

template <class T>
int put_xattr(const std::string& at, const char* name, const std::optional<T>& value) {
  if (!value) return 0;
  std::array<std::byte, sizeof(T)> bytes;
  store_le(Bytes(bytes), 0, *value);
  return result(::setxattr(at.c_str(), name, bytes.data(), bytes.size(), 0));
}

}  // namespace

Result<Folder> Folder::open(const FolderOptions& options) {
  UniqueFd root(::open(options.path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return fail_errno(errno, "Opening the folder '{}'", options.path);
  return Folder(options, std::move(root));
}

bool Folder::valid_name(std::string_view name) const {
  if (name.empty() || name == "." || name == ".." || name.size() > kLongestName) return false;
  if (name.find('/') != name.npos || name.find('\0') != name.npos) return false;
  return !in_files() || (name != kMetadata && name != kRootMetadata);
}

int Folder::walk(const FolderPath& path, size_t steps, UniqueFd& fd) const {
  fd = UniqueFd(::fcntl(root_.get(), F_DUPFD_CLOEXEC, 0));
  if (!fd) return errno;
  for (size_t i = 0; i < steps; i++) {
    const int folder = i + 1 < path.size() ? O_DIRECTORY : 0;
    UniqueFd next = open_at(fd.get(), path[i], O_PATH | folder);
    if (!next) return errno;
    fd = std::move(next);
  }
  return 0;
}

int Folder::find_parent(const FolderPath& path, UniqueFd& fd) const {
  if (path.empty()) return EBUSY;  // the shared folder itself stays
  return walk(path, path.size() - 1, fd);
}

int Folder::attributes(const FolderPath& path, struct stat& out) const {
  UniqueFd fd;
  if (const int error = find(path, fd)) return error;
  return attributes(fd.get(), path, out);
}

int Folder::attributes(int fd, const FolderPath& path, struct stat& out) const {
  if (::fstatat(fd, "", &out, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0) return errno;
  if (mapped()) apply(path, fd, out);
  return 0;
}

void Folder::apply(const FolderPath& path, int fd, struct stat& out) const {
  const Mapping mapping = load(path, fd);
  if (mapping.uid) out.st_uid = *mapping.uid;
  if (mapping.gid) out.st_gid = *mapping.gid;
  if (mapping.rdev) out.st_rdev = *mapping.rdev;
  // What is a folder on the host stays one, and nothing else becomes one.
  if (mapping.mode && S_ISDIR(*mapping.mode) == S_ISDIR(out.st_mode)) out.st_mode = *mapping.mode;
}

int Folder::usage(const FolderPath& path, struct statvfs& out) const {
  UniqueFd fd;
  if (const int error = find(path, fd)) return error;
  return result(::fstatvfs(fd.get(), &out));
}

int Folder::read_link(const FolderPath& path, std::string& target) const {
  UniqueFd fd;
  if (mapped()) {  // a file whose content it is
    struct stat attributes_now;
    if (const int error = attributes(path, attributes_now)) return error;
    if (!S_ISLNK(attributes_now.st_mode)) return EINVAL;
    if (const int error = open_file(path, O_RDONLY, fd)) return error;
    std::optional<std::string> content = read_some(fd.get());
    if (!content) return EIO;
    target = std::move(*content);
    return 0;
  }
  if (const int error = find(path, fd)) return error;
  target.resize(kMostText);
  const ssize_t size = ::readlinkat(fd.get(), "", target.data(), target.size());
  if (size < 0) return errno;
  target.resize(static_cast<size_t>(size));
  return 0;
}

// Nothing else is opened: a device's or a pipe's other end is the host's.
int Folder::open_file(const FolderPath& path, int flags, UniqueFd& fd) const {
  if (path.empty()) {
    fd = open_at(root_.get(), ".", flags | O_NONBLOCK);
  } else {
    UniqueFd parent;
    if (const int error = find_parent(path, parent)) return error;
    // Looked at before it is opened, as opening may do something; and what was opened is judged again.
    struct stat before;
    if (::fstatat(parent.get(), path.back().c_str(), &before, AT_SYMLINK_NOFOLLOW) < 0)
      return errno;
    if (!S_ISREG(before.st_mode) && !S_ISDIR(before.st_mode)) return ENXIO;
    fd = open_at(parent.get(), path.back(), flags | O_NONBLOCK);
  }
  struct stat kind;
  if (!fd || ::fstat(fd.get(), &kind) < 0) return errno;
  if (S_ISREG(kind.st_mode) || S_ISDIR(kind.st_mode)) return 0;
  fd.reset();
  return ENXIO;
}

// Owner and mode of what was just made.
int Folder::finish_new(const FolderPath& path, u32 mode, Owner owner, u64 device) const {
  if (mapped())
    return store(path, {.uid = owner.uid, .gid = owner.gid, .mode = mode, .rdev = device});
  if (options_.security == FolderOptions::Security::Passthrough) {
    if (const int error = set_owner(path, owner.uid, owner.gid)) return error;
  }
  return S_ISLNK(mode) ? 0 : set_mode(path, mode);
}

int Folder::create(const FolderPath& path, int flags, u32 mode, Owner owner, UniqueFd& fd) const {
  UniqueFd parent;
  if (const int error = find_parent(path, parent)) return error;
  fd = open_at(parent.get(), path.back(), flags | O_CREAT | O_EXCL | O_NONBLOCK,
               mapped() ? options_.file_mode : mode & 0777);
  if (!fd) return errno;
  const int error = finish_new(path, (mode & 07777) | S_IFREG, owner);
  if (error) (void)remove(path, Kind::File);
  return error;
}

int Folder::make_folder(const FolderPath& path, u32 mode, Owner owner) const {
  UniqueFd parent;
  if (const int error = find_parent(path, parent)) return error;
  if (::mkdirat(parent.get(), path.back().c_str(), mapped() ? options_.folder_mode : mode & 0777) <
      0)
    return errno;
  const int error = finish_new(path, (mode & 07777) | S_IFDIR, owner);
  if (error) (void)remove(path, Kind::Folder);
  return error;
}

int Folder::make_node(const FolderPath& path, u32 mode, u64 device, Owner owner) const {
  if (mapped() || S_ISREG(mode)) {
    UniqueFd file;
    if (const int error = create(path, O_WRONLY, mode, owner, file)) return error;
    return mapped() ? finish_new(path, mode, owner, device) : 0;
  }
  UniqueFd parent;
  if (const int error = find_parent(path, parent)) return error;
  if (::mknodat(parent.get(), path.back().c_str(), mode, static_cast<dev_t>(device)) < 0)
    return errno;
  const int error = finish_new(path, mode, owner);
  if (error) (void)remove(path, Kind::File);
  return error;
}

int Folder::make_symlink(const FolderPath& path, const std::string& target, Owner owner) const {
  if (target.empty() || target.size() >= kMostText) return target.empty() ? ENOENT : ENAMETOOLONG;
  if (mapped()) {
    UniqueFd file;
    if (const int error = create(path, O_WRONLY, 0777, owner, file)) return error;
    if (::pwrite(file.get(), target.data(), target.size(), 0) !=
        static_cast<ssize_t>(target.size()))
      return EIO;
    return finish_new(path, S_IFLNK | 0777, owner);
  }
  UniqueFd parent;
  if (const int error = find_parent(path, parent)) return error;
  if (::symlinkat(target.c_str(), parent.get(), path.back().c_str()) < 0) return errno;
  return finish_new(path, S_IFLNK | 0777, owner);
}

int Folder::link(const FolderPath& from, const FolderPath& to) const {
  UniqueFd file, parent;
  if (const int error = find(from, file)) return error;
  if (const int error = find_parent(to, parent)) return error;
  if (::linkat(AT_FDCWD, by_fd(file.get()).c_str(), parent.get(), to.back().c_str(),
               AT_SYMLINK_FOLLOW) < 0)
    return errno;
  return in_files() ? store_file(to, load_file(from)) : 0;
}

int Folder::rename(const FolderPath& from, const FolderPath& to) const {
  UniqueFd from_parent, to_parent;
  if (const int error = find_parent(from, from_parent)) return error;
  if (const int error = find_parent(to, to_parent)) return error;
  const Mapping mapping = in_files() ? load_file(from) : Mapping{};
  if (::renameat(from_parent.get(), from.back().c_str(), to_parent.get(), to.back().c_str()) < 0)
    return errno;
  if (!in_files()) return 0;
  forget(from);
  return store_file(to, mapping);
}

int Folder::remove(const FolderPath& path, Kind kind) const {
  UniqueFd parent;
  if (const int error = find_parent(path, parent)) return error;
  const int flag = kind == Kind::Folder ? AT_REMOVEDIR : 0;
  if (kind == Kind::Folder && in_files()) {
    // What is kept of its files would be in the way: nothing, once they are gone.
    UniqueFd folder;
    if (const int error = find(path, folder)) return error;
    (void)::unlinkat(folder.get(), std::string(kMetadata).c_str(), AT_REMOVEDIR);
  }
  if (::unlinkat(parent.get(), path.back().c_str(), flag) < 0) return errno;
  if (in_files()) forget(path);
  return 0;
}

int Folder::set_mode(const FolderPath& path, u32 mode) const {
  UniqueFd fd;
  if (const int error = find(path, fd)) return error;
  if (!mapped()) return result(::chmod(by_fd(fd.get()).c_str(), mode & 07777));
  struct stat now;
  if (const int error = attributes(fd.get(), path, now)) return error;
  return store(path, {.mode = (now.st_mode & S_IFMT) | (mode & 07777)});
}

int Folder::set_owner(const FolderPath& path, u32 uid, u32 gid) const {
  if (mapped()) {
    Mapping change;
    if (uid != ~0u) change.uid = uid;
    if (gid != ~0u) change.gid = gid;
    return store(path, change);
  }
  UniqueFd fd;
  if (const int error = find(path, fd)) return error;
  const int outcome = ::fchownat(fd.get(), "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
  // Without a model nobody expects owners to be the guest's.
  return options_.security == FolderOptions::Security::None ? 0 : result(outcome);
}

int Folder::set_size(const FolderPath& path, u64 size) const {
  UniqueFd fd;
  if (const int error = open_file(path, O_WRONLY, fd)) return error;
  return result(::ftruncate(fd.get(), static_cast<off_t>(size)));
}

int Folder::set_times(const FolderPath& path, const struct timespec (&times)[2]) const {
  UniqueFd fd;
  if (const int error = find(path, fd)) return error;
  return result(::utimensat(AT_FDCWD, by_fd(fd.get()).c_str(), times, 0));
}

// Extended attributes

bool Folder::hidden_xattr(std::string_view name) const {
  return mapped() && name.starts_with(kHidden);
}

int Folder::get_xattr(const FolderPath& path, const std::string& name,
                      std::vector<std::byte>& value) const {
  UniqueFd fd;
  if (hidden_xattr(name)) return ENODATA;
  if (const int error = find(path, fd)) return error;
  value.resize(kMostXattr);
  char* const to = reinterpret_cast<char*>(value.data());
  const std::string at = by_fd(fd.get());
  const ssize_t size = name.empty() ? ::listxattr(at.c_str(), to, value.size())
                                    : ::getxattr(at.c_str(), name.c_str(), to, value.size());
  if (size < 0) return errno;
  value.resize(static_cast<size_t>(size));
  if (!name.empty() || !mapped()) return 0;
  std::vector<std::byte> shown;
  for (auto from = value.begin(); from != value.end();) {
    const auto end = std::find(from, value.end(), std::byte{0});
    const std::string one(reinterpret_cast<const char*>(&*from), static_cast<size_t>(end - from));
    if (!hidden_xattr(one)) shown.insert(shown.end(), from, end == value.end() ? end : end + 1);
    from = end == value.end() ? end : end + 1;
  }
  value = std::move(shown);
  return 0;
}

int Folder::set_xattr(const FolderPath& path, const std::string& name, ConstBytes value,
                      int flags) const {
  UniqueFd fd;
  if (name.empty() || hidden_xattr(name)) return EACCES;
  if (const int error = find(path, fd)) return error;
  return result(
      ::setxattr(by_fd(fd.get()).c_str(), name.c_str(), value.data(), value.size(), flags));
}

int Folder::remove_xattr(const FolderPath& path, const std::string& name) const {
  UniqueFd fd;
  if (name.empty() || hidden_xattr(name)) return EACCES;
  if (const int error = find(path, fd)) return error;
  return result(::removexattr(by_fd(fd.get()).c_str(), name.c_str()));
}

// What mapped models keep

Folder::Mapping Folder::load(const FolderPath& path, int fd) const {
  if (in_files()) return load_file(path);
  const std::string at = by_fd(fd);
  return {.uid = xattr_value<u32>(at, "user.virtfs.uid"),
          .gid = xattr_value<u32>(at, "user.virtfs.gid"),
          .mode = xattr_value<u32>(at, "user.virtfs.mode"),
          .rdev = xattr_value<u64>(at, "user.virtfs.rdev")};
}

int Folder::store(const FolderPath& path, const Mapping& change) const {
  if (in_files()) {
    Mapping mapping = load_file(path);
    if (change.uid) mapping.uid = change.uid;
    if (change.gid) mapping.gid = change.gid;
    if (change.mode) mapping.mode = change.mode;
    if (change.rdev) mapping.rdev = change.rdev;
    return store_file(path, mapping);
  }
  UniqueFd fd;
  if (const int error = find(path, fd)) return error;
  const std::string at = by_fd(fd.get());
  int error = put_xattr(at, "user.virtfs.uid", change.uid);
  if (!error) error = put_xattr(at, "user.virtfs.gid", change.gid);
  if (!error) error = put_xattr(at, "user.virtfs.mode", change.mode);
  return error ? error : put_xattr(at, "user.virtfs.rdev", change.rdev);
}

// The shared folder's own lie in it; a file's in a folder beside it.
int Folder::metadata_folder(const FolderPath& path, bool make, UniqueFd& folder,
                            std::string& name) const {
  if (path.empty()) {
    name = kRootMetadata;
    return walk({}, 0, folder);
  }
  name = path.back();
  UniqueFd parent;
  if (const int error = find_parent(path, parent)) return error;
  const std::string metadata(kMetadata);
  if (make && ::mkdirat(parent.get(), metadata.c_str(), options_.folder_mode) < 0 &&
      errno != EEXIST)
    return errno;
  folder = open_at(parent.get(), metadata, O_PATH | O_DIRECTORY);
  return folder ? 0 : errno;
}

Folder::Mapping Folder::load_file(const FolderPath& path) const {
  UniqueFd folder;
  std::string name;
  if (metadata_folder(path, false, folder, name)) return {};
  const UniqueFd file = open_at(folder.get(), name, O_RDONLY | O_NONBLOCK);
  const std::optional<std::string> content = file ? read_some(file.get()) : std::nullopt;
  Mapping mapping;
  std::string_view rest = content ? std::string_view(*content) : std::string_view();
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const size_t equals = line.find('=');
    if (equals == line.npos) continue;
    const Result<u64> value = parse_u64(line.substr(equals + 1));
    if (!value) continue;
    const std::string_view key = line.substr(0, equals);
    if (key == "virtfs.uid") mapping.uid = static_cast<u32>(*value);
    if (key == "virtfs.gid") mapping.gid = static_cast<u32>(*value);
    if (key == "virtfs.mode") mapping.mode = static_cast<u32>(*value);
    if (key == "virtfs.rdev") mapping.rdev = *value;
  }
  return mapping;
}

int Folder::store_file(const FolderPath& path, const Mapping& mapping) const {
  UniqueFd folder;
  std::string name, text;
  if (const int error = metadata_folder(path, true, folder, name)) return error;
  if (mapping.uid) text += format("virtfs.uid={}\n", *mapping.uid);
  if (mapping.gid) text += format("virtfs.gid={}\n", *mapping.gid);
  if (mapping.mode) text += format("virtfs.mode={}\n", *mapping.mode);
  if (mapping.rdev) text += format("virtfs.rdev={}\n", *mapping.rdev);
  const UniqueFd file =
      open_at(folder.get(), name, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK, options_.file_mode);
  if (!file) return errno;
  return ::pwrite(file.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size())
             ? 0
             : EIO;
}

void Folder::forget(const FolderPath& path) const {
  UniqueFd folder;
  std::string name;
  if (!metadata_folder(path, false, folder, name)) (void)::unlinkat(folder.get(), name.c_str(), 0);
}

}  // namespace menura
