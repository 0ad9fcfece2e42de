// String instructions. With a repeat prefix one call does a bounded part, page by page through host
// memory where it can, and reports Outcome::Repeat; registers then stand between two elements, so
// that interrupts and faults find them as the SDM says.
#include <algorithm>

#include "cpu/x86/task.h"
#include "jit/front/x86/execution.h"

namespace menura::jit::x86 {

namespace {

// Of one call: elements moved one by one, and parts of pages.
constexpr u64 kElements = 1024, kParts = 16;

class StringRun {
 public:
  StringRun(Execution& x, unsigned size)
      : x_(x),
        size_(size),
        width_(x.insn.address_size),
        forward_(!(x.s.rflags & x86::kDf)),
        repeated_(x.insn.has(seen::kRep | seen::kRepne)) {}

  unsigned size() const { return size_; }
  bool repeated() const { return repeated_; }
  bool forward() const { return forward_; }
  u64 count() const { return repeated_ ? x_.gpr(x86::Rcx, width_) : 1; }
  bool finished() const { return repeated_ && count() == 0; }

  x86::SegReg source_segment() const { return segment_register(x_.insn.segment); }
  u64 source() const { return x_.gpr(x86::Rsi, width_); }
  u64 dest() const { return x_.gpr(x86::Rdi, width_); }

  OrFault<u64> source_address() const {
    return x86::segment_linear(x_.s, source_segment(), source(), size_, PageAccess::Read);
  }
  OrFault<u64> dest_address(PageAccess access) const {
    return x86::segment_linear(x_.s, x86::Es, dest(), size_, access);
  }
  OrFault<u64> load_source() const {
    return x_.bus.load(TRY(source_address()), size_, Privilege::Current);
  }
  OrFault<u64> load_dest() const {
    return x_.bus.load(TRY(dest_address(PageAccess::Read)), size_, Privilege::Current);
  }
  OrFault<void> store_dest(u64 value) const {
    return x_.bus.store(TRY(dest_address(PageAccess::Write)), size_, value, Privilege::Current);
  }

  // Whole elements of host memory at rSI or rDI, at most `limit` of them, or nothing when they must
  // be taken one by one (which also finds the fault, if that is why).
  Bytes source_window(u64 limit) const {
    return window(source_segment(), source(), limit, PageAccess::Read);
  }
  Bytes dest_window(u64 limit, PageAccess access) const {
    return window(x86::Es, dest(), limit, access);
  }

  void step_source(u64 elements) { step(x86::Rsi, elements); }
  void step_dest(u64 elements) { step(x86::Rdi, elements); }
  void count_down(u64 elements) {
    if (repeated_) x_.set_gpr(x86::Rcx, width_, count() - elements);
  }

 private:
  Bytes window(x86::SegReg seg, u64 offset, u64 limit, PageAccess access) const {
    if (!forward_ || !repeated_ || (x_.s.rflags & x86::kTf)) return {};
    const u64 before_wrap = (low_mask(8 * width_) - offset) / size_;
    const u64 bytes = std::min({limit, before_wrap, u64{4096} / size_}) * size_;
    if (bytes == 0) return {};
    OrFault<u64> linear = x86::segment_linear(x_.s, seg, offset, bytes, access);
    if (!linear) return {};
    OrFault<Bytes> found = x_.bus.window(*linear, bytes, access, Privilege::Current);
    if (!found) return {};
    return found->first(found->size() / size_ * size_);
  }
  void step(x86::Gpr reg, u64 elements) {
    const u64 by = elements * size_;
    x_.set_gpr(reg, width_, x_.gpr(reg, width_) + (forward_ ? by : ~by + 1));
  }

  // Wiring
  Execution& x_;
  // Configuration
  const unsigned size_, width_;
  const bool forward_, repeated_;
};

// Runs `part` (which does at least one element and tells how many, having moved its registers) until
// the count is used up or enough is done. `until(flags)` ends CMPS and SCAS.
template <class Part>
Outcome repeat(Execution& x, StringRun& run, Part part) {
  for (u64 elements = 0, parts = 0; !run.finished(); parts++) {
    if (elements >= kElements && parts >= kParts) return Outcome::Repeat;
    OrFault<u64> done = part();
    if (!done) return done.error();
    run.count_down(*done);
    elements += *done;
    if (!run.repeated()) return Outcome::Done;
    // A trap after each element is the caller's: of TF, or of a breakpoint on data.
    constexpr u64 kBreakpoints = 0xff;
    const bool traps = (x.s.rflags & x86::kTf) || (x.s.dr7 & kBreakpoints);
    if (traps && !run.finished()) return Outcome::Repeat;
    if (elements >= kElements && (*done == 1 || parts >= kParts)) break;
  }
  return run.finished() ? Outcome::Done : Outcome::Repeat;
}

u64 element(const std::byte* at, unsigned size) {
  switch (size) {
    case 1: return static_cast<u8>(*at);
    case 2: return load_raw<u16>(at);
    case 4: return load_raw<u32>(at);
    default: return load_raw<u64>(at);
  }
}

void put_element(std::byte* at, unsigned size, u64 value) {
  switch (size) {
    case 1: *at = static_cast<std::byte>(value); break;
    case 2: store_raw(at, static_cast<u16>(value)); break;
    case 4: store_raw(at, static_cast<u32>(value)); break;
    default: store_raw(at, value);
  }
}

// Element by element where the destination overlaps what is still to be read.
void copy_forward(Bytes to, ConstBytes from, unsigned size) {
  const bool overlaps = to.data() > from.data() && to.data() < from.data() + to.size();
  if (!overlaps) {
    std::memmove(to.data(), from.data(), to.size());
    return;
  }
  for (size_t i = 0; i < to.size(); i += size)
    put_element(to.data() + i, size, element(from.data() + i, size));
}

bool goes_on(const Execution& x, u64 flags) {
  return ((flags & x86::kZf) != 0) == x.insn.has(seen::kRep);
}

// CMPS and SCAS: the flags of the last comparison, made only when it is done.
template <class Compare>
Outcome repeat_while(Execution& x, StringRun& run, Compare compare) {
  for (u64 elements = 0; !run.finished(); elements++) {
    if (elements >= kElements) return Outcome::Repeat;
    OrFault<u64> flags = compare();
    if (!flags) return flags.error();
    x.set_flags(x86::kArithmeticFlags, *flags);
    run.count_down(1);
    if (!run.repeated() || run.finished() || !goes_on(x, *flags)) return Outcome::Done;
    if (x.s.rflags & x86::kTf) return Outcome::Repeat;
  }
  return Outcome::Done;
}

}  // namespace

Outcome move_string(Execution& x) {
  StringRun run(x, operand(x.insn, 0).size);
  return repeat(x, run, [&]() -> OrFault<u64> {
    u64 n = 1;
    const Bytes from = run.source_window(run.count());
    const Bytes to =
        from.empty() ? Bytes{} : run.dest_window(from.size() / run.size(), PageAccess::Write);
    if (!to.empty()) {
      n = to.size() / run.size();
      copy_forward(to, from.first(to.size()), run.size());
    } else {
      TRY(run.store_dest(TRY(run.load_source())));
    }
    run.step_source(n);
    run.step_dest(n);
    return n;
  });
}

Outcome store_string(Execution& x) {
  StringRun run(x, operand(x.insn, 0).size);
  const u64 value = x.gpr(x86::Rax, run.size());
  return repeat(x, run, [&]() -> OrFault<u64> {
    u64 n = 1;
    const Bytes to = run.dest_window(run.count(), PageAccess::Write);
    if (!to.empty()) {
      n = to.size() / run.size();
      if (value == 0 || run.size() == 1)
        std::memset(to.data(), static_cast<int>(value & 0xff), to.size());
      else
        for (size_t i = 0; i < to.size(); i += run.size())
          put_element(to.data() + i, run.size(), value);
    } else {
      TRY(run.store_dest(value));
    }
    run.step_dest(n);
    return n;
  });
}

Outcome load_string(Execution& x) {
  StringRun run(x, operand(x.insn, 1).size);
  return repeat(x, run, [&]() -> OrFault<u64> {
    x.set_gpr(x86::Rax, run.size(), TRY(run.load_source()));
    run.step_source(1);
    return u64{1};
  });
}

Outcome compare_string(Execution& x) {
  StringRun run(x, operand(x.insn, 0).size);
  return repeat_while(x, run, [&]() -> OrFault<u64> {
    const u64 left = TRY(run.load_source());
    const u64 right = TRY(run.load_dest());
    run.step_source(1);
    run.step_dest(1);
    return flags_of_subtraction(left, right, run.size());
  });
}

Outcome scan_string(Execution& x) {
  StringRun run(x, operand(x.insn, 1).size);
  const u64 left = x.gpr(x86::Rax, run.size());
  return repeat_while(x, run, [&]() -> OrFault<u64> {
    const u64 right = TRY(run.load_dest());
    run.step_dest(1);
    return flags_of_subtraction(left, right, run.size());
  });
}

Outcome input_string(Execution& x) {
  StringRun run(x, operand(x.insn, 0).size);
  const u16 port = static_cast<u16>(x.s.gpr[x86::Rdx]);
  TRY(x86::check_io(x.s, x.bus, port, run.size()));
  return repeat(x, run, [&]() -> OrFault<u64> {
    // Nothing may fault once the device has given up its value.
    const u64 at = TRY(run.dest_address(PageAccess::Write));
    TRY(x.bus.probe(at, run.size(), PageAccess::Write, Privilege::Current));
    TRY(x.bus.store(at, run.size(), x.bus.in(port, run.size()), Privilege::Current));
    run.step_dest(1);
    return u64{1};
  });
}

Outcome output_string(Execution& x) {
  StringRun run(x, operand(x.insn, 1).size);
  const u16 port = static_cast<u16>(x.s.gpr[x86::Rdx]);
  TRY(x86::check_io(x.s, x.bus, port, run.size()));
  return repeat(x, run, [&]() -> OrFault<u64> {
    x.bus.out(port, run.size(), static_cast<u32>(TRY(run.load_source())));
    run.step_source(1);
    return u64{1};
  });
}

}  // namespace menura::jit::x86
