// What a file looks like, in words for an error: "a gzip file (is it an initrd?)".
//
// Owner: machine/loader. Threads: pure functions. Source: the magic numbers of each format, ELF-64
// object file format 1.5 for e_machine. Example:
//   fail(Errc::InvalidArgument, "'{}' is no kernel but {}", name, describe_file(bytes));
#pragma once

#include <initializer_list>
#include <string>

#include "base/bytes.h"

namespace menura {

std::string describe_file(ConstBytes file);

bool has_magic(ConstBytes file, std::initializer_list<u8> magic, size_t at = 0);

}  // namespace menura
