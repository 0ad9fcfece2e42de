#include "control/monitor/hmp_memory.h"

#include "base/text.h"
#include "base/units.h"
#include "control/monitor/expression.h"
#include "control/monitor/memory_dump.h"
#include "control/monitor/qmp_memory.h"

namespace menura::hmp {

namespace {

using Answer = Result<std::string>;

// Words that are one expression; registers are those of the chosen CPU, where there is one.
Result<u64> value_of(HmpContext& context, HmpWords words) {
  if (words.empty()) return fail(Errc::InvalidArgument, "An address is missing");
  const std::string text = join(words, " ");
  if (text.find('$') == std::string::npos) return evaluate({}, text);
  return evaluate(TRY(context.registers()), text);
}

// "/w" in front: the size of an access, in bytes.
Result<unsigned> take_size(HmpWords& words, unsigned size) {
  if (words.empty() || !words[0].starts_with('/')) return size;
  constexpr std::string_view kSizes = "bhw";
  for (const char letter : words[0].substr(1)) {
    const size_t at = kSizes.find(letter);
    if (at == std::string_view::npos && letter != 'x')
      return fail(Errc::InvalidArgument, "'{}' is none of /b, /h and /w", words[0]);
    if (at != std::string_view::npos) size = 1u << at;
  }
  words = words.subspan(1);
  return size;
}

}  // namespace

Answer examine_linear(HmpContext& context, HmpWords words) {
  return dump_memory(context, AddressKind::Linear, words);
}
Answer examine_physical(HmpContext& context, HmpWords words) {
  return dump_memory(context, AddressKind::Physical, words);
}
Answer print_expression(HmpContext& context, HmpWords words) {
  return print_value_of(context, words);
}

Answer read_port(HmpContext& context, HmpWords words) {
  const unsigned size = TRY(take_size(words, 1));
  const u64 port = TRY(value_of(context, words));
  if (port > 0xffff)
    return fail(Errc::OutOfRange, "Ports go to 0xffff, {:#x} does not exist", port);
  const u64 value = context.target.machine.io().load(GuestAddr{port}, size);
  return format("port{}[{:#06x}] = 0x{:0{}x}\n", "bwl"[size / 2], port, value, 2 * size);
}

Answer write_port(HmpContext& context, HmpWords words) {
  const unsigned size = TRY(take_size(words, 1));
  if (words.size() != 2) return fail(Errc::InvalidArgument, "o: expected /fmt port value");
  const u64 port = TRY(value_of(context, words.first(1)));
  const u64 value = TRY(value_of(context, words.subspan(1)));
  if (port > 0xffff)
    return fail(Errc::OutOfRange, "Ports go to 0xffff, {:#x} does not exist", port);
  context.target.machine.io().store(GuestAddr{port}, size, value);
  return std::string();
}

Answer gva2gpa(HmpContext& context, HmpWords words) {
  const x86::State state = TRY(context.registers());
  const u64 address = TRY(value_of(context, words));
  const GuestMemory memory(context.target.machine.memory(), &state);
  return format("gpa: {:#x}\n", TRY(memory.translate(address)).physical);
}

Answer gpa2hva(HmpContext& context, HmpWords words) {
  const u64 address = TRY(value_of(context, words));
  const auto view = context.target.machine.memory().view();
  const FlatRange* range = view->find(GuestAddr{address});
  if (!range || !range->ram) return fail(Errc::NotFound, "No RAM or ROM is at {:#x}", address);
  return format("{} in this process ({:#x} of the guest, {})\n",
                static_cast<const void*>(range->ram->host() + range->offset_of(GuestAddr{address})),
                address, range->ram->name());
}

Answer save_linear(HmpContext& context, HmpWords words) {
  if (words.size() != 3) return fail(Errc::InvalidArgument, "memsave: expected addr size file");
  TRY(memsave(context.target, {.val = TRY(value_of(context, words.first(1))),
                               .size = TRY(value_of(context, words.subspan(1, 1))),
                               .filename = std::string(words[2]),
                               .cpu = context.cpu}));
  return std::string();
}

Answer save_physical(HmpContext& context, HmpWords words) {
  if (words.size() != 3) return fail(Errc::InvalidArgument, "pmemsave: expected addr size file");
  TRY(pmemsave(context.target, {.val = TRY(value_of(context, words.first(1))),
                                .size = TRY(value_of(context, words.subspan(1, 1))),
                                .filename = std::string(words[2])}));
  return std::string();
}

Answer dump_guest(HmpContext& context, HmpWords words) {
  DumpGuestMemory dump;
  if (!words.empty() && words[0] == "-p") {
    dump.paging = true;
    words = words.subspan(1);
  }
  if (words.size() != 1 && words.size() != 3)
    return fail(Errc::InvalidArgument, "dump-guest-memory: expected [-p] file [begin length]");
  dump.protocol = format("file:{}", words[0]);
  if (words.size() == 3) {
    dump.begin = TRY(value_of(context, words.subspan(1, 1)));
    dump.length = TRY(value_of(context, words.subspan(2, 1)));
  }
  TRY(dump_guest_memory(context.target, dump));
  return std::string();
}

// As BSD's sum: rotated right by one, then a byte added; 16 bits.
Answer checksum(HmpContext& context, HmpWords words) {
  if (words.size() != 2) return fail(Errc::InvalidArgument, "sum: expected addr size");
  const u64 address = TRY(value_of(context, words.first(1)));
  const u64 size = TRY(value_of(context, words.subspan(1)));
  constexpr u64 kMost = 64 * MiB;
  if (size > kMost) return fail(Errc::OutOfRange, "sum: at most {} bytes", kMost);
  std::vector<std::byte> bytes(size);
  TRY(GuestMemory(context.target.machine.memory()).read(address, bytes));
  u16 sum = 0;
  for (const std::byte b : bytes)
    sum = static_cast<u16>((sum >> 1 | sum << 15) + static_cast<u8>(b));
  return format("{:05}\n", sum);
}

std::vector<std::string> complete_register(HmpContext&) {
  std::vector<std::string> names;
  for (const std::string& name : register_names()) names.push_back("$" + name);
  return names;
}

}  // namespace menura::hmp
