// The first serial port, and the score.
#include "cpu.h"

static int checks_failed, groups, group_failed;
static const char *group;

void print(const char *text) {
  while (*text) {
    while (!(in8(0x3fd) & 0x20)) {}
    out8(0x3f8, *text++);
  }
}

void print_hex(u64 value) {
  char text[20] = "0x";
  int n = 2, shift = 60;
  while (shift > 0 && !(value >> shift & 15)) shift -= 4;
  for (; shift >= 0; shift -= 4) text[n++] = "0123456789abcdef"[value >> shift & 15];
  text[n] = 0;
  print(text);
}

static void end(void) {
  if (group) print(group_failed ? " FAILED\n" : " ok\n");
  group = 0;
}

void begin(const char *name) {
  end();
  group = name;
  group_failed = 0;
  groups++;
  print(name);
}

void skip(const char *why) {
  print(" skipped: ");
  print(why);
  print("\n");
  group = 0;
}

static void print_decimal(int n) {
  if (n >= 10) print_decimal(n / 10);
  const char digit[2] = {(char)('0' + n % 10), 0};
  print(digit);
}

void failed(const char *file, int line, const char *what, u64 is, u64 wanted) {
  checks_failed++;
  if (group_failed++ > 30) return;
  print("\n  ");
  print(file);
  print(":");
  print_decimal(line);
  print(": ");
  print(what);
  print(" is ");
  print_hex(is);
  print(", not ");
  print_hex(wanted);
}

void surprise(const struct cpu *c) {
  print(" ENDED by exception ");
  print_hex(c->vector);
  print(", error ");
  print_hex(c->error);
  print(", at ");
  print_hex(c->rip);
  print(", CR2 ");
  print_hex(c->cr2);
  print("\n");
}

void finish(void) {
  end();
  print("groups ");
  print_decimal(groups);
  print(", failures ");
  print_decimal(checks_failed);
  print("\n");
}

void copy(void *to, const void *from, word size) {
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}
void fill(void *to, u8 value, word size) {
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
}
void *memcpy(void *to, const void *from, word size) {
  copy(to, from, size);
  return to;
}
void *memset(void *to, int value, word size) {
  fill(to, (u8)value, size);
  return to;
}
