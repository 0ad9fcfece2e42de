// Window: binds one of a device's register blocks to a pair of its member functions, for devices
// that answer in more than one place.
//
// Owner: the device (a member). Threads: under the machine lock.
// Example: `Window<Pic> elcr_{*this, &Pic::read_elcr, &Pic::write_elcr};`
#pragma once

#include "memory/mmio.h"

namespace menura {

template <class Owner>
class Window final : public MmioHandler {
 public:
  using Read = u64 (Owner::*)(Access);
  using Write = void (Owner::*)(Access, u64);
  Window(Owner& owner, Read read, Write write) : owner_(owner), read_(read), write_(write) {}

  u64 read(Access access) override { return (owner_.*read_)(access); }
  void write(Access access, u64 value) override { (owner_.*write_)(access, value); }

 private:
  Owner& owner_;
  Read read_;
  Write write_;
};

}  // namespace menura
