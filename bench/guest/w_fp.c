#include <math.h>
#include "bench.h"
static uint64_t bits(double d) {
  uint64_t t;
  memcpy(&t, &d, 8);
  return t;
}
struct body {
  double x, y, z, vx, vy, vz, m;
};
uint64_t w_nbody(int scale) {
  struct body b[5] = {
      {0, 0, 0, 0, 0, 0, 39.47841760435743},
      {4.84143144246472090, -1.16032004402742839, -0.103622044471123109, 0.606326392995832,
       2.81198684491626, -0.02521836165988763, 0.03769367487038949},
      {8.34336671824457987, 4.12479856412430479, -0.403523417114321381, -1.01077434617879,
       1.82566237123041, 0.00841576137658415, 0.011286326131968767},
      {12.8943695621391310, -15.1111514016986312, -0.223307578892655734, 1.08279100644154,
       0.868713018169608, -0.010832637401363636, 0.0017237240570597112},
      {15.3796971148509165, -25.9193146099879641, 0.179258772950371181, 0.979090732243898,
       0.594698998647676, -0.034755955550412, 0.0020336868699246304}};
  double dt = 0.01;
  for (int s = 0; s < scale; s++) {
    for (int i = 0; i < 5; i++)
      for (int j = i + 1; j < 5; j++) {
        double dx = b[i].x - b[j].x, dy = b[i].y - b[j].y, dz = b[i].z - b[j].z,
               d2 = dx * dx + dy * dy + dz * dz, mag = dt / (d2 * sqrt(d2));
        b[i].vx -= dx * b[j].m * mag;
        b[i].vy -= dy * b[j].m * mag;
        b[i].vz -= dz * b[j].m * mag;
        b[j].vx += dx * b[i].m * mag;
        b[j].vy += dy * b[i].m * mag;
        b[j].vz += dz * b[i].m * mag;
      }
    for (int i = 0; i < 5; i++) {
      b[i].x += dt * b[i].vx;
      b[i].y += dt * b[i].vy;
      b[i].z += dt * b[i].vz;
    }
  }
  double e = 0;
  for (int i = 0; i < 5; i++) e += b[i].x * b[i].vy;
  return bits(e);
}
uint64_t w_linpack(int scale) { /* LU with partial pivoting, n=200 */
  enum { n = 200 };
  static double a[n][n], x[n];
  double acc = 0;
  for (int r = 0; r < scale; r++) {
    uint64_t s = 1325 + r;
    for (int i = 0; i < n; i++) {
      for (int j = 0; j < n; j++) a[i][j] = (double)(int32_t)(rng(&s) >> 32) * 4.6e-10;
      x[i] = 1;
    }
    for (int k = 0; k < n; k++) {
      int p = k;
      for (int i = k + 1; i < n; i++)
        if (fabs(a[i][k]) > fabs(a[p][k])) p = i;
      if (p != k) {
        for (int j = 0; j < n; j++) {
          double t = a[k][j];
          a[k][j] = a[p][j];
          a[p][j] = t;
        }
        double t = x[k];
        x[k] = x[p];
        x[p] = t;
      }
      for (int i = k + 1; i < n; i++) {
        double f = a[i][k] / a[k][k];
        for (int j = k; j < n; j++) a[i][j] -= f * a[k][j];
        x[i] -= f * x[k];
      }
    }
    for (int i = n - 1; i >= 0; i--) {
      for (int j = i + 1; j < n; j++) x[i] -= a[i][j] * x[j];
      x[i] /= a[i][i];
    }
    acc += x[n / 2];
  }
  return bits(acc);
}
uint64_t w_fft(int scale) {
  enum { L = 12, n = 1 << L };
  static double re[n], im[n], c[n / 2], s[n / 2];
  for (int i = 0; i < n / 2; i++) {
    c[i] = cos(-2 * M_PI * i / n);
    s[i] = sin(-2 * M_PI * i / n);
  }
  for (int i = 0; i < n; i++) re[i] = i % 17, im[i] = i % 5;
  for (int r = 0; r < scale; r++) {
    for (unsigned i = 0, j = 0; i < n; i++) {
      if (i < j) {
        double t = re[i];
        re[i] = re[j];
        re[j] = t;
        t = im[i];
        im[i] = im[j];
        im[j] = t;
      }
      unsigned m = n >> 1;
      while (m && (j & m)) {
        j ^= m;
        m >>= 1;
      }
      j |= m;
    }
    for (int h = 1; h < n; h <<= 1)
      for (int i = 0; i < n; i += 2 * h)
        for (int j = 0; j < h; j++) {
          double wr = c[j * (n / 2 / h)], wi = s[j * (n / 2 / h)],
                 a = re[i + j + h] * wr - im[i + j + h] * wi,
                 b = re[i + j + h] * wi + im[i + j + h] * wr;
          re[i + j + h] = (re[i + j] - a) * 0.70710678118654752;
          im[i + j + h] = (im[i + j] - b) * 0.70710678118654752;
          re[i + j] = (re[i + j] + a) * 0.70710678118654752;
          im[i + j] = (im[i + j] + b) * 0.70710678118654752;
        }
  }
  return bits(re[5] + im[77]);
}
uint64_t w_mandel(int scale) {
  uint64_t cnt = 0;
  int n = 200;
  for (int r = 0; r < scale; r++)
    for (int y = 0; y < n; y++)
      for (int x = 0; x < n; x++) {
        double cr = 2.0 * x / n - 1.5, ci = 2.0 * y / n - 1.0, zr = 0, zi = 0;
        int i = 0;
        for (; i < 50 && zr * zr + zi * zi < 4.0; i++) {
          double t = zr * zr - zi * zi + cr;
          zi = 2 * zr * zi + ci;
          zr = t;
        }
        cnt += i;
      }
  return cnt;
}
uint64_t w_x87(int scale) {
  long double x = 0.5L, s = 0;
  for (int r = 0; r < scale; r++) {
    for (int i = 1; i < 1000; i++) {
      x = x * 3.7L * (1.0L - x);
      s += x / i - sqrtl(x) * 0.25L;
    }
  }
  return bits((double)s);
}
uint64_t w_stream(int scale) {
  enum { n = 2 << 20 };
  double *a = malloc(n * 8), *b = malloc(n * 8), *c = malloc(n * 8);
  for (long i = 0; i < n; i++) a[i] = i, b[i] = 2, c[i] = 0;
  for (int r = 0; r < scale; r++) {
    for (long i = 0; i < n; i++) c[i] = a[i];
    for (long i = 0; i < n; i++) b[i] = 3.0 * c[i];
    for (long i = 0; i < n; i++) c[i] = a[i] + b[i];
    for (long i = 0; i < n; i++) a[i] = b[i] * 0.25 + c[i] * 0.25;
  }
  double s = a[5] + b[n - 3];
  free(a);
  free(b);
  free(c);
  return bits(s);
}
