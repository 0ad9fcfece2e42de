// What the build promises to the code.
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "base/version.h"

namespace menura {
namespace {

// The sources' paths in messages are relative to the tree, whatever the build directory.
TEST(Build, FileNamesAreRelative) { EXPECT_STREQ(__builtin_FILE(), "src/base/build_test.cpp"); }

TEST(Build, VersionIsThatOfTheFile) {
  std::ifstream file("VERSION");
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  EXPECT_EQ(version(), line);
}

}  // namespace
}  // namespace menura
