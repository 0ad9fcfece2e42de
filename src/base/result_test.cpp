// Result, Error and TRY: what travels, and what each level adds.
#include "base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace menura {
namespace {

Result<int> half(int n) {
  if (n % 2 != 0) return fail(Errc::InvalidArgument, "{} is odd", n);
  return n / 2;
}
Result<int> quarter(int n) {
  const int h = TRY(half(n), "Halving {}", n);
  return TRY(half(h));
}
Result<void> check_quarter(int n) {
  TRY(quarter(n), "Checking");
  return {};
}

TEST(Result, TryYieldsTheValue) { EXPECT_EQ(quarter(12).value(), 3); }

TEST(Result, TryReturnsTheErrorWithItsContexts) {
  const Result<int> plain = quarter(6);  // fails in the TRY without context
  ASSERT_FALSE(plain);
  EXPECT_EQ(plain.error().text, "3 is odd");
  const Result<void> framed = check_quarter(7);
  ASSERT_FALSE(framed);
  EXPECT_EQ(framed.error().text, "Checking: Halving 7: 7 is odd");
  EXPECT_EQ(framed.error().code, Errc::InvalidArgument);
  EXPECT_TRUE(check_quarter(8));
}

TEST(Result, CarriesWhatCannotBeCopied) {
  auto make = [](bool good) -> Result<std::unique_ptr<int>> {
    if (!good) return fail(Errc::NoMemory, "none left");
    return std::make_unique<int>(5);
  };
  auto use = [&](bool good) -> Result<int> {
    const std::unique_ptr<int> p = TRY(make(good));
    return *p;
  };
  EXPECT_EQ(use(true).value(), 5);
  EXPECT_EQ(use(false).error().code, Errc::NoMemory);
}

TEST(Result, ConvertsToItsTypeAndFallsBack) {
  const Result<std::string> text = "a literal";
  EXPECT_EQ(*text, "a literal");
  EXPECT_EQ(half(3).value_or(-1), -1);
  EXPECT_EQ(half(4).value_or(-1), 2);
}

TEST(Result, ErrorsOfTheHostAreSortedByMeaning) {
  const std::pair<int, Errc> known[] = {{ENOENT, Errc::NotFound},  {EACCES, Errc::Permission},
                                        {EPERM, Errc::Permission}, {EEXIST, Errc::Exists},
                                        {EBUSY, Errc::Busy},       {ENOSPC, Errc::NoSpace},
                                        {ENOMEM, Errc::NoMemory},  {EIO, Errc::Io}};
  for (const auto& [os_errno, code] : known) {
    const Error error = fail_errno(os_errno, "Opening '{}'", "x");
    EXPECT_EQ(error.code, code) << os_errno;
    EXPECT_EQ(error.os_errno, os_errno);
    EXPECT_EQ(error.text, std::string("Opening 'x': ") + strerror(os_errno));
  }
}

TEST(ResultDeathTest, TheWrongSideIsOurBug) {
  EXPECT_DEATH(half(3).value(), "value\\(\\) of a failed Result, at src/base/result.h");
  const Result<int> good = half(4);
  EXPECT_DEATH(good.error(), "error\\(\\) of a good Result");
}

}  // namespace
}  // namespace menura
