#include "share/p9_server.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <span>

#include "base/check.h"

namespace menura {

namespace {

enum Type : u8 {
  kLerror = 6,
  kStatfs = 8,
  kLopen = 12,
  kLcreate = 14,
  kSymlink = 16,
  kMknod = 18,
  kRename = 20,
  kReadlink = 22,
  kGetattr = 24,
  kSetattr = 26,
  kXattrWalk = 30,
  kXattrCreate = 32,
  kReaddir = 40,
  kFsync = 50,
  kLock = 52,
  kGetlock = 54,
  kLink = 70,
  kMkdir = 72,
  kRenameAt = 74,
  kUnlinkAt = 76,
  kVersion = 100,
  kAuth = 102,
  kAttach = 104,
  kFlush = 108,
  kWalk = 110,
  kRead = 116,
  kWrite = 118,
  kClunk = 120,
  kRemove = 122,
};

constexpr size_t kHeader = 7;  // size[4] type[1] tag[2]
constexpr u32 kLeastMessage = 4096;
constexpr u32 kDataHeader = kHeader + 4;  // of Rread, Rreaddir
constexpr u16 kMostNames = 16;
constexpr u32 kNoFid = ~0u;
constexpr u64 kMostXattr = 65536;
constexpr std::string_view kDialect = "9P2000.L";
constexpr u8 kQidFolder = 0x80, kQidLink = 0x02, kQidFile = 0x00;
// Of Tsetattr.
enum : u32 {
  kSetMode = 0x01,
  kSetUid = 0x02,
  kSetGid = 0x04,
  kSetSize = 0x08,
  kSetAtime = 0x10,
  kSetMtime = 0x20,
  kAtimeGiven = 0x80,
  kMtimeGiven = 0x100,
};
constexpr u64 kGetattrBasic = 0x7ff;
constexpr u32 kRemoveFolder = 0x200;  // AT_REMOVEDIR, as the protocol has it
constexpr u32 kOpenFlags = O_ACCMODE | O_TRUNC | O_DSYNC | O_SYNC | O_DIRECTORY;
constexpr u8 kUnlocked = 2;
constexpr u32 kXattrFlags = 3;  // create, replace

bool writes(u32 flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0; }

bool begins_with(const FolderPath& path, const FolderPath& prefix) {
  return path.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), path.begin());
}

}  // namespace

void P9Server::SavedFid::describe(StateVisitor& v) {
  v.field("number", number);
  v.field("path", path);
  v.field("kind", kind);
  v.field("flags", flags);
  v.field("xattr", xattr);
  v.field("xattr_size", xattr_size);
  v.field("xattr_flags", xattr_flags);
  v.field("value", value);
}

P9Server::P9Server(EventLoop& loop, WorkerPool& workers, Folder folder)
    : loop_(loop), workers_(workers), folder_(std::move(folder)) {
  struct stat root {};
  if (folder_.attributes({}, root) == 0) root_device_ = root.st_dev;
}

P9Server::~P9Server() { drain(); }

// One at a time: the first of the queue is with a worker.
void P9Server::submit(std::vector<std::byte> message, u32 most, Reply done) {
  jobs_.push_back({.message = std::move(message), .most = most, .done = std::move(done)});
  if (jobs_.size() == 1) start_next();
}

void P9Server::start_next() {
  Job& job = jobs_.front();
  workers_.submit([this, &job] { job.reply = answer(job.message, job.most); },
                  [this] {
                    Job over = std::move(jobs_.front());
                    jobs_.pop_front();
                    if (!jobs_.empty()) start_next();
                    over.done(std::move(over.reply));
                  });
}

void P9Server::drain() {
  loop_.complete_until([this] { return jobs_.empty(); });
}

void P9Server::reset() {
  drain();
  fids_.clear();
  loaded_.clear();
  message_size_ = 8192;
}

void P9Server::describe(StateVisitor& v) {
  std::vector<SavedFid> saved;
  for (const auto& [number, f] : fids_)
    saved.push_back(
        {number, f.path, f.kind, f.flags, f.xattr, f.xattr_size, f.xattr_flags, f.value});
  v.field("fids", saved);
  v.field("message_size", message_size_);
  if (v.loading()) loaded_ = std::move(saved);
}

// Files are opened anew. One that has gone meanwhile stays as a name, and using it fails.
Result<void> P9Server::restored() {
  fids_.clear();
  const std::vector<SavedFid> loaded = std::move(loaded_);
  loaded_.clear();
  if (loaded.size() > kMostFids || message_size_ > kMostMessage)
    return menura::fail(Errc::Corrupt, "A shared folder has {} fids in its state", loaded.size());
  for (const SavedFid& from : loaded) {
    const bool good =
        std::ranges::all_of(from.path,
                            [&](const std::string& name) { return folder_.valid_name(name); }) &&
        from.value.size() <= kMostXattr && from.xattr_size <= kMostXattr;
    Fid* made = good ? new_fid(from.number) : nullptr;
    if (!made)
      return menura::fail(Errc::Corrupt, "A shared folder has an impossible fid {} in its state",
                          from.number);
    made->path = from.path;
    made->flags = from.flags & ~u32{O_TRUNC};
    made->xattr = from.xattr;
    made->xattr_size = from.xattr_size;
    made->xattr_flags = from.xattr_flags;
    made->value = from.value;
    if (from.kind == FidKind::File || from.kind == FidKind::Folder)
      (void)open_fid(*made);
    else
      made->kind = from.kind;
  }
  return {};
}

// Messages, on the worker

std::vector<std::byte> P9Server::answer(ConstBytes message, u32 most) {
  if (message.size() < kHeader || load_le<u32>(message, 0) != message.size()) return {};
  const u8 type = load_le<u8>(message, 4);
  const u16 tag = load_le<u16>(message, 5);
  P9Reader in(message.subspan(kHeader));
  P9Writer out;
  out.put<u32>(0).put<u8>(static_cast<u8>(type + 1)).put(tag);
  const int error = dispatch(type, in, out);
  if (error != 0 || !in.ok()) {
    out.truncate(4);
    out.put<u8>(kLerror + 1).put(tag).put(static_cast<u32>(in.ok() ? error : EPROTO));
  }
  if (out.size() > most) return {};
  store_le(Bytes(out.out()), 0, static_cast<u32>(out.size()));
  return std::move(out.out());
}

int P9Server::dispatch(u8 type, P9Reader& in, P9Writer& out) {
  switch (type) {
    case kVersion: return version(in, out);
    case kAttach: return attach(in, out);
    case kFlush: (void)in.get<u16>(); return 0;  // what came before it is over
    case kWalk: return walk(in, out);
    case kClunk: return clunk(in, out);
    case kRemove: return remove(in, out);
    case kLopen: return open(in, out);
    case kLcreate: return create(in, out);
    case kRead: return read(in, out);
    case kWrite: return write(in, out);
    case kReaddir: return read_folder(in, out);
    case kFsync: return sync(in, out);
    case kStatfs: return usage(in, out);
    case kGetattr: return attributes(in, out);
    case kSetattr: return set_attributes(in, out);
    case kSymlink: return make_symlink(in, out);
    case kMknod: return make_node(in, out);
    case kMkdir: return make_folder(in, out);
    case kReadlink: return read_link(in, out);
    case kLink: return link(in, out);
    case kRename: return rename(in, out);
    case kRenameAt: return rename_at(in, out);
    case kUnlinkAt: return unlink_at(in, out);
    case kXattrWalk: return walk_xattr(in, out);
    case kXattrCreate: return create_xattr(in, out);
    case kLock: return lock(in, out);
    case kGetlock: return get_lock(in, out);
    default: return EOPNOTSUPP;
  }
}

int P9Server::version(P9Reader& in, P9Writer& out) {
  const u32 wanted = in.get<u32>();
  const bool known = in.text() == kDialect;
  fids_.clear();
  message_size_ = std::clamp(wanted, kLeastMessage, kMostMessage);
  out.put(std::min(wanted, kMostMessage))
      .text(known && wanted >= kLeastMessage ? kDialect : "unknown");
  return 0;
}

P9Server::Fid* P9Server::fid(u32 number) {
  const auto at = fids_.find(number);
  return at == fids_.end() ? nullptr : &at->second;
}

P9Server::Fid* P9Server::new_fid(u32 number) {
  if (number == kNoFid || fids_.size() >= kMostFids) return nullptr;
  const auto [at, made] = fids_.try_emplace(number);
  return made ? &at->second : nullptr;
}

P9Qid P9Server::qid_of(const struct stat& a) const {
  // Other file systems below the folder have numbers of their own.
  const u64 device = a.st_dev == root_device_ ? 0 : (u64{a.st_dev} * 0x9e37'79b9'7f4a'7c15) << 32;
  return {.type = S_ISDIR(a.st_mode)   ? kQidFolder
                  : S_ISLNK(a.st_mode) ? kQidLink
                                       : kQidFile,
          .version = static_cast<u32>(a.st_mtim.tv_sec ^ (a.st_size << 8)),
          .path = a.st_ino ^ device};
}

int P9Server::qid_of(const FolderPath& path, P9Qid& qid) const {
  struct stat a;
  const int error = folder_.attributes(path, a);
  if (!error) qid = qid_of(a);
  return error;
}

int P9Server::stat_of(const Fid& f, struct stat& out) const {
  if (f.kind == FidKind::File) return folder_.attributes(f.file.get(), f.path, out);
  if (f.kind == FidKind::Folder) return folder_.attributes(::dirfd(f.folder.get()), f.path, out);
  return folder_.attributes(f.path, out);
}

int P9Server::attach(P9Reader& in, P9Writer& out) {
  const u32 number = in.get<u32>();
  (void)in.get<u32>();  // of authentication
  (void)in.text();
  (void)in.text();
  if (!in.ok()) return EPROTO;
  P9Qid qid;
  if (const int error = qid_of(FolderPath{}, qid)) return error;
  if (!new_fid(number)) return EINVAL;
  out.qid(qid);
  return 0;
}

// Each name exists when it is passed; ".." of the shared folder is itself.
int P9Server::walk(P9Reader& in, P9Writer& out) {
  const u32 number = in.get<u32>(), new_number = in.get<u32>();
  const u16 count = in.get<u16>();
  Fid* from = fid(number);
  if (!from || count > kMostNames) return from ? EINVAL : EBADF;
  if (new_number != number && fid(new_number)) return EINVAL;
  FolderPath path = from->path;
  std::vector<P9Qid> qids;
  for (u16 i = 0; i < count; i++) {
    const std::string name = in.text();
    if (!in.ok()) return EPROTO;
    int error = 0;
    if (name == "..") {
      if (!path.empty()) path.pop_back();
    } else if (!folder_.valid_name(name)) {
      error = ENOENT;
    } else {
      path.push_back(name);
    }
    P9Qid qid;
    if (!error) error = qid_of(path, qid);
    if (error && i == 0) return error;
    if (error) break;
    qids.push_back(qid);
  }
  if (qids.size() == count) {
    if (number == new_number) {
      if (from->kind != FidKind::Plain) return EBUSY;
      from->path = std::move(path);
    } else {
      Fid* made = new_fid(new_number);
      if (!made) return ENFILE;
      made->path = std::move(path);
    }
  }
  out.put(static_cast<u16>(qids.size()));
  for (const P9Qid& qid : qids) out.qid(qid);
  return 0;
}

// An extended attribute is written when its fid is let go.
int P9Server::let_go(u32 number) {
  Fid* f = fid(number);
  if (!f) return EBADF;
  int error = 0;
  if (f->kind == FidKind::WriteXattr)
    error = f->xattr_size == 0
                ? folder_.remove_xattr(f->path, f->xattr)
                : folder_.set_xattr(f->path, f->xattr, f->value, static_cast<int>(f->xattr_flags));
  fids_.erase(number);
  return error;
}

int P9Server::clunk(P9Reader& in, P9Writer&) { return let_go(in.get<u32>()); }

int P9Server::remove(P9Reader& in, P9Writer&) {
  const u32 number = in.get<u32>();
  Fid* f = fid(number);
  if (!f) return EBADF;
  struct stat a;
  int error = folder_.readonly() ? EROFS : folder_.attributes(f->path, a);
  if (!error)
    error = folder_.remove(f->path, S_ISDIR(a.st_mode) ? Folder::Kind::Folder : Folder::Kind::File);
  fids_.erase(number);
  return error;
}

int P9Server::open_fid(Fid& f) {
  struct stat a;
  if (const int error = folder_.attributes(f.path, a)) return error;
  UniqueFd fd;
  const bool is_folder = S_ISDIR(a.st_mode);
  const int flags = is_folder ? O_RDONLY | O_DIRECTORY : static_cast<int>(f.flags & kOpenFlags);
  if (const int error = folder_.open_file(f.path, flags, fd)) return error;
  if (is_folder) {
    DIR* const folder = ::fdopendir(fd.get());
    if (!folder) return errno;
    (void)fd.release();
    f.folder.reset(folder);
    f.kind = FidKind::Folder;
  } else {
    f.file = std::move(fd);
    f.kind = FidKind::File;
  }
  return 0;
}

int P9Server::open(P9Reader& in, P9Writer& out) {
  Fid* f = fid(in.get<u32>());
  const u32 flags = in.get<u32>();
  if (!in.ok() || !f) return EBADF;
  if (f->kind != FidKind::Plain) return EBUSY;
  if (folder_.readonly() && writes(flags)) return EROFS;
  f->flags = flags;
  if (const int error = open_fid(*f)) return error;
  struct stat a;
  if (const int error = stat_of(*f, a)) return error;
  out.qid(qid_of(a)).put<u32>(0);
  return 0;
}

// A name in the folder of a fid, for something new or to be taken away.
int P9Server::child(u32 number, const std::string& name, FolderPath& path) {
  const Fid* f = fid(number);
  if (!f) return EBADF;
  if (folder_.readonly()) return EROFS;
  if (!folder_.valid_name(name)) return name.empty() ? ENOENT : EINVAL;
  path = f->path;
  path.push_back(name);
  return 0;
}

int P9Server::create(P9Reader& in, P9Writer& out) {
  const u32 number = in.get<u32>();
  const std::string name = in.text();
  const u32 flags = in.get<u32>(), mode = in.get<u32>(), gid = in.get<u32>();
  FolderPath path;
  if (!in.ok()) return EPROTO;
  if (const int error = child(number, name, path)) return error;
  Fid& f = *fid(number);
  if (f.kind != FidKind::Plain) return EBUSY;
  struct stat parent;
  if (const int error = folder_.attributes(f.path, parent)) return error;
  UniqueFd file;
  const int how = static_cast<int>(flags & kOpenFlags & ~u32{O_DIRECTORY});
  if (const int error = folder_.create(path, how, mode, {parent.st_uid, gid}, file)) return error;
  f.path = std::move(path);
  f.flags = flags;
  f.kind = FidKind::File;
  f.file = std::move(file);
  struct stat a;
  if (const int error = stat_of(f, a)) return error;
  out.qid(qid_of(a)).put<u32>(0);
  return 0;
}

int P9Server::read(P9Reader& in, P9Writer& out) {
  const Fid* f = fid(in.get<u32>());
  const u64 offset = in.get<u64>();
  const u32 count = std::min(in.get<u32>(), message_size_ - kDataHeader);
  if (!in.ok() || !f) return EBADF;
  if (f->kind == FidKind::ReadXattr) {
    const u64 from = std::min<u64>(offset, f->value.size());
    const u64 size = std::min<u64>(count, f->value.size() - from);
    out.put(static_cast<u32>(size)).bytes(ConstBytes(f->value).subspan(from, size));
    return 0;
  }
  if (f->kind != FidKind::File) return f->kind == FidKind::Folder ? EISDIR : EBADF;
  out.put<u32>(0);
  const size_t at = out.size();
  out.out().resize(at + count);
  const ssize_t size =
      ::pread(f->file.get(), out.out().data() + at, count, static_cast<off_t>(offset));
  if (size < 0) return errno;
  out.truncate(at + static_cast<size_t>(size));
  store_le(Bytes(out.out()), at - 4, static_cast<u32>(size));
  return 0;
}

int P9Server::write(P9Reader& in, P9Writer& out) {
  Fid* f = fid(in.get<u32>());
  const u64 offset = in.get<u64>();
  const u32 count = in.get<u32>();
  const ConstBytes data = in.take(count);
  if (!in.ok() || !f) return EBADF;
  if (f->kind == FidKind::WriteXattr) {
    if (offset > f->xattr_size || count > f->xattr_size - offset) return ENOSPC;
    if (f->value.size() < offset + count) f->value.resize(offset + count);
    std::ranges::copy(data, f->value.begin() + static_cast<ptrdiff_t>(offset));
    out.put(count);
    return 0;
  }
  if (f->kind != FidKind::File) return EBADF;
  const ssize_t size = ::pwrite(f->file.get(), data.data(), count, static_cast<off_t>(offset));
  if (size < 0) return errno;
  out.put(static_cast<u32>(size));
  return 0;
}

bool P9Server::put_entry(const Fid& f, const struct dirent& entry, P9Writer& out, u32 most) const {
  const std::string_view name = entry.d_name;
  FolderPath path = f.path;
  if (name == "..") {
    if (!path.empty()) path.pop_back();
  } else if (name != ".") {
    if (!folder_.valid_name(name)) return true;  // hidden
    path.emplace_back(name);
  }
  P9Qid qid;
  if (qid_of(path, qid)) return true;  // gone meanwhile
  constexpr u32 kFixed = 13 + 8 + 1 + 2;
  if (out.size() + kFixed + name.size() > most) return false;
  out.qid(qid)
      .put(static_cast<u64>(entry.d_off))
      .put(qid.type == kQidFolder ? u8{DT_DIR}
           : qid.type == kQidLink ? u8{DT_LNK}
                                  : entry.d_type)
      .text(name);
  return true;
}

int P9Server::read_folder(P9Reader& in, P9Writer& out) {
  const Fid* f = fid(in.get<u32>());
  const u64 offset = in.get<u64>();
  const u32 count = std::min(in.get<u32>(), message_size_ - kDataHeader);
  if (!in.ok() || !f) return EBADF;
  if (f->kind != FidKind::Folder) return ENOTDIR;
  if (offset == 0)
    ::rewinddir(f->folder.get());
  else
    ::seekdir(f->folder.get(), static_cast<long>(offset));
  out.put<u32>(0);
  const size_t at = out.size();
  while (const struct dirent* entry = ::readdir(f->folder.get()))
    if (!put_entry(*f, *entry, out, static_cast<u32>(at + count))) break;
  store_le(Bytes(out.out()), at - 4, static_cast<u32>(out.size() - at));
  return 0;
}

int P9Server::sync(P9Reader& in, P9Writer&) {
  const Fid* f = fid(in.get<u32>());
  const bool content_only = in.get<u32>() != 0;
  if (!in.ok() || !f) return EBADF;
  const int fd = f->kind == FidKind::File     ? f->file.get()
                 : f->kind == FidKind::Folder ? ::dirfd(f->folder.get())
                                              : -1;
  if (fd < 0) return EBADF;
  return (content_only ? ::fdatasync(fd) : ::fsync(fd)) < 0 ? errno : 0;
}

int P9Server::usage(P9Reader& in, P9Writer& out) {
  const Fid* f = fid(in.get<u32>());
  if (!in.ok() || !f) return EBADF;
  struct statvfs s;
  if (const int error = folder_.usage(f->path, s)) return error;
  constexpr u32 kMagic = 0x01021997;  // of 9P, to Linux
  out.put(kMagic)
      .put(static_cast<u32>(s.f_bsize))
      .put<u64>(s.f_blocks)
      .put<u64>(s.f_bfree)
      .put<u64>(s.f_bavail)
      .put<u64>(s.f_files)
      .put<u64>(s.f_ffree)
      .put<u64>(s.f_fsid)
      .put(static_cast<u32>(std::min<u64>(s.f_namemax, 255)));
  return 0;
}

int P9Server::attributes(P9Reader& in, P9Writer& out) {
  const Fid* f = fid(in.get<u32>());
  (void)in.get<u64>();  // all that we have is told
  if (!in.ok() || !f) return EBADF;
  struct stat a;
  if (const int error = stat_of(*f, a)) return error;
  const auto time = [&](const struct timespec& t) {
    out.put(static_cast<u64>(t.tv_sec)).put(static_cast<u64>(t.tv_nsec));
  };
  out.put(kGetattrBasic)
      .qid(qid_of(a))
      .put<u32>(a.st_mode)
      .put<u32>(a.st_uid)
      .put<u32>(a.st_gid)
      .put<u64>(a.st_nlink)
      .put<u64>(a.st_rdev)
      .put<u64>(static_cast<u64>(a.st_size))
      .put<u64>(static_cast<u64>(a.st_blksize))
      .put<u64>(static_cast<u64>(a.st_blocks));
  time(a.st_atim);
  time(a.st_mtim);
  time(a.st_ctim);
  out.put<u64>(0).put<u64>(0).put<u64>(0).put<u64>(0);  // birth, generation, version: not told
  return 0;
}

int P9Server::set_attributes(P9Reader& in, P9Writer&) {
  const Fid* f = fid(in.get<u32>());
  const u32 valid = in.get<u32>(), mode = in.get<u32>(), uid = in.get<u32>(), gid = in.get<u32>();
  const u64 size = in.get<u64>();
  struct timespec times[2];
  for (struct timespec& t : times) {
    t.tv_sec = static_cast<time_t>(in.get<u64>());
    t.tv_nsec = static_cast<long>(in.get<u64>());
  }
  if (!in.ok() || !f) return EBADF;
  if (folder_.readonly()) return EROFS;
  int error = 0;
  if (valid & kSetMode) error = folder_.set_mode(f->path, mode);
  if (!error && (valid & (kSetUid | kSetGid)))
    error = folder_.set_owner(f->path, valid & kSetUid ? uid : ~0u, valid & kSetGid ? gid : ~0u);
  if (!error && (valid & kSetSize)) {
    const bool open_to_write = f->kind == FidKind::File && (f->flags & O_ACCMODE) != O_RDONLY;
    error = !open_to_write ? folder_.set_size(f->path, size)
            : ::ftruncate(f->file.get(), static_cast<off_t>(size)) < 0 ? errno
                                                                       : 0;
  }
  if (!error && (valid & (kSetAtime | kSetMtime))) {
    const auto choose = [&](struct timespec& t, u32 set, u32 given) {
      if (!(valid & set))
        t.tv_nsec = UTIME_OMIT;
      else if (!(valid & given))
        t.tv_nsec = UTIME_NOW;
    };
    choose(times[0], kSetAtime, kAtimeGiven);
    choose(times[1], kSetMtime, kMtimeGiven);
    error = folder_.set_times(f->path, times);
  }
  return error;
}

int P9Server::make_symlink(P9Reader& in, P9Writer& out) {
  const u32 number = in.get<u32>();
  const std::string name = in.text(), target = in.text();
  const u32 gid = in.get<u32>();
  FolderPath path;
  P9Qid qid;
  int error = in.ok() ? child(number, name, path) : EPROTO;
  if (!error) error = target.find('\0') != target.npos ? EINVAL : 0;
  if (!error) error = folder_.make_symlink(path, target, {0, gid});
  if (!error) error = qid_of(path, qid);
  if (!error) out.qid(qid);
  return error;
}

int P9Server::make_node(P9Reader& in, P9Writer& out) {
  const u32 number = in.get<u32>();
  const std::string name = in.text();
  const u32 mode = in.get<u32>(), major = in.get<u32>(), minor = in.get<u32>(), gid = in.get<u32>();
  FolderPath path;
  P9Qid qid;
  int error = in.ok() ? child(number, name, path) : EPROTO;
  if (!error) error = S_ISDIR(mode) || S_ISLNK(mode) ? EINVAL : 0;
  if (!error) error = folder_.make_node(path, mode, makedev(major, minor), {0, gid});
  if (!error) error = qid_of(path, qid);
  if (!error) out.qid(qid);
  return error;
}

int P9Server::make_folder(P9Reader& in, P9Writer& out) {
  const u32 number = in.get<u32>();
  const std::string name = in.text();
  const u32 mode = in.get<u32>(), gid = in.get<u32>();
  FolderPath path;
  P9Qid qid;
  int error = in.ok() ? child(number, name, path) : EPROTO;
  if (!error) error = folder_.make_folder(path, mode, {0, gid});
  if (!error) error = qid_of(path, qid);
  if (!error) out.qid(qid);
  return error;
}

int P9Server::read_link(P9Reader& in, P9Writer& out) {
  const Fid* f = fid(in.get<u32>());
  if (!in.ok() || !f) return EBADF;
  std::string target;
  if (const int error = folder_.read_link(f->path, target)) return error;
  out.text(target);
  return 0;
}

int P9Server::link(P9Reader& in, P9Writer&) {
  const u32 number = in.get<u32>();
  const Fid* from = fid(in.get<u32>());
  const std::string name = in.text();
  FolderPath path;
  if (!in.ok() || !from) return EBADF;
  if (const int error = child(number, name, path)) return error;
  return folder_.link(from->path, path);
}

// Fids go along with what they name.
int P9Server::move(const FolderPath& from, const FolderPath& to) {
  if (const int error = folder_.rename(from, to)) return error;
  for (auto& [number, f] : fids_) {
    if (!begins_with(f.path, from)) continue;
    FolderPath path = to;
    path.insert(path.end(), f.path.begin() + static_cast<ptrdiff_t>(from.size()), f.path.end());
    f.path = std::move(path);
  }
  return 0;
}

int P9Server::rename(P9Reader& in, P9Writer&) {
  const Fid* from = fid(in.get<u32>());
  const u32 folder = in.get<u32>();
  const std::string name = in.text();
  FolderPath path;
  if (!in.ok() || !from) return EBADF;
  if (const int error = child(folder, name, path)) return error;
  return move(FolderPath(from->path), path);
}

int P9Server::rename_at(P9Reader& in, P9Writer&) {
  const u32 old_folder = in.get<u32>();
  const std::string old_name = in.text();
  const u32 new_folder = in.get<u32>();
  const std::string new_name = in.text();
  FolderPath from, to;
  if (!in.ok()) return EPROTO;
  if (const int error = child(old_folder, old_name, from)) return error;
  if (const int error = child(new_folder, new_name, to)) return error;
  return move(from, to);
}

int P9Server::unlink_at(P9Reader& in, P9Writer&) {
  const u32 number = in.get<u32>();
  const std::string name = in.text();
  const u32 flags = in.get<u32>();
  FolderPath path;
  if (!in.ok()) return EPROTO;
  if (const int error = child(number, name, path)) return error;
  return folder_.remove(path, flags & kRemoveFolder ? Folder::Kind::Folder : Folder::Kind::File);
}

int P9Server::walk_xattr(P9Reader& in, P9Writer& out) {
  const Fid* f = fid(in.get<u32>());
  const u32 number = in.get<u32>();
  const std::string name = in.text();
  if (!in.ok() || !f) return EBADF;
  std::vector<std::byte> value;
  if (name.find('\0') != name.npos) return EINVAL;
  if (const int error = folder_.get_xattr(f->path, name, value)) return error;
  FolderPath path = f->path;
  Fid* made = new_fid(number);
  if (!made) return EINVAL;
  made->path = std::move(path);
  made->kind = FidKind::ReadXattr;
  made->value = std::move(value);
  out.put<u64>(made->value.size());
  return 0;
}

int P9Server::create_xattr(P9Reader& in, P9Writer&) {
  Fid* f = fid(in.get<u32>());
  const std::string name = in.text();
  const u64 size = in.get<u64>();
  const u32 flags = in.get<u32>();
  if (!in.ok() || !f) return EBADF;
  if (folder_.readonly()) return EROFS;
  if (f->kind != FidKind::Plain || name.find('\0') != name.npos) return EINVAL;
  if (size > kMostXattr) return ENOSPC;
  f->kind = FidKind::WriteXattr;
  f->xattr = name;
  f->xattr_size = size;
  f->xattr_flags = flags & kXattrFlags;
  return 0;
}

int P9Server::lock(P9Reader& in, P9Writer& out) {
  const Fid* f = fid(in.get<u32>());
  if (!in.ok() || !f) return EBADF;
  out.put<u8>(0);  // granted
  return 0;
}

int P9Server::get_lock(P9Reader& in, P9Writer& out) {
  const Fid* f = fid(in.get<u32>());
  (void)in.get<u8>();
  const u64 start = in.get<u64>(), length = in.get<u64>();
  const u32 process = in.get<u32>();
  const std::string client = in.text();
  if (!in.ok() || !f) return EBADF;
  out.put(kUnlocked).put(start).put(length).put(process).text(client);
  return 0;
}

}  // namespace menura
