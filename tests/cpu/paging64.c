// Translation: rights, error codes, reserved, accessed and dirty bits; and what INVLPG, CR3, CR4 and INVPCID must make the CPU forget.
// Intel SDM vol. 3 §4.6-4.10, AMD APM vol. 2 §5.
#include "world64.h"

enum { READ, WRITE, FETCH };

static void access(int how, u64 at) {
  c.gpr[RBX] = at;
  if (how == READ) go(CODE("mov rax, [rbx]"));
  if (how == WRITE) go(CODE("mov [rbx], rax"));
  if (how == FETCH) go(CODE("jmp rbx"));
}

// The page fault's error code, or -1: §4.6 and §4.7.
static long predict(int how, int by_user, u64 rights) {
  const u64 cr4 = cr(4);
  int bad = 0;
  if (by_user && !(rights & U)) bad = 1;
  if (how == WRITE && !(rights & W) && (by_user || (cr(0) & CR0_WP))) bad = 1;
  if (how == FETCH && (rights & NX)) bad = 1;
  if (!by_user && how == FETCH && (rights & U) && (cr4 & CR4_SMEP)) bad = 1;
  if (!by_user && how != FETCH && (rights & U) && (cr4 & CR4_SMAP) && !(c.rflags & ALIGN)) bad = 1;
  if (!(rights & P)) return (how == WRITE) << 1 | by_user << 2 | (how == FETCH) << 4;
  return bad ? 1 | (how == WRITE) << 1 | by_user << 2 | (how == FETCH) << 4 : -1;
}

// Every right, at every level, cold and warm, with the control bits as they are.
static void rights(void) {
  static const u64 kRights[] = {0, P, P | W, P | U, ALL, P | NX, P | W | NX, P | U | NX, ALL | NX};
  for (int level = 1; level <= 4; level++)
    for (int r = 0; r < 9; r++)
      for (int by_user = 0; by_user < 2; by_user++)
        for (int how = READ; how <= FETCH; how++)
          for (int lifted = 0; lifted < (by_user ? 1 : 2); lifted++)
            for (int warm = 0; warm < 2; warm++) {
              unmap_zone();
              if (by_user) user(); else kernel();
              // Of another entry of the PML4, so that code and stack are not touched at level 4.
              const u64 at = 2 * ZONE + 0x40201008;
              frames[0][8] = 0xcc;
              tables[2] = 0;
              *entry(at, 1) = FRAME(0) | ALL;
              u64 *e = entry(at, level);
              *e = (*e & ~(ALL | NX)) | kRights[r];
              if (!warm) invlpg((void *)at);
              if (lifted) c.rflags |= ALIGN;
              const long wanted = predict(how, by_user, kRights[r]);
              access(how, at);
              if (wanted < 0) {
                EQUAL(c.vector, BP);
              } else {
                FAULT(PF, wanted, at);
              }
              tables[2] = 0;
            }
}

static void test_rights(void) {
  begin("paging: rights");
  rights();
  begin("paging: rights without CR0.WP");
  set_cr0(cr(0) & ~CR0_WP);
  rights();
  set_cr0(cr(0) | CR0_WP);
  begin("paging: SMEP");
  if (!has(7, 1, 7)) return skip("no SMEP");
  set_cr4(cr(4) | CR4_SMEP);
  rights();
  set_cr4(cr(4) & ~CR4_SMEP);
  begin("paging: SMAP");
  if (!has(7, 1, 20)) return skip("no SMAP");
  set_cr4(cr(4) | CR4_SMAP);
  rights();
  // Implicit accesses of the system are supervisor's, whatever AC says: an LDT in a user's page.
  unmap_zone();
  copy(frames[1], gdt, 0x60);
  map(PAGE(1), FRAME(1), ALL);
  gdt[10] = 0x57 | (PAGE(1) & 0xffffff) << 16 | 0x82ull << 40 | (PAGE(1) >> 24 & 0xff) << 56;
  gdt[11] = PAGE(1) >> 32;
  __asm__ volatile("lldt %w0" ::"r"(0x50));
  for (int lifted = 0; lifted < 2; lifted++) {
    kernel();
    if (lifted) c.rflags |= ALIGN;
    c.gpr[RAX] = DATA | 4;
    go(CODE("mov es, ax"));
    FAULT(PF, 1, PAGE(1) + DATA);
  }
  __asm__ volatile("lldt %w0" ::"r"(0));
  set_cr4(cr(4) & ~CR4_SMAP);
}

static void test_keys(void) {
  begin("paging: protection keys");
  if (!has(7, 2, 3)) return skip("no PKU");
  unmap_zone();
  set_cr4(cr(4) | CR4_PKE);
  for (int key = 0; key < 16; key += 5)
    for (int denied = 0; denied < 4; denied++)
      for (int by_user = 0; by_user < 2; by_user++)
        for (int how = READ; how <= FETCH; how++)
          for (int is_users = 0; is_users < 2; is_users++) {
            if (by_user) user(); else kernel();
            if (by_user && key == 0 && denied) continue;  // the code's own stack
            map(PAGE(1), FRAME(1) | (u64)key << 59, P | W | (is_users ? U : 0));
            frames[1][0] = 0xcc;
            __asm__ volatile("wrpkru" ::"a"(denied << 2 * key), "c"(0), "d"(0));
            access(how, PAGE(1));
            __asm__ volatile("wrpkru" ::"a"(0), "c"(0), "d"(0));
            const int forbidden = is_users && how != FETCH && ((denied & 1) || (how == WRITE && (denied & 2)));
            if (by_user && !is_users) {
              FAULT(PF, 5 | (how == WRITE) << 1 | (how == FETCH) << 4, PAGE(1));
            } else if (forbidden) {
              FAULT(PF, 0x21 | (how == WRITE) << 1 | by_user << 2, PAGE(1));
            } else {
              EQUAL(c.vector, BP);
            }
          }
  set_cr4(cr(4) & ~CR4_PKE);
}

static void test_reserved(void) {
  begin("paging: reserved bits");
  unmap_zone();
  u32 r[4];
  cpuid(0x80000008, 0, r);
  const int bits = r[0] & 0xff;
  const u64 at = PAGE(1);
  if (bits < 52)
    for (int level = 1; level <= 4; level++) {
      kernel();
      map(at, FRAME(0), ALL);
      *entry(at, level) |= 1ull << 51;
      access(READ, at);
      FAULT(PF, 9, at);
      *entry(at, level) &= ~(1ull << 51);
    }
  kernel();
  *entry(at, 4) |= PS;
  access(WRITE, at);
  FAULT(PF, 11, at);
  *entry(at, 4) &= ~(u64)PS;
  // A large page that is not where large pages are.
  u64 *e = entry(at, 2);
  const u64 old = *e;
  *e = 0x202000 | ALL | PS;
  invlpg((void *)at);
  kernel();
  access(READ, at);
  FAULT(PF, 9, at);
  *e = old;
  // NX without EFER.NXE.
  map(at, FRAME(0), ALL | NX);
  wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x800ull);
  kernel();
  access(READ, at);
  FAULT(PF, 9, at);
  map(at, 0, 0);
  kernel();
  access(FETCH, at);
  FAULT(PF, 0, at);  // no bit for fetches then
  wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
}

static void test_accessed(void) {
  begin("paging: accessed and dirty");
  for (int size = 1; size <= 3; size++) {
    if (size == 3 && !has(0x80000001, 3, 26)) continue;
    const u64 at = PAGE(0);
    for (int how = READ; how <= FETCH; how++) {
      unmap_zone();
      kernel();
      u64 *e[5];
      for (int l = 4; l >= size; l--) e[l] = entry(at, l);
      *e[size] = size == 1 ? FRAME(0) | ALL : ALL | PS;
      if (size > 1 && how != READ) continue;  // there lies the first page of memory
      frames[0][0] = 0xcc;
      access(how, at);
      EQUAL(c.vector, BP);
      for (int l = 4; l >= size; l--) EQUAL(*e[l] & (A | D), A | (l == size && how == WRITE ? D : 0));
      // Then a write: D must appear though the translation is known.
      if (size > 1 || how == WRITE) continue;
      access(WRITE, at);
      EQUAL(*e[1] & (A | D), A | D);
      // Cleared and invalidated: set again.
      *e[1] &= ~(u64)(A | D);
      invlpg((void *)at);
      access(READ, at);
      EQUAL(*e[1] & (A | D), A);
    }
  }
  // A write that the page forbids makes nothing dirty; nor does one whose second page is missing.
  unmap_zone();
  kernel();
  map(PAGE(1), FRAME(0), P);
  access(WRITE, PAGE(1));
  FAULT(PF, 3, PAGE(1));
  EQUAL(*entry(PAGE(1), 1) & D, 0);
  map(PAGE(1), FRAME(0), P | W);
  map(PAGE(2), 0, 0);
  frames[0][4094] = 0x11;
  c.gpr[RAX] = ~0ul;
  access(WRITE, PAGE(1) + 4094);
  FAULT(PF, 2, PAGE(2));
  EQUAL(frames[0][4094], 0x11);
}

static u64 load(u64 at) { return *(volatile u64 *)at; }

static void test_invalidation(void) {
  begin("paging: INVLPG and the tables' cache");
  unmap_zone();
  *(u64 *)frames[0] = 100;
  *(u64 *)frames[1] = 101;
  for (int round = 0; round < 4; round++) {
    map(PAGE(1), FRAME(round & 1), P | W | (round & 2 ? G : 0));
    EQUAL(load(PAGE(1)), 100 + (round & 1));
  }
  // Another page table below the same directory.
  u64 *other = new_table();
  other[1] = FRAME(0) | P | W;
  *entry(PAGE(1), 2) = (u64)other | ALL;
  invlpg((void *)PAGE(1));
  EQUAL(load(PAGE(1)), 100);
  // Another directory, another pointer table: INVLPG of any address forgets the tables.
  for (int level = 3; level <= 4; level++)
    for (int round = 0; round < 2; round++) {
      u64 *upper = new_table(), *e = entry(PAGE(1), level);
      u64 *lower = level == 4 ? new_table() : upper, *last = new_table();
      if (level == 4) upper[0] = (u64)lower | ALL;
      lower[0] = (u64)last | ALL;
      last[1] = FRAME(round) | P | W;
      load(PAGE(1));
      *e = (u64)upper | ALL;
      __asm__ volatile("invlpg (%0)" ::"r"(PAGE(1)) : "memory");
      EQUAL(load(PAGE(1)), 100 + round);
    }
  // From not present to present, and from read-only to writable by a fault, nothing need be said.
  unmap_zone();
  kernel();
  access(READ, PAGE(3));
  FAULT(PF, 0, PAGE(3));
  *entry(PAGE(3), 1) = FRAME(1) | P;
  EQUAL(load(PAGE(3)), 101);
  *entry(PAGE(3), 1) |= W;
  kernel();
  access(WRITE, PAGE(3));
  if (c.vector == PF) access(WRITE, PAGE(3));  // one spurious fault is allowed
  EQUAL(c.vector, BP);
  *(u64 *)frames[1] = 101;

  begin("paging: large pages are forgotten whole");
  // 2 MiB at physical 0, of which two places are read; then a page table in its place.
  for (int level = 2; level <= 3; level++) {
    if (level == 3 && !has(0x80000001, 3, 26)) continue;
    unmap_zone();
    const u64 far = level == 2 ? 0x1ff000 : 0x3ffff000;  // at the other end
    *entry(PAGE(0), level) = P | W | PS;
    load(PAGE(0));
    load(ZONE + 0x5000);
    if (level == 2) load(ZONE + far);
    *entry(PAGE(0), level) = 0;
    *entry(ZONE + 0x5000, 1) = FRAME(0) | P | W;
    invlpg((void *)(ZONE + (level == 2 ? far : 0x12345000)));
    EQUAL(load(ZONE + 0x5000), 100);
    // And the other way round.
    u64 *e = entry(PAGE(0), level);
    *e = P | W | PS;
    invlpg((void *)ZONE);
    EQUAL(load(ZONE + FRAME(1)), 101);
  }
}

static void reload_cr3(void) { set_cr3(cr(3)); }

static void test_flushes(void) {
  begin("paging: CR3 and CR4 flushes");
  unmap_zone();
  map(PAGE(1), FRAME(0), P | W);
  map(PAGE(2), FRAME(0), P | W | G);
  load(PAGE(1));
  load(PAGE(2));
  *entry(PAGE(1), 1) = FRAME(1) | P | W;
  *entry(PAGE(2), 1) = FRAME(1) | P | W | G;
  reload_cr3();
  EQUAL(load(PAGE(1)), 101);
  set_cr4(cr(4) & ~CR4_PGE);  // the global page may be either up to here
  EQUAL(load(PAGE(2)), 101);
  set_cr4(cr(4) | CR4_PGE);
  // Entered as global, changed, PGE toggled the other way round.
  load(PAGE(2));
  *entry(PAGE(2), 1) = FRAME(0) | P | W | G;
  set_cr4(cr(4) & ~CR4_PGE);
  set_cr4(cr(4) | CR4_PGE);
  EQUAL(load(PAGE(2)), 100);
  // INVLPG takes a global page, too.
  *entry(PAGE(2), 1) = FRAME(1) | P | W | G;
  invlpg((void *)PAGE(2));
  EQUAL(load(PAGE(2)), 101);
  // G without CR4.PGE is a page like any other.
  set_cr4(cr(4) & ~CR4_PGE);
  load(PAGE(2));
  *entry(PAGE(2), 1) = FRAME(0) | P | W | G;
  reload_cr3();
  EQUAL(load(PAGE(2)), 100);
  set_cr4(cr(4) | CR4_PGE);
  // Rights are forgotten like addresses.
  map(PAGE(3), FRAME(0), P | W);
  *(volatile u64 *)PAGE(3) = 100;
  *entry(PAGE(3), 1) &= ~(u64)W;
  reload_cr3();
  kernel();
  access(WRITE, PAGE(3));
  FAULT(PF, 3, PAGE(3));
  // More pages than any TLB keeps a list of.
  for (int i = 0; i < 2000; i++) *entry(PAGE(300 + i), 1) = FRAME(i & 1) | P | W;
  for (int i = 0; i < 2000; i++) load(PAGE(300 + i));
  for (int i = 0; i < 2000; i++) *entry(PAGE(300 + i), 1) = FRAME(~i & 1) | P | W;
  reload_cr3();
  int wrong = 0;
  for (int i = 0; i < 2000; i++) wrong += load(PAGE(300 + i)) != 100u + (~i & 1);
  EQUAL(wrong, 0);
}

// Two address spaces that differ in the zone: the code called there is another one.
static u64 roots[2];

static void make_roots(void) {
  unmap_zone();
  for (int i = 0; i < 2; i++) {
    u64 *root = new_table();
    root[0] = tables[0];
    roots[i] = (u64)root;
    u8 *code = frames[10 + i];
    fill(code, 0xcc, 4096);
    code[0] = 0xb8;  // mov eax, 10 + i; ret
    code[1] = (u8)(10 + i);
    code[2] = code[3] = code[4] = 0;
    code[5] = 0xc3;
    u8 *caller = frames[12];  // the same in both: call the other page, directly; ret
    caller[0] = 0xe8;
    *(u32 *)(caller + 1) = 0x1000 - 5;
    caller[5] = 0xc3;
    *entry_in(root, PAGE(1), 1) = FRAME(12) | P | W;
    *entry_in(root, PAGE(2), 1) = FRAME(10 + i) | P | W;
    // An instruction that reaches into the page that differs: mov eax, imm32 whose last two bytes lie there.
    u8 *cut = frames[13];
    cut[4093] = 0xb8;
    cut[4094] = cut[4095] = 0;
    u8 *rest = frames[14 + i];
    rest[0] = (u8)i;
    rest[1] = 0;
    rest[2] = 0xc3;
    *entry_in(root, PAGE(3), 1) = FRAME(13) | P | W;
    *entry_in(root, PAGE(4), 1) = FRAME(14 + i) | P | W;
  }
}

INLINE u32 call(u64 at) {
  u32 result;
  __asm__ volatile("call *%1" : "=a"(result) : "r"(at) : "memory", "rcx", "rdx");
  return result;
}

static void test_targets(void) {
  begin("paging: targets across CR3");
  const u64 home = cr(3);
  make_roots();
  int wrong = 0;
  for (int i = 0; i < 3000; i++) {
    const u32 which = (i ^ i >> 3) & 1;
    set_cr3(roots[which]);
    wrong += call(PAGE(2)) != 10 + which;
    wrong += call(PAGE(1)) != 10 + which;
    wrong += call(PAGE(3) + 4093) != which << 16;
  }
  EQUAL(wrong, 0);
  // The mapping changes under the same CR3, with INVLPG.
  for (int i = 0; i < 1000; i++) {
    const u32 which = i & 1;
    *entry_in((u64 *)roots[0], PAGE(2), 1) = FRAME(10 + which) | P | W;
    set_cr3(roots[0]);
    wrong += call(PAGE(1)) != 10 + which;
    *entry_in((u64 *)roots[0], PAGE(2), 1) = FRAME(11 - which) | P | W;
    invlpg((void *)PAGE(2));
    wrong += call(PAGE(1)) != 11 - which;
  }
  EQUAL(wrong, 0);
  set_cr3(home);
}

static void invpcid(u64 type, u64 pcid, u64 at) {
  const u64 descriptor[2] = {pcid, at};
  __asm__ volatile("invpcid %1, %0" ::"r"(type), "m"(descriptor) : "memory");
}

static void test_pcid(void) {
  begin("paging: PCID and INVPCID");
  if (!has(1, 2, 17) || !has(7, 1, 10)) return skip("no PCID");
  const u64 home = cr(3);
  make_roots();
  for (int i = 0; i < 2; i++) {
    *entry_in((u64 *)roots[i], PAGE(5), 1) = FRAME(i) | P | W;
    *entry_in((u64 *)roots[i], PAGE(6), 1) = FRAME(i) | P | W | G;
  }
  const u64 keep = 1ull << 63;
  kernel();
  set_cr4(cr(4) | CR4_PCIDE);
  int wrong = 0;
  for (int i = 0; i < 3000; i++) {
    const u32 which = (i ^ i >> 2) & 1;
    set_cr3(roots[which] | (which + 1) | (i % 7 ? keep : 0));
    wrong += load(PAGE(5)) != 100 + which;
    wrong += call(PAGE(1)) != 10 + which;
    wrong += call(PAGE(2)) != 10 + which;
  }
  EQUAL(wrong, 0);
  // Loaded into PCID 1, changed while PCID 2 is current. Each way to forget PCID 1, or one address of it.
  for (int way = 0; way < 6; way++) {
    set_cr3(roots[0] | 1 | keep);
    load(PAGE(5));
    call(PAGE(1));
    set_cr3(roots[1] | 2 | keep);
    *entry_in((u64 *)roots[0], PAGE(5), 1) = FRAME(~way & 1) | P | W;
    *entry_in((u64 *)roots[0], PAGE(2), 1) = FRAME(11 - (way & 1)) | P | W;
    if (way == 0) invpcid(0, 1, PAGE(5)), invpcid(0, 1, PAGE(2));
    if (way == 1) invpcid(1, 1, 0);
    if (way == 2) invpcid(2, 0, 0);
    if (way == 3) invpcid(3, 0, 0);
    if (way == 4) set_cr4(cr(4) ^ CR4_PGE), set_cr4(cr(4) ^ CR4_PGE);
    set_cr3(roots[0] | 1 | (way == 5 ? 0 : keep));
    EQUAL(load(PAGE(5)), 100 + (~way & 1));
    EQUAL(call(PAGE(1)), 11 - (way & 1));
  }
  // More address spaces than any cache of them holds.
  for (int i = 0; i < 600; i++) {
    const u32 which = (i ^ i >> 4) & 1, pcid = 3 + i % 30;
    set_cr3(roots[which] | pcid);
    wrong += load(PAGE(5)) != (which ? 101u : 100u + (~5 & 1));
    wrong += call(PAGE(2)) != (which ? 11u : 11u - (5 & 1));
  }
  EQUAL(wrong, 0);
  // What is not allowed: a type too many, a reserved bit, an address that is none; PCIDE while CR3 has low bits.
  static u64 bad[3][2] = {{1, PAGE(1)}, {0x1000, 0}, {1, 1ull << 62}};
  const u64 types[3] = {4, 1, 0};
  for (int i = 0; i < 3; i++) {
    kernel();
    c.gpr[RAX] = types[i];
    c.gpr[RBX] = (u64)bad[i];
    go(CODE("invpcid rax, [rbx]"));
    FAULT(GP, 0, 0);
  }
  set_cr3(home);
  set_cr4(cr(4) & ~CR4_PCIDE);
  set_cr3(home | 0x18);  // PWT and PCD now
  kernel();
  c.gpr[RAX] = cr(4) | CR4_PCIDE;
  go(CODE("mov cr4, rax"));
  FAULT(GP, 0, 0);
  set_cr3(home);
}

void test_paging(void) {
  test_rights();
  test_keys();
  test_reserved();
  test_accessed();
  test_invalidation();
  test_flushes();
  test_targets();
  test_pcid();
}
