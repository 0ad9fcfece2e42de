#include "base/enumerators.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace menura {

enum class Plain { A, B, C };
struct Holder {
  enum class Inner : u8 { First = 1, Last = 119 };
};

namespace {

enum class Signed : i8 { Lowest = -8, Minus = -1, Zero, Alias = Zero };
enum class Wide : u64 { Five = 5 };
enum Old : unsigned { kOldOne = 1, kOldThree = 3 };

// All numbers that are enumerators, of those that can be.
template <class E>
std::vector<int> numbers() {
  std::vector<int> found;
  for (int n = -200; n <= 300; n++) {
    if (!std::in_range<std::underlying_type_t<E>>(n)) continue;
    if (is_enumerator<E>(static_cast<std::underlying_type_t<E>>(n))) found.push_back(n);
  }
  return found;
}

TEST(Enumerators, AreThoseThatTheTypeDeclares) {
  EXPECT_EQ(numbers<Plain>(), (std::vector{0, 1, 2}));
  EXPECT_EQ(numbers<Holder::Inner>(), (std::vector{1, 119}));
  EXPECT_EQ(numbers<Signed>(), (std::vector{-8, -1, 0}));
  EXPECT_EQ(numbers<Wide>(), (std::vector{5}));
  EXPECT_EQ(numbers<Old>(), (std::vector{1, 3}));
}

TEST(Enumerators, FarNumbersAreNone) {
  EXPECT_FALSE(is_enumerator<Wide>(std::numeric_limits<u64>::max()));
  EXPECT_FALSE(is_enumerator<Wide>(u64{1} << 63));
  EXPECT_FALSE(is_enumerator<Plain>(std::numeric_limits<int>::min()));
  EXPECT_FALSE(is_enumerator<Plain>(std::numeric_limits<int>::max()));
}

}  // namespace
}  // namespace menura
