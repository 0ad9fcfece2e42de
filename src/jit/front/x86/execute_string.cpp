// String instructions with and without REP, in pieces that fit pages; and the port forms.
#include <algorithm>
#include <cstring>

#include "base/bits.h"
#include "jit/front/x86/executor.h"

namespace menura::jit::x86 {

namespace {

// Iterations between two looks at interrupts.
constexpr u64 kBatch = 1u << 16;

class String {
 public:
  explicit String(Executor& x)
      : x_(x),
        size_(element_size(x.i)),
        width_(x.i.address_size),
        step_(x.s.rflags & cpu::kDf ? -static_cast<i64>(size_) : size_) {
    repeated_ = x.i.has(seen::kRep | seen::kRepne);
  }

  Outcome run() {
    u64 left = repeated_ ? x_.gpr(cpu::Rcx, width_) : 1;
    if (left == 0) return x_.done();
    for (u64 batch = kBatch; left > 0 && batch > 0;) {
      u64 count = bulk(std::min(left, batch));
      bool stop = false;
      if (count == 0) {
        OrFault<bool> ended = once();
        if (!ended) return ended.error();
        stop = *ended;
        count = 1;
      }
      left -= count;
      batch -= count;
      if (repeated_) x_.write_masked(cpu::Rcx, width_, left);
      if (stop) return x_.done();
    }
    return left == 0 ? x_.done() : Outcome::Repeat;
  }

 private:
  static unsigned element_size(const Insn& insn) {
    if (!(insn.opcode & 1)) return 1;
    const bool port = insn.mnemonic == Mnemonic::Ins || insn.mnemonic == Mnemonic::Outs;
    return port ? std::min<unsigned>(insn.operand_size, 4) : insn.operand_size;
  }

  u64 source() const { return x_.gpr(cpu::Rsi, width_); }
  u64 target() const { return x_.gpr(cpu::Rdi, width_); }
  void step(unsigned reg, i64 by) {
    x_.write_masked(reg, width_, truncated(x_.gpr(reg, width_) + static_cast<u64>(by), width_));
  }
  SegReg source_segment() const { return static_cast<SegReg>(x_.i.segment); }

  // One element; true when the repetition ends by its condition.
  OrFault<bool> once() {
    switch (x_.i.mnemonic) {
      case Mnemonic::Movs: {
        const u64 value = TRY(x_.load(source_segment(), source(), size_));
        TRY(x_.store(cpu::Es, target(), size_, value));
        step(cpu::Rsi, step_);
        step(cpu::Rdi, step_);
        return false;
      }
      case Mnemonic::Stos:
        TRY(x_.store(cpu::Es, target(), size_, x_.gpr(cpu::Rax, size_)));
        step(cpu::Rdi, step_);
        return false;
      case Mnemonic::Lods:
        x_.set_gpr(cpu::Rax, size_, TRY(x_.load(source_segment(), source(), size_)));
        step(cpu::Rsi, step_);
        return false;
      case Mnemonic::Cmps: {
        const u64 a = TRY(x_.load(source_segment(), source(), size_));
        compare(a, TRY(x_.load(cpu::Es, target(), size_)));
        step(cpu::Rsi, step_);
        step(cpu::Rdi, step_);
        return ends();
      }
      case Mnemonic::Scas:
        compare(x_.gpr(cpu::Rax, size_), TRY(x_.load(cpu::Es, target(), size_)));
        step(cpu::Rdi, step_);
        return ends();
      case Mnemonic::Ins: return ins();
      default: return outs();
    }
  }

  OrFault<bool> ins() {
    const u16 port = static_cast<u16>(x_.s.gpr[cpu::Rdx]);
    TRY(check_ports(x_, port, size_));
    const u64 at = TRY(cpu::segment_linear(x_.s, cpu::Es, target(), size_, PageAccess::Write));
    TRY(x_.bus.probe(at, size_, PageAccess::Write, Privilege::Current));
    TRY(x_.bus.store(at, size_, x_.bus.in(port, size_), Privilege::Current));
    step(cpu::Rdi, step_);
    return false;
  }

  OrFault<bool> outs() {
    const u16 port = static_cast<u16>(x_.s.gpr[cpu::Rdx]);
    TRY(check_ports(x_, port, size_));
    const u64 value = TRY(x_.load(source_segment(), source(), size_));
    x_.bus.out(port, size_, static_cast<u32>(value));
    step(cpu::Rsi, step_);
    return false;
  }

  // Flags of a - b.
  void compare(u64 a, u64 b) {
    const u64 sign = u64{1} << (8 * size_ - 1);
    const u64 r = truncated(a - b, size_);
    u64 f = x_.s.rflags & ~static_cast<u64>(cpu::kArithmeticFlags);
    if (a < b) f |= cpu::kCf;
    if (!(std::popcount(r & 0xff) & 1)) f |= cpu::kPf;
    if ((a ^ b ^ r) & 16) f |= cpu::kAf;
    if (r == 0) f |= cpu::kZf;
    if (r & sign) f |= cpu::kSf;
    if ((a ^ b) & (a ^ r) & sign) f |= cpu::kOf;
    x_.s.rflags = f;
  }

  bool ends() const {
    const bool equal = x_.s.rflags & cpu::kZf;
    return repeated_ && (x_.i.has(seen::kRepne) ? equal : !equal);
  }

  // Forward copies and fills of plain memory, up to the end of a page; how many elements were done.
  u64 bulk(u64 count) {
    if (!repeated_ || step_ < 0 || count < 4) return 0;
    switch (x_.i.mnemonic) {
      case Mnemonic::Movs: return bulk_movs(count);
      case Mnemonic::Stos: return bulk_stos(count);
      default: return 0;
    }
  }

  // Empty where something is in the way: then the elements go one by one, with their exact faults.
  Bytes window(SegReg seg, u64 offset, u64 bytes, PageAccess access) {
    if (width_ != 8) bytes = std::min(bytes, low_mask(8 * width_) - offset + 1);
    bytes = std::min<u64>(bytes, 4096 - (offset & 4095));
    if (bytes < size_) return {};
    OrFault<u64> linear = cpu::segment_linear(x_.s, seg, offset, bytes, access);
    if (!linear) return {};
    OrFault<Bytes> found = x_.bus.window(*linear, bytes, access, Privilege::Current);
    return found ? *found : Bytes{};
  }

  u64 bulk_movs(u64 count) {
    const Bytes from = window(source_segment(), source(), count * size_, PageAccess::Read);
    if (from.size() < size_) return 0;
    const Bytes to = window(cpu::Es, target(), from.size(), PageAccess::Write);
    const u64 n = std::min(from.size(), to.size()) / size_;
    if (n == 0) return 0;
    const bool overlaps = from.data() < to.data() && to.data() < from.data() + n * size_;
    if (overlaps) {  // the copy reads what it has written
      for (u64 k = 0; k < n; k++)
        std::memcpy(to.data() + k * size_, from.data() + k * size_, size_);
    } else {
      std::memmove(to.data(), from.data(), n * size_);
    }
    step(cpu::Rsi, static_cast<i64>(n * size_));
    step(cpu::Rdi, static_cast<i64>(n * size_));
    return n;
  }

  u64 bulk_stos(u64 count) {
    const Bytes to = window(cpu::Es, target(), count * size_, PageAccess::Write);
    const u64 n = to.size() / size_;
    if (n == 0) return 0;
    const u64 value = x_.s.gpr[cpu::Rax];
    if (size_ == 1)
      std::memset(to.data(), static_cast<int>(value), n);
    else
      for (u64 k = 0; k < n; k++) std::memcpy(to.data() + k * size_, &value, size_);
    step(cpu::Rdi, static_cast<i64>(n * size_));
    return n;
  }

  Executor& x_;
  const unsigned size_, width_;
  const i64 step_;
  bool repeated_;
};

}  // namespace

Outcome execute_string(Executor& x) {
  switch (x.i.mnemonic) {
    case Mnemonic::Movs:
    case Mnemonic::Stos:
    case Mnemonic::Lods:
    case Mnemonic::Cmps:
    case Mnemonic::Scas:
    case Mnemonic::Ins:
    case Mnemonic::Outs: return String(x).run();
    default: return Outcome::Native;
  }
}

}  // namespace menura::jit::x86
