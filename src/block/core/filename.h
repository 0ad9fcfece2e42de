// How file names of images are read: protocol prefixes, and names relative to another image's.
//
// Owner: block/core. Threads: pure functions.
// Example: `resolve_beside("/vm/top.qcow2", "base.img")` is "/vm/base.img".
#pragma once

#include <string>
#include <string_view>

namespace menura {

// "nbd" of "nbd://host"; empty for a path ("./a:b", "/x", "a").
std::string_view protocol_of(std::string_view name);

// A name as the header of the image `beside` holds it, from where we stand.
std::string resolve_beside(std::string_view beside, const std::string& name);

}  // namespace menura
