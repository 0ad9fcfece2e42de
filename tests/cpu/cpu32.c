// Protected mode as it was before 64 bits: tasks, virtual-8086 mode, gates, A20, paging in two levels and by PAE, SYSENTER.
// Intel SDM vol. 3 §4.3, 4.4, 5, 7, 20; AMD APM vol. 2 §12.
#include "cpu.h"

enum { CODE_SEG = 8, DATA_SEG = 0x10, CODE16 = 0x18, USER_CODE = 0x2b, USER_DATA = 0x33, ABSENT = 0x38, TSS_SEG = 0x40, FREE = 0x48 };
enum { CR4_VME = 1, CR4_PVI = 2, CR4_DE = 8, CR4_PSE = 0x10, CR4_PAE = 0x20, CR4_PGE = 0x80 };
enum { CR0_TS = 8 };

struct tss {
  u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi, es, cs, ss, ds, fs, gs, ldt;
  u16 trap, map;
};
extern u64 gdt[];
extern struct tss tss;
extern char stubs[], task_returns[], task_stays[];
extern volatile u32 task_runs, task_flags, task_cr0;

static struct cpu c;
static u8 stack[4096] __attribute__((aligned(16))), user_stack[4096] __attribute__((aligned(16)));
static u64 idt[256];

#define FAULT(wanted_vector, wanted_error) \
  do {                                     \
    EQUAL(c.vector, wanted_vector);        \
    EQUAL(c.error, wanted_error);          \
  } while (0)

static void set_gate(int vector, u32 selector, u32 at, int type) { idt[vector] = (u64)(at & 0xffff0000) << 32 | (u64)type << 40 | selector << 16 | (at & 0xffff); }

void fill_idt(void) {
  for (int v = 0; v < 256; v++) set_gate(v, CODE_SEG, (u32)stubs + 16 * v, v == BP || v == OF || v >= 0x80 ? 0xee : 0x8e);
  struct {
    u16 limit;
    u32 base;
  } __attribute__((packed)) pointer = {sizeof idt - 1, (u32)idt};
  __asm__ volatile("lidt %0" ::"m"(pointer));
}

static void fresh(void) {
  fill(&c, 0, sizeof c);
  c.rflags = 2;
  c.cs = CODE_SEG;
  c.ss = c.ds = c.es = DATA_SEG;
  c.gpr[RSP] = (u32)stack + sizeof stack;
}
static void user(void) {
  fresh();
  c.cs = USER_CODE;
  c.ss = c.ds = c.es = USER_DATA;
  c.gpr[RSP] = (u32)user_stack + sizeof user_stack;
}
static void go(void *code) {
  c.rip = (u32)code;
  run(&c);
}

static int has(u32 leaf, int reg, int bit) {
  u32 r[4];
  cpuid(leaf, 0, r);
  return r[reg] >> bit & 1;
}

static void set_descriptor(int selector, u32 base, u32 limit, u32 attributes) {
  gdt[selector >> 3] = (u64)(base & 0xff000000) << 32 | (u64)(base & 0xffffff) << 16 | (limit & 0xffff) | (u64)(limit & 0xf0000) << 32 | (u64)(attributes & 0xff) << 40 | (u64)(attributes >> 8) << 52;
}

// Tasks.

static struct tss other __attribute__((aligned(128)));
static u8 task_stack[4096];
enum { OTHER = FREE, GATE = FREE + 8 };

static void make_task(void *code) {
  fill(&other, 0, sizeof other);
  other.eip = (u32)code;
  other.eflags = 2;
  other.esp = (u32)task_stack + sizeof task_stack;
  other.cs = CODE_SEG;
  other.es = other.ss = other.ds = other.fs = other.gs = DATA_SEG;
  other.map = 0x68;
  other.esp0 = (u32)task_stack + 2048;
  other.ss0 = DATA_SEG;
  other.eax = 0x1234;
  set_descriptor(OTHER, (u32)&other, 0x67, 0x89);
  gdt[GATE >> 3] = (u64)0x8500 << 32 | (u64)OTHER << 16;
  task_runs = task_flags = task_cr0 = 0;
}
static int busy(int selector) { return gdt[selector >> 3] >> 41 & 1; }
static void to_main_task(void) {  // whatever task an exception ended in
  gdt[TSS_SEG >> 3] &= ~(2ull << 40);
  __asm__ volatile("ltr %w0; clts" ::"r"(TSS_SEG));
}

static void test_tasks(void) {
  begin("tasks: CALL, IRET, JMP, gates, interrupts");
  void *calls[] = {CODE("call 0x48:0; nop"), CODE("call 0x50:0; nop"), CODE("int 0x90; nop")};
  for (int i = 0; i < 3; i++) {
    make_task(task_returns);
    set_gate(0x90, OTHER, 0, 0xe5);
    fresh();
    c.gpr[RBX] = 0x5555;
    const u32 esp = c.gpr[RSP];
    go(calls[i]);
    EQUAL(c.vector, BP);
    EQUAL(task_runs, 1);
    EQUAL(task_flags & NESTED, NESTED);
    EQUAL(task_cr0 & CR0_TS, CR0_TS);
    EQUAL(other.link, TSS_SEG);
    EQUAL(c.gpr[RBX], 0x5555);
    EQUAL(c.gpr[RSP], esp);
    EQUAL(c.rflags & NESTED, 0);
    EQUAL(busy(OTHER), 0);
    EQUAL(busy(TSS_SEG), 1);
    EQUAL(other.eflags & NESTED, 0);  // saved without
    // Again: it goes on behind its IRET.
    fresh();
    go(calls[i]);
    EQUAL(c.vector, BP);
    EQUAL(task_runs, 102);
    __asm__ volatile("clts");
  }
  // JMP leaves no way back, and makes the old task free.
  for (int i = 0; i < 2; i++) {
    make_task(task_stays);
    fresh();
    go(i ? CODE("jmp 0x48:0") : CODE("jmp 0x50:0"));
    EQUAL(c.vector, BP);
    EQUAL(task_runs, 1);
    EQUAL(c.gpr[RAX], 0x1234);
    EQUAL(c.rflags & NESTED, 0);
    EQUAL(busy(OTHER), 1);
    EQUAL(busy(TSS_SEG), 0);
    u16 tr;
    __asm__ volatile("str %0" : "=r"(tr));
    EQUAL(tr, OTHER);
    to_main_task();
  }
  begin("tasks: what is refused");
  make_task(task_stays);
  gdt[OTHER >> 3] |= 2ull << 40;  // busy
  fresh();
  go(CODE("call 0x48:0"));
  FAULT(GP, OTHER);
  fresh();
  go(CODE("jmp 0x48:0"));
  FAULT(GP, OTHER);
  fresh();
  go(CODE("call 0x50:0"));  // through the gate
  FAULT(GP, OTHER);
  make_task(task_stays);
  gdt[OTHER >> 3] &= ~(0x80ull << 40);
  fresh();
  go(CODE("call 0x48:0"));
  FAULT(NP, OTHER);
  make_task(task_stays);
  set_descriptor(OTHER, (u32)&other, 0x66, 0x89);  // too short
  fresh();
  go(CODE("call 0x48:0"));
  FAULT(TS, OTHER);
  make_task(task_stays);
  user();
  go(CODE("call 0x48:0"));
  FAULT(GP, OTHER);
  gdt[GATE >> 3] &= ~(0x80ull << 40);
  fresh();
  go(CODE("call 0x50:0"));
  FAULT(NP, GATE);
  // IRET with NT to a task that is not busy.
  make_task(task_stays);
  tss.link = OTHER;
  fresh();
  c.rflags |= NESTED;
  go(CODE("pushfd; or dword ptr [esp], 0x4000; popfd; iretd"));
  FAULT(TS, OTHER);
  // In the new task: what its segments hold is wrong, and it is its fault. (Not SS: its handler would have no stack.)
  static const struct { int field, value, vector, error; } kBad[] = {
      {19, DATA_SEG, TS, DATA_SEG}, {19, 0, TS, 0}, {19, ABSENT, NP, ABSENT}, {21, 0xf8, TS, 0xf8}, {24, DATA_SEG, TS, DATA_SEG}, {19, USER_CODE, TS, DATA_SEG}};
  for (unsigned i = 0; i < sizeof kBad / sizeof *kBad; i++) {
    make_task(task_stays);
    ((u32 *)&other)[kBad[i].field] = kBad[i].value;
    fresh();
    go(CODE("jmp 0x48:0"));
    FAULT(kBad[i].vector, kBad[i].error);
    EQUAL(task_runs, 0);
    to_main_task();
    __asm__ volatile("lldt %w0" ::"r"(0));
  }
  // The trap bit: #DB before the first instruction.
  make_task(task_stays);
  other.trap = 1;
  DR(6, 0xffff0ff0);
  fresh();
  go(CODE("jmp 0x48:0"));
  EQUAL(c.vector, DB);
  EQUAL(c.rip, (u32)task_stays);
  EQUAL(GET_DR(6) & 0xe00f, 0x8000);
  to_main_task();
}

// Virtual-8086 mode: code at 0x8000, stack at 0x7000.

static void v86(void *code) {
  copy((void *)0x8000, code, 64);
  c.rip = 0;
  c.cs = 0x800;
  run(&c);
}
static void fresh_v86(int iopl) {
  fill(&c, 0, sizeof c);
  c.rflags = VIRTUAL | 2 | INTERRUPT | iopl << 12;
  c.ss = 0x100;
  c.gpr[RSP] = 0x6000;
  c.ds = 0x111;
  c.es = 0x222;
  c.fs = 0x333;
  c.gs = 0x444;
}

static void test_v86(void) {
  begin("v86: instructions, interrupts, IOPL");
  static const u8 kMoves[] = {0x8c, 0xd8, 0x8e, 0xc0, 0x26, 0xa1, 0x10, 0x00, 0xcc};  // mov ax,ds; mov es,ax; mov ax,es:[10h]
  *(u16 *)(0x1110 + 0x10) = 0xbeef;
  fresh_v86(0);
  v86((void *)kMoves);
  EQUAL(c.vector, BP);  // INT3 does not ask for IOPL
  EQUAL(c.rip, 9);
  EQUAL(c.gpr[RAX], 0xbeef);
  EQUAL(c.es, 0x111);
  EQUAL(c.ds, 0x111);
  EQUAL(c.fs, 0x333);
  EQUAL(c.gs, 0x444);
  EQUAL(c.ss, 0x100);
  EQUAL(c.cs, 0x800);
  EQUAL(c.gpr[RSP] & 0xffff, 0x6000);
  TRUE(c.rflags & VIRTUAL);
  // By IOPL: what it asks for.
  static const struct { u8 code[4]; u8 length; } kSensitive[] = {{{0xfa}, 1}, {{0xfb}, 1}, {{0x9c}, 1}, {{0x9d}, 1}, {{0xcf}, 1}, {{0xcd, 0x21}, 2}};
  set_gate(0x21, CODE_SEG, (u32)stubs + 16 * 0x21, 0xee);
  for (int vme = 0; vme < 2; vme++) {
    if (vme && !has(1, 3, 1)) continue;
    if (vme) set_cr4(cr(4) | CR4_VME);
    for (int iopl = 0; iopl < 4; iopl += 3)
      for (unsigned i = 0; i < sizeof kSensitive / sizeof *kSensitive; i++) {
        fresh_v86(iopl);
        u8 code[8] = {0};
        copy(code, kSensitive[i].code, kSensitive[i].length);
        code[kSensitive[i].length] = 0xf4;  // then HLT, which is never allowed
        *(u16 *)(0x1000 + 0x6000) = 0x0002;  // for POPF and IRET: ip, then the rest is flags
        *(u16 *)(0x1000 + 0x6002) = 0x900;
        *(u16 *)(0x1000 + 0x6004) = 0x0002;
        *(u8 *)(0x9000 + 2) = 0xf4;
        v86(code);
        const int is_int = i == 5, is_iret = i == 4;
        if (iopl == 3 && is_int) {
          EQUAL(c.vector, 0x21);
          EQUAL(c.rip, 2);
        } else {
          FAULT(GP, 0);
          // With VME, 16-bit CLI, STI, PUSHF, POPF and IRET are done on VIF; INT n by the redirection bitmap, all ones: not.
          const int done = iopl == 3 || (vme && !is_int);
          if (done && is_iret) {
            EQUAL(c.cs, 0x900);
            EQUAL(c.rip, 2);
          } else {
            EQUAL(c.rip, done ? kSensitive[i].length : 0);
          }
          if (vme && iopl == 0 && i == 1) TRUE(c.rflags & 1 << 19);   // VIF
          if (vme && iopl == 0 && i == 0) TRUE(!(c.rflags & 1 << 19));
          if (vme && iopl == 0) TRUE(c.rflags & INTERRUPT);
        }
      }
  }
  if (has(1, 3, 1)) {
    // INT 21h redirected to the 8086's own handler: 900:0002, with IOPL 0 as with 3.
    u8 *redirection = (u8 *)&tss + 0x68;
    tss.map = 0x88;
    redirection[0x21 / 8] &= ~(1 << (0x21 & 7));
    *(u32 *)(4 * 0x21) = 0x09000002;
    for (int iopl = 0; iopl < 4; iopl += 3) {
      fresh_v86(iopl);
      c.rflags |= 1 << 19;  // VIF
      static const u8 kInt[] = {0xcd, 0x21, 0xf4};
      v86((void *)kInt);
      FAULT(GP, 0);
      EQUAL(c.cs, 0x900);
      EQUAL(c.rip, 2);
      EQUAL(c.gpr[RSP] & 0xffff, 0x5ffa);
      EQUAL(*(u16 *)(0x1000 + 0x5ffa), 2);
      EQUAL(*(u16 *)(0x1000 + 0x5ffc), 0x800);
      EQUAL(*(u16 *)(0x1000 + 0x5ffe) & 0x3202, 0x3202);  // IF shows VIF, IOPL shows 3
    }
    // STI with VIP.
    fresh_v86(0);
    c.rflags |= 1 << 20;
    static const u8 kSti[] = {0xfb, 0xf4};
    v86((void *)kSti);
    FAULT(GP, 0);
    EQUAL(c.rip, 0);
    set_cr4(cr(4) & ~CR4_VME);
  }
  begin("v86: ports and limits");
  // The I/O bitmap counts, whatever IOPL is.
  u8 *ports = (u8 *)&tss + 0x88;
  tss.map = 0x88;
  gdt[TSS_SEG >> 3] = (gdt[TSS_SEG >> 3] & ~0x000f00000000ffffull & ~(2ull << 40)) | (0x88 + 0x2000);
  __asm__ volatile("ltr %w0" ::"r"(TSS_SEG));
  static const u8 kOut[] = {0xe6, 0x80, 0xf4}, kOutWord[] = {0xe7, 0x80, 0xf4};
  for (int iopl = 0; iopl < 4; iopl += 3) {
    fill(ports, 0xff, 0x2000);
    fresh_v86(iopl);
    v86((void *)kOut);
    FAULT(GP, 0);
    EQUAL(c.rip, 0);
    ports[0x80 / 8] &= ~1;
    fresh_v86(iopl);
    v86((void *)kOut);
    EQUAL(c.rip, 2);
    fresh_v86(iopl);
    v86((void *)kOutWord);  // the second port is forbidden
    EQUAL(c.rip, 0);
  }
  // Beyond 64 KiB of a segment; and the top of it in one piece.
  static const u8 kFar[] = {0x67, 0x66, 0x8b, 0x03, 0xf4};  // mov eax, [ebx]
  static const u32 kOffsets[] = {0xfffc, 0xfffd, 0x10000};
  for (int i = 0; i < 3; i++) {
    fresh_v86(3);
    c.gpr[RBX] = kOffsets[i];
    v86((void *)kFar);
    FAULT(GP, 0);
    EQUAL(c.rip, i ? 0 : 4);
  }
  static const u8 kPush[] = {0x50, 0xf4};
  fresh_v86(3);
  c.gpr[RSP] = 1;
  v86((void *)kPush);
  FAULT(SS, 0);
  // What is not there: LLDT and its kin are #UD, HLT and MOV CR are #GP.
  static const u8 kUndefined[] = {0x0f, 0x00, 0xd0}, kControl[] = {0x0f, 0x20, 0xc0};
  fresh_v86(3);
  v86((void *)kUndefined);
  FAULT(UD, 0);
  fresh_v86(3);
  v86((void *)kControl);
  FAULT(GP, 0);
}

static void test_gates(void) {
  begin("gates: CALL, RETF and IRET between levels");
  // A call gate to CPL 0 that copies two words of parameters.
  static void *inside;
  inside = CODE("mov eax, [esp + 8]; mov edx, [esp + 12]; mov cx, cs; retf 8");
  gdt[FREE >> 3] = (u64)((u32)inside & 0xffff0000) << 32 | (u64)0xec02 << 32 | (u64)CODE_SEG << 16 | ((u32)inside & 0xffff);
  user();
  const u32 esp = c.gpr[RSP];
  go(CODE("push 0x77; push 0x66; call 0x4b:0"));
  EQUAL(c.vector, BP);
  EQUAL(c.gpr[RAX], 0x66);
  EQUAL(c.gpr[RDX], 0x77);
  EQUAL(c.gpr[RCX] & 0xffff, CODE_SEG);
  EQUAL(c.gpr[RSP], esp);
  EQUAL(c.cs, USER_CODE);
  EQUAL(c.ss, USER_DATA);
  // Segments that the outer level may not have become null on the way out.
  user();
  c.es = USER_DATA;
  go(CODE("push 0; push 0; call 0x4b:0; mov ax, ds; nop"));
  EQUAL(c.gpr[RAX] & 0xffff, USER_DATA);
  fresh();
  go(CODE("push 0x33; push esp; push 0x2b; lea eax, [1f]; push eax; retf; 1: mov ax, es"));
  EQUAL(c.vector, BP);
  EQUAL(c.cs, USER_CODE);
  EQUAL(c.gpr[RAX] & 0xffff, 0);
  EQUAL(c.ds, 0);
  // A gate that is too privileged, one that is not there, one to data.
  static const struct { u32 high; u16 target; u8 vector, error; } kBad[] = {{0x8c00, CODE_SEG, GP, FREE}, {0x6c00, CODE_SEG, NP, FREE}, {0xec00, DATA_SEG, GP, DATA_SEG}, {0xec00, 0, GP, 0}, {0xec00, ABSENT, NP, ABSENT}};
  for (unsigned i = 0; i < sizeof kBad / sizeof *kBad; i++) {
    gdt[FREE >> 3] = (u64)kBad[i].high << 32 | (u64)kBad[i].target << 16;
    user();
    go(CODE("call 0x4b:0"));
    FAULT(kBad[i].vector, kBad[i].error);
  }
  // INT n to a gate of CPL 0, beyond the table, to a task segment that is none.
  user();
  go(CODE("int 0x21"));
  FAULT(GP, 0x21 * 8 + 2);
  set_gate(0x91, DATA_SEG, 0, 0xee);
  fresh();
  go(CODE("int 0x91"));
  FAULT(GP, DATA_SEG);
  set_gate(0x91, CODE_SEG, 0, 0x6e);
  fresh();
  go(CODE("int 0x91"));
  FAULT(NP, 0x91 * 8 + 2);
  // Trap gates leave IF, interrupt gates clear it.
  user();
  c.rflags |= INTERRUPT;
  go(CODE("pushfd; pop eax"));
  TRUE(c.gpr[RAX] & INTERRUPT);
  TRUE(c.rflags & INTERRUPT);
}

static void keyboard_controller(u8 port_value) {  // its output port, bit 1 of which is A20
  while (in8(0x64) & 2) {}
  out8(0x64, 0xd1);
  while (in8(0x64) & 2) {}
  out8(0x60, port_value);
  while (in8(0x64) & 2) {}
}

// Open while the keyboard controller or port 92h says so.
static void test_a20(void) {
  begin("A20: the gate");
  volatile u32 *low = (volatile u32 *)0x500, *high = (volatile u32 *)0x100500;
  const u32 kept = *high;
  void *code = CODE("mov eax, [ebx]; nop");
  keyboard_controller(0xdd);
  out8(0x92, (in8(0x92) & ~1) | 2);
  for (int i = 0; i < 3; i++) {
    *low = 0x11111111;
    *high = 0x22222222;
    fresh();
    c.gpr[RBX] = (u32)high;
    go(code);
    EQUAL(c.gpr[RAX], 0x22222222);
    out8(0x92, in8(0x92) & ~3);  // closed: a megabyte and itself are one
    EQUAL(*high, 0x11111111);
    fresh();
    c.gpr[RBX] = (u32)high;
    c.rip = (u32)code;
    *high = 0x33333333;
    EQUAL(*low, 0x33333333);
    out8(0x92, (in8(0x92) & ~1) | 2);
    EQUAL(*high, 0x22222222);
    EQUAL(*low, 0x33333333);
    run(&c);
    EQUAL(c.gpr[RAX], 0x22222222);
  }
  keyboard_controller(0xdf);
  *high = kept;
}

static u32 directory[1024] __attribute__((aligned(4096))), table[1024] __attribute__((aligned(4096)));
static u64 pae_directories[4][512] __attribute__((aligned(4096))), pae_table[512] __attribute__((aligned(4096))), pae_pointers[4] __attribute__((aligned(32)));
static u8 pages[4][4096] __attribute__((aligned(4096)));
static const u32 kTest = 0x40000000;

static void access(int write, u32 at) {
  fresh();
  c.gpr[RBX] = at;
  go(write ? CODE("mov [ebx], eax") : CODE("mov eax, [ebx]"));
}
static u32 load(u32 at) { return *(volatile u32 *)at; }

static void test_two_levels(void) {
  for (int i = 0; i < 4; i++) *(u32 *)pages[i] = 0xa0 + i;
  for (u32 i = 0; i < 1024; i++) directory[i] = i << 22 | 0x83;
  for (int i = 0; i < 3; i++) table[i] = (u32)pages[i] | (i == 1 ? 1 : 3);
  table[3] = 0;
  directory[kTest >> 22] = (u32)table | 7;
  set_cr4(cr(4) | CR4_PSE | CR4_PGE);
  set_cr3((u32)directory);
  set_cr0(cr(0) | 0x80000000);
  begin("paging in two levels");
  access(0, kTest + 0x3000);
  FAULT(PF, 0);
  EQUAL(c.cr2, kTest + 0x3000);
  access(1, kTest + 0x1000);
  FAULT(PF, 3);
  access(0, kTest);
  EQUAL(c.vector, BP);
  EQUAL(c.gpr[RAX], 0xa0);
  EQUAL(table[0] & 0x60, 0x20);
  access(1, kTest);
  EQUAL(table[0] & 0x60, 0x60);
  EQUAL(directory[kTest >> 22] & 0x60, 0x20);
  *(u32 *)pages[0] = 0xa0;
  // A 4 MiB page; INVLPG of its other half; PSE off makes a table of it.
  directory[0x200] = 0x83;
  EQUAL(load(0x80000000 + (u32)pages[1]), 0xa1);
  load(0x80000000 + 0x3ff000);
  directory[0x200] = (u32)table | 3;
  table[(u32)pages[1] >> 12 & 1023] = (u32)pages[2] | 3;
  invlpg((void *)0x803ff000);
  EQUAL(load(0x80000000 + (u32)pages[1]), 0xa2);
  directory[0x201] = 0x400000 | 0x83 | 1 << 21;  // a reserved bit of a 4 MiB page
  access(0, 0x80400000);
  FAULT(PF, 9);
  // Global.
  directory[0x202] = 0x183;
  load(0x80800000 + (u32)pages[1]);
  directory[0x202] = (u32)table | 3;
  set_cr4(cr(4) & ~CR4_PGE);
  EQUAL(load(0x80800000 + (u32)pages[1]), 0xa2);
  // The user.
  for (u32 i = 0; i < 4; i++) directory[i] |= 4;
  set_cr3((u32)directory);
  user();
  c.gpr[RBX] = kTest;
  go(CODE("mov eax, [ebx]"));
  FAULT(PF, 5);
  table[0] |= 4;
  set_cr3((u32)directory);
  user();
  c.gpr[RBX] = kTest;
  go(CODE("mov eax, [ebx]"));
  EQUAL(c.vector, BP);
  EQUAL(c.gpr[RAX], 0xa0);
  set_cr0(cr(0) & 0x7fffffff);
  set_cr4(cr(4) & ~CR4_PSE);
}

static void test_pae(void) {
  for (int d = 0; d < 4; d++)
    for (u64 i = 0; i < 512; i++) pae_directories[d][i] = (u64)d << 30 | i << 21 | 0x87;
  for (int i = 0; i < 3; i++) pae_table[i] = (u32)pages[i] | (i == 1 ? 1 : 3);
  pae_directories[1][0] = (u32)pae_table | 7;
  for (int d = 0; d < 4; d++) pae_pointers[d] = (u32)pae_directories[d] | 1;
  set_cr4(cr(4) | CR4_PAE);
  set_cr3((u32)pae_pointers);
  set_cr0(cr(0) | 0x80000000);
  begin("paging by PAE");
  access(0, kTest + 0x3000);
  FAULT(PF, 0);
  access(1, kTest + 0x1000);
  FAULT(PF, 3);
  access(0, kTest);
  EQUAL(c.vector, BP);
  EQUAL(pae_table[0] & 0x60, 0x20);
  pae_table[0] |= 1ull << 51;
  invlpg((void *)kTest);
  access(0, kTest);
  FAULT(PF, 9);
  pae_table[0] &= ~(1ull << 51);
  // No execution, once EFER.NXE is set.
  if (has(0x80000001, 3, 20)) {
    pae_table[0] |= 1ull << 63;
    access(0, kTest);
    FAULT(PF, 9);
    wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
    fresh();
    go((void *)kTest);
    FAULT(PF, 0x11);
    access(0, kTest);
    EQUAL(c.vector, BP);
    pae_table[0] &= ~(1ull << 63);
  }
  // The four pointers are checked when CR3 is loaded.
  pae_pointers[3] = 0;
  set_cr3((u32)pae_pointers);
  access(0, 0xc0000000);
  FAULT(PF, 0);
  pae_pointers[3] = (u32)pae_directories[3] | 1 | 2;  // bit 1 is reserved
  fresh();
  c.gpr[RAX] = (u32)pae_pointers;
  go(CODE("mov cr3, eax"));
  FAULT(GP, 0);
  pae_pointers[3] = (u32)pae_directories[3] | 1;
  set_cr3((u32)pae_pointers);
  set_cr0(cr(0) & 0x7fffffff);
  set_cr4(cr(4) & ~CR4_PAE);
}

static void test_sysenter(void) {
  begin("sysenter: SYSENTER and SYSEXIT");
  if (!has(1, 3, 11)) return skip("no SEP");
  wrmsr(0x174, 0);
  user();
  go(CODE("sysenter"));
  FAULT(GP, 0);
  fresh();
  go(CODE("sysexit"));
  FAULT(GP, 0);
  // CODE_SEG and what follows it lie as it wants: 8, 10, then 18 and 20 for SYSEXIT.
  wrmsr(0x174, CODE_SEG);
  wrmsr(0x175, (u32)stack + sizeof stack);
  wrmsr(0x176, (u32)CODE("mov ax, cs; mov bx, ss; nop"));
  user();
  c.rflags |= INTERRUPT | CARRY;
  go(CODE("sysenter"));
  EQUAL(c.vector, BP);
  EQUAL(c.gpr[RAX] & 0xffff, CODE_SEG);
  EQUAL(c.gpr[RBX] & 0xffff, DATA_SEG);
  EQUAL(c.gpr[RSP], (u32)stack + sizeof stack);
  EQUAL(c.rflags & (INTERRUPT | CARRY | VIRTUAL), CARRY);
  user();
  go(CODE("sysexit"));
  FAULT(GP, 0);
  fresh();
  c.gpr[RDX] = (u32)CODE("mov ax, cs; mov bx, ss");
  c.gpr[RCX] = (u32)user_stack + sizeof user_stack;
  go(CODE("sysexit"));
  EQUAL(c.vector, BP);
  EQUAL(c.gpr[RAX] & 0xffff, 0x1b);
  EQUAL(c.gpr[RBX] & 0xffff, 0x23);
  EQUAL(c.gpr[RSP], (u32)user_stack + sizeof user_stack);
}

void test(void) {
  out8(0x21, 0xff);  // the PICs' interrupts stay away
  out8(0xa1, 0xff);
  test_gates();
  test_tasks();
  test_v86();
  test_a20();
  test_two_levels();
  test_pae();
  test_sysenter();
  finish();
}
