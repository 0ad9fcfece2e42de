#include "world64.h"

u8 frames[FRAMES][4096] __attribute__((aligned(4096)));
static u64 pool[80][512] __attribute__((aligned(4096)));
static int pool_used;
struct cpu c;
static u8 kernel_stack[4096] __attribute__((aligned(16)));
static u8 user_pages[3][4096] __attribute__((aligned(4096)));

u64 *new_table(void) {
  if (pool_used == 80) {
    print("out of tables\n");
    for (;;) {}
  }
  u64 *t = pool[pool_used++];
  fill(t, 0, 4096);
  return t;
}

u64 *entry_in(u64 *root, u64 linear, int level) {
  u64 *table = root;
  for (int l = 4; l > level; l--) {
    u64 *e = &table[linear >> (12 + 9 * (l - 1)) & 511];
    if (!(*e & P)) *e = (u64)new_table() | ALL;
    table = (u64 *)(*e & 0xffffffffff000);
  }
  return &table[linear >> (12 + 9 * (level - 1)) & 511];
}
u64 *entry(u64 linear, int level) { return entry_in(tables, linear, level); }

void map(u64 linear, u64 physical, u64 flags) {
  *entry(linear, 1) = physical | flags;
  invlpg((void *)linear);
}

void unmap_zone(void) {
  tables[1] = 0;
  pool_used = 0;
  set_cr4(cr(4) ^ CR4_PGE);
  set_cr4(cr(4) ^ CR4_PGE);
}

void kernel(void) {
  fill(&c, 0, sizeof c);
  c.rflags = 2;
  c.cs = KERNEL_CODE;
  c.ss = DATA;
  c.gpr[RSP] = (word)kernel_stack + sizeof kernel_stack;
}

void user(void) {
  kernel();
  c.cs = USER_CODE;
  c.ss = USER_DATA;
  map(PAGE(250), (u64)user_pages[0], ALL);
  map(PAGE(251), (u64)user_pages[1], ALL);
  c.gpr[RSP] = PAGE(252);
}

void go(void *code) {
  if ((c.cs & 3) == 3) {
    copy(user_pages[0], code, 256);
    code = (void *)PAGE(250);
  }
  c.rip = (word)code;
  run(&c);
}

static u64 idt[256][2] __attribute__((aligned(16)));

void set_gate(int vector, void *handler, int ist, int dpl) {
  const u64 at = (u64)handler;
  idt[vector][0] = (at & 0xffff) | KERNEL_CODE << 16 | (u64)ist << 32 | (u64)(0x8e | dpl << 5) << 40 | (at >> 16 & 0xffff) << 48;
  idt[vector][1] = at >> 32;
}

void fill_idt(void) {
  for (int v = 0; v < 256; v++) set_gate(v, stubs + 16 * v, 1, v == BP || v == OF || v >= 0x80 ? 3 : 0);
  struct {
    u16 limit;
    u64 base;
  } __attribute__((packed)) pointer = {sizeof idt - 1, (u64)idt};
  __asm__ volatile("lidt %0" ::"m"(pointer));
}

int has(u32 leaf, int reg, int bit) {
  u32 r[4];
  cpuid(leaf & 0x80000000, 0, r);
  if (r[0] < leaf) return 0;
  cpuid(leaf, 0, r);
  return r[reg] >> bit & 1;
}

void test(void) {
  out8(0x21, 0xff);  // the PICs' interrupts stay away
  out8(0xa1, 0xff);
  test_paging();
  test_code();
  test_precision();
  test_system();
  finish();
}
