#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "bench.h"
extern char** environ;
extern const char* self_dir;
uint64_t w_syscall(int scale) {
  uint64_t n = 0;
  for (int i = 0; i < scale * 1000; i++) n += syscall(SYS_getppid) >= 0;
  return n;
}
uint64_t w_pagefault(int scale) {
  uint64_t n = 0;
  for (int r = 0; r < scale; r++) {
    char* p = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(p, 1 << 20, MADV_NOHUGEPAGE);
    for (int i = 0; i < 1 << 20; i += 4096) p[i] = 1, n++;
    munmap(p, 1 << 20);
  }
  return n;
}
uint64_t w_pipe(int scale) {
  int a[2], b[2];
  if (pipe(a) || pipe(b)) return 0;
  cpu_set_t cs, old;
  sched_getaffinity(0, sizeof old, &old);
  CPU_ZERO(&cs);
  CPU_SET(0, &cs);
  sched_setaffinity(0, sizeof cs, &cs);
  int n = scale * 100;
  pid_t p = fork();
  if (!p) {
    char c;
    for (int i = 0; i < n; i++) {
      if (read(a[0], &c, 1) != 1) break;
      c++;
      if (write(b[1], &c, 1) != 1) break;
    }
    _exit(0);
  }
  uint64_t h = 0;
  for (int i = 0; i < n; i++) {
    char c = i;
    if (write(a[1], &c, 1) != 1) break;
    if (read(b[0], &c, 1) != 1) break;
    h += (uint8_t)c;
  }
  waitpid(p, 0, 0);
  close(a[0]);
  close(a[1]);
  close(b[0]);
  close(b[1]);
  sched_setaffinity(0, sizeof old, &old);
  return h;
}
uint64_t w_fork(int scale) {
  uint64_t n = 0;
  for (int i = 0; i < scale; i++) {
    pid_t p = fork();
    if (!p) _exit(i & 127);
    int st;
    waitpid(p, &st, 0);
    n += WEXITSTATUS(st);
  }
  return n;
}
uint64_t w_shexec(int scale) { /* busybox ash spawning a static true */
  char bb[256], sc[512];
  snprintf(bb, sizeof bb, "%s/busybox", self_dir);
  snprintf(sc, sizeof sc, "i=0; while [ $i -lt %d ]; do %s/true; i=$((i+1)); done; exit 7", scale,
           self_dir);
  pid_t p = fork();
  if (!p) {
    char* av[] = {"sh", "-c", sc, 0};
    execve(bb, av, environ);
    _exit(99);
  }
  int st;
  waitpid(p, &st, 0);
  return WEXITSTATUS(st);
}
uint64_t w_smc(
    int scale) { /* toy JIT: write code, mprotect RX, call, several variants; plus in-place patch of an RWX page */
  uint64_t h = 0;
  uint8_t *p = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
          *q =
              mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int r = 0; r < scale; r++) {
    mprotect(p, 65536, PROT_READ | PROT_WRITE);
    for (int f = 0; f < 64; f++) {
      uint8_t* c = p + f * 1024;
      int o = 0;
      c[o++] = 0x89;
      c[o++] = 0xf8; /* mov eax,edi */
      for (int k = 0; k < 40; k++) {
        c[o++] = 0x05;
        uint32_t im = r * 77 + f * 13 + k;
        memcpy(c + o, &im, 4);
        o += 4;
        c[o++] = 0x69;
        c[o++] = 0xc0;
        im = 0x10001 + 2 * k;
        memcpy(c + o, &im, 4);
        o += 4;
      }
      c[o++] = 0xc3;
    }
    mprotect(p, 65536, PROT_READ | PROT_EXEC);
    for (int k = 0; k < 20; k++)
      for (int f = 0; f < 64; f++) h += ((uint32_t(*)(uint32_t))(void*)(p + f * 1024))(k);
    for (int k = 0; k < 50; k++) {
      uint8_t c[6] = {0xb8, 0, 0, 0, 0, 0xc3};
      uint32_t im = r + k;
      memcpy(c + 1, &im, 4);
      memcpy(q, c, 6);
      __asm__ volatile("" ::: "memory");
      h += ((uint32_t(*)(void))(void*)q)();
    }
  }
  munmap(p, 65536);
  munmap(q, 4096);
  return h;
}
struct par {
  pthread_t t;
  uint64_t seed, out;
  int scale;
};
static void* par_fn(void* v) {
  struct par* p = v;
  uint64_t s = p->seed, h = 0;
  static __thread uint32_t tab[16384];
  for (int i = 0; i < 16384; i++) tab[i] = rng(&s);
  for (int r = 0; r < p->scale * 1000; r++)
    for (int i = 0; i < 256; i++) {
      uint32_t k = (h ^ i * 2654435761u) & 16383;
      h = h * 31 + tab[k];
      tab[k] ^= h >> 7;
    }
  p->out = h;
  return 0;
}
static uint64_t par(int scale, int nt) {
  struct par p[8];
  uint64_t h = 0;
  for (int i = 0; i < nt; i++) {
    p[i].seed = 1000 + i;
    p[i].scale = scale / nt;
    pthread_create(&p[i].t, 0, par_fn, &p[i]);
  }
  for (int i = 0; i < nt; i++) {
    pthread_join(p[i].t, 0);
    h ^= p[i].out;
  }
  return h;
}
uint64_t w_par1(int s) { return par(s, 1); }
uint64_t w_par2(int s) { return par(s, 2); }
static int lockctr;
static pthread_mutex_t mx = PTHREAD_MUTEX_INITIALIZER;
static void* at_fn(void* v) {
  int n = *(int*)v;
  for (int i = 0; i < n; i++) {
    __atomic_add_fetch(&lockctr, 1, __ATOMIC_SEQ_CST);
    if ((i & 63) == 0) {
      pthread_mutex_lock(&mx);
      lockctr++;
      pthread_mutex_unlock(&mx);
    }
  }
  return 0;
}
uint64_t w_atomic2(int s) {
  lockctr = 0;
  int n = s * 1000;
  pthread_t a, b;
  pthread_create(&a, 0, at_fn, &n);
  pthread_create(&b, 0, at_fn, &n);
  pthread_join(a, 0);
  pthread_join(b, 0);
  return lockctr >= 2 * n;
}
