// The 9P server, message by message, and folders that a guest tries to leave.
#include "share/p9_server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "base/units.h"
#include "event/machine_lock.h"
#include "event/tape.h"
#include "state/tree.h"

namespace menura {
namespace {

using Security = FolderOptions::Security;
namespace fs = std::filesystem;

enum : u8 {
  kLopen = 12,
  kLcreate = 14,
  kSymlink = 16,
  kMknod = 18,
  kGetattr = 24,
  kReadlink = 22,
  kXattrWalk = 30,
  kXattrCreate = 32,
  kReaddir = 40,
  kLink = 70,
  kMkdir = 72,
  kRenameAt = 74,
  kUnlinkAt = 76,
  kVersion = 100,
  kAttach = 104,
  kWalk = 110,
  kRead = 116,
  kWrite = 118,
  kClunk = 120,
};

struct P9ServerTest : testing::Test {
  P9ServerTest() {
    std::string name = testing::TempDir() + "menura_share_XXXXXX";
    top = ::mkdtemp(name.data());
    fs::create_directory(top / "shared");
    fs::create_directory(top / "shared/folder");
    std::ofstream(top / "secret") << "not for the guest";
    std::ofstream(top / "shared/file") << "content";
    serve(Security::None);
  }
  ~P9ServerTest() override {
    server.reset();
    fs::remove_all(top);
  }
  void serve(Security security, bool readonly = false) {
    server.reset();
    server = std::make_unique<P9Server>(
        *loop, *workers,
        Folder::open({.path = top / "shared", .security = security, .readonly = readonly}).value());
    EXPECT_EQ(call(kVersion, P9Writer().put<u32>(65536).text("9P2000.L")), 0);
    EXPECT_EQ(call(kAttach, P9Writer().put<u32>(0).put(~u32{0}).text("").text("").put<u32>(0)), 0);
  }
  // The error, or 0; the reply's body in `reply`.
  int call(u8 type, P9Writer body) {
    P9Writer message;
    message.put(static_cast<u32>(7 + body.size())).put(type).put<u16>(1).bytes(body.out());
    send(message.out());
    EXPECT_GE(reply.size(), 7u);
    EXPECT_EQ(load_le<u32>(reply, 0), reply.size());
    EXPECT_EQ(load_le<u16>(reply, 5), 1u);
    const u8 answer = load_le<u8>(reply, 4);
    reply.erase(reply.begin(), reply.begin() + 7);
    if (answer == 7) return static_cast<int>(load_le<u32>(reply, 0));
    EXPECT_EQ(answer, type + 1);
    return 0;
  }
  void send(std::vector<std::byte> message) {
    server->submit(std::move(message), 1 << 20,
                   [&](std::vector<std::byte> r) { reply = std::move(r); });
    server->drain();
  }
  int walk(u32 from, u32 to, std::vector<std::string> names) {
    P9Writer body;
    body.put(from).put(to).put(static_cast<u16>(names.size()));
    for (const std::string& name : names) body.text(name);
    return call(kWalk, body);
  }
  int open(u32 fid, u32 flags = O_RDONLY) { return call(kLopen, P9Writer().put(fid).put(flags)); }
  int create(u32 fid, const std::string& name, u32 mode = 0644) {
    return call(kLcreate, P9Writer().put(fid).text(name).put<u32>(O_RDWR).put(mode).put<u32>(7));
  }
  int clunk(u32 fid) { return call(kClunk, P9Writer().put(fid)); }
  std::string read(u32 fid) {
    EXPECT_EQ(call(kRead, P9Writer().put(fid).put<u64>(0).put<u32>(4096)), 0);
    P9Reader in(reply);
    const ConstBytes data = in.take(in.get<u32>());
    return {reinterpret_cast<const char*>(data.data()), data.size()};
  }
  int write(u32 fid, std::string_view text) {
    return call(kWrite, P9Writer()
                            .put(fid)
                            .put<u64>(0)
                            .put(static_cast<u32>(text.size()))
                            .bytes(std::as_bytes(std::span(text))));
  }
  struct Attributes {
    u32 mode, uid, gid;
    u64 rdev;
  };
  Attributes attributes(u32 fid) {
    EXPECT_EQ(call(kGetattr, P9Writer().put(fid).put<u64>(0x7ff)), 0);
    return {load_le<u32>(reply, 21), load_le<u32>(reply, 25), load_le<u32>(reply, 29),
            load_le<u64>(reply, 41)};
  }
  std::vector<std::string> names(u32 fid) {
    EXPECT_EQ(call(kReaddir, P9Writer().put(fid).put<u64>(0).put<u32>(8192)), 0);
    P9Reader in(reply);
    P9Reader entries(in.take(in.get<u32>()));
    std::vector<std::string> found;
    for (;;) {
      entries.take(13 + 8 + 1);
      const std::string name = entries.text();
      if (!entries.ok()) break;
      found.push_back(name);
    }
    std::ranges::sort(found);
    return found;
  }

  MachineLock lock;
  LiveTape tape;
  std::unique_ptr<EventLoop> loop = EventLoop::create(tape, lock).value();
  MachineLock::Guard guard{lock};
  std::unique_ptr<WorkerPool> workers = std::make_unique<WorkerPool>(*loop, 1);
  fs::path top;
  std::unique_ptr<P9Server> server;
  std::vector<std::byte> reply;
};

TEST_F(P9ServerTest, ReadsAndWrites) {
  EXPECT_EQ(walk(0, 1, {"file"}), 0);
  EXPECT_EQ(open(1, O_RDWR), 0);
  EXPECT_EQ(read(1), "content");
  EXPECT_EQ(write(1, "CON"), 0);
  EXPECT_EQ(read(1), "CONtent");
  EXPECT_EQ(clunk(1), 0);
  EXPECT_EQ(clunk(1), EBADF);
  EXPECT_EQ(walk(0, 1, {"nothing"}), ENOENT);
  EXPECT_EQ(walk(0, 1, {"folder", "nothing"}), 0) << "as far as it goes";
  EXPECT_EQ(load_le<u16>(reply, 0), 1u);
  EXPECT_EQ(clunk(1), EBADF) << "and makes no fid";
  EXPECT_EQ(walk(0, 2, {"folder"}), 0);
  EXPECT_EQ(create(2, "new", 0640), 0);
  EXPECT_EQ(write(2, "fresh"), 0);
  EXPECT_EQ(attributes(2).mode, S_IFREG | 0640u);
  EXPECT_EQ(fs::file_size(top / "shared/folder/new"), 5u);
  EXPECT_EQ(walk(0, 3, {}), 0);
  EXPECT_EQ(open(3), 0);
  EXPECT_EQ(names(3), (std::vector<std::string>{".", "..", "file", "folder"}));
}

TEST_F(P9ServerTest, NamesDoNotLeadOut) {
  EXPECT_EQ(walk(0, 1, {"..", "secret"}), 0);
  EXPECT_EQ(load_le<u16>(reply, 0), 1u) << "the folder is its own parent";
  EXPECT_EQ(clunk(1), EBADF);
  for (const char* name : {"../secret", "/etc/passwd", "folder/../../secret", "", "."})
    EXPECT_EQ(walk(0, 1, {name}), ENOENT) << name;
  EXPECT_EQ(walk(0, 1, {}), 0);
  for (const char* name : {"../out", "..", "/tmp/out", "a/b"}) {
    EXPECT_EQ(create(1, name), EINVAL) << name;
    EXPECT_EQ(call(kMkdir, P9Writer().put<u32>(1).text(name).put<u32>(0700).put<u32>(0)), EINVAL);
    EXPECT_EQ(call(kUnlinkAt, P9Writer().put<u32>(1).text(name).put<u32>(0)), EINVAL);
    EXPECT_EQ(call(kRenameAt, P9Writer().put<u32>(1).text("file").put<u32>(1).text(name)), EINVAL);
  }
}

TEST_F(P9ServerTest, LinksDoNotLeadOut) {
  fs::create_symlink("..", top / "shared/up");
  fs::create_symlink(top / "secret", top / "shared/away");
  fs::create_symlink("file", top / "shared/near");
  EXPECT_EQ(walk(0, 1, {"up", "secret"}), 0);
  EXPECT_EQ(load_le<u16>(reply, 0), 1u) << "the link is there, what is behind it is not";
  EXPECT_EQ(walk(0, 2, {"away"}), 0);
  EXPECT_EQ(open(2), ENXIO) << "the guest follows links, in its own tree";
  EXPECT_EQ(walk(0, 3, {"near"}), 0);
  EXPECT_EQ(open(3), ENXIO);
  EXPECT_EQ(call(kReadlink, P9Writer().put<u32>(2)), 0);
  EXPECT_EQ(P9Reader(reply).text(), top / "secret");
  EXPECT_EQ(walk(0, 4, {"up"}), 0);
  EXPECT_NE(create(4, "planted"), 0);
  EXPECT_FALSE(fs::exists(top / "planted"));
  // A folder that becomes a link while it is known.
  EXPECT_EQ(walk(0, 5, {"folder"}), 0);
  fs::remove(top / "shared/folder");
  fs::create_symlink("..", top / "shared/folder");
  EXPECT_NE(create(5, "planted"), 0);
  EXPECT_NE(walk(5, 6, {"secret"}), 0);
  EXPECT_FALSE(fs::exists(top / "planted"));
}

TEST_F(P9ServerTest, OpensNoPipes) {
  ASSERT_EQ(::mkfifo((top / "shared/pipe").c_str(), 0600), 0);
  EXPECT_EQ(walk(0, 1, {"pipe"}), 0);
  EXPECT_EQ(open(1), ENXIO);
}

TEST_F(P9ServerTest, ReadOnlyMeansIt) {
  serve(Security::None, true);
  EXPECT_EQ(walk(0, 1, {"file"}), 0);
  EXPECT_EQ(open(1, O_RDWR), EROFS);
  EXPECT_EQ(open(1, O_TRUNC), EROFS);
  EXPECT_EQ(create(0, "new"), EROFS);
  EXPECT_EQ(call(kUnlinkAt, P9Writer().put<u32>(0).text("file").put<u32>(0)), EROFS);
  EXPECT_EQ(open(1), 0);
  EXPECT_EQ(read(1), "content");
}

TEST_F(P9ServerTest, MappedModelsKeepOwnersBeside) {
  for (const Security security : {Security::MappedXattr, Security::MappedFile}) {
    serve(security);
    const std::string name = security == Security::MappedFile ? "file_model" : "xattr_model";
    EXPECT_EQ(call(kMknod, P9Writer()
                               .put<u32>(0)
                               .text(name)
                               .put<u32>(S_IFCHR | 0640)
                               .put<u32>(5)
                               .put<u32>(1)
                               .put<u32>(42)),
              0);
    EXPECT_EQ(walk(0, 1, {name}), 0);
    const Attributes device = attributes(1);
    EXPECT_EQ(device.mode, S_IFCHR | 0640u);
    EXPECT_EQ(device.gid, 42u);
    EXPECT_EQ(device.rdev, 0x501u);
    EXPECT_TRUE(fs::is_regular_file(top / "shared" / name));
    EXPECT_EQ(call(kSymlink, P9Writer().put<u32>(0).text(name + "l").text("/etc").put<u32>(0)), 0);
    EXPECT_TRUE(fs::is_regular_file(top / "shared" / (name + "l")));
    EXPECT_EQ(walk(0, 2, {name + "l"}), 0);
    EXPECT_EQ(attributes(2).mode & S_IFMT, u32{S_IFLNK});
    EXPECT_EQ(call(kReadlink, P9Writer().put<u32>(2)), 0);
    EXPECT_EQ(P9Reader(reply).text(), "/etc");
    EXPECT_EQ(call(kRenameAt, P9Writer().put<u32>(0).text(name).put<u32>(0).text(name + "2")), 0);
    EXPECT_EQ(attributes(1).gid, 42u) << "fid and owner went along";
    EXPECT_EQ(call(kXattrWalk, P9Writer().put<u32>(1).put<u32>(3).text("")), 0);
    EXPECT_EQ(load_le<u64>(reply, 0), 0u) << "what we keep is not shown";
    EXPECT_EQ(walk(0, 4, {}), 0);
    EXPECT_EQ(open(4), 0);
    for (const std::string& entry : names(4)) EXPECT_NE(entry, ".virtfs_metadata");
    EXPECT_EQ(walk(0, 5, {".virtfs_metadata"}), security == Security::MappedFile ? ENOENT : ENOENT);
  }
}

TEST_F(P9ServerTest, ExtendedAttributes) {
  EXPECT_EQ(walk(0, 1, {"file"}), 0);
  EXPECT_EQ(call(kXattrCreate, P9Writer().put<u32>(1).text("user.colour").put<u64>(4).put<u32>(0)),
            0);
  EXPECT_EQ(write(1, "blue!"), ENOSPC);
  EXPECT_EQ(write(1, "blue"), 0);
  EXPECT_EQ(clunk(1), 0);
  EXPECT_EQ(walk(0, 1, {"file"}), 0);
  EXPECT_EQ(call(kXattrWalk, P9Writer().put<u32>(1).put<u32>(2).text("user.colour")), 0);
  EXPECT_EQ(load_le<u64>(reply, 0), 4u);
  EXPECT_EQ(read(2), "blue");
}

TEST_F(P9ServerTest, SavesWhatIsOpen) {
  EXPECT_EQ(walk(0, 1, {"file"}), 0);
  EXPECT_EQ(open(1, O_RDWR), 0);
  struct Holder {
    P9Server& server;
    void describe(StateVisitor& v) { server.describe(v); }
  };
  Holder holder{*server};
  const StateTree state = save_state(holder, "share", 1);
  const Security security = Security::None;
  auto other = std::make_unique<P9Server>(
      *loop, *workers, Folder::open({.path = top / "shared", .security = security}).value());
  Holder other_holder{*other};
  ASSERT_TRUE(load_state(other_holder, state));
  ASSERT_TRUE(other->restored());
  server = std::move(other);
  EXPECT_EQ(read(1), "content");
  EXPECT_EQ(write(1, "again"), 0);
}

// Messages of random bytes, and good ones with some of them changed.
TEST_F(P9ServerTest, SurvivesHostileMessages) {
  std::mt19937 random(1);
  constexpr u8 kTypes[] = {8,  12, 14, 16, 18, 20,  22,  24,  26,  30,  32,  40,  50,  52, 54,
                           70, 72, 74, 76, 99, 100, 102, 104, 108, 110, 116, 118, 120, 122};
  for (int i = 0; i < 4000; i++) {
    P9Writer body;
    for (unsigned n = random() % 8; n > 0; n--) {
      switch (random() % 4) {
        case 0: body.put(static_cast<u32>(random() % 4)); break;
        case 1: body.text(random() % 2 ? "file" : "folder"); break;
        case 2: body.put(static_cast<u64>(random() % 3 ? random() % 100 : ~u64{0})); break;
        default: body.put(static_cast<u16>(random())); break;
      }
    }
    P9Writer message;
    message.put(static_cast<u32>(7 + body.size()))
        .put(kTypes[random() % std::size(kTypes)])
        .put<u16>(1)
        .bytes(body.out());
    send(message.out());
    EXPECT_GE(reply.size(), 7u);
  }
  send({});
  EXPECT_TRUE(reply.empty());
  EXPECT_TRUE(fs::exists(top / "secret"));
}

}  // namespace
}  // namespace menura
