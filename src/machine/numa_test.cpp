#include "machine/numa.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "machine/memory_backends.h"

namespace menura {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

NumaOptions options_of(std::initializer_list<const char*> texts) {
  NumaOptions options;
  for (const char* text : texts) {
    const Result<void> read = read_numa_option(text, options);
    EXPECT_TRUE(read) << text << ": " << read.error().text;
  }
  return options;
}

constexpr Topology kFourCpus{.cpus = 3, .max_cpus = 4, .sockets = 4};

std::string problem(std::initializer_list<const char*> texts) {
  const Result<NumaLayout> layout = resolve_numa(options_of(texts), kFourCpus);
  return layout ? "none" : layout.error().text;
}

TEST(Numa, WithoutNodesThereIsNone) {
  const NumaLayout layout = resolve_numa({}, kFourCpus).value();
  EXPECT_TRUE(layout.cpu_nodes.empty());
  EXPECT_TRUE(layout.distances.empty());
}

TEST(Numa, CpusGoWhereTheyAreSaidToAndElseToNodeZero) {
  const NumaOptions options =
      options_of({"node,cpus=0", "node,nodeid=1,cpus=1-2,memdev=m1", "type=node,nodeid=2"});
  EXPECT_EQ(options.nodes[1].memdev, "m1");
  EXPECT_THAT(resolve_numa(options, kFourCpus)->cpu_nodes, ElementsAre(0, 1, 1, 0));
  EXPECT_THAT(options_of({"node,cpus=0,cpus=2-3"}).nodes[0].cpus, ElementsAre(0, 2, 3));
}

TEST(Numa, DistancesGoBothWaysUnlessSaidOtherwise) {
  const auto table =
      resolve_numa(options_of({"node", "node", "dist,src=0,dst=1,val=21"}), kFourCpus)->distances;
  EXPECT_THAT(table, ElementsAre(ElementsAre(10, 21), ElementsAre(21, 10)));
  const auto uneven =
      resolve_numa(
          options_of({"node", "node", "dist,src=0,dst=1,val=21", "dist,src=1,dst=0,val=31"}),
          kFourCpus)
          ->distances;
  EXPECT_THAT(uneven, ElementsAre(ElementsAre(10, 21), ElementsAre(31, 10)));
}

// Values of the HMAT's fields are ACPI 6.4's (tables 5.145 and after).
TEST(Numa, SpeedsOfMemoryAreChecked) {
  const auto problem_with = [](std::initializer_list<const char*> more, bool hmat) -> std::string {
    NumaOptions options = options_of({"node,cpus=0-3,memdev=a", "node,memdev=b,initiator=0"});
    for (const char* text : more)
      if (const Result<void> read = read_numa_option(text, options); !read)
        return read.error().text;
    const Result<NumaLayout> layout = resolve_numa(options, kFourCpus, hmat);
    return layout ? "none" : layout.error().text;
  };
  constexpr const char* kLatency =
      "hmat-lb,initiator=0,target=1,hierarchy=memory,data-type=access-latency,latency=10";
  EXPECT_EQ(problem_with({kLatency}, true), "none");
  EXPECT_EQ(problem_with({"hmat-cache,node-id=1,size=1M,level=1,associativity=direct,"
                          "policy=write-back,line=64"},
                         true),
            "none");
  EXPECT_THAT(problem_with({}, false), HasSubstr("hmat=on"));
  EXPECT_THAT(problem_with({"hmat-lb,initiator=1,target=1,hierarchy=memory,"
                            "data-type=access-latency,latency=10"},
                           true),
              HasSubstr("no node with CPUs"));
  EXPECT_THAT(problem_with({"hmat-lb,initiator=0,target=1,hierarchy=memory,"
                            "data-type=read-bandwidth,latency=10"},
                           true),
              HasSubstr("bandwidth="));
  EXPECT_THAT(problem_with({"hmat-cache,node-id=1,size=1M,level=4"}, true), HasSubstr("1 to 3"));
}

TEST(Numa, NonsenseIsNamed) {
  EXPECT_THAT(problem({"node,nodeid=1"}), HasSubstr("numbered from 0"));
  EXPECT_THAT(problem({"node", "node,nodeid=0"}), HasSubstr("a node 0 already"));
  EXPECT_THAT(problem({"node,cpus=4"}), HasSubstr("CPUs end at 3"));
  EXPECT_THAT(problem({"node,cpus=0-1", "node,cpus=1"}), HasSubstr("CPU 1 is in two nodes"));
  EXPECT_THAT(problem({"dist,src=0,dst=1,val=20"}), HasSubstr("no nodes"));
  EXPECT_THAT(problem({"node", "node", "dist,src=0,dst=2,val=20"}), HasSubstr("no node 2"));
  EXPECT_THAT(problem({"node", "node", "dist,src=0,dst=1,val=9"}), HasSubstr("9 is no distance"));
  EXPECT_THAT(problem({"node", "node", "dist,src=0,dst=1,val=10"}), HasSubstr("10 is no distance"));
  EXPECT_THAT(problem({"node", "node", "node", "dist,src=0,dst=1,val=20"}),
              HasSubstr("is missing"));
  NumaOptions options;
  EXPECT_THAT(read_numa_option("nodes", options).error().text, HasSubstr("expected node, dist"));
  EXPECT_THAT(read_numa_option("node,mem=1G", options).error().text, HasSubstr("memdev="));
  EXPECT_THAT(read_numa_option("node,cpu=1", options).error().text,
              HasSubstr("did you mean 'cpus'"));
  EXPECT_THAT(read_numa_option("node,cpus=3-1", options).error().text, HasSubstr("'3-1'"));
}

NamedOptions object(std::string type, std::string id, const char* text) {
  return {.name = std::move(type), .id = std::move(id), .options = parse_keyval(text).value()};
}

TEST(MemoryBackendsTest, EachKindIsMadeAndTakenOnce) {
  MemoryBackends backends;
  const Result<void> made[] = {
      backends.create(object("memory-backend-ram", "a", "size=2M,prealloc=on,prealloc-threads=2")),
      backends.create(object("memory-backend-memfd", "b", "size=4M,seal=off")),
      backends.create(object("memory-backend-file", "c", "size=1M,mem-path=/tmp,dump=off"))};
  for (const Result<void>& m : made) EXPECT_TRUE(m) << m.error().text;
  EXPECT_EQ(backends.take("b").value()->size(), 4u << 20);
  EXPECT_EQ(backends.take("b").error().code, Errc::Busy);
  EXPECT_THAT(backends.take("d").error().text, HasSubstr("no memory object 'd'"));
  EXPECT_EQ(backends.take("c").value()->config().path, "/tmp");
}

TEST(MemoryBackendsTest, ErrorsSayWhichObject) {
  EXPECT_TRUE(MemoryBackends::is_kind("memory-backend-file"));
  EXPECT_FALSE(MemoryBackends::is_kind("memory-backend-rom"));
  MemoryBackends backends;
  const auto error = [&](const char* type, const char* text) {
    return backends.create(object(type, "x", text)).error().text;
  };
  EXPECT_THAT(error("memory-backend-ram", ""), HasSubstr("size"));
  EXPECT_THAT(error("memory-backend-ram", "size=1M,policy=bin,host-nodes=0"), HasSubstr("policy"));
  EXPECT_THAT(error("memory-backend-ram", "size=1M,policy=bind"), HasSubstr("needs host nodes"));
  EXPECT_THAT(error("memory-backend-ram", "size=1M,prealloc-threads=0"), HasSubstr("1 to 64"));
  EXPECT_THAT(error("memory-backend-file", "size=1M"), HasSubstr("mem-path"));
}

TEST(MemoryBackendsTest, NumbersAndRanges) {
  EXPECT_THAT(read_numbers(Value("0-2"), 9).value(), ElementsAre(0, 1, 2));
  EXPECT_THAT(read_numbers(Value(u64{7}), 9).value(), ElementsAre(7));
  Value list = Value::list();
  list.as<Value::List>()->push_back(Value(u64{1}));
  list.as<Value::List>()->push_back(Value("3-4"));
  EXPECT_THAT(read_numbers(list, 9).value(), ElementsAre(1, 3, 4));
  EXPECT_FALSE(read_numbers(Value("0-10"), 9));
  EXPECT_FALSE(read_numbers(Value("x"), 9));
}

}  // namespace
}  // namespace menura
