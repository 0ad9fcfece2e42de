// P9Server: serves a folder in 9P2000.L, the dialect of Linux's v9fs.
//
// Owner: the machine. Threads: submit() and the rest under the machine lock; the messages are worked
// at one after the other on a worker, which alone touches fids and folder meanwhile. Source: 9P2000
// intro(5), diod's protocol.md. Deviations: no authentication; byte-range locks are granted without
// being taken on the host, there is but one guest. Example:
//   P9Server share(workers, std::move(folder));
#pragma once

#include <dirent.h>

#include <deque>
#include <map>
#include <memory>
#include <variant>

#include "event/event_loop.h"
#include "event/worker_pool.h"
#include "io/file_share.h"
#include "share/folder.h"
#include "share/p9_message.h"

namespace menura {

class P9Server final : public FileShare {
 public:
  static constexpr u32 kMostFids = 65536;
  static constexpr u32 kMostMessage = 1 << 20;

  P9Server(EventLoop& loop, WorkerPool& workers, Folder folder);
  ~P9Server() override;

  void submit(std::vector<std::byte> message, u32 most, Reply done) override;
  void drain() override;
  void reset() override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;

 private:
  struct CloseFolder {
    void operator()(DIR* folder) const { ::closedir(folder); }
  };
  enum class FidKind : u8 { Plain, File, Folder, ReadXattr, WriteXattr };
  struct Fid {
    FolderPath path;
    FidKind kind = FidKind::Plain;
    u32 flags = 0;  // of its opening
    std::string xattr = {};
    u64 xattr_size = 0;
    u32 xattr_flags = 0;
    std::vector<std::byte> value = {};
    UniqueFd file = {};
    std::unique_ptr<DIR, CloseFolder> folder = {};
  };
  // What a fid is in a saved state.
  struct SavedFid {
    u32 number = 0;
    FolderPath path;
    FidKind kind = FidKind::Plain;
    u32 flags = 0;
    std::string xattr;
    u64 xattr_size = 0;
    u32 xattr_flags = 0;
    std::vector<std::byte> value;
    void describe(StateVisitor& v);
  };
  struct Job {
    std::vector<std::byte> message;
    u32 most = 0;
    Reply done;
    std::vector<std::byte> reply = {};
  };

  void start_next();
  std::vector<std::byte> answer(ConstBytes message, u32 most);
  int dispatch(u8 type, P9Reader& in, P9Writer& out);

  // Each reads its message and gives 0 or an errno.
  int version(P9Reader& in, P9Writer& out);
  int attach(P9Reader& in, P9Writer& out);
  int walk(P9Reader& in, P9Writer& out);
  int clunk(P9Reader& in, P9Writer& out);
  int remove(P9Reader& in, P9Writer& out);
  int open(P9Reader& in, P9Writer& out);
  int create(P9Reader& in, P9Writer& out);
  int read(P9Reader& in, P9Writer& out);
  int write(P9Reader& in, P9Writer& out);
  int read_folder(P9Reader& in, P9Writer& out);
  int sync(P9Reader& in, P9Writer& out);
  int usage(P9Reader& in, P9Writer& out);
  int attributes(P9Reader& in, P9Writer& out);
  int set_attributes(P9Reader& in, P9Writer& out);
  int make_symlink(P9Reader& in, P9Writer& out);
  int make_node(P9Reader& in, P9Writer& out);
  int make_folder(P9Reader& in, P9Writer& out);
  int read_link(P9Reader& in, P9Writer& out);
  int link(P9Reader& in, P9Writer& out);
  int rename(P9Reader& in, P9Writer& out);
  int rename_at(P9Reader& in, P9Writer& out);
  int unlink_at(P9Reader& in, P9Writer& out);
  int walk_xattr(P9Reader& in, P9Writer& out);
  int create_xattr(P9Reader& in, P9Writer& out);
  int lock(P9Reader& in, P9Writer& out);
  int get_lock(P9Reader& in, P9Writer& out);

  Fid* fid(u32 number);
  // A new one; null: the number is taken, or there are too many.
  Fid* new_fid(u32 number);
  int let_go(u32 number);
  int child(u32 folder, const std::string& name, FolderPath& path);
  int stat_of(const Fid& fid, struct stat& out) const;
  int qid_of(const FolderPath& path, P9Qid& qid) const;
  P9Qid qid_of(const struct stat& attributes) const;
  int move(const FolderPath& from, const FolderPath& to);
  int open_fid(Fid& fid);
  bool put_entry(const Fid& fid, const struct dirent& entry, P9Writer& out, u32 most) const;

  // Wiring
  EventLoop& loop_;
  WorkerPool& workers_;
  Folder folder_;
  std::deque<Job> jobs_;  // the first one is at work
  u64 root_device_ = 0;   // of the shared folder

  // State
  std::map<u32, Fid> fids_;
  std::vector<SavedFid> loaded_;
  u32 message_size_ = 8192;
};

}  // namespace menura
