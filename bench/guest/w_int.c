#include "bench.h"
/* ---- int_loop: collatz + gcd + sieve ---- */
uint64_t w_int_loop(int scale) {
  uint64_t sum = 0;
  for (int r = 0; r < scale; r++) {
    for (uint32_t i = 1; i < 120000; i++) {
      uint64_t n = i;
      uint32_t c = 0;
      while (n != 1) {
        n = (n & 1) ? 3 * n + 1 : n >> 1;
        c++;
      }
      sum += c;
    }
    for (uint32_t a = 1; a < 500; a++)
      for (uint32_t b = 1; b < 300; b++) {
        uint32_t x = a, y = b;
        while (y) {
          uint32_t t = x % y;
          x = y;
          y = t;
        }
        sum += x;
      }
    static uint8_t s[1 << 20];
    memset(s, 1, sizeof s);
    for (uint32_t i = 2; i * i < sizeof s; i++)
      if (s[i])
        for (uint32_t j = i * i; j < sizeof s; j += i) s[j] = 0;
    for (uint32_t i = 2; i < sizeof s; i++) sum += s[i];
  }
  return sum;
}
/* ---- int_dhry: records, string compare, calls ---- */
struct rec {
  struct rec* next;
  int disc, e;
  int comp;
  char s[32];
};
static int g_i;
static char g_c;
static int arr1[50], arr2[50][50];
static struct rec* g_p;
static NOINLINE int f7(int a, int b) { return a + 2 + b; }
static NOINLINE int f1(char a, char b) {
  if (a == b) {
    g_c = a;
    return 0;
  }
  return 1;
}
static NOINLINE int f2(const char* a, const char* b) {
  int i = 2;
  while (i <= 2)
    if (f1(a[i], b[i + 1]) == 0)
      i += 3;
    else
      i++;
  if (strcmp(a, b) > 0) {
    g_i = i + 7;
    return 1;
  }
  return 0;
}
static NOINLINE void p8(int* a, int (*b)[50], int x, int y) {
  int l = x + 5;
  a[l] = y;
  a[l + 1] = a[l];
  a[l + 30 < 50 ? l + 30 : 49] = l;
  for (int i = l; i <= l + 1; i++) b[l][i] = l;
  b[l][l - 1]++;
  b[l + 20 < 50 ? l + 20 : 49][l] = a[l];
  g_i = 5;
}
static NOINLINE void p3(struct rec** p) {
  if (g_p) *p = g_p->next;
  g_p->comp = f7(10, g_i);
}
static NOINLINE void p1(struct rec* p) {
  struct rec* n = p->next;
  *n = *g_p;
  p->comp = 5;
  n->comp = p->comp;
  n->next = p->next;
  p3(&n->next);
  if (n->disc == 0) {
    n->comp = 6;
    n->comp = f7(n->comp, 10);
  } else
    *p = *p->next;
}
uint64_t w_int_dhry(int scale) {
  static struct rec A, B;
  g_p = &A;
  A.next = &B;
  A.disc = 0;
  A.comp = 40;
  strcpy(A.s, "DHRYSTONE PROGRAM, SOME STRING");
  char s1[31], s2[31];
  strcpy(s1, "DHRYSTONE PROGRAM, 1'ST STRING");
  uint64_t h = 0;
  for (int i = 0; i < scale; i++) {
    int a = 2, b = 3, c = 0;
    memcpy(s2, "DHRYSTONE PROGRAM, 2'ND STRING", 31);
    s2[20] = '0' + (i % 10);
    int bg = !f2(s1, s2);
    while (a < b) {
      c = 5 * a - b;
      c = f7(a, b);
      a++;
    }
    p8(arr1, arr2, a, c);
    B = A;
    B.next = &A;
    A.next = &B;
    p1(&A);
    for (char ch = 'A'; ch <= 'C'; ch++)
      if (f1(ch, 'C') == 0) bg ^= 1;
    b = b * a;
    a = b / (c + 1);
    b = 7 * (b - c) - a;
    h = h * 31 + a + b + c + bg + g_i + arr2[8][8];
  }
  return h;
}
/* ---- int_core: linked list find/sort, matrix mul, state machine, crc16 ---- */
struct ln {
  struct ln* n;
  int16_t d, i;
};
static NOINLINE uint16_t crc16(uint8_t d, uint16_t c) {
  for (int i = 0; i < 8; i++) {
    uint8_t x = (d & 1) ^ (c & 1);
    d >>= 1;
    if (x) {
      c ^= 0x4002;
      c = (c >> 1) | 0x8000;
    } else
      c = (c >> 1) & 0x7fff;
  }
  return c;
}
static NOINLINE struct ln* msort(struct ln* l, int (*cmp)(struct ln*, struct ln*)) {
  int k = 1;
  for (;;) {
    struct ln *p = l, *t = 0;
    l = 0;
    int m = 0;
    while (p) {
      m++;
      struct ln* q = p;
      int ps = 0;
      for (int i = 0; i < k; i++) {
        ps++;
        q = q->n;
        if (!q) break;
      }
      int qs = k;
      while (ps > 0 || (qs > 0 && q)) {
        struct ln* e;
        if (!ps) {
          e = q;
          q = q->n;
          qs--;
        } else if (!qs || !q) {
          e = p;
          p = p->n;
          ps--;
        } else if (cmp(p, q) <= 0) {
          e = p;
          p = p->n;
          ps--;
        } else {
          e = q;
          q = q->n;
          qs--;
        }
        if (t)
          t->n = e;
        else
          l = e;
        t = e;
      }
      p = q;
    }
    t->n = 0;
    if (m <= 1) return l;
    k *= 2;
  }
}
static int cd(struct ln* a, struct ln* b) { return a->d - b->d; }
static int ci(struct ln* a, struct ln* b) { return a->i - b->i; }
uint64_t w_int_core(int scale) {
  enum { N = 400, M = 24 };
  static struct ln l[N];
  static int16_t A[M][M], B[M][M];
  static int32_t C[M][M];
  uint64_t s = 88172645463325252ull;
  uint16_t crc = 0;
  static char txt[2000];
  const char* pat[] = {"5012",     "1234",     "-874",     "+122",     "35.54400", ".1234500",
                       "-110.700", "+0.64400", "5.500e+3", "-.123e-2", "T0.3e-1F", "1T3.4e4z"};
  int tl = 0;
  while (tl < 1900) {
    const char* p = pat[rng(&s) % 12];
    while (*p) txt[tl++] = *p++;
    txt[tl++] = ',';
  }
  txt[tl] = 0;
  for (int i = 0; i < M; i++)
    for (int j = 0; j < M; j++) A[i][j] = rng(&s) & 0xff, B[i][j] = rng(&s) & 0xff;
  for (int r = 0; r < scale; r++) {
    for (int i = 0; i < N; i++) {
      l[i].n = i + 1 < N ? &l[i + 1] : 0;
      l[i].d = (int16_t)(rng(&s));
      l[i].i = i;
    }
    struct ln* h = msort(l, cd);
    for (int q = 0; q < 20; q++) {
      int v = q * 20;
      struct ln* p = h;
      while (p && p->i != v) p = p->n;
      if (p) crc = crc16(p->d, crc);
    }
    h = msort(h, ci);
    for (struct ln* p = h; p; p = p->n) crc = crc16(p->d & 0xff, crc);
    for (int i = 0; i < M; i++)
      for (int j = 0; j < M; j++) {
        int32_t t = 0;
        for (int k = 0; k < M; k++) t += (int32_t)A[i][k] * B[k][j];
        C[i][j] = t;
      }
    for (int i = 0; i < M; i++)
      for (int j = 0; j < M; j++) {
        int32_t t = C[i][j];
        crc = crc16((t >> 2) & 15, crc);
        A[i][j] += t & 1;
      }
    unsigned cnt[8] = {0};
    int st = 0;
    for (char* p = txt; *p; p++) {
      char c = *p;
      if (c == ',') {
        cnt[st]++;
        st = 0;
        continue;
      }
      switch (st) {
        case 0:
          st = (c >= '0' && c <= '9') ? 4 : (c == '+' || c == '-') ? 2 : c == '.' ? 5 : 1;
          break;
        case 2: st = (c >= '0' && c <= '9') ? 4 : c == '.' ? 5 : 1; break;
        case 4:
          if (c == '.')
            st = 5;
          else if (c < '0' || c > '9')
            st = 1;
          break;
        case 5:
          if (c == 'e' || c == 'E')
            st = 3;
          else if (c < '0' || c > '9')
            st = 1;
          break;
        case 3: st = (c == '+' || c == '-') ? 6 : 1; break;
        case 6: st = (c >= '0' && c <= '9') ? 7 : 1; break;
        case 7:
          if (c < '0' || c > '9') st = 1;
          break;
        default: break;
      }
    }
    for (int i = 0; i < 8; i++) crc = crc16(cnt[i], crc);
  }
  return crc;
}
/* ---- sha256 (scalar C) ---- */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
#define R(x, n) (((x) >> (n)) | ((x) << (32 - (n))))
static NOINLINE void sha_blk(uint32_t h[8], const uint8_t* p) {
  uint32_t w[64];
  for (int i = 0; i < 16; i++) {
    uint32_t v;
    memcpy(&v, p + 4 * i, 4);
    w[i] = __builtin_bswap32(v);
  }
  for (int i = 16; i < 64; i++) {
    uint32_t a = w[i - 15], b = w[i - 2];
    w[i] =
        w[i - 16] + (R(a, 7) ^ R(a, 18) ^ (a >> 3)) + w[i - 7] + (R(b, 17) ^ R(b, 19) ^ (b >> 10));
  }
  uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], k = h[7];
  for (int i = 0; i < 64; i++) {
    uint32_t t1 = k + (R(e, 6) ^ R(e, 11) ^ R(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i],
             t2 = (R(a, 2) ^ R(a, 13) ^ R(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    k = g;
    g = f;
    f = e;
    e = d + t1;
    d = c;
    c = b;
    b = a;
    a = t1 + t2;
  }
  h[0] += a;
  h[1] += b;
  h[2] += c;
  h[3] += d;
  h[4] += e;
  h[5] += f;
  h[6] += g;
  h[7] += k;
}
uint64_t w_sha256(int scale) {
  uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                   0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  static uint8_t buf[65536];
  uint64_t s = 1234567;
  for (unsigned i = 0; i < sizeof buf; i++) buf[i] = rng(&s);
  for (int r = 0; r < scale; r++)
    for (unsigned o = 0; o < sizeof buf; o += 64) sha_blk(h, buf + o);
  return ((uint64_t)h[0] << 32) | h[7];
}
/* ---- sort + hash table ---- */
static int cmp32(const void* a, const void* b) {
  uint32_t x = *(const uint32_t*)a, y = *(const uint32_t*)b;
  return x < y ? -1 : x > y;
}
static NOINLINE void qs(uint32_t* a, long lo, long hi) {
  while (lo < hi) {
    uint32_t p = a[(lo + hi) >> 1];
    long i = lo, j = hi;
    while (i <= j) {
      while (a[i] < p) i++;
      while (a[j] > p) j--;
      if (i <= j) {
        uint32_t t = a[i];
        a[i++] = a[j];
        a[j--] = t;
      }
    }
    if (j - lo < hi - i) {
      qs(a, lo, j);
      lo = i;
    } else {
      qs(a, i, hi);
      hi = j;
    }
  }
}
uint64_t w_sort(int scale) {
  enum { N = 200000 };
  uint32_t *a = malloc(N * 4), *b = malloc(N * 4);
  uint64_t s = 42, h = 0;
  for (int r = 0; r < scale; r++) {
    for (int i = 0; i < N; i++) b[i] = a[i] = rng(&s);
    qs(a, 0, N - 1);
    qsort(b, N, 4, cmp32);
    h = h * 31 + a[N / 3] + b[N / 2] + (memcmp(a, b, N * 4) == 0);
  }
  free(a);
  free(b);
  return h;
}
uint64_t w_hash(int scale) {
  enum { SZ = 1 << 18 };
  uint64_t *k = calloc(SZ, 8), *v = calloc(SZ, 8);
  uint64_t s = 7, h = 0;
  for (int r = 0; r < scale; r++) {
    memset(k, 0, SZ * 8);
    for (int i = 0; i < SZ / 2; i++) {
      uint64_t x = rng(&s) | 1;
      uint64_t p = (x * 0x9E3779B97F4A7C15ull) >> 46;
      while (k[p] && k[p] != x) p = (p + 1) & (SZ - 1);
      k[p] = x;
      v[p] += i;
    }
    uint64_t q = s;
    for (int i = 0; i < SZ; i++) {
      uint64_t x = rng(&q) | 1;
      uint64_t p = (x * 0x9E3779B97F4A7C15ull) >> 46;
      while (k[p] && k[p] != x) p = (p + 1) & (SZ - 1);
      h += v[p];
    }
  }
  free(k);
  free(v);
  return h;
}
/* ---- call/ret heavy recursion ---- */
static NOINLINE uint32_t fib(uint32_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
static NOINLINE int ack(int m, int n) {
  return m == 0 ? n + 1 : n == 0 ? ack(m - 1, 1) : ack(m - 1, ack(m, n - 1));
}
uint64_t w_callret(int scale) {
  uint64_t s = 0;
  for (int i = 0; i < scale; i++) {
    uint32_t n = 30;
    OPAQUE(n);
    s += fib(n);
    int m = 2;
    OPAQUE(m);
    s += ack(m, 300);
  }
  return s;
}
/* ---- indirect calls: "virtual" calls + computed-goto interpreter + switch ---- */
typedef uint64_t (*op)(uint64_t, uint64_t);
static NOINLINE uint64_t o0(uint64_t a, uint64_t b) { return a + b; }
static NOINLINE uint64_t o1(uint64_t a, uint64_t b) { return a ^ (b << 1); }
static NOINLINE uint64_t o2(uint64_t a, uint64_t b) { return a - (b >> 1); }
static NOINLINE uint64_t o3(uint64_t a, uint64_t b) { return a * 3 + b; }
static NOINLINE uint64_t o4(uint64_t a, uint64_t b) { return (a >> 3) ^ b; }
static NOINLINE uint64_t o5(uint64_t a, uint64_t b) { return (a << 7 | a >> 57) + b; }
static NOINLINE uint64_t o6(uint64_t a, uint64_t b) { return a | (b & 0xff); }
static NOINLINE uint64_t o7(uint64_t a, uint64_t b) { return a + b * 5; }
static op volatile ops[8] = {o0, o1, o2, o3, o4, o5, o6, o7};
uint64_t w_vcall(int scale) {
  static uint8_t seq[4096];
  uint64_t s = 99, a = 1;
  for (int i = 0; i < 4096; i++) seq[i] = rng(&s) >> 61;
  for (int r = 0; r < scale; r++)
    for (int i = 0; i < 4096; i++) a = ops[seq[i]](a, i);
  return a;
}
uint64_t w_interp(int scale) {
  /* byte-code: nested loop computing a polynomial hash; goto-threaded dispatch */
  enum { LDI, ADD, MUL, XOR, SHR, DEC, JNZ, MOV, HLT };
  static const uint8_t code[] = {LDI, 0, 1, LDI, 1, 200, LDI, 2, 250, ADD, 0, 2, MUL, 0, 3,
                                 XOR, 0, 1, SHR, 0, 4,   MOV, 4, 0,   ADD, 0, 4, DEC, 2, 0,
                                 JNZ, 2, 9, DEC, 1, 0,   JNZ, 1, 6,   HLT, 0, 0};
  static const void* const T[] = {&&ldi, &&add, &&mul, &&xr, &&shr, &&dec, &&jnz, &&mov, &&hlt};
  uint64_t h = 0;
  for (int r = 0; r < scale; r++) {
    uint64_t R[8] = {0, 0, 0, 0x100000001b3ull, 7, 0, 0, 0};
    const uint8_t* pc = code;
#define NEXT \
  pc += 3;   \
  goto* T[*pc]
    goto* T[*pc];
  ldi:
    R[pc[1]] = pc[2];
    NEXT;
  add:
    R[pc[1]] += R[pc[2]];
    NEXT;
  mul:
    R[pc[1]] *= R[pc[2]];
    NEXT;
  xr:
    R[pc[1]] ^= R[pc[2]] + r;
    NEXT;
  shr:
    R[pc[1]] ^= R[pc[1]] >> 13;
    NEXT;
  dec:
    R[pc[1]]--;
    NEXT;
  jnz:
    if (R[pc[1]]) {
      pc = code + pc[2];
      goto* T[*pc];
    }
    NEXT;
  mov:
    R[pc[1]] = R[pc[2]] >> 3;
    NEXT;
  hlt:
    h += R[0];
  }
  return h;
}
/* ---- memory: pointer chase and copies ---- */
static uint64_t chase(size_t n, uint64_t steps) {
  uint32_t* p = malloc(n * 4);
  for (size_t i = 0; i < n; i++) p[i] = i;
  uint64_t s = 5;
  for (size_t i = n - 1; i > 0; i--) {
    size_t j = rng(&s) % i;
    uint32_t t = p[i];
    p[i] = p[j];
    p[j] = t;
  }
  uint32_t x = 0;
  for (uint64_t i = 0; i < steps; i += 4) {
    x = p[x];
    x = p[x];
    x = p[x];
    x = p[x];
  }
  free(p);
  return x;
}
uint64_t w_chase_l1(int scale) { return chase(4096, (uint64_t)scale * 1000000); }
uint64_t w_chase_64m(int scale) { return chase(16 << 20, (uint64_t)scale * 100000); }
uint64_t w_memcpy(int scale) {
  enum { N = 1 << 20 };
  char *a = malloc(N + 64), *b = malloc(N + 64);
  uint64_t h = 0;
  memset(a, 1, N);
  for (int r = 0; r < scale; r++) {
    memcpy(b, a, N);
    memset(a, r, N / 2);
    memcpy(a + 3, b + 1, 4000);
    h += b[r % N];
  }
  for (int r = 0; r < scale * 200; r++) {
    size_t l = 8 + (r * 37) % 120;
    memcpy(b + (r & 4095), a + (r & 1023), l);
    h += b[r & 4095];
  }
  free(a);
  free(b);
  return h;
}
uint64_t w_repstr(int scale) {
  enum { N = 1 << 16 };
  static char a[N], b[N];
  uint64_t h = 0;
  for (int r = 0; r < scale; r++) {
    void *d = b, *s = a;
    size_t n = N;
    __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n)::"memory");
    d = a;
    n = N / 8;
    __asm__ volatile("rep stosq" : "+D"(d), "+c"(n) : "a"((uint64_t)r) : "memory");
    for (int k = 0; k < 64; k++) {
      d = b + k;
      s = a + k * 8;
      n = 24;
      __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n)::"memory");
    }
    h += b[104];
  }
  return h;
}
