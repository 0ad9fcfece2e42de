// Of qcow2 alone: what fuzzing found.
#include <gtest/gtest.h>

#include "base/units.h"
#include "block/core/graph.h"
#include "block/core/stores.h"
#include "block/drivers.h"

namespace menura {
namespace {

struct Qcow2Test : testing::Test {
  NodePtr memory() {
    Value options = parse_keyval("driver=memory,node-name=file,size=0,read-only=off").value();
    return graph.add(std::move(options)).value();
  }
  void create(const NodePtr& file, u64 size, const char* options) {
    CreateContext context{graph, "image", size, parse_keyval(options).value(), file};
    const Result<void> made = graph.find_driver("qcow2")->create(context);
    ASSERT_TRUE(made) << made.error().text;
  }
  Result<Child> open() {
    Value options = parse_keyval("driver=qcow2,file=file,discard=unmap,read-only=off").value();
    options.set("backing", Value());
    return Child::attach(
        TRY(graph.open(std::move(options))),
        {"the test", "root", {kConsistentRead | kWrite | kResize, kConsistentRead}});
  }
  Graph graph{all_drivers()};
};

// The header's names of features take most of 512 bytes.
TEST_F(Qcow2Test, ABitmapFitsIntoTheSmallestCluster) {
  create(memory(), 64 * KiB, "cluster_size=512");
  {
    Child image = open().value();
    ASSERT_TRUE(image->image().bitmaps()->add({.name = "dirty", .granularity = 512}));
    const Result<void> closed = image->close();
    EXPECT_TRUE(closed) << closed.error().text;
  }
  Child image = open().value();
  ASSERT_EQ(image->image().bitmaps()->list().size(), 1u);
  EXPECT_EQ(image->image().bitmaps()->list()[0].name, "dirty");
  EXPECT_FALSE(image->image().bitmaps()->list()[0].in_use);
}

}  // namespace
}  // namespace menura
