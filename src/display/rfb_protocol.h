// The numbers of the RFB protocol: messages, security types, pseudo-encodings.
//
// Owner: display. Threads: constants. Source: RFC 6143; the RFB community's specification (rfbproto).
// Example: `case rfb::kKeyEvent: return key_event();`
#pragma once

#include "base/types.h"

namespace menura::rfb {

// From the client
enum ClientMessage : u8 {
  kSetPixelFormat = 0,
  kSetEncodings = 2,
  kUpdateRequest = 3,
  kKeyEvent = 4,
  kPointerEvent = 5,
  kClientCutText = 6,
  kEnableContinuousUpdates = 150,
  kClientFence = 248,
  kSetDesktopSize = 251,
  kQemuClient = 255,
};
enum : u8 { kQemuExtendedKey = 0, kQemuAudio = 1 };

// From the server
enum ServerMessage : u8 {
  kFramebufferUpdate = 0,
  kEndOfContinuousUpdates = 150,
  kServerFence = 248,
};

enum Security : u32 { kInvalid = 0, kNone = 1, kVncAuth = 2, kVencrypt = 19 };
enum VencryptType : u32 { kTlsNone = 257, kTlsVnc = 258, kX509None = 260, kX509Vnc = 261 };

enum PseudoEncoding : i32 {
  kDesktopSize = -223,
  kLastRect = -224,
  kCursor = -239,
  kPointerTypeChange = -257,
  kExtendedKey = -258,
  kLedState = -261,
  kDesktopName = -307,
  kExtendedDesktopSize = -308,
  kFence = -312,
  kContinuousUpdates = -313,
  kCompressLevel0 = -256,  // to -247
};

enum FenceFlags : u32 {
  kBlockBefore = 1,
  kBlockAfter = 2,
  kSyncNext = 4,
  kFenceRequest = 0x8000'0000,
};

}  // namespace menura::rfb
