#include "block/core/graph.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/fd.h"
#include "base/units.h"
#include "block/drivers.h"

namespace menura {
namespace {

struct GraphTest : testing::Test {
  GraphTest() {
    folder = std::filesystem::temp_directory_path() / format("menura-graph-{}", ::getpid());
    std::filesystem::create_directory(folder);
    path = (folder / "a.img").string();
    EXPECT_EQ(::ftruncate(open_file(path, O_RDWR | O_CREAT).value().get(), 1 << 20), 0);
  }
  ~GraphTest() override { std::filesystem::remove_all(folder); }
  Result<NodePtr> open(const std::string& json) { return graph.open(parse_json(json).value()); }
  std::string error_of(const std::string& json) {
    const Result<NodePtr> node = open(json);
    return node ? "" : node.error().text;
  }
  Graph graph{all_drivers()};
  std::filesystem::path folder;
  std::string path;
};

TEST_F(GraphTest, OpensNestedAndDottedOptions) {
  const NodePtr nested =
      open(
          format(
              R"({{"driver":"raw","node-name":"top","size":4096,"file":{{"driver":"file","filename":"{}","node-name":"f"}}}})",
              path))
          .value();
  EXPECT_EQ(nested->size(), 4096u);
  EXPECT_EQ(nested->filename(), path);
  EXPECT_EQ(graph.find("f"), nested->first_child());
  const NodePtr dotted =
      open(
          format(
              R"({{"driver":"raw","offset":"512k","read-only":true,"file.driver":"file","file.filename":"{}"}})",
              path))
          .value();
  EXPECT_EQ(dotted->size(), 512 * KiB);
  EXPECT_TRUE(dotted->first_child()->read_only()) << "children inherit";
}

TEST_F(GraphTest, OpensFileNames) {
  for (const std::string& name :
       {path, "file:" + path,
        format(R"(json:{{"driver":"raw","file.driver":"file","file.filename":"{}"}})", path)}) {
    const Result<NodePtr> node = graph.open_file(name);
    ASSERT_TRUE(node) << node.error().text;
    EXPECT_EQ(node.value()->driver().name, "raw");
    EXPECT_TRUE(node.value()->read_only());
  }
  EXPECT_NE(graph.open_file("nope:" + path).error().text.find("No driver serves 'nope:' names"),
            std::string::npos);
  EXPECT_FALSE(graph.open_file("json:{"));
  EXPECT_FALSE(graph.open_file(""));
}

TEST_F(GraphTest, SaysWhatIsWrong) {
  EXPECT_EQ(error_of(R"({"driver":"qcow9"})"),
            "No block driver is called 'qcow9' (did you mean 'qcow2'?)");
  EXPECT_EQ(error_of(R"({"driver":"null-co","sise":1})"),
            "driver 'null-co': there is no option 'sise' (did you mean 'size'?)");
  EXPECT_EQ(error_of(R"({"driver":"raw"})"), "driver 'raw' needs 'file': a node's name or options");
  EXPECT_EQ(error_of(R"({"driver":"raw","file":"gone"})"), "Cannot find a node named 'gone'");
  EXPECT_NE(error_of(R"({"driver":"null-co","node-name":"9x"})"), "");
  EXPECT_EQ(error_of(R"({"driver":"null-co","detect-zeroes":"unmap"})"),
            "detect-zeroes=unmap needs discard=unmap");
  EXPECT_NE(error_of(R"({"driver":"null-co","read-only":"perhaps"})").find("read-only"),
            std::string::npos);
}

TEST_F(GraphTest, SharesNodesAsPermissionsAllow) {
  const NodePtr file =
      graph
          .add(parse_json(format(R"({{"driver":"file","filename":"{}","node-name":"f"}})", path))
                   .value())
          .value();
  const auto use = [&](u8 needed, u8 shared) {
    return Child::attach(file, {"a device", "root", {needed, shared}});
  };
  Child writer = use(kConsistentRead | kWrite, kConsistentRead).value();
  EXPECT_TRUE(use(kConsistentRead, kAllPermissions));
  const Result<Child> second = use(kWrite, kAllPermissions);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().text,
            "Node 'f' cannot be used by a device: a device as 'root' does not allow 'write'");
  EXPECT_FALSE(use(kConsistentRead, kConsistentRead)) << "does not share what the writer needs";
  EXPECT_EQ(graph.remove("f").error().code, Errc::Busy);
  writer.reset();
  EXPECT_TRUE(use(kWrite, kAllPermissions));
  EXPECT_TRUE(graph.remove("f"));
  EXPECT_FALSE(graph.remove("f"));
}

TEST_F(GraphTest, FallsBackToReadOnlyWhenAllowed) {
  if (::geteuid() == 0) GTEST_SKIP() << "root writes what it likes";
  std::filesystem::permissions(path, std::filesystem::perms::owner_read);
  const std::string file = format(R"("driver":"file","filename":"{}")", path);
  EXPECT_FALSE(open("{" + file + "}"));
  const NodePtr node =
      open(R"({"driver":"raw","auto-read-only":true,"file":{)" + file + "}}").value();
  EXPECT_TRUE(node->read_only());
}

TEST_F(GraphTest, TurnsZeroesIntoZeroing) {
  const NodePtr node =
      open(R"({"driver":"memory","size":1048576,"discard":"unmap","detect-zeroes":"unmap"})")
          .value();
  ASSERT_TRUE(node->write(0, std::vector<std::byte>(65536, std::byte{1})));
  EXPECT_EQ(node->image().allocated_size(), 65536u);
  ASSERT_TRUE(node->write(0, std::vector<std::byte>(65536)));
  EXPECT_EQ(node->image().allocated_size(), 0u);
}

}  // namespace
}  // namespace menura
