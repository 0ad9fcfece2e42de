// The registers for people, in the layout that users of QEMU's `info registers` read fluently.

#include "base/format.h"
#include "cpu/x86/state.h"

namespace menura::x86 {

namespace {

template <class... Args>
void print(std::string& to, fmt::format_string<Args...> pattern, Args&&... args) {
  to += fmt::vformat(pattern, fmt::make_format_args(args...));
}

constexpr const char* kGprNames[kGprCount] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP",
                                              "RSI", "RDI", "R8 ", "R9 ", "R10", "R11",
                                              "R12", "R13", "R14", "R15"};

const char* mode_name(const State& s) {
  if (!(s.cr0 & kCr0Pe)) return "real";
  if (s.rflags & kVm) return "v8086";
  if (s.code64()) return "64-bit";
  if (s.long_mode_active()) return s.seg[Cs].db() ? "compat32" : "compat16";
  return s.seg[Cs].db() ? "protected32" : "protected16";
}

const char* activity_name(Activity activity) {
  switch (activity) {
    case Activity::Running: return "running";
    case Activity::WaitForSipi: return "waiting for SIPI";
    case Activity::InitReceived: return "INIT received";
    case Activity::Halted: return "halted";
  }
  return "?";
}

std::string flag_letters(u64 rflags) {
  struct Letter {
    u64 bit;
    char letter;
  };
  constexpr Letter kLetters[] = {{kDf, 'D'}, {kOf, 'O'}, {kSf, 'S'}, {kZf, 'Z'},
                                 {kAf, 'A'}, {kPf, 'P'}, {kCf, 'C'}, {kIf, 'I'}};
  std::string text;
  for (const Letter& l : kLetters) text += rflags & l.bit ? l.letter : '-';
  return text;
}

std::string segment_kind(const Segment& segment) {
  if (segment.unusable) return "unusable";
  if (!segment.present()) return "not present";
  if (!segment.code_or_data()) {
    switch (segment.type()) {
      case 2: return "LDT";
      case 1: return "TSS16-avl";
      case 3: return "TSS16-busy";
      case 9: return "TSS-avl";
      case 11: return "TSS-busy";
      default: return format("system type {}", segment.type());
    }
  }
  const u8 type = segment.type();
  const bool code = type & 8;
  std::string text = !code ? "DS" : segment.long_mode() ? "CS64" : segment.db() ? "CS32" : "CS16";
  text += " [";
  text += type & 4 ? (code ? 'C' : 'E') : '-';  // conforming, expand-down
  text += type & 2 ? (code ? 'R' : 'W') : '-';
  text += type & 1 ? 'A' : '-';
  return text + "]";
}

void print_segment(std::string& out, const char* name, const Segment& segment) {
  print(out, "{:<3}={:04x} {:016x} {:08x} {:04x} DPL={} {}\n", name, segment.selector, segment.base,
        segment.limit, segment.attributes, segment.dpl(), segment_kind(segment));
}

void print_integer_registers(std::string& out, const State& s) {
  constexpr Gpr kOrder[] = {Rax, Rbx, Rcx, Rdx, Rsi, Rdi, Rbp, Rsp,
                            R8,  R9,  R10, R11, R12, R13, R14, R15};
  int column = 0;
  for (const Gpr r : kOrder)
    print(out, "{}={:016x}{}", kGprNames[r], s.gpr[r], ++column % 4 ? ' ' : '\n');
  print(out, "RIP={:016x} RFL={:08x} [{}] CPL={} {} {}{}{}\n", s.rip, s.rflags,
        flag_letters(s.rflags), s.cpl(), mode_name(s), activity_name(s.activity),
        s.in_smm ? " SMM" : "", s.interrupt_shadow ? " shadow" : "");
}

void print_system_registers(std::string& out, const State& s) {
  constexpr const char* kNames[kSegCount] = {"ES", "CS", "SS", "DS", "FS", "GS"};
  for (size_t i = 0; i < kSegCount; i++) print_segment(out, kNames[i], s.seg[i]);
  print_segment(out, "LDT", s.ldtr);
  print_segment(out, "TR", s.tr);
  print(out, "GDT=     {:016x} {:08x}\nIDT=     {:016x} {:08x}\n", s.gdtr.base, s.gdtr.limit,
        s.idtr.base, s.idtr.limit);
  print(out, "CR0={:08x} CR2={:016x} CR3={:016x} CR4={:08x} CR8={:x}\n", s.cr0, s.cr2, s.cr3, s.cr4,
        s.cr8);
  print(out, "DR0={:016x} DR1={:016x} DR2={:016x} DR3={:016x}\n", s.dr[0], s.dr[1], s.dr[2],
        s.dr[3]);
  print(out, "DR6={:016x} DR7={:016x}\nEFER={:016x} XCR0={:016x} APICBASE={:016x}\n", s.dr6, s.dr7,
        s.efer, s.xcr0, s.apic_base);
}

void print_vector_registers(std::string& out, const State& s) {
  print(out, "FCW={:04x} FSW={:04x} [ST={}] FTW={:02x} MXCSR={:08x}\n", s.x87.fcw, s.x87.fsw,
        (s.x87.fsw >> 11) & 7, s.x87.ftw, s.mxcsr);
  for (size_t i = 0; i < s.x87.st.size(); i++) {
    std::string digits;
    for (size_t b = s.x87.st[i].size(); b-- > 0;) print(digits, "{:02x}", s.x87.st[i][b]);
    print(out, "ST{}={} {}{}", i, digits.substr(0, 4), digits.substr(4), i % 2 ? '\n' : ' ');
  }
  for (size_t i = 0; i < s.vec.size(); i++) {
    const auto& q = s.vec[i].qwords;
    if (q[2] | q[3])
      print(out, "YMM{:02}={:016x} {:016x} {:016x} {:016x}\n", i, q[3], q[2], q[1], q[0]);
    else
      print(out, "XMM{:02}={:016x} {:016x}\n", i, q[1], q[0]);
  }
}

}  // namespace

std::string print_general_registers(const State& state) {
  std::string out;
  print_integer_registers(out, state);
  print_system_registers(out, state);
  return out;
}

std::string print_registers(const State& state) {
  std::string out = print_general_registers(state);
  print_vector_registers(out, state);
  return out;
}

}  // namespace menura::x86
