# The standard library's headers, parsed once for all rooms and once, with gtest, for all tests: a third of a full build's time.
# The lint preset does without, so that clang-tidy finds a source that forgot an include.

set(_menura_standard_headers
    <algorithm> <array> <atomic> <bit> <deque> <functional> <map> <memory> <mutex> <optional> <set> <span> <string>
    <string_view> <thread> <unordered_map> <utility> <variant> <vector>)

function(_menura_precompile target)
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/precompiled/empty.cpp CONTENT "")
  add_library(${target} OBJECT EXCLUDE_FROM_ALL ${CMAKE_BINARY_DIR}/precompiled/empty.cpp)
  target_precompile_headers(${target} PRIVATE ${ARGN})
endfunction()

if(MENURA_PRECOMPILED)
  if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
    add_compile_options("SHELL:-Xclang -fno-pch-timestamp")  # for ccache
  endif()
  _menura_precompile(menura_precompiled ${_menura_standard_headers})
  _menura_precompile(menura_precompiled_test ${_menura_standard_headers} <gtest/gtest.h>)
  target_link_libraries(menura_precompiled_test PRIVATE GTest::gtest Threads::Threads)
endif()

# menura_use_precompiled(hw_timer) for a room or program, menura_use_precompiled(hw_timer_test TEST) for a test.
function(menura_use_precompiled target)
  if(MENURA_PRECOMPILED)
    if(ARGV1 STREQUAL TEST)
      target_precompile_headers(${target} REUSE_FROM menura_precompiled_test)
    else()
      target_precompile_headers(${target} REUSE_FROM menura_precompiled)
    endif()
  endif()
endfunction()
