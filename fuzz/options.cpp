// The command line fed with anything: understood, or one line of error; never a crash.
#include <cstdlib>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "control/options/program_options.h"
#include "machine/catalogue/catalogue_tables.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, size_t size) {
  using namespace menura;
  // One argument a line.
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  const std::vector<std::string_view> arguments = split(text, '\n');
  const auto options = parse_command_line(arguments, catalogue());
  if (!options && options.error().text.empty()) std::abort();
  return 0;
}
