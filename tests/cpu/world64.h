// Page tables and the two ways to run code of the 64-bit programs.
#pragma once

#include "cpu.h"

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100 };
#define NX  (1ull << 63)
#define ALL (P | W | U)
enum {
  CR0_WP = 1 << 16,
  CR4_DE = 8,
  CR4_PGE = 0x80,
  CR4_UMIP = 1 << 11,
  CR4_LA57 = 1 << 12,
  CR4_PCIDE = 1 << 17,
  CR4_SMEP = 1 << 20,
  CR4_SMAP = 1 << 21,
  CR4_PKE = 1 << 22
};
enum {
  KERNEL_CODE = 0x08,
  DATA = 0x10,
  CODE32 = 0x18,
  USER_CODE32 = 0x23,
  USER_DATA = 0x2b,
  USER_CODE = 0x33,
  ABSENT_CODE = 0x38
};

// Linear addresses that belong to the checks: 512 GiB from here on.
#define ZONE    0x8000000000ull
#define PAGE(n) (ZONE + 0x1000 * (u64)(n))

extern u64 tables[];  // the PML4 first
extern u64 gdt[];
extern char stubs[], tick[], nmi[];
extern volatile u32 ticks, tick_period, tick_random, nmis;

// Physical pages for the checks: addresses below 4 GiB are mapped to themselves.
enum { FRAMES = 64 };
extern u8 frames[FRAMES][4096];
#define FRAME(n) ((u64)frames[n])

// The entry of `linear` at a level (1: the page's); missing tables are made, with all rights.
u64* entry_in(u64* root, u64 linear, int level);
u64* entry(u64 linear, int level);
void map(u64 linear, u64 physical, u64 flags);  // and INVLPG
void unmap_zone(void);
u64* new_table(void);

extern struct cpu c;
void kernel(void);    // c is fresh: for CPL 0, with a stack of its own
void user(void);      // for CPL 3: code in page 250 of the zone, stack below page 252
void go(void* code);  // runs it; for CPL 3 a copy
void set_gate(int vector, void* handler, int ist, int dpl);
int has(u32 leaf, int reg, int bit);  // CPUID, subleaf 0

#define FAULT(wanted_vector, wanted_error, wanted_cr2)                     \
  do {                                                                     \
    EQUAL(c.vector, wanted_vector);                                        \
    EQUAL(c.error, wanted_error);                                          \
    if (c.vector == PF && (wanted_vector) == PF) EQUAL(c.cr2, wanted_cr2); \
  } while (0)

void test_paging(void);
void test_code(void);
void test_precision(void);
void test_system(void);
