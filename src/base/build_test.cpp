#include <gtest/gtest.h>

// The sources' paths in messages are relative to the tree, whatever the build directory.
TEST(Build, FileNamesAreRelative) { EXPECT_STREQ(__builtin_FILE(), "src/base/build_test.cpp"); }
