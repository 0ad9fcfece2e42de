// A driver of virtio-blk on the bare machine: it finds the card, lets it interrupt by MSI-X, reads 32
// sectors and tells their sums over the first serial port, writes them back further on, flushes, and
// powers off. The command line says "packed" or "split". Integer instructions only: a slow KVM can
// run nothing else at CPL 0. Source: VIRTIO 1.2, the driver's sections.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

volatile u32 interrupts;
void interrupt_entry(void);

static void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static void out16(u16 port, u16 value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static void out32(u16 port, u32 value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }
static u32 in32(u16 port) {
  u32 value;
  __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static void print(const char* text) {
  while (*text) out8(0x3f8, (u8)*text++);
}
static void print_hex(u32 value) {
  for (int shift = 28; shift >= 0; shift -= 4) out8(0x3f8, (u8) "0123456789abcdef"[value >> shift & 15]);
}
static void end(void) {
  out16(0x604, 0x2000);
  for (;;) __asm__ volatile("hlt");
}
static void fail(const char* why) {
  print("failed: ");
  print(why);
  print("\n");
  end();
}

static u32 config_read(u32 device, u32 at) {
  out32(0xcf8, 0x80000000u | device << 11 | at);
  return in32(0xcfc);
}
static void config_write(u32 device, u32 at, u32 value) {
  out32(0xcf8, 0x80000000u | device << 11 | at);
  out32(0xcfc, value);
}

#define REG(type, address) (*(volatile type*)(u64)(address))
enum { kBar = 0xe0000000, kTable = 0xe0010000, kLapic = 0xfee00000, kVector = 0x41, kQueue = 16 };
enum { kNext = 1, kWrite = 2, kAvail = 1 << 7, kUsed = 1 << 15 };

struct Descriptor {
  u64 address;
  u32 length;
  u16 a, b;  // split: flags, next; packed: id, flags
};
static volatile struct Descriptor ring[kQueue] __attribute__((aligned(4096)));
static volatile u16 avail[4 + kQueue] __attribute__((aligned(4096)));
static volatile u32 used[2 + 2 * kQueue] __attribute__((aligned(4096)));
static u64 idt[2 * 256] __attribute__((aligned(16)));
static struct { u32 type, reserved; u64 sector; } header;
static u8 data[512] __attribute__((aligned(512)));
static volatile u8 status;
static int packed;
static u16 place, lap = 1;

static void barrier(void) { __asm__ volatile("" : : : "memory"); }

static u32 find_card(void) {
  for (u32 device = 1; device < 32; device++)
    if (config_read(device, 0) == 0x10421af4) return device;
  fail("no card");
  return 0;
}

static void accept_interrupts(void) {
  struct { u16 limit; u64 base; } __attribute__((packed)) table = {sizeof idt - 1, (u64)idt};
  u16 code;
  const u64 entry = (u64)interrupt_entry;
  __asm__("mov %%cs, %0" : "=r"(code));
  idt[2 * kVector] = (entry & 0xffff) | (u64)code << 16 | 0x8e00ull << 32 | (entry >> 16 & 0xffff) << 48;
  idt[2 * kVector + 1] = entry >> 32;
  __asm__ volatile("lidt %0" : : "m"(table));
  out8(0x21, 0xff);  // the PIT's ticks find no handler here
  out8(0xa1, 0xff);
  REG(u32, kLapic + 0xf0) = 0x1ff;
}

static void open_card(u32 device) {
  config_write(device, 0x14, kTable);
  config_write(device, 0x20, (u32)kBar);
  config_write(device, 0x24, 0);
  config_write(device, 0x04, 0x406);
  u32 cap = config_read(device, 0x34) & 0xfc;
  while (cap && (config_read(device, cap) & 0xff) != 0x11) cap = config_read(device, cap) >> 8 & 0xfc;
  if (!cap) fail("no MSI-X");
  config_write(device, cap, 0x80000000u);
  REG(u32, kTable + 16) = kLapic;
  REG(u32, kTable + 20) = 0;
  REG(u32, kTable + 24) = kVector;
  REG(u32, kTable + 28) = 0;
}

static void start_queue(void) {
  REG(u8, kBar + 0x14) = 0;
  REG(u8, kBar + 0x14) = 3;
  REG(u32, kBar + 8) = 0;
  REG(u32, kBar + 12) = 0;
  REG(u32, kBar + 8) = 1;
  REG(u32, kBar + 12) = packed ? 5 : 1;
  REG(u8, kBar + 0x14) = 11;
  if ((REG(u8, kBar + 0x14) & 8) == 0) fail("features refused");
  REG(u16, kBar + 0x16) = 0;
  REG(u16, kBar + 0x18) = kQueue;
  REG(u16, kBar + 0x1a) = 1;
  if (REG(u16, kBar + 0x1a) != 1) fail("no vector");
  REG(u32, kBar + 0x20) = (u32)(u64)ring;
  REG(u32, kBar + 0x28) = (u32)(u64)avail;
  REG(u32, kBar + 0x30) = (u32)(u64)used;
  REG(u16, kBar + 0x1c) = 1;
  REG(u8, kBar + 0x14) = 15;
}

static void put(u16 at, const volatile void* address, u32 length, u16 flags, u16 next) {
  volatile struct Descriptor* d = &ring[at];
  d->address = (u64)address;
  d->length = length;
  d->a = packed ? 0 : flags;
  d->b = packed ? d->b : next;
}

// Places of a packed ring are used in turn; `flags` of the first one go last.
static void offer_packed(const u16 flags[3]) {
  const u16 first = place;
  u16 first_flags = 0;
  const volatile void* const parts[3] = {&header, data, &status};
  const u32 lengths[3] = {16, sizeof data, 1};
  for (int i = 0; i < 3; i++) {
    if (flags[i] == 0xffff) continue;
    const u16 word = (u16)(flags[i] | (lap ? kAvail : kUsed));
    put(place, parts[i], lengths[i], 0, 0);
    if (place == first && i == 0) first_flags = word;
    else ring[place].b = word;
    if (++place == kQueue) place = 0, lap ^= 1;
  }
  barrier();
  ring[first].b = first_flags;
}

static void request(u32 type, u64 sector) {
  const u32 before = interrupts;
  const int moves = type < 2;
  const u16 flags[3] = {kNext, moves ? (u16)(kNext | (type == 0 ? kWrite : 0)) : 0xffff, kWrite};
  header.type = type;
  header.sector = sector;
  status = 0xff;
  if (packed) {
    offer_packed(flags);
  } else {
    put(0, &header, 16, flags[0], moves ? 1 : 2);
    put(1, data, sizeof data, flags[1], 2);
    put(2, &status, 1, flags[2], 0);
    avail[2 + place++ % kQueue] = 0;
    barrier();
    avail[1] = place;
  }
  barrier();
  REG(u16, kBar + 0x3000) = 0;
  // Interrupts are open during the halt only.
  while (interrupts == before) __asm__ volatile("sti; hlt; cli" : : : "memory");
  if (status != 0) fail("a request");
}

void payload(const char* line) {
  packed = line[0] == 'p';
  const u32 card = find_card();
  accept_interrupts();
  open_card(card);
  start_queue();
  for (u32 sector = 0; sector < 32; sector++) {
    u32 sum = 0;
    request(0, sector);
    for (u32 i = 0; i < sizeof data; i++) sum = (sum << 5 | sum >> 27) + data[i];
    print_hex(sum);
    print(sector % 8 == 7 ? "\n" : " ");
    data[0] ^= 0xff;
    request(1, 64 + sector);
  }
  request(4, 0);
  print("interrupts ");
  print_hex(interrupts);
  print("\n");
  end();
}
