/* Common helpers for the guest workloads. Every workload is
 *   uint64_t fn(int scale)  -> checksum (must be equal natively and in the guest) */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
typedef uint64_t (*wl_fn)(int scale);
static inline double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}
static inline uint64_t rng(uint64_t* s) { /* xorshift64* */
  uint64_t x = *s;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  *s = x;
  return x * 2685821657736338717ull;
}
#define NOINLINE __attribute__((noinline))
/* hide a value from the optimiser */
#define OPAQUE(x) __asm__ volatile("" : "+r"(x))
