// Speed of the x86 decoder over real code: the .text of a program every Debian has.
#include <benchmark/benchmark.h>
#include <elf.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "jit/front/x86/insn.h"

namespace menura::jit::x86 {
namespace {

std::vector<u8> read_text(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<u8> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  Elf64_Ehdr header;
  if (bytes.size() < sizeof header) return {};
  std::memcpy(&header, bytes.data(), sizeof header);
  auto section = [&](unsigned index) {
    Elf64_Shdr result;
    std::memcpy(&result, bytes.data() + header.e_shoff + index * sizeof result, sizeof result);
    return result;
  };
  const u8* names = bytes.data() + section(header.e_shstrndx).sh_offset;
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr here = section(i);
    if (std::strcmp(reinterpret_cast<const char*>(names + here.sh_name), ".text") != 0) continue;
    auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(here.sh_offset);
    return {begin, begin + static_cast<std::ptrdiff_t>(here.sh_size)};
  }
  return {};
}

void decode_bash(benchmark::State& state) {
  const std::vector<u8> text = read_text("/bin/bash");
  Decoder decoder{Mode::Bits64, FeatureSet::all()};
  std::size_t instructions = 0;
  for (auto _ : state) {
    for (std::span<const u8> code = text; !code.empty();) {
      Insn insn = decoder.decode(code);
      benchmark::DoNotOptimize(insn);
      code = code.subspan(insn.status == Status::Ok ? insn.length : 1);
      ++instructions;
    }
  }
  // Seconds per instruction.
  state.counters["instruction"] = benchmark::Counter(
      static_cast<double>(instructions), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(decode_bash)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace menura::jit::x86
