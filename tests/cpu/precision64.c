// Each access of instructions that make several is made to fault, alone: vector, error code, CR2, and everything as it was before.
#include "world64.h"

enum { NONE, READ = 1, WRITE = 2 };

// The pages that an instruction uses, beside code: rsp in page 60, rbx in page 62, rsi in 64, rdi in 66, rbp in 68.
enum { STACK = 60, B = 62, S = 64, DEST = 66, F = 68 };

struct probe {
  const char *name;
  void *code;
  struct { int page, how; } access[4];  // in the CPU's order
};

static void lay_out(void) {
  for (int p = STACK; p <= F + 1; p++) {
    if (*entry(PAGE(p), 1) != (FRAME(p - 20) | P | W)) map(PAGE(p), FRAME(p - 20), P | W);
    fill(frames[p - 20], 0, 4096);
  }
  c.gpr[RSP] = PAGE(STACK) + 0x800;
  c.gpr[RBX] = PAGE(B) + 0x100;
  c.gpr[RSI] = PAGE(S) + 0x100;
  c.gpr[RDI] = PAGE(DEST) + 0x100;
  c.gpr[RBP] = PAGE(F) + 0x800;
  c.gpr[RCX] = 1;
  c.gpr[RAX] = 0x1122334455667788;
  c.gpr[RDX] = 0x99;
  *(u64 *)(frames[B - 20] + 0x100) = PAGE(B);
}

static u64 base_of(int page) {
  return page == STACK ? c.gpr[RSP] : page == B ? c.gpr[RBX] : page == S ? c.gpr[RSI] : page == DEST ? c.gpr[RDI] : c.gpr[RBP];
}

static void probe(const struct probe *p) {
  for (int which = 0; which < 4 && p->access[which].how; which++) {
    const int page = p->access[which].page, how = p->access[which].how;
    for (int readonly = 0; readonly <= (how & WRITE ? 1 : 0); readonly++)
      for (int warm = 0; warm < 3; warm++) {
        kernel();
        lay_out();
        if (warm) {  // the same, undisturbed
          go(p->code);
          if (c.vector != BP) {
            print(p->name);
            EQUAL(c.vector, BP);
            return;
          }
          lay_out();
        }
        if (readonly) {
          map(PAGE(page), FRAME(page - 20), P);
        } else {
          map(PAGE(page), 0, 0);
        }
        const struct cpu before = c;
        c.cr2 = 0;
        go(p->code);
        const u32 error = (how & WRITE ? 2 : 0) | readonly;
        int wrong = c.vector != PF || c.error != error || (c.cr2 & ~0xfffull) != PAGE(page) || c.rip != (u64)p->code;
        for (int r = 0; r < 16; r++) wrong |= c.gpr[r] != before.gpr[r];
        if (wrong) {
          print("\n  ");
          print(p->name);
          FAULT(PF, error, base_of(page) & ~0xfffull);
          EQUAL(c.rip, (u64)p->code);
          for (int r = 0; r < 16; r++) EQUAL(c.gpr[r], before.gpr[r]);
        }
        // Nothing was written, but that ENTER may have pushed already.
        for (int q = p->access[1].page == F ? STACK + 1 : STACK; q <= F; q++)
          for (int k = 0; k < 512; k++) {
            const u64 is = ((u64 *)frames[q - 20])[k];
            if (is && !(q == B && k == 32)) EQUAL(is, 0);
          }
      }
  }
}

void test_precision(void) {
  begin("precision: each access");
  unmap_zone();
  const struct probe probes[] = {
      {"push rax", CODE("push rax"), {{STACK, WRITE}}},
      {"push [rbx]", CODE("push qword ptr [rbx]"), {{B, READ}, {STACK, WRITE}}},
      {"pop rax", CODE("pop rax; int3"), {{STACK, READ}}},
      {"pop [rbx]", CODE("pop qword ptr [rbx]"), {{STACK, READ}, {B, WRITE}}},
      {"pushfq", CODE("pushfq"), {{STACK, WRITE}}},
      {"popfq", CODE("push 2; popfq"), {{STACK, WRITE}}},
      {"call rel", CODE("call 1f; int3; 1: int3"), {{STACK, WRITE}}},
      {"leave", CODE("leave; int3"), {{F, READ}}},
      {"enter 16, 0", CODE("enter 16, 0; int3"), {{STACK, WRITE}}},
      {"enter 16, 3", CODE("enter 16, 3; int3"), {{STACK, WRITE}, {F, READ}}},
      {"movsq", CODE("movsq"), {{S, READ}, {DEST, WRITE}}},
      {"cmpsq", CODE("cmpsq"), {{S, READ}, {DEST, READ}}},
      {"stosq", CODE("stosq"), {{DEST, WRITE}}},
      {"rep movsb", CODE("rep movsb"), {{S, READ}, {DEST, WRITE}}},
      {"add [rbx], rax", CODE("add [rbx], rax"), {{B, READ | WRITE}}},
      {"lock xadd", CODE("lock xadd [rbx], rax"), {{B, READ | WRITE}}},
      {"cmpxchg that fails", CODE("cmpxchg [rbx], rdx"), {{B, READ | WRITE}}},
      {"cmpxchg8b", CODE("cmpxchg8b [rbx]"), {{B, READ | WRITE}}},
      {"cmpxchg16b", CODE("lock cmpxchg16b [rbx]"), {{B, READ | WRITE}}},
      {"xchg", CODE("xchg [rbx], rax"), {{B, READ | WRITE}}},
      {"bts [rbx], rcx", CODE("bts [rbx], rcx"), {{B, READ | WRITE}}},
      {"not", CODE("not qword ptr [rbx]"), {{B, READ | WRITE}}},
      {"shl [rbx], cl", CODE("shl qword ptr [rbx], cl"), {{B, READ | WRITE}}},
      {"adc [rbx], 1", CODE("stc; adc qword ptr [rbx], 1"), {{NONE, NONE}}},
      {"test [rbx]", CODE("test [rbx], rax"), {{B, READ}}},
      {"setz [rbx]", CODE("setz [rbx]"), {{B, WRITE}}},
      {"fxsave", CODE("fxsave [rbx + 0x100]"), {{B, WRITE}}},
      {"fnstenv", CODE("fnstenv [rbx]"), {{B, WRITE}}},
      {"sgdt", CODE("sgdt [rbx]"), {{B, WRITE}}},
      {"str", CODE("str [rbx]"), {{B, WRITE}}},
      {"mov [rbx], ds", CODE("mov [rbx], ds"), {{B, WRITE}}},
      {"lidt", CODE("lidt [rbx]"), {{NONE, NONE}}},
      {"movups store", CODE("movups [rbx], xmm0"), {{B, WRITE}}},
      {"movntdq", CODE("movntdq [rbx], xmm0"), {{B, WRITE}}},
      {"paddb load", CODE("paddb xmm0, [rbx]"), {{B, READ}}},
      {"stmxcsr", CODE("stmxcsr [rbx]"), {{B, WRITE}}},
      {"fst", CODE("fst qword ptr [rbx]"), {{B, WRITE}}},
      {"fadd", CODE("fadd qword ptr [rbx]"), {{B, READ}}},
      {"outsb", CODE("mov edx, 0x80; outsb"), {{NONE, NONE}}},
      {"in to memory", CODE("insb"), {{DEST, WRITE}}},
      {"maskmovdqu", CODE("pcmpeqb xmm0, xmm0; pcmpeqb xmm1, xmm1; maskmovdqu xmm0, xmm1"), {{NONE, NONE}}},
  };
  for (unsigned i = 0; i < sizeof probes / sizeof *probes; i++)
    if (probes[i].access[0].how) probe(&probes[i]);

  begin("precision: indirect transfers");
  // call [rbx]: the pointer is read, then the return address written. jmp [rbx], ret, ret 16.
  static const struct { int page, error; } kCalls[] = {{B, 0}, {STACK, 2}};
  for (int i = 0; i < 2; i++) {
    kernel();
    lay_out();
    void *code = CODE("call [rbx]; int3");
    *(u64 *)(frames[B - 20] + 0x100) = (u64)code + 2;
    map(PAGE(kCalls[i].page), 0, 0);
    const u64 rsp = c.gpr[RSP];
    go(code);
    FAULT(PF, kCalls[i].error, kCalls[i].page == B ? PAGE(B) + 0x100 : rsp - 8);
    EQUAL(c.gpr[RSP], rsp);
    EQUAL(c.rip, (u64)code);
  }
  // A target that is not mapped: the fault is the target's fetch; the transfer is done.
  for (int i = 0; i < 2; i++) {
    kernel();
    lay_out();
    *(u64 *)(frames[B - 20] + 0x100) = PAGE(90);
    *(u64 *)(frames[STACK - 20] + 0x800) = PAGE(90);
    const u64 rsp = c.gpr[RSP];
    go(i ? CODE("ret 16") : CODE("jmp [rbx]"));
    FAULT(PF, 0x10, PAGE(90));
    EQUAL(c.rip, PAGE(90));
    EQUAL(c.gpr[RSP], rsp + (i ? 24 : 0));
  }
  // An instruction whose end is in a page that is not there: CR2 is that page's first byte.
  for (int cut = 1; cut < 6; cut++) {
    kernel();
    lay_out();
    const u64 at = PAGE(B + 1) - cut;
    map(PAGE(B + 1), 0, 0);
    static const u8 kMov[] = {0x48, 0xc7, 0xc0, 1, 0, 0, 0};
    copy(frames[B - 20] + 4096 - cut, kMov, cut);
    go((void *)at);
    FAULT(PF, 0x10, PAGE(B + 1));
    EQUAL(c.rip, at);
    map(PAGE(B + 1), FRAME(B - 19), P | W);
  }

  begin("precision: addresses that are none");
  const u64 hole = 0x8000000000000000;
  kernel();
  c.gpr[RBX] = hole;
  go(CODE("mov rax, [rbx]"));
  FAULT(GP, 0, 0);
  kernel();
  c.gpr[RBP] = hole;
  go(CODE("mov rax, [rbp]"));
  FAULT(SS, 0, 0);
  kernel();
  c.gpr[RBX] = 0x7ffffffffffc;  // begins in what is, ends in what is not
  go(CODE("mov rax, [rbx]"));
  FAULT(GP, 0, 0);
  kernel();
  c.gpr[RSP] = hole;
  go(CODE("push rax"));
  FAULT(SS, 0, 0);
  EQUAL(c.gpr[RSP], hole);
  kernel();
  c.gpr[RSP] = hole;
  go(CODE("call 1f; 1:"));
  FAULT(SS, 0, 0);
  kernel();
  c.gpr[RSI] = hole;
  go(CODE("lodsb"));
  FAULT(GP, 0, 0);
  kernel();
  c.gpr[RBX] = hole;
  go(CODE("invlpg [rbx]"));
  EQUAL(c.vector, BP);  // does nothing
}
