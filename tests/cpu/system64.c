// Transfers between privileges, traps and what holds them back. Intel SDM vol. 3 §5, 6, 17; AMD APM vol. 2 §8, 13.
#include "world64.h"

static u64 frame[5];

// IRETQ of what `frame` says.
static void iret(u64 rip, u64 cs, u64 rflags, u64 rsp, u64 ss) {
  frame[0] = rip;
  frame[1] = cs;
  frame[2] = rflags;
  frame[3] = rsp;
  frame[4] = ss;
  c.gpr[RSP] = (u64)frame;
  go(CODE("iretq"));
}

static void test_iret(void) {
  begin("iret: every form");
  unmap_zone();
  user();
  const u64 user_stack = c.gpr[RSP];
  frames[0][0] = 0xcc;
  map(PAGE(1), FRAME(0), ALL);
  void *here = CODE("nop");
  // To the same level, with an odd RSP and a null SS, which is allowed here.
  kernel();
  iret((u64)here, KERNEL_CODE, 2 | CARRY, 0x12345, 0);
  EQUAL(c.vector, BP);
  EQUAL(c.gpr[RSP], 0x12345);
  EQUAL(c.ss, 0);
  EQUAL(c.rflags & 0xff, 3);
  // To the user; bits of RFLAGS that go through, and those that do not.
  kernel();
  iret(PAGE(1), USER_CODE, 0x40000 | 0xcd7, user_stack, USER_DATA);
  EQUAL(c.vector, BP);
  EQUAL(c.cs, USER_CODE);
  EQUAL(c.gpr[RSP], user_stack);
  EQUAL(c.rflags, 0x40cd7);
  // Refused, by what the selectors say.
  static const struct { u16 cs, ss; u8 vector; u16 error; } kBad[] = {
      {0, DATA, GP, 0}, {DATA, DATA, GP, DATA}, {ABSENT_CODE, DATA, NP, ABSENT_CODE}, {USER_CODE & ~3, USER_DATA, GP, USER_CODE & ~3},
      {USER_CODE, DATA, GP, DATA}, {USER_CODE, 0, GP, 0}, {USER_CODE, KERNEL_CODE | 3, GP, KERNEL_CODE}, {0x78, DATA, GP, 0x78},
      {0x0c, DATA, GP, 0x0c}, {KERNEL_CODE, USER_DATA, GP, USER_DATA & ~3}, {KERNEL_CODE | 1, DATA, GP, KERNEL_CODE}};
  for (unsigned i = 0; i < sizeof kBad / sizeof *kBad; i++) {
    kernel();
    iret((u64)here, kBad[i].cs, 2, 0x1000, kBad[i].ss);
    FAULT(kBad[i].vector, kBad[i].error, 0);
    EQUAL(c.gpr[RSP], (u64)frame);
  }
  // NT, and a target that is no address.
  kernel();
  c.rflags |= NESTED;
  iret((u64)here, KERNEL_CODE, 2, 0x1000, DATA);
  FAULT(GP, 0, 0);
  kernel();
  iret(1ull << 60, KERNEL_CODE, 2, 0x1000, DATA);
  EQUAL(c.vector, GP);
  EQUAL(c.error, 0);
  // 32- and 16-bit operands pop less.
  static u32 narrow[5];
  kernel();
  narrow[0] = (u32)(u64)here;
  narrow[1] = KERNEL_CODE;
  narrow[2] = 2;
  narrow[3] = 0x54320;
  narrow[4] = DATA;
  c.gpr[RSP] = (u64)narrow;
  go(CODE("iretd"));
  EQUAL(c.vector, BP);
  EQUAL(c.gpr[RSP], 0x54320);
  // The user cannot, and IOPL does not pass.
  user();
  go(CODE("push 0x2b; push rsp; push 0x3202; push 0x33; lea rax, [rip + 1f]; push rax; iretq; 1: pushfq; pop rax"));
  EQUAL(c.vector, BP);
  EQUAL(c.gpr[RAX] & 0x3200, 0);
}

static void test_syscall(void) {
  begin("syscall: SYSCALL and SYSRET");
  unmap_zone();
  frames[0][0] = 0xcc;
  map(PAGE(1), FRAME(0), ALL);
  const u64 efer = rdmsr(0xc0000080);
  wrmsr(0xc0000081, (u64)(KERNEL_CODE | (u64)USER_CODE32 << 16) << 32);
  wrmsr(0xc0000082, (u64)CODE("nop"));
  wrmsr(0xc0000084, 0x40700);
  user();
  c.rflags |= CARRY | ALIGN;
  const u64 rsp = c.gpr[RSP];
  go(CODE("syscall; nop"));
  EQUAL(c.vector, BP);
  EQUAL(c.cs, KERNEL_CODE);
  EQUAL(c.ss, DATA);
  EQUAL(c.gpr[RCX], PAGE(250) + 2);
  EQUAL(c.gpr[R11] & ~(u64)RESUME, 2 | CARRY | ALIGN);
  EQUAL(c.rflags, 2 | CARRY);
  EQUAL(c.gpr[RSP], rsp);
  // Back.
  kernel();
  c.gpr[RCX] = PAGE(1);
  c.gpr[R11] = 0x40000 | CARRY | RESUME | VIRTUAL;
  go(CODE("sysretq"));
  EQUAL(c.vector, BP);
  EQUAL(c.cs, USER_CODE);
  EQUAL(c.ss, USER_DATA);
  EQUAL(c.rflags, 0x40000 | CARRY | 2);
  // Not without SCE, and SYSRET not for the user.
  wrmsr(0xc0000080, efer & ~1ull);
  user();
  go(CODE("syscall"));
  FAULT(UD, 0, 0);
  kernel();
  go(CODE("sysretq"));
  FAULT(UD, 0, 0);
  wrmsr(0xc0000080, efer);
  user();
  go(CODE("sysretq"));
  FAULT(GP, 0, 0);
  // A trap flag that SYSCALL does not mask is the kernel's; one that it masks is seen no more.
  user();
  c.rflags |= TRAP;
  go(CODE("syscall"));
  EQUAL(c.vector, BP);
  EQUAL(c.cs, KERNEL_CODE);
}

static void test_steps(void) {
  begin("debug: single steps");
  unmap_zone();
  DR(6, 0xffff0ff0);
  // Behind the instruction that sets TF one more is executed.
  kernel();
  void *code = CODE("pushfq; or dword ptr [rsp], 0x100; popfq; nop; nop");
  go(code);
  EQUAL(c.vector, DB);
  EQUAL(c.rip, (u64)code + 1 + 7 + 1 + 1);
  EQUAL(GET_DR(6) & 0xe00f, 0x4000);
  // Each instruction, with TF from the start; a repeated one each time; PUSHF shows TF, the handler's own flags do not.
  static const struct { u8 bytes[4]; u8 first; } kOnce[] = {{{0x90}, 1}, {{0xf3, 0xa4}, 0}, {{0xeb, 0x00}, 2}, {{0x9c}, 1}, {{0x0f, 0xa2}, 2}, {{0xfa}, 1}};
  static u8 room[16], source[16], target[16];
  for (unsigned i = 0; i < sizeof kOnce / sizeof *kOnce; i++) {
    kernel();
    c.rflags |= TRAP;
    fill(room, 0xcc, 16);
    copy(room, kOnce[i].bytes, 4);
    for (int k = 0; k < 4; k++)
      if (!room[k] && !(i == 2 && k == 1)) room[k] = 0xcc;
    c.gpr[RSI] = (u64)source;
    c.gpr[RDI] = (u64)target;
    c.gpr[RCX] = 3;
    go(room);
    EQUAL(c.vector, DB);
    EQUAL(c.rip, (u64)room + kOnce[i].first);
    if (i == 1) EQUAL(c.gpr[RCX], 2);
  }
  // A load of SS holds the trap back behind the next instruction.
  kernel();
  c.rflags |= TRAP;
  c.gpr[RAX] = DATA;
  code = CODE("mov ss, ax; nop; nop");
  go(code);
  EQUAL(c.vector, DB);
  EQUAL(c.rip, (u64)code + 3);
  // A fault comes first, and keeps TF in its frame.
  kernel();
  c.rflags |= TRAP;
  go(CODE("ud2"));
  EQUAL(c.vector, UD);
  TRUE(c.rflags & TRAP);
  // INT3 itself is no step.
  kernel();
  c.rflags |= TRAP;
  go(CODE("int3"));
  EQUAL(c.vector, BP);
  // ICEBP.
  DR(6, 0xffff0ff0);
  kernel();
  code = CODE(".byte 0xf1; nop");
  go(code);
  EQUAL(c.vector, DB);
  EQUAL(c.rip, (u64)code + 1);

  begin("debug: registers");
  static u64 watched[4];
  DR(0, &watched[1]);
  DR(7, 0x400 | 1 | 0x9 << 16);  // writes of 8 bytes: LEN 10
  DR(6, 0xffff0ff0);
  kernel();
  c.gpr[RBX] = (u64)watched;
  code = CODE("mov [rbx], rax; mov rax, [rbx + 8]; mov byte ptr [rbx + 15], 1; nop");
  go(code);
  EQUAL(c.vector, DB);
  EQUAL(c.rip, (u64)code + 3 + 4 + 4);
  EQUAL(GET_DR(6) & 0xe00f, 1);
  // By a string instruction, in the middle of it.
  kernel();
  c.gpr[RDI] = (u64)watched;
  c.gpr[RCX] = 4;
  code = CODE("rep stosq; nop");
  DR(6, 0xffff0ff0);
  go(code);
  EQUAL(c.vector, DB);
  EQUAL(GET_DR(6) & 0xe00f, 1);
  TRUE(c.gpr[RCX] == 2);
  // An instruction: before it, RF in the frame, and past it with RF.
  code = CODE("nop; inc rax; nop");
  DR(1, (u64)code + 1);
  DR(7, 0x400 | 4);
  DR(6, 0xffff0ff0);
  kernel();
  go(code);
  EQUAL(c.vector, DB);
  EQUAL(c.rip, (u64)code + 1);
  EQUAL(c.gpr[RAX], 0);
  TRUE(c.rflags & RESUME);
  EQUAL(GET_DR(6) & 0xe00f, 2);
  run(&c);
  EQUAL(c.vector, BP);
  EQUAL(c.gpr[RAX], 1);
  // GD: no access to the registers, once.
  DR(7, 0x400 | 1 << 13);
  kernel();
  go(CODE("mov rax, dr0"));
  EQUAL(c.vector, DB);
  EQUAL(GET_DR(6) & 0x2000, 0x2000);
  DR(7, 0x400);
  // DR4 and DR5 are DR6 and DR7, but with DE.
  kernel();
  go(CODE(".byte 0x0f, 0x21, 0xe8"));  // mov rax, dr5
  EQUAL(c.vector, BP);
  EQUAL(c.gpr[RAX], 0x400);
  set_cr4(cr(4) | CR4_DE);
  kernel();
  go(CODE(".byte 0x0f, 0x21, 0xe8"));
  FAULT(UD, 0, 0);
  set_cr4(cr(4) & ~CR4_DE);
  user();
  go(CODE("mov rax, dr0"));
  FAULT(GP, 0, 0);
  kernel();
  c.gpr[RAX] = 1ull << 32;
  go(CODE("mov dr7, rax"));
  FAULT(GP, 0, 0);
}

static volatile u32 *const kApic = (volatile u32 *)0xfee00000;

static void test_nmi(void) {
  begin("nmi: one at a time");
  wrmsr(0x1b, rdmsr(0x1b) | 0x800);
  kApic[0xf0 / 4] = 0x1ff;
  set_gate(NMI, nmi, 0, 0);
  nmis = 0;
  kApic[0x310 / 4] = kApic[0x20 / 4] & 0xff000000;
  u64 seen = 0;
  __asm__ volatile(
      "xor %%r8d, %%r8d\n movl $0x400, 0x300(%1)\n mov $100000, %%ecx\n 1: cmpl $2, nmis\n je 2f\n loop 1b\n 2: mov %%r8, %0"
      : "=r"(seen)
      : "r"(kApic)
      : "rax", "rcx", "r8", "r9", "r10", "memory", "cc");
  EQUAL(nmis, 2);
  EQUAL(seen, 1);  // while the first was served, there was one
  set_gate(NMI, stubs + 16 * NMI, 1, 0);
}

static void test_devices(void) {
  begin("devices: read, changed and written in one instruction");
  // The local APIC's task priority: 8 bits count. Then its logical destination, 31:24.
  volatile u32 *tpr = &kApic[0x80 / 4], *ldr = &kApic[0xd0 / 4];
  *tpr = 0x10;
  __asm__ volatile("lock addl $0x21, %0" : "+m"(*tpr));
  EQUAL(*tpr, 0x31);
  u32 v = 5;
  __asm__ volatile("xaddl %1, %0" : "+m"(*tpr), "+r"(v));
  EQUAL(*tpr, 0x36);
  EQUAL(v, 0x31);
  v = 0x42;
  __asm__ volatile("xchgl %1, %0" : "+m"(*tpr), "+r"(v));
  EQUAL(*tpr, 0x42);
  EQUAL(v, 0x36);
  u32 was = 0x42;
  __asm__ volatile("lock cmpxchgl %2, %0" : "+m"(*tpr), "+a"(was) : "r"(0x13));
  EQUAL(*tpr, 0x13);
  __asm__ volatile("btsl $6, %0; incl %0; notl %0" : "+m"(*tpr));
  EQUAL(*tpr, 0xab);
  *tpr = 0;
  *ldr = 0x55000000;
  __asm__ volatile("pushq %0; popq %%rax; orl $0x0a000000, %0; rorl $4, %0" : "+m"(*ldr) : : "rax");
  EQUAL(*ldr, 0x05000000);
  static u32 memory[4];
  const volatile void *from = ldr;
  volatile void *to = memory;
  __asm__ volatile("movsl" : "+S"(from), "+D"(to) : : "memory");
  EQUAL(memory[0], 0x05000000);
  v = 0x77000000;
  from = &v;
  to = ldr;
  __asm__ volatile("movsl" : "+S"(from), "+D"(to) : : "memory");
  EQUAL(*ldr, 0x77000000);
  __asm__ volatile("movd %0, %%xmm0; pslld $1, %%xmm0; movd %%xmm0, %0" : "+m"(*ldr) : : "memory");
  EQUAL(*ldr, 0xee000000);
}

void test_system(void) {
  test_iret();
  test_syscall();
  test_steps();
  test_nmi();
  test_devices();
}
