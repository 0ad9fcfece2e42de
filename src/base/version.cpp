#include "base/version.h"

namespace menura {

std::string_view version() { return MENURA_VERSION; }  // defined by the room's CMakeLists.txt

}  // namespace menura
