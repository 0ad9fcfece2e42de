// What the programs under tests/cpu share: a world without an operating system, in which pieces of code are run with all registers
// given, until an exception ends them. Each check says what it saw only when the manuals promise something else.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned long word;  // as wide as a register

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum {
  DE = 0,
  DB = 1,
  NMI = 2,
  BP = 3,
  OF = 4,
  BR = 5,
  UD = 6,
  NM = 7,
  DF = 8,
  TS = 10,
  NP = 11,
  SS = 12,
  GP = 13,
  PF = 14,
  MF = 16,
  AC = 17,
  XM = 19
};
enum {
  CARRY = 1,
  TRAP = 0x100,
  INTERRUPT = 0x200,
  NESTED = 0x4000,
  RESUME = 0x10000,
  VIRTUAL = 0x20000,
  ALIGN = 0x40000
};

#define INLINE static inline __attribute__((always_inline))

INLINE void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
INLINE void out16(u16 port, u16 value) { __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port)); }
INLINE u8 in8(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
INLINE void cpuid(u32 leaf, u32 sub, u32* r) {
  __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}
INLINE u64 rdmsr(u32 index) {
  u32 low, high;
  __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
  return (u64)high << 32 | low;
}
INLINE void wrmsr(u32 index, u64 value) {
  __asm__ volatile("wrmsr" ::"c"(index), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}
INLINE word cr(int which) {
  word v = 0;
  if (which == 0) __asm__ volatile("mov %%cr0, %0" : "=r"(v));
  if (which == 2) __asm__ volatile("mov %%cr2, %0" : "=r"(v));
  if (which == 3) __asm__ volatile("mov %%cr3, %0" : "=r"(v));
  if (which == 4) __asm__ volatile("mov %%cr4, %0" : "=r"(v));
  return v;
}
INLINE void set_cr0(word v) { __asm__ volatile("mov %0, %%cr0" ::"r"(v) : "memory"); }
INLINE void set_cr2(word v) { __asm__ volatile("mov %0, %%cr2" ::"r"(v) : "memory"); }
INLINE void set_cr3(word v) { __asm__ volatile("mov %0, %%cr3" ::"r"(v) : "memory"); }
INLINE void set_cr4(word v) { __asm__ volatile("mov %0, %%cr4" ::"r"(v) : "memory"); }
INLINE void invlpg(void* at) { __asm__ volatile("invlpg (%0)" ::"r"(at) : "memory"); }
INLINE u64 rdtsc(void) {
  u32 low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return (u64)high << 32 | low;
}
#define DR(n, v) __asm__ volatile("mov %0, %%db" #n ::"r"((word)(v)))
#define GET_DR(n)                                            \
  ({                                                         \
    word dr_value;                                           \
    __asm__ volatile("mov %%db" #n ", %0" : "=r"(dr_value)); \
    dr_value;                                                \
  })

// One piece of code, before and after.
struct cpu {
  word gpr[16];
  word rip, rflags, cs, ss;
  word vector;  // of the exception that ended it
#ifdef __x86_64__
  word error, cr2;
#else
  word error, es, ds, fs, gs, cr2;
#endif
};
void run(struct cpu* c);

// Where a piece of code lies, in Intel's syntax. It ends with INT3, behind the last instruction.
#define CODE(text)                                                   \
  ({                                                                 \
    void* code_at;                                                   \
    __asm__ volatile("jmp 771f\n770:\n.intel_syntax noprefix\n" text \
                     "\n.att_syntax\nint3\n771: " CODE_ADDRESS       \
                     : "=r"(code_at));                               \
    code_at;                                                         \
  })
#ifdef __x86_64__
#define CODE_ADDRESS "lea 770b(%%rip), %0"
#else
#define CODE_ADDRESS "mov $770b, %0"
#endif

// console.c
void print(const char* text);
void print_hex(u64 value);
void begin(const char* name);  // of a group of checks
void skip(const char* why);    // the group: the CPU has not got it
void failed(const char* file, int line, const char* what, u64 is, u64 wanted);
void surprise(const struct cpu* c);  // an exception that nobody had asked for
void finish(void);
void copy(void* to, const void* from, word size);
void fill(void* to, u8 value, word size);

#define EQUAL(is, wanted)                                                   \
  do {                                                                      \
    const u64 is_ = (u64)(is), wanted_ = (u64)(wanted);                     \
    if (is_ != wanted_) failed(__FILE_NAME__, __LINE__, #is, is_, wanted_); \
  } while (0)
#define TRUE(condition) EQUAL(!!(condition), 1)
