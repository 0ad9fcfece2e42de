// Folder: a folder of the host, seen through a security model, whose content is reached by paths that
// cannot lead out of it: each step is opened beneath the last one and follows no link.
//
// Owner: P9Server. Threads: one at a time. Functions give 0 or an errno, which goes to the guest.
// Source: open(2), path_resolution(7). Mapped models keep owner, mode and device number beside the
// file, in QEMU's form: extended attributes user.virtfs.*, or files in .virtfs_metadata. Example:
//   Folder folder = TRY(Folder::open({.path = "/srv", .security = FolderOptions::Security::None}));
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace menura {

struct FolderOptions {
  enum class Security : u8 { Passthrough, MappedXattr, MappedFile, None };
  std::string path;
  Security security = Security::None;
  bool readonly = false;
  u32 file_mode = 0600, folder_mode = 0700;  // on the host, of what mapped models make
};

// Names from the folder down; none is empty, ".", ".." or has a slash.
using FolderPath = std::vector<std::string>;

class Folder {
 public:
  struct Owner {
    u32 uid = 0, gid = 0;
  };

  static Result<Folder> open(const FolderOptions& options);
  // Whether a guest may use the name here.
  bool valid_name(std::string_view name) const;
  bool readonly() const { return options_.readonly; }

  int attributes(const FolderPath& path, struct stat& out) const;
  // Of an open file, with the path it was opened by.
  int attributes(int fd, const FolderPath& path, struct stat& out) const;
  int usage(const FolderPath& path, struct statvfs& out) const;
  int read_link(const FolderPath& path, std::string& target) const;
  // Files and folders only.
  int open_file(const FolderPath& path, int flags, UniqueFd& fd) const;
  int create(const FolderPath& path, int flags, u32 mode, Owner owner, UniqueFd& fd) const;
  int make_folder(const FolderPath& path, u32 mode, Owner owner) const;
  int make_node(const FolderPath& path, u32 mode, u64 device, Owner owner) const;
  int make_symlink(const FolderPath& path, const std::string& target, Owner owner) const;
  int link(const FolderPath& from, const FolderPath& to) const;
  int rename(const FolderPath& from, const FolderPath& to) const;
  enum class Kind : u8 { File, Folder };
  int remove(const FolderPath& path, Kind kind) const;
  int set_mode(const FolderPath& path, u32 mode) const;
  // ~0u: as it was.
  int set_owner(const FolderPath& path, u32 uid, u32 gid) const;
  int set_size(const FolderPath& path, u64 size) const;
  int set_times(const FolderPath& path, const struct timespec (&times)[2]) const;
  // Extended attributes; an empty name lists them.
  int get_xattr(const FolderPath& path, const std::string& name,
                std::vector<std::byte>& value) const;
  int set_xattr(const FolderPath& path, const std::string& name, ConstBytes value, int flags) const;
  int remove_xattr(const FolderPath& path, const std::string& name) const;

 private:
  // What a mapped model keeps beside the file.
  struct Mapping {
    std::optional<u32> uid = {}, gid = {}, mode = {};
    std::optional<u64> rdev = {};
  };

  explicit Folder(const FolderOptions& options, UniqueFd root)
      : options_(options), root_(std::move(root)) {}
  bool mapped() const {
    return options_.security == FolderOptions::Security::MappedXattr ||
           options_.security == FolderOptions::Security::MappedFile;
  }
  bool in_files() const { return options_.security == FolderOptions::Security::MappedFile; }
  // The thing itself, not what a link leads to; for naming only (O_PATH).
  int find(const FolderPath& path, UniqueFd& fd) const { return walk(path, path.size(), fd); }
  int find_parent(const FolderPath& path, UniqueFd& fd) const;
  int walk(const FolderPath& path, size_t steps, UniqueFd& fd) const;
  int finish_new(const FolderPath& path, u32 mode, Owner owner, u64 device = 0) const;
  void apply(const FolderPath& path, int fd, struct stat& out) const;
  Mapping load(const FolderPath& path, int fd) const;
  int store(const FolderPath& path, const Mapping& change) const;
  int metadata_folder(const FolderPath& path, bool make, UniqueFd& folder, std::string& name) const;
  Mapping load_file(const FolderPath& path) const;
  int store_file(const FolderPath& path, const Mapping& mapping) const;
  void forget(const FolderPath& path) const;
  bool hidden_xattr(std::string_view name) const;

  // Configuration
  FolderOptions options_;
  // Wiring
  UniqueFd root_;
};

}  // namespace menura
