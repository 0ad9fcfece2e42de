// Code that is written while it runs, in every way; string instructions that are stopped in the middle; interrupts at any place.
#include "world64.h"

enum { WRITABLE_CODE = 20 };  // frames 20 to 25, mapped at pages 20 to 25 and again 100 pages further on

INLINE u64 call(u64 at, u64 a, u64 b) {
  u64 result;
  __asm__ volatile("call *%1" : "=a"(result), "+r"(at), "+D"(a), "+S"(b) : : "memory", "rcx", "rdx", "rbx", "r8", "r9", "r10", "r11");
  return result;
}

static u8 *place(u64 at) { return frames[WRITABLE_CODE] + (at - PAGE(20)); }

static void put(u64 at, void *code, int size) { copy(place(at), code, size); }

// `mov eax, imm32; ret` at a place: the immediate begins at the next byte.
static void answer(u64 at, u32 value) {
  u8 code[6] = {0xb8, (u8)value, (u8)(value >> 8), (u8)(value >> 16), (u8)(value >> 24), 0xc3};
  put(at, code, 6);
}

// Each writes the value into the four bytes at rdi.
static void *writers[16];
static int make_writers(void) {
  int n = 0;
  writers[n++] = CODE("mov [rdi], esi; ret");
  writers[n++] = CODE("mov eax, esi; mov [rdi], al; mov [rdi + 1], ah; shr eax, 16; mov [rdi + 2], ax; ret");
  writers[n++] = CODE("mov eax, [rdi]; xor eax, esi; xor [rdi], eax; ret");
  writers[n++] = CODE("mov eax, esi; lock xchg [rdi], eax; ret");
  writers[n++] = CODE("1: mov eax, [rdi]; lock cmpxchg [rdi], esi; jne 1b; ret");
  writers[n++] = CODE("mov eax, esi; sub eax, [rdi]; lock xadd [rdi], eax; ret");
  writers[n++] = CODE("push rsi; mov rsi, rsp; mov ecx, 4; rep movsb; pop rsi; ret");
  writers[n++] = CODE("push rsi; mov rsi, rsp; movsd; pop rsi; ret");
  writers[n++] = CODE("mov eax, esi; stosd; ret");
  writers[n++] = CODE("mov eax, esi; mov ecx, 1; rep stosd; ret");
  writers[n++] = CODE("movd xmm0, esi; movss [rdi], xmm0; ret");
  writers[n++] = CODE("push rsi; fild dword ptr [rsp]; fistp dword ptr [rdi]; pop rsi; ret");
  writers[n++] = CODE("movnti [rdi], esi; ret");
  // By the stack: rsp just above the place.
  writers[n++] = CODE("mov rdx, rsp; mov eax, [rdi - 4]; lea rsp, [rdi + 4]; shl rsi, 32; or rsi, rax; push rsi; mov rsp, rdx; ret");
  return n;
}

static void changes_elsewhere(int writer_count, u64 at, u64 alias) {
  int wrong = 0;
  for (int w = 0; w < writer_count; w++)
    for (u32 i = 0; i < 40; i++) {
      const u32 value = i % 3 ? 1000 * i + w : 77;  // what was there before comes back
      call((u64)writers[w], alias + 1, value);
      wrong += (u32)call(at, 0, 0) != value;
    }
  EQUAL(wrong, 0);
}

static void test_matrix(void) {
  begin("code: written by every instruction, in any place");
  unmap_zone();
  for (int i = 0; i < 6; i++) {
    map(PAGE(20 + i), FRAME(20 + i), P | W);
    map(PAGE(120 + i), FRAME(20 + i), P | W);
    fill(frames[20 + i], 0x90, 4096);
  }
  const int n = make_writers();
  // In the middle of a page, across a line, across pages at every byte.
  static const u16 kPlaces[] = {0x800, 0x83d, 0xffa, 0xffb, 0xffc, 0xffd, 0xffe, 0xfff};
  for (int i = 0; i < 8; i++)
    for (int alias = 0; alias < 2; alias++) {
      const u64 at = PAGE(20) + kPlaces[i];
      answer(at, 77);
      changes_elsewhere(n, at, at + alias * 0x64000);
    }

  begin("code: written by itself");
  // The next instruction, the one after it in the same block, one behind a jump, one in the next page; rdi rounds.
  static const u16 kOffsets[] = {0x100, 0xfe0, 0xfe8, 0xff0, 0xff3, 0xff8};
  for (int i = 0; i < 6; i++) {
    const u64 at = PAGE(22) + kOffsets[i];
    put(at, CODE("xor eax, eax; 1: mov [rip + 2f + 1], edi; 2: mov edx, 0x11111111; add rax, rdx; dec edi; jnz 1b; ret"), 40);
    EQUAL(call(at, 100, 0), 5050);
    put(at, CODE("xor eax, eax; 1: mov [rip + 2f + 1], edi; add eax, 1; inc ecx; 2: mov edx, 0x11111111; add rax, rdx; dec edi; jnz 1b; ret"), 45);
    EQUAL(call(at, 100, 0), 5150);
    put(at, CODE("xor eax, eax; 1: lock inc dword ptr [rip + 2f + 1]; jmp 2f; 2: mov edx, 0; add rax, rdx; dec edi; jnz 1b; ret"), 45);
    EQUAL(call(at, 100, 0), 5050);
  }
  // An opcode changes its length: inc eax (two bytes) and a four-byte nop behind it, by turns.
  const u64 at = PAGE(22) + 0x200;
  static const u8 kForms[2][4] = {{0xff, 0xc0, 0xff, 0xc0}, {0x0f, 0x1f, 0x40, 0x00}};
  u64 sum = 0;
  for (int i = 0; i < 50; i++) {
    put(at, CODE("mov eax, edi"), 2);
    copy(place(at) + 2, kForms[i & 1], 4);
    put(at + 6, (void *)"\xc3", 1);
    sum += call(at, 1, 0);
  }
  EQUAL(sum, 25 * 3 + 25 * 1);
  // REP MOVS over the code that follows it, and over itself with the same bytes.
  put(at, CODE("lea rdi, [rip + 1f]; mov rsi, rdi; sub rsi, -64; mov ecx, 6; rep movsb; 1: mov eax, 1; ret; nop"), 40);
  for (u32 i = 0; i < 10; i++) {
    const u64 next = at + 7 + 3 + 4 + 5 + 2;
    answer(next, 1);
    answer(next + 64, 5 + i);
    EQUAL((u32)call(at, 0, 0), 5 + i);
  }
  // Data beside code, in one line: nothing but what it says.
  put(at, CODE("xor eax, eax; 1: add [rip + 2f], edi; inc eax; dec edi; jnz 1b; mov eax, [rip + 2f]; ret; 2: nop; nop; nop; nop"), 40);
  for (int i = 0; i < 40; i++)
    if (place(at)[i] == 0x90 && place(at)[i + 1] == 0x90) {
      *(u32 *)(place(at) + i) = 0;
      break;
    }
  EQUAL(call(at, 1000, 0), 500500);
}

// By a device: fw_cfg's DMA copies the signature "QEMU" over the immediate.
static void test_dma(void) {
  begin("code: written by DMA");
  unmap_zone();
  map(PAGE(20), FRAME(20), P | W);
  static volatile u32 request[4] __attribute__((aligned(16)));
  for (int i = 0; i < 5; i++) {
    answer(PAGE(20) + 0x100, 1 + i);
    EQUAL((u32)call(PAGE(20) + 0x100, 0, 0), 1 + i);
    const u32 to = (u32)FRAME(20) + 0x101;
    request[0] = __builtin_bswap32(0 << 16 | 8 | 2);  // select item 0, read
    request[1] = __builtin_bswap32(4);
    request[2] = 0;
    request[3] = __builtin_bswap32(to);
    __asm__ volatile("outl %0, %1" ::"a"(__builtin_bswap32((u32)(u64)request)), "Nd"((u16)0x518) : "memory");
    while (__builtin_bswap32(request[0]) & ~1u) in8(0x80);
    EQUAL((u32)call(PAGE(20) + 0x100, 0, 0), 0x554d4551);
  }
}

// Pages 30 to 33, of which the third is missing: the instruction stops there, exactly, and goes on when the page has come.
static void test_restart(void) {
  begin("strings: a fault in the middle");
  static const char *const kNames[] = {"movsb", "movsq", "stosd", "lodsw", "scasb", "cmpsd"};
  void *codes[] = {CODE("rep movsb"), CODE("rep movsq"), CODE("rep stosd"), CODE("rep lodsw"), CODE("repne scasb"), CODE("repe cmpsd")};
  static const int kSizes[] = {1, 8, 4, 2, 1, 4};
  static const int kUses[] = {3, 3, 2, 1, 2, 3};  // 1: rsi, 2: rdi
  for (int s = 0; s < 6; s++)
    for (int back = 0; back < 2; back++)
      for (int moved = 0; moved < 2; moved++)        // whose page is missing: the source's, or the destination's
        for (int off = 0; off < 8; off += 3) {       // elements that lie across the edge
          if (!(kUses[s] & 1 << moved)) continue;
          unmap_zone();
          for (int i = 0; i < 4; i++) {
            map(PAGE(30 + i), FRAME(30 + i), P | W);
            map(PAGE(40 + i), FRAME(40 + i), P | W);
            for (int k = 0; k < 4096; k++) frames[30 + i][k] = frames[40 + i][k] = (u8)(k * 7 + i);
          }
          if (s >= 4)
            for (int i = 0; i < 4; i++) fill(frames[40 + i], 3, 4096), fill(frames[30 + i], 3, 4096);
          const int size = kSizes[s];
          const u64 missing = PAGE(moved ? 42 : 32) - (back ? 0x1000 : 0);
          map(missing, 0, 0);
          kernel();
          if (back) c.rflags |= 0x400;
          const u64 first = back ? 0x2e00 : 0x1200;
          const u64 source = PAGE(30) + first + (moved ? 0 : off), target = PAGE(40) + first + (moved ? off : 0);
          c.gpr[RSI] = source;
          c.gpr[RDI] = target;
          c.gpr[RCX] = 0x1a00 / size;
          c.gpr[RAX] = 0x55;
          go(codes[s]);
          // Elements done before the first that touches the missing page.
          const u64 start = moved ? target : source;
          u64 done;
          if (back)
            done = (start - (missing + 0x1000)) / size + 1;
          else
            done = (missing - start) / size;
          const long step = back ? -size : size;
          EQUAL(c.vector, PF);
          u64 where = start + done * step;
          if (!back && where < missing) where = missing;
          EQUAL(c.cr2, where);
          EQUAL(c.error, moved && s <= 2 ? 2 : 0);
          EQUAL(c.gpr[RCX], 0x1a00 / size - done);
          if (kUses[s] & 1) EQUAL(c.gpr[RSI], source + done * step);
          if (kUses[s] & 2) EQUAL(c.gpr[RDI], target + done * step);
          EQUAL(c.rip, (u64)codes[s]);
          if (c.vector != PF) {
            print(kNames[s]);
            continue;
          }
          map(missing, FRAME((moved ? 42 : 32) - back), P | W);
          run(&c);
          EQUAL(c.vector, BP);
          if (s < 3) {
            EQUAL(c.gpr[RCX], 0);
            EQUAL(c.gpr[RDI], target + (0x1a00 / size) * step);
          }
        }
}

// Everything at once: a sum over registers, flags, memory, SSE, x87, strings, calls, locked and divided.
static u64 work(u64 rounds) {
  u64 sum = 0;
  static u8 buffer[512] __attribute__((aligned(64)));
  fill(buffer, 0, sizeof buffer);
  __asm__ volatile("fninit");
  for (u64 i = 1; i <= rounds; i++) {
    u64 r = i, flags;
    __asm__ volatile(
        ".intel_syntax noprefix\n"
        "mov rax, %[r]; mov rdx, 0x9e3779b97f4a7c15; imul rax, rdx; ror rax, 7; adc rax, 13\n"
        "mov rcx, rax; shld rax, rcx, 3; bsf rdx, rax; cmovz rdx, rcx; clc; sbb rax, rdx\n"
        "mov [%[b]], rax; lock add [%[b] + 8], rax; lock xadd [%[b] + 60], rcx; adc qword ptr [%[b] + 16], 0\n"
        "movq xmm0, rax; movq xmm1, rcx; paddq xmm0, xmm1; pshufd xmm1, xmm0, 0x1b; paddd xmm0, xmm1; movdqu [%[b] + 33], xmm0\n"
        "and eax, 0xffff; cvtsi2sd xmm2, eax; addsd xmm2, xmm2; cvttsd2si edx, xmm2; add [%[b] + 24], rdx\n"
        "fild dword ptr [%[b] + 24]; fild word ptr [%[b]]; faddp st(1), st; fistp qword ptr [%[b] + 80]\n"
        "lea rdi, [%[b] + 128]; lea rsi, [%[b] + 1]; mov ecx, 90; rep movsb; mov eax, ecx; mov ecx, 9; rep stosq\n"
        "call 3f; jmp 4f\n3: push rax; pushfq; pop rdx; pop rax; ret\n4:\n"
        "mov eax, edx; and eax, 0x8d5; add [%[b] + 96], rax\n"
        "mov rax, [%[b] + 8]; xor edx, edx; mov rcx, [%[b]]; or rcx, 1; div rcx; xor rax, rdx; rcl rax, 5; setc dl; add [%[b] + 104], dl\n"
        "add rax, [%[b] + 80]; mov [%[b] + 112], rax; clc; mov ecx, 20\n5: adc rax, rcx; loop 5b\n"
        "bts [%[b] + 120], ecx; mov [%[b] + 300], rax; mov rdx, rsp; mov rax, [%[b] + 300]\n"
        "lahf; movzx eax, ah; mov [%[b] + 104], al; mov rax, [%[b] + 300]\n"
        ".att_syntax\n"
        : "=&a"(r), "=&d"(flags)
        : [r] "r"(r), [b] "r"(buffer)
        : "rcx", "rsi", "rdi", "memory", "cc");
    sum = (sum << 1 | sum >> 63) ^ r;
  }
  for (int i = 0; i < 128; i++) sum = sum * 31 + buffer[i];
  return sum;
}

static volatile u32 *const kApic = (volatile u32 *)0xfee00000;

static void test_storm(void) {
  begin("interrupts: a storm");
  enum { ROUNDS = 3000 };
  const u64 quiet = work(ROUNDS);
  EQUAL(work(ROUNDS), quiet);
  set_gate(0x40, tick, 0, 0);
  wrmsr(0x1b, rdmsr(0x1b) | 0x800);
  kApic[0xf0 / 4] = 0x1ff;   // on
  kApic[0x80 / 4] = 0;
  kApic[0x3e0 / 4] = 0xb;    // each tick of the bus
  kApic[0x320 / 4] = 0x40;   // one-shot
  static const u32 kPeriods[] = {500, 20000, 200000};
  for (int i = 0; i < 3; i++) {
    ticks = 0;
    tick_period = kPeriods[i];
    kApic[0x380 / 4] = 1000;
    __asm__ volatile("sti");
    u64 sum = 0;
    int n = 0;
    do sum |= work(ROUNDS) ^ quiet;
    while (++n < 400 && ticks < 100);
    // What came last has asked for one more: none is lost.
    const u32 so_far = ticks;
    const u64 since = rdtsc();
    while (ticks < so_far + 3 && rdtsc() - since < 20000000000ull) {}
    TRUE(ticks >= so_far + 3);
    __asm__ volatile("cli");
    kApic[0x380 / 4] = 0;
    EQUAL(sum, 0);
    TRUE(ticks > 20);
  }
  // HLT is left by an interrupt, also right behind STI.
  for (int i = 0; i < 20; i++) {
    const u32 before = ticks;
    tick_period = 100000;
    kApic[0x380 / 4] = 1000 * i;
    if (i) __asm__ volatile("sti; hlt; cli");
    TRUE(!i || ticks > before);
  }
  kApic[0x380 / 4] = 0;
  for (int i = 0; i < 100; i++) __asm__ volatile("sti; nop; nop; cli");
}

void test_code(void) {
  test_matrix();
  test_dma();
  test_restart();
  test_storm();
}
