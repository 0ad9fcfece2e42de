/* compiled twice: -msse2 (suffix _sse2) and -mavx2 -mfma (suffix _avx2) */
#include "bench.h"
#define CAT2(a, b) a##b
#define CAT(a, b)  CAT2(a, b)
#define F(n)       CAT(n, SUFFIX)
#define N          4096
static int32_t ia[N], ib[N], ic[N];
static uint8_t ba[N], bb[N], bc[N];
static int16_t sa[N], sb[N];
static float fa[N], fb[N], fc[N];
static double da[N], db[N], dc[N];
static void init(void) {
  uint64_t s = 3;
  for (int i = 0; i < N; i++) {
    ia[i] = rng(&s) >> 40;
    ib[i] = rng(&s) >> 44;
    ba[i] = rng(&s);
    bb[i] = rng(&s);
    sa[i] = rng(&s) >> 50;
    sb[i] = rng(&s) >> 50;
    fa[i] = (rng(&s) >> 40) * 1e-7f;
    fb[i] = (rng(&s) >> 40) * 1e-7f;
    da[i] = (rng(&s) >> 40) * 1e-7;
    db[i] = (rng(&s) >> 40) * 1e-7;
  }
}
static NOINLINE int32_t k_int(int32_t k) {
  for (int i = 0; i < N; i++) ic[i] = ia[i] * k + (ib[i] ^ (ia[i] >> 3));
  int32_t m = 0;
  for (int i = 0; i < N; i++) m = ic[i] > m ? ic[i] : m;
  uint32_t s = 0;
  for (int i = 0; i < N; i++) s += ic[i];
  return m ^ s;
}
static NOINLINE uint32_t k_byte(int k) {
  uint32_t s = 0;
  for (int i = 0; i < N; i++) bc[i] = (ba[i] + bb[i] + 1) >> 1;
  for (int i = 0; i < N; i++) bc[i] = bc[i] > k ? bc[i] : (uint8_t)(bc[i] ^ k);
  for (int i = 0; i < N; i++) s += bc[i] > bb[i] ? bc[i] - bb[i] : bb[i] - bc[i];
  int32_t d = 0;
  for (int i = 0; i < N; i++) d += sa[i] * sb[i];
  return s ^ d;
}
uint64_t F(w_vint)(int scale) {
  init();
  uint64_t h = 0;
  for (int r = 0; r < scale; r++) {
    h = h * 3 + k_int(r) + k_byte(r & 63);
  }
  return h;
}
static NOINLINE void k_flt(float k) {
  for (int i = 0; i < N; i++) fc[i] = fa[i] * k + fb[i];
  for (int i = 0; i < N; i++) fa[i] = fc[i] > 1.0f ? fc[i] - 1.0f : fc[i];
}
static NOINLINE void k_dbl(double k) {
  for (int i = 0; i < N; i++) dc[i] = da[i] * k + db[i];
  for (int i = 0; i < N; i++) da[i] = __builtin_sqrt(dc[i] > 1.0 ? dc[i] - 1.0 : dc[i]);
}
uint64_t F(w_vflt)(int scale) {
  init();
  for (int r = 0; r < scale; r++) {
    k_flt(0.75f);
    k_dbl(0.5);
  }
  uint64_t h = 0, t;
  double s = 0;
  for (int i = 0; i < N; i++) s += da[i] + fa[i];
  memcpy(&t, &s, 8);
  return h + t;
}
