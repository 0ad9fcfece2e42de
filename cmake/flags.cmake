# Compiler, linker and cache settings. What a preset switches lies in CMakePresets.json.

# Line tables only: enough for backtraces and stepping, and a third of the size and time of -g.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1")
# Format strings are checked in the other builds: -DFMT_CONSTEVAL= saves the time.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG -DFMT_CONSTEVAL=")

add_compile_options(
  -fno-rtti -Wall -Wextra -Wno-missing-field-initializers -Wnon-virtual-dtor -Woverloaded-virtual
  -Wundef -Wvla -fvisibility=hidden -fvisibility-inlines-hidden
  # Paths in __FILE__ are relative to the source tree, with ccache's base directory and without.
  -fmacro-prefix-map=${CMAKE_SOURCE_DIR}/= -fmacro-prefix-map=../../=)
if(MENURA_WERROR)
  add_compile_options(-Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_BUILD_TYPE STREQUAL Release)
  # False alarms of GCC 12 in inlined std::string code; dev builds with these warnings on.
  add_compile_options(-Wno-array-bounds -Wno-stringop-overread)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  add_compile_options(-Wthread-safety -fcolor-diagnostics)
endif()

# For libraries too, whose code only ever becomes part of programs.
add_compile_options(-fPIE)
add_link_options(-pie)

if(MENURA_HARDEN)
  add_compile_options(
    -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -D_GLIBCXX_ASSERTIONS -fstack-protector-strong
    -fstack-clash-protection -fcf-protection -ftrivial-auto-var-init=zero)
  add_link_options(-Wl,-z,relro,-z,now)
endif()

if(MENURA_SANITIZE)
  # vptr needs run-time type information, which menura is built without.
  add_compile_options(-fsanitize=${MENURA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${MENURA_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    # False alarms in instrumented library code (std::variant); dev builds with this warning on.
    add_compile_options(-Wno-maybe-uninitialized)
  endif()
  if(MENURA_SANITIZE MATCHES undefined)
    add_compile_options(-fno-sanitize=vptr)
    add_link_options(-fno-sanitize=vptr)
  endif()
endif()

find_program(MENURA_MOLD mold)
find_program(MENURA_LLD ld.lld)
mark_as_advanced(MENURA_MOLD MENURA_LLD)
if(MENURA_MOLD)
  add_link_options(-fuse-ld=mold)
elseif(MENURA_LLD)
  add_link_options(-fuse-ld=lld)
endif()

find_program(MENURA_CCACHE ccache)
mark_as_advanced(MENURA_CCACHE)
if(MENURA_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${MENURA_CCACHE})
endif()
