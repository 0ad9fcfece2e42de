// The one program of all guest workloads: runs those named and prints what each took and computed.
#include <sys/reboot.h>
#include <sys/resource.h>

#include "bench.h"

const char* self_dir = ".";

// Name, and its scale: about 0.1 s on a fast host.
#define WORKLOADS(X)                                                                               \
  X(int_loop, 9)                                                                                   \
  X(int_dhry, 6000000) X(int_core, 2000) X(sha256, 1600) X(sort, 8) X(hash, 40) X(callret, 60)     \
      X(vcall, 20000) X(interp, 200) X(gzip, 80) X(zstd, 80) X(xz, 24) X(sqlite, 700) X(lua, 200)  \
          X(nbody, 1000000) X(linpack, 60) X(fft, 800) X(mandel, 40) X(x87, 8000) X(stream, 8)     \
              X(vint_sse2, 20000) X(vint_avx2, 40000) X(vflt_sse2, 20000) X(vflt_avx2, 30000)      \
                  X(memcpy, 3000) X(repstr, 30000) X(chase_l1, 100) X(chase_64m, 30)               \
                      X(syscall, 2000) X(pagefault, 500) X(pipe, 500) X(fork, 1500) X(shexec, 500) \
                          X(smc, 600)
#define PARALLEL(X) X(par1, 400) X(par2, 400) X(atomic2, 4000)

#define DECLARE(name, scale) uint64_t w_##name(int);
WORKLOADS(DECLARE)
PARALLEL(DECLARE)

#define ENTRY(name, scale) {#name, w_##name, scale},
static const struct workload {
  const char* name;
  wl_fn run;
  int scale;
} workloads[] = {WORKLOADS(ENTRY)}, parallel[] = {PARALLEL(ENTRY)};

static double seconds(struct timeval t) { return t.tv_sec + 1e-6 * t.tv_usec; }

static double cpu(void) {
  struct rusage own, children;
  getrusage(RUSAGE_SELF, &own);
  getrusage(RUSAGE_CHILDREN, &children);
  return seconds(own.ru_utime) + seconds(own.ru_stime) + seconds(children.ru_utime) +
         seconds(children.ru_stime);
}

static void run(const struct workload* w, int scale, int divisor) {
  if (strstr(w->name, "avx2") && !__builtin_cpu_supports("avx2")) {
    printf("BENCH %s SKIP\n", w->name);
    fflush(stdout);
    return;
  }
  if (scale == 0) scale = w->scale > divisor ? w->scale / divisor : 1;
  const double wall = now_s(), work = cpu();
  const uint64_t sum = w->run(scale);
  printf("BENCH %s %.4f cpu %.4f sum %016llx\n", w->name, now_s() - wall, cpu() - work,
         (unsigned long long)sum);
  fflush(stdout);
}

static void run_named(const struct workload* table, size_t count, const char* group,
                      const char* name, int scale, int divisor) {
  for (size_t i = 0; i < count; i++)
    if (!strcmp(name, group) || !strcmp(name, table[i].name)) run(&table[i], scale, divisor);
}

int main(int count, char** words) {
  static char folder[256];
  strncpy(folder, words[0], sizeof folder - 1);
  char* slash = strrchr(folder, '/');
  if (slash) *slash = 0;
  self_dir = folder;
  if (count > 1 && !strcmp(words[1], "poweroff")) {
    sync();
    reboot(RB_POWER_OFF);
    return 1;
  }
  if (count < 2) {
    fprintf(stderr, "usage: wl [/DIVISOR] all|par|poweroff|NAME[=SCALE]...\n");
    return 2;
  }
  int divisor = 1;
  for (int i = 1; i < count; i++) {
    if (words[i][0] == '/') {  // shorter runs
      divisor = atoi(words[i] + 1) > 0 ? atoi(words[i] + 1) : 1;
      continue;
    }
    char* equals = strchr(words[i], '=');
    const int scale = equals ? atoi(equals + 1) : 0;
    if (equals) *equals = 0;
    run_named(workloads, sizeof workloads / sizeof *workloads, "all", words[i], scale, divisor);
    run_named(parallel, sizeof parallel / sizeof *parallel, "par", words[i], scale, divisor);
  }
  return 0;
}
