// Lets this machine's CPU judge lengths and validity: instructions are placed so that they end 1, 2, 3... bytes before
// a page that cannot be executed. While the CPU faults on that page it wants more bytes; then it accepts, faults for
// another reason, or says #UD. Runs where the host is an AMD CPU, whose choices the decoder follows.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "base/format.h"
#include "jit/front/x86/insn.h"
#include "jit/front/x86/print.h"

namespace menura::jit::x86 {
namespace {

using Code = std::vector<u8>;
constexpr std::size_t kPage = 4096;

// Low addresses, reachable from 32-bit code.
u8* const kCode = reinterpret_cast<u8*>(0x20000000);
u8* const kEnd = kCode + kPage;  // not executable
u8* const kData = reinterpret_cast<u8*>(0x30000000);

struct Verdict {
  int signal = 0;
  u64 trap = 0;
  u64 error = 0;
  u64 address = 0;
  u64 ip = 0;
};

// Written by the signal handlers of this one thread.
struct Run {
  ucontext_t before;
  u8 fpu[512];
  u64 start = 0;
  bool compatibility = false;
  bool running = false;
  Verdict verdict;
};
Run g_run;

// The kernel has interrupted us to run the handler: return into the instruction instead.
void enter(ucontext_t& context) {
  g_run.before = context;
  std::memcpy(g_run.fpu, context.uc_mcontext.fpregs, sizeof g_run.fpu);
  greg_t* regs = context.uc_mcontext.gregs;
  for (int reg : {REG_RAX, REG_RDX, REG_RBX, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10,
                  REG_R11, REG_R12, REG_R13, REG_R14, REG_R15})
    regs[reg] = reinterpret_cast<greg_t>(kData) + 1024;
  regs[REG_RCX] = 0;
  regs[REG_RSP] = reinterpret_cast<greg_t>(kData) + 2048;
  regs[REG_RIP] = static_cast<greg_t>(g_run.start);
  if (g_run.compatibility) regs[REG_CSGSFS] = (regs[REG_CSGSFS] & ~greg_t{0xFFFF}) | 0x23;
  g_run.running = true;
}

void leave(ucontext_t& context, int signal, const siginfo_t& info) {
  greg_t* regs = context.uc_mcontext.gregs;
  g_run.verdict = {.signal = signal,
                   .trap = static_cast<u64>(regs[REG_TRAPNO]),
                   .error = static_cast<u64>(regs[REG_ERR]),
                   .address = reinterpret_cast<u64>(info.si_addr),
                   .ip = static_cast<u64>(regs[REG_RIP])};
  std::memcpy(regs, g_run.before.uc_mcontext.gregs, sizeof g_run.before.uc_mcontext.gregs);
  std::memcpy(context.uc_mcontext.fpregs, g_run.fpu, sizeof g_run.fpu);
  g_run.running = false;
}

void handle(int signal, siginfo_t* info, void* context) {
  if (signal == SIGUSR1)
    enter(*static_cast<ucontext_t*>(context));
  else if (g_run.running)
    leave(*static_cast<ucontext_t*>(context), signal, *info);
  else
    _exit(1);  // our own mistake: the parent reports the death
}

void prepare() {
  auto map = [](u8* at) {
    void* got = mmap(at, 2 * kPage, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (got != at) _exit(2);
  };
  map(kCode);
  map(kData);
  if (mprotect(kCode, kPage, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) _exit(3);
  static u8 stack[128 * 1024];
  stack_t alternate = {.ss_sp = stack, .ss_flags = 0, .ss_size = sizeof stack};
  sigaltstack(&alternate, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (int signal : {SIGUSR1, SIGSEGV, SIGILL, SIGTRAP, SIGBUS, SIGFPE})
    sigaction(signal, &action, nullptr);
}

enum class Opinion { WantsMore, Invalid, Valid };

// What the CPU thinks of the first `length` bytes of `code`.
Opinion judge(const Code& code, unsigned length, bool compatibility) {
  u8* start = kEnd - length;
  std::memset(kCode, 0xCC, kPage);  // where backward jumps land
  std::memcpy(start, code.data(), length);
  std::memset(kData, 0, kPage);
  g_run.compatibility = compatibility;
  g_run.start = reinterpret_cast<u64>(start);
  raise(SIGUSR1);
  const Verdict& verdict = g_run.verdict;
  constexpr u64 kPageFault = 14, kFetch = 16, kInvalidOpcode = 6;
  if (verdict.trap == kInvalidOpcode) return Opinion::Invalid;
  bool wants_more = verdict.trap == kPageFault && (verdict.error & kFetch) != 0 &&
                    verdict.ip == g_run.start && verdict.address == reinterpret_cast<u64>(kEnd);
  return wants_more ? Opinion::WantsMore : Opinion::Valid;
}

// System calls and whatever disturbs the FS and GS bases this process lives by.
bool dangerous(const Insn& insn) {
  if (insn.status != Status::Ok) return false;
  switch (insn.mnemonic) {
    case Mnemonic::Int:
    case Mnemonic::Syscall:
    case Mnemonic::Sysenter:
    case Mnemonic::Sysexit:
    case Mnemonic::Wrfsbase:
    case Mnemonic::Wrgsbase:
    case Mnemonic::Lfs:
    case Mnemonic::Lgs:
    case Mnemonic::Wrpkru: return true;
    default: break;
  }
  Operand first = operand(insn, 0);
  return first.cls == RegClass::Segment && first.written;
}

// Where the CPU's verdict does not speak about decoding, or menura does not offer what the host has.
bool excused(const Insn& insn, const Code& code) {
  switch (insn.mnemonic) {
    case Mnemonic::Ud0:
    case Mnemonic::Ud1:
    case Mnemonic::Ud2:
    case Mnemonic::Rsm: return true;  // #UD is what they do
    case Mnemonic::Clac:
    case Mnemonic::Stac: return true;  // #UD outside CPL 0
    case Mnemonic::Mov:
      return insn.has(seen::kLock);  // LOCK MOV CR0 is CR8: AltMovCr8, not offered
    case Mnemonic::Verw:
      return insn.has(seen::kLock);  // Zen 4 accepts LOCK VERW with a memory operand
    default: break;
  }
  std::size_t at = code[0] == 0x0F ? 0 : 1;
  bool group = code[at] == 0x0F && code[at + 1] == 0x01;
  // VMCALL is not AMD's; KVM emulates it, whatever its prefixes.
  if (group && code[at + 2] == 0xC1) return true;
  // SVM, MCOMMIT and INVLPGB; MONITORX, which hypervisors hide but cannot take away.
  return group && ((code[at + 2] >= 0xD8 && code[at + 2] <= 0xDF) || code[at + 2] >= 0xFA);
}

FeatureSet host_features() {
  static const std::map<std::string, Feature> kNames = {{"fpu", Feature::Fpu},
                                                        {"tsc", Feature::Tsc},
                                                        {"msr", Feature::Msr},
                                                        {"cx8", Feature::Cx8},
                                                        {"cx16", Feature::Cx16},
                                                        {"cmov", Feature::Cmov},
                                                        {"clflush", Feature::Clflush},
                                                        {"clflushopt", Feature::Clflushopt},
                                                        {"clwb", Feature::Clwb},
                                                        {"clzero", Feature::Clzero},
                                                        {"wbnoinvd", Feature::Wbnoinvd},
                                                        {"fxsr", Feature::Fxsr},
                                                        {"mmx", Feature::Mmx},
                                                        {"sse", Feature::Sse},
                                                        {"sse2", Feature::Sse2},
                                                        {"pni", Feature::Sse3},
                                                        {"ssse3", Feature::Ssse3},
                                                        {"sse4_1", Feature::Sse41},
                                                        {"sse4_2", Feature::Sse42},
                                                        {"sse4a", Feature::Sse4a},
                                                        {"sep", Feature::Sep},
                                                        {"syscall", Feature::Syscall},
                                                        {"lahf_lm", Feature::LahfLm},
                                                        {"popcnt", Feature::Popcnt},
                                                        {"abm", Feature::Lzcnt},
                                                        {"bmi1", Feature::Bmi1},
                                                        {"bmi2", Feature::Bmi2},
                                                        {"adx", Feature::Adx},
                                                        {"movbe", Feature::Movbe},
                                                        {"aes", Feature::Aes},
                                                        {"pclmulqdq", Feature::Pclmul},
                                                        {"sha_ni", Feature::Sha},
                                                        {"gfni", Feature::Gfni},
                                                        {"avx", Feature::Avx},
                                                        {"avx2", Feature::Avx2},
                                                        {"fma", Feature::Fma},
                                                        {"f16c", Feature::F16c},
                                                        {"vaes", Feature::Vaes},
                                                        {"vpclmulqdq", Feature::Vpclmul},
                                                        {"rdrand", Feature::Rdrand},
                                                        {"rdseed", Feature::Rdseed},
                                                        {"rdtscp", Feature::Rdtscp},
                                                        {"rdpid", Feature::Rdpid},
                                                        {"rdpru", Feature::Rdpru},
                                                        {"xsave", Feature::Xsave},
                                                        {"xsaveopt", Feature::Xsaveopt},
                                                        {"xsavec", Feature::Xsavec},
                                                        {"xsaves", Feature::Xsaves},
                                                        {"fsgsbase", Feature::Fsgsbase},
                                                        {"invpcid", Feature::Invpcid},
                                                        {"ospke", Feature::Pku},
                                                        {"smap", Feature::Smap},
                                                        {"monitor", Feature::Monitor},
                                                        {"mwaitx", Feature::Monitorx},
                                                        {"3dnowprefetch", Feature::Prefetchw}};
  FeatureSet features;
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("flags", 0) != 0) continue;
    std::istringstream words(line);
    for (std::string word; words >> word;) {
      auto found = kNames.find(word);
      if (found != kNames.end()) features = features.with(found->second);
    }
    break;
  }
  return features;
}

bool host_is_amd() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.find("AuthenticAMD") != std::string::npos) return true;
  return false;
}

std::string hex(const Code& code) {
  std::string text;
  for (u8 byte : code) text += format("{:02x} ", byte);
  return text;
}

class Sweep {
 public:
  explicit Sweep(bool compatibility)
      : compatibility_(compatibility),
        decoder_(compatibility ? Mode::Bits32 : Mode::Bits64, host_features()) {}

  // Compares one instruction; zeros follow `code`.
  void check(Code code) {
    code.resize(32);
    Insn ours = decoder_.decode(code);
    if (dangerous(ours) || excused(ours, code) || agrees(ours, code) || ++differences_ > 200)
      return;
    code.resize(kMaxLength);
    report_ += format("{}: {} [{}]\n", hex(code), print(ours, 0), ours.length);
  }

  void run() {
    const std::vector<Code> prefixes = {{}, {0x66}, {0xF3}, {0xF2}, {0xF0}};
    const std::vector<Code> maps = {{}, {0x0F}, {0x0F, 0x38}, {0x0F, 0x3A}};
    for (const Code& prefix : prefixes)
      for (const Code& map : maps)
        for (unsigned opcode = 0; opcode < 256; ++opcode)
          sweep_modrm(prefix, map, static_cast<u8>(opcode));
    for (unsigned map = 1; map <= 3; ++map)
      for (unsigned opcode = 0; opcode < 256; ++opcode) sweep_vex(map, static_cast<u8>(opcode));
  }
  const std::string& report() const { return report_; }

 private:
  // A valid instruction is accepted when complete and not a byte earlier.
  bool agrees(const Insn& ours, const Code& code) const {
    if (ours.status != Status::Ok)
      return judge(code, kMaxLength, compatibility_) == Opinion::Invalid;
    return judge(code, ours.length, compatibility_) == Opinion::Valid &&
           (ours.length == 1 ||
            judge(code, ours.length - 1u, compatibility_) == Opinion::WantsMore);
  }

  void sweep_modrm(const Code& prefix, const Code& map, u8 opcode) {
    // x87 and group 0F 01 are told apart by the whole byte, others by mod and reg.
    bool whole = (map.empty() && (opcode & 0xF8) == 0xD8) || (map.size() == 1 && opcode == 0x01);
    for (unsigned modrm = 0; modrm < 256; ++modrm) {
      bool memory = modrm < 0x40 && (modrm & 7) == 3;
      bool in_register = modrm >= 0xC0 && (whole || (modrm & 7) == 3);
      if (!memory && !in_register) continue;
      Code code = prefix;
      code.insert(code.end(), map.begin(), map.end());
      code.push_back(opcode);
      code.push_back(static_cast<u8>(modrm));
      check(code);
    }
  }

  void sweep_vex(unsigned map, u8 opcode) {
    // The opcodes where AVX-512's mask register instructions live.
    if (map == 1 && ((opcode >= 0x41 && opcode <= 0x4B) || (opcode >= 0x90 && opcode <= 0x99)))
      return;
    if (map == 3 && opcode >= 0x30 && opcode <= 0x33) return;
    bool group = opcode == 0xAE || opcode == 0xF3 || (opcode >= 0x71 && opcode <= 0x73);
    for (u8 vvvv : {0x78, 0x30})
      for (unsigned low = 0; low < 16; ++low)
        for (unsigned reg = 0; reg < 8; reg += group ? 1 : 8)
          for (unsigned modrm : {0x03u, 0xC3u})
            check({0xC4, static_cast<u8>(0xE0 | map),
                   static_cast<u8>((low & 8) << 4 | vvvv | (low & 7)), opcode,
                   static_cast<u8>(modrm | reg << 3)});
  }

  bool compatibility_;
  Decoder decoder_;
  unsigned differences_ = 0;
  std::string report_;
};

// Runs the sweep in a child, which may die of what it executes.
std::string sweep_in_child(bool compatibility) {
  int ends[2];
  if (pipe(ends) != 0) return "cannot make a pipe";
  pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    alarm(60);
    prepare();
    Sweep sweep(compatibility);
    sweep.run();
    std::string report = sweep.report() + "done\n";
    for (std::size_t at = 0; at < report.size();) {
      ssize_t wrote = write(ends[1], report.data() + at, report.size() - at);
      if (wrote <= 0) _exit(4);
      at += static_cast<std::size_t>(wrote);
    }
    _exit(0);
  }
  close(ends[1]);
  std::string report;
  char buffer[4096];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof buffer)) > 0;)
    report.append(buffer, static_cast<std::size_t>(got));
  close(ends[0]);
  return report;
}

TEST(HostTest, LongMode) {
  if (!host_is_amd()) GTEST_SKIP() << "the decoder follows AMD CPUs; this host has another";
  EXPECT_EQ(sweep_in_child(false), "done\n");
}

TEST(HostTest, CompatibilityMode) {
  if (!host_is_amd()) GTEST_SKIP() << "the decoder follows AMD CPUs; this host has another";
  EXPECT_EQ(sweep_in_child(true), "done\n");
}

}  // namespace
}  // namespace menura::jit::x86
