#include "base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace menura {
namespace {

static_assert(!std::is_convertible_v<Result<int>, bool>,
              "a Result is tested, not used as a number");

Result<int> half(int value) {
  if (value % 2 != 0) return fail(Errc::InvalidArgument, "{} is odd", value);
  return value / 2;
}

Result<int> quarter(int value) {
  const int h = TRY(half(value));
  return TRY(half(h), "Halving {} again", value);
}

Result<void> check(int value) {
  TRY(half(value));
  return {};
}

TEST(Result, HoldsAValueOrAnError) {
  EXPECT_TRUE(half(4));
  EXPECT_EQ(half(4).value(), 2);
  EXPECT_EQ(*half(4), 2);
  EXPECT_FALSE(half(3).ok());
  EXPECT_EQ(half(3).error().code, Errc::InvalidArgument);
  EXPECT_EQ(half(3).error().text, "3 is odd");
  EXPECT_EQ(half(3).value_or(9), 9);
  EXPECT_EQ(half(6).value_or(9), 3);
}

TEST(Result, TryPassesErrorsUpWithContext) {
  EXPECT_EQ(quarter(8).value(), 2);
  EXPECT_EQ(quarter(3).error().text, "3 is odd");
  EXPECT_EQ(quarter(6).error().text, "Halving 6 again: 3 is odd");
  EXPECT_EQ(quarter(6).error().code, Errc::InvalidArgument);
  EXPECT_TRUE(check(2));
  EXPECT_EQ(check(5).error().text, "5 is odd");
}

Result<std::unique_ptr<int>> make(bool good) {
  if (!good) return fail(Errc::NoMemory, "Making an int");
  return std::make_unique<int>(5);
}

Result<int> use(bool good) {
  const std::unique_ptr<int> made = TRY(make(good));
  return *made;
}

TEST(Result, MovesWhatCannotBeCopied) {
  EXPECT_EQ(use(true).value(), 5);
  EXPECT_EQ(use(false).error().code, Errc::NoMemory);
}

TEST(Result, EvaluatesItsExpressionOnce) {
  int calls = 0;
  const auto count = [&]() -> Result<int> { return ++calls; };
  const auto run = [&]() -> Result<int> { return TRY(count()) + TRY(count()); };
  EXPECT_EQ(run().value(), 3);
  EXPECT_EQ(calls, 2);
}

// A type that can be made from what an Error is made of.
TEST(Result, TakesWhatConvertsToItsValue) {
  const Result<std::string> text = "text";
  EXPECT_EQ(*text, "text");
  const Result<double> number = 3;
  EXPECT_EQ(*number, 3.0);
  const Result<std::string> failed = fail(Errc::Io, "no");
  EXPECT_FALSE(failed);
}

TEST(Result, OsErrorsCarryCodeTextAndErrno) {
  const struct {
    int os_errno;
    Errc code;
  } rows[] = {
      {ENOENT, Errc::NotFound},
      {EEXIST, Errc::Exists},
      {EACCES, Errc::Permission},
      {EPERM, Errc::Permission},
      {EROFS, Errc::Permission},
      {EBUSY, Errc::Busy},
      {EAGAIN, Errc::Busy},
      {EINVAL, Errc::InvalidArgument},
      {ENOSYS, Errc::Unsupported},
      {EOPNOTSUPP, Errc::Unsupported},
      {ENOSPC, Errc::NoSpace},
      {ENOMEM, Errc::NoMemory},
      {ECANCELED, Errc::Cancelled},
      {ETIMEDOUT, Errc::Timeout},
      {EIO, Errc::Io},
      {EPIPE, Errc::Io},
  };
  for (const auto& row : rows) {
    const Error error = fail_errno(row.os_errno, "Doing {}", "it");
    EXPECT_EQ(error.code, row.code) << row.os_errno;
    EXPECT_EQ(error.os_errno, row.os_errno);
  }
  EXPECT_EQ(fail_errno(ENOENT, "Opening '{}'", "x").text, "Opening 'x': No such file or directory");
}

TEST(ResultDeathTest, MisuseIsOurBug) {
  EXPECT_DEATH((void)half(3).value(), "value\\(\\) of a failed Result");
  EXPECT_DEATH((void)half(4).error(), "error\\(\\) of a good Result");
  EXPECT_DEATH(check(3).value(), "value\\(\\) of a failed Result");
}

TEST(CheckDeathTest, SaysWhatAndWhere) {
  EXPECT_DEATH(ensure(false, "one is two"),
               "menura: internal error \\(ensure\\): one is two, at src/base/result_test.cpp:");
  EXPECT_DEATH(unreachable(), "unreachable");
}

}  // namespace
}  // namespace menura
