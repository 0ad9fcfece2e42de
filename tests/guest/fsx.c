/* Random reads, writes and truncations of a file beside a model of it in memory: fsx FILE OPERATIONS SEED. The file is closed and
   opened anew now and then. Ends with status 0 and "fsx: N operations agree". */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { kMost = 256 * 1024 };
static unsigned char model[kMost], buffer[kMost];
static long size;
static int file;

static void differ(const char *what, long step, long at) {
  printf("fsx: step %ld: %s at %ld\n", step, what, at);
  exit(1);
}

static void check_read(long step, long at, long length) {
  long expected = at >= size ? 0 : length < size - at ? length : size - at, got = 0, n;
  while ((n = pread(file, buffer + got, length - got, at + got)) > 0) got += n;
  if (n < 0 || got != expected) differ("a read has another length", step, at);
  for (long i = 0; i < got; i++)
    if (buffer[i] != model[at + i]) differ("a byte differs", step, at + i);
}

static void do_write(long step, long at, long length) {
  for (long i = 0; i < length; i++) buffer[i] = rand();
  if (at > size) memset(model + size, 0, at - size);
  memcpy(model + at, buffer, length);
  for (long done = 0, n; done < length; done += n)
    if ((n = pwrite(file, buffer + done, length - done, at + done)) <= 0) differ("a write failed", step, at);
  if (at + length > size) size = at + length;
}

static void do_truncate(long step, long to) {
  if (ftruncate(file, to) != 0) differ("a truncation failed", step, to);
  if (to > size) memset(model + size, 0, to - size);
  size = to;
}

int main(int count, char **words) {
  struct stat now;
  long steps = count > 2 ? atol(words[2]) : 1000;
  srand(count > 3 ? atoi(words[3]) : 1);
  file = open(words[1], O_RDWR | O_CREAT | O_TRUNC, 0644);
  if (file < 0) return perror("fsx"), 1;
  for (long step = 0; step < steps; step++) {
    long at = rand() % (kMost / 2), length = 1 + rand() % (rand() % 4 ? 5000 : kMost / 2);
    switch (rand() % 8) {
      case 0: do_truncate(step, at); break;
      case 1:
        close(file);
        file = open(words[1], O_RDWR);
        if (file < 0) differ("it cannot be opened again", step, 0);
        break;
      case 2: case 3: case 4: do_write(step, at, length); break;
      default: check_read(step, at, length);
    }
    if (fstat(file, &now) != 0 || now.st_size != size) differ("its size differs", step, now.st_size);
  }
  check_read(steps, 0, kMost);
  printf("fsx: %ld operations agree\n", steps);
  return 0;
}
