#include "memory/flat_view.h"

#include <gtest/gtest.h>

#include <random>

#include "memory/map_exercise.h"

namespace menura {
namespace {

TEST(FlatView, AgreesWithTheModelOverRandomMaps) {
  for (unsigned seed = 0; seed < 150; seed++) {
    std::mt19937 random(seed);
    MapExercise exercise([&] { return static_cast<u8>(random()); });
    for (int i = 0; i < 150; i++)
      ASSERT_EQ(exercise.step(), "") << "seed " << seed << " step " << i;
  }
}

}  // namespace
}  // namespace menura
