#include "base/fd_sets.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace menura {
namespace {

TEST(FdSets, AreFilesByName) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, 0), 0);
  ASSERT_TRUE(add_to_fd_set(7, ends[1], "writer"));
  EXPECT_EQ(add_to_fd_set(8, ends[1], "again").error().code, Errc::Exists);
  EXPECT_FALSE(add_to_fd_set(8, 1 << 20, "closed"));
  EXPECT_EQ(open_file("/dev/fdset/7", O_RDONLY).error().code, Errc::Permission);
  EXPECT_EQ(open_file("/dev/fdset/9", O_WRONLY).error().code, Errc::NotFound);
  EXPECT_FALSE(open_file("/dev/fdset/x", O_WRONLY));
  ASSERT_TRUE(add_to_fd_set(7, ends[0], "reader"));
  {
    const auto writer = open_file("/dev/fdset/7", O_WRONLY | O_APPEND);
    ASSERT_TRUE(writer);
    EXPECT_NE(writer->get(), ends[1]);
    ASSERT_TRUE(write_all(writer->get(), bytes_of(std::string("hi"))));
  }
  char text[2];
  ASSERT_EQ(::read(ends[0], text, 2), 2);
  EXPECT_EQ(std::string_view(text, 2), "hi");
  ASSERT_EQ(fd_sets().size(), 2u);
  EXPECT_EQ(fd_sets()[0].opaque, "writer");
  EXPECT_TRUE(remove_from_fd_set(7, ends[0]));
  EXPECT_LT(::fcntl(ends[0], F_GETFD), 0);
  EXPECT_TRUE(remove_from_fd_set(7));
  EXPECT_EQ(remove_from_fd_set(7).error().code, Errc::NotFound);
}

TEST(FdSets, NamedOnesHaveOneUser) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, 0), 0);
  UniqueFd reader(ends[0]);
  ASSERT_TRUE(name_fd("net0", UniqueFd(ends[1])));
  EXPECT_EQ(name_fd("7up", std::move(reader)).error().code, Errc::InvalidArgument);
  {
    const auto taken = take_fd("net0");
    ASSERT_TRUE(taken);
    EXPECT_EQ(taken->get(), ends[1]);
  }
  EXPECT_LT(::fcntl(ends[1], F_GETFD), 0);
  EXPECT_FALSE(take_fd("net0"));
  EXPECT_FALSE(take_fd("100000"));
  EXPECT_EQ(close_named_fd("net0").error().code, Errc::NotFound);
}

TEST(FdSets, AFreeSetIsTheLowest) {
  EXPECT_EQ(free_fd_set(), 0u);
  ASSERT_TRUE(add_to_fd_set(0, ::dup(0), ""));
  ASSERT_TRUE(add_to_fd_set(2, ::dup(0), ""));
  EXPECT_EQ(free_fd_set(), 1u);
  ASSERT_TRUE(add_to_fd_set(1, ::dup(0), ""));
  EXPECT_EQ(free_fd_set(), 3u);
  for (const u32 set : {0u, 1u, 2u}) EXPECT_TRUE(remove_from_fd_set(set));
}

}  // namespace
}  // namespace menura
