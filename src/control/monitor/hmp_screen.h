// The human monitor's commands about the screen and the mouse.
//
// Owner: control/monitor. Threads: under the machine lock. One function a row of hmp.cpp.
// Example: `{"screendump", "file", "save a picture of the screen", save_screen}`
#pragma once

#include "control/monitor/hmp.h"

namespace menura::hmp {

Result<std::string> save_screen(HmpContext& context, HmpWords words);
Result<std::string> move_mouse(HmpContext& context, HmpWords words);
Result<std::string> press_mouse(HmpContext& context, HmpWords words);
Result<std::string> choose_mouse(HmpContext& context, HmpWords words);
Result<std::string> info_mice(HmpContext& context, HmpWords words);
Result<std::string> set_new_password(HmpContext& context, HmpWords words);
Result<std::string> limit_password(HmpContext& context, HmpWords words);
Result<std::string> info_vnc(HmpContext& context, HmpWords words);
Result<std::string> info_screen(HmpContext& context, HmpWords words);

}  // namespace menura::hmp
