// Fault and OrFault<T>: how x86 semantics report that an instruction cannot complete.
//
// Owner: cpu/x86. Threads: values. Spec: Intel SDM vol. 3 §6.15 (exception reference).
// OrFault works with TRY like Result, without its strings, since faults are the guest's daily life:
//   u64 low = TRY(bus.load(linear, 8, Privilege::Current));
//   return general_protection(selector & ~3);
#pragma once

#include <optional>
#include <utility>

#include "base/check.h"
#include "base/types.h"
#include "cpu/x86/state.h"

namespace menura::x86 {

// A fault-class exception (or a trap raised by INT3, INTO, a single step: see delivery). RIP still
// points at the instruction. `cr2` counts for kPfault only; CR2 itself is written on delivery.
struct Fault {
  u8 vector = 0;
  bool has_error_code = false;
  u32 error_code = 0;
  u64 cr2 = 0;
  bool operator==(const Fault&) const = default;
};

constexpr Fault general_protection(u32 error_code = 0) { return {kGp, true, error_code}; }
constexpr Fault stack_fault(u32 error_code = 0) { return {kSsFault, true, error_code}; }
constexpr Fault not_present(u32 error_code) { return {kNp, true, error_code}; }
constexpr Fault invalid_tss(u32 error_code) { return {kTs, true, error_code}; }
constexpr Fault page_fault(u64 linear, u32 error_code) {
  return {kPfault, true, error_code, linear};
}
constexpr Fault undefined_opcode() { return {kUd}; }
constexpr Fault device_not_available() { return {kNm}; }

// Page-fault error code bits.
enum PageFaultBits : u32 {
  kPfPresent = 1u << 0,
  kPfWrite = 1u << 1,
  kPfUser = 1u << 2,
  kPfReserved = 1u << 3,
  kPfFetch = 1u << 4,
  kPfKey = 1u << 5,
};

template <class T>
class [[nodiscard]] OrFault {
 public:
  OrFault(T value) : value_(std::move(value)) {}  // NOLINT: implicit
  OrFault(Fault fault) : fault_(fault) {}         // NOLINT: implicit
  explicit operator bool() const { return value_.has_value(); }
  bool ok() const { return value_.has_value(); }
  T value() && {
    expect(ok(), "value() of a fault");
    return std::move(*value_);
  }
  const T& value() const& {
    expect(ok(), "value() of a fault");
    return *value_;
  }
  const T& operator*() const& { return value(); }
  const T* operator->() const { return &value(); }
  Fault& error() { return fault_; }
  const Fault& error() const { return fault_; }

 private:
  std::optional<T> value_;
  Fault fault_;
};

template <>
class [[nodiscard]] OrFault<void> {
 public:
  OrFault() = default;
  OrFault(Fault fault) : fault_(fault), failed_(true) {}  // NOLINT: implicit
  explicit operator bool() const { return !failed_; }
  bool ok() const { return !failed_; }
  void value() const { expect(ok(), "value() of a fault"); }
  Fault& error() { return fault_; }
  const Fault& error() const { return fault_; }

 private:
  Fault fault_;
  bool failed_ = false;
};

}  // namespace menura::x86

namespace menura::detail {
// Lets TRY pass faults on.
inline x86::Fault wrap(x86::Fault&& fault) { return fault; }
}  // namespace menura::detail
