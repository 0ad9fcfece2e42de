#include "accel/jit/statistics.h"

#include <algorithm>
#include <vector>

#include "base/format.h"
#include "base/units.h"

namespace menura::engine {

namespace {

constexpr size_t kMostStepped = 20;

double share(u64 part, u64 whole) {
  return whole ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0;
}

std::string most_stepped(const JitStatistics& s) {
  std::vector<size_t> order;
  for (size_t i = 0; i < s.stepped.size(); ++i)
    if (s.stepped[i]) order.push_back(i);
  std::ranges::sort(order, [&](size_t a, size_t b) { return s.stepped[a] > s.stepped[b]; });
  if (order.size() > kMostStepped) order.resize(kMostStepped);
  std::string text;
  for (const size_t i : order)
    text += format("    {:<14} {:>12} {:5.1f}%\n",
                   jit::x86::name(static_cast<jit::x86::Mnemonic>(i), 4), s.stepped[i],
                   share(s.stepped[i], s.steps));
  return text;
}

std::string print_code(const TranslationStatistics& s, u64 tsc_khz) {
  const double us = static_cast<double>(s.translation_ticks) * 1000 /
                    static_cast<double>(std::max<u64>(tsc_khz, 1));
  std::string text;
  text += format("code cache            {} of {} used, {} segments, {} evicted\n",
                 format_size(s.code), format_size(s.code_size), s.segments, s.evictions);
  text += format("blocks                {} live, {} translated, {} instructions\n", s.live,
                 s.blocks, s.instructions);
  text += format("direct jumps          {} of {} chained ({:.1f}%)\n", s.connected, s.links,
                 share(s.connected, s.links));
  text += format(
      "size                  {:.1f} guest bytes a block, host code {:.1f} times that\n",
      static_cast<double>(s.guest_bytes) / static_cast<double>(std::max<u64>(s.blocks, 1)),
      static_cast<double>(s.host_bytes) / static_cast<double>(std::max<u64>(s.guest_bytes, 1)));
  text += format("translation           {:.1f} ms, {:.3f} us an instruction\n", us / 1000,
                 us / static_cast<double>(std::max<u64>(s.instructions, 1)));
  text += format("code written          {} times: {} blocks dropped, {} used again\n",
                 s.invalidations, s.dropped, s.revived);
  text += format("between vCPUs         {} races, {} exclusive sections\n", s.raced, s.exclusive);
  return text;
}

std::string print_vcpu(const JitStatistics& s) {
  std::string text;
  text += format("  entries             {}\n", s.entries);
  text += format("  look-ups            {} beyond the jump cache\n", s.misses);
  text += format("  TLB misses          {}, {} of them devices, faults or writes to code\n",
                 s.tlb_misses, s.slow_accesses);
  text += format(
      "  TLB flushes         {} of all, {} but global pages, {} of a page; {} PCIDs entered\n",
      s.flushes.all, s.flushes.local, s.flushes.pages, s.flushes.switches);
  if (s.compared)
    text += format("  in lockstep         {} blocks agreed over {} instructions\n", s.compared,
                   s.compared_instructions);
  text += format("  spinning            gave its host CPU away {} times\n", s.relaxed);
  text += format("  stepped             {} instructions, most often:\n", s.steps);
  return text + most_stepped(s);
}

}  // namespace

std::string print_jit_info(const JitReport& report, u64 tsc_khz) {
  std::string text = print_code(report.code, tsc_khz);
  for (size_t i = 0; i < report.vcpus.size(); ++i)
    text += format("CPU#{}\n", i) + print_vcpu(report.vcpus[i]);
  return text;
}

}  // namespace menura::engine
