// Offsets and bits of the configuration headers, capabilities and class codes, as PCI 3.0 names them.
//
// Owner: hw/pci. Threads: constants. Source: PCI Local Bus 3.0 §6 and appendix D, PCI-to-PCI Bridge
// Architecture 1.2 §3, PCI Power Management 1.2 §3. Example: `config().get16(pci::kCommand)`.
#pragma once

#include "base/types.h"

namespace menura::pci {

inline constexpr unsigned kVendorId = 0x00;
inline constexpr unsigned kDeviceId = 0x02;
inline constexpr unsigned kCommand = 0x04;
inline constexpr unsigned kStatus = 0x06;
inline constexpr unsigned kRevisionId = 0x08;
inline constexpr unsigned kClassCode = 0x09;  // 3 bytes: interface, sub-class, class
inline constexpr unsigned kCacheLineSize = 0x0c;
inline constexpr unsigned kLatencyTimer = 0x0d;
inline constexpr unsigned kHeaderType = 0x0e;
inline constexpr unsigned kBist = 0x0f;
inline constexpr unsigned kBar0 = 0x10;
inline constexpr unsigned kSubsystemVendorId = 0x2c;
inline constexpr unsigned kSubsystemId = 0x2e;
inline constexpr unsigned kRomBar = 0x30;
inline constexpr unsigned kCapabilities = 0x34;
inline constexpr unsigned kInterruptLine = 0x3c;
inline constexpr unsigned kInterruptPin = 0x3d;
inline constexpr unsigned kMinGnt = 0x3e;
inline constexpr unsigned kMaxLat = 0x3f;

// Header type 1.
inline constexpr unsigned kPrimaryBus = 0x18;
inline constexpr unsigned kSecondaryBus = 0x19;
inline constexpr unsigned kSubordinateBus = 0x1a;
inline constexpr unsigned kSecondaryLatencyTimer = 0x1b;
inline constexpr unsigned kIoBase = 0x1c;
inline constexpr unsigned kIoLimit = 0x1d;
inline constexpr unsigned kSecondaryStatus = 0x1e;
inline constexpr unsigned kMemoryBase = 0x20;
inline constexpr unsigned kMemoryLimit = 0x22;
inline constexpr unsigned kPrefetchBase = 0x24;
inline constexpr unsigned kPrefetchLimit = 0x26;
inline constexpr unsigned kPrefetchBaseUpper = 0x28;
inline constexpr unsigned kPrefetchLimitUpper = 0x2c;
inline constexpr unsigned kIoBaseUpper = 0x30;
inline constexpr unsigned kIoLimitUpper = 0x32;
inline constexpr unsigned kBridgeRomBar = 0x38;
inline constexpr unsigned kBridgeControl = 0x3e;

inline constexpr u16 kCommandIo = 1 << 0;
inline constexpr u16 kCommandMemory = 1 << 1;
inline constexpr u16 kCommandBusMaster = 1 << 2;
inline constexpr u16 kCommandParity = 1 << 6;
inline constexpr u16 kCommandSerr = 1 << 8;
inline constexpr u16 kCommandIntxDisable = 1 << 10;

inline constexpr u16 kStatusInterrupt = 1 << 3;
inline constexpr u16 kStatusCapabilities = 1 << 4;
inline constexpr u16 kStatusErrors = 0xf900;  // the write-one-to-clear bits

inline constexpr u8 kHeaderMultifunction = 0x80;

inline constexpr u16 kBridgeControlIsa = 1 << 2;
inline constexpr u16 kBridgeControlVga = 1 << 3;
inline constexpr u16 kBridgeControlVga16 = 1 << 4;
inline constexpr u16 kBridgeControlReset = 1 << 6;

inline constexpr u8 kCapPowerManagement = 0x01;
inline constexpr u8 kCapMsi = 0x05;
inline constexpr u8 kCapVendor = 0x09;
inline constexpr u8 kCapExpress = 0x10;
inline constexpr u8 kCapMsiX = 0x11;

}  // namespace menura::pci
