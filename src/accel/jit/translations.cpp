#include "accel/jit/translations.h"

#include <x86intrin.h>

#include <algorithm>
#include <cstring>

#include "accel/jit/jit_log.h"
#include "accel/jit/vcpu_block.h"
#include "base/check.h"
#include "base/format.h"
#include "base/units.h"

namespace menura::engine {

namespace {

constexpr size_t kRoutineRoom = 8192;
constexpr size_t kThunkRoom = 128 * KiB;
constexpr size_t kLongestInstruction = 15;
// A piece with less is as good as full.
constexpr size_t kLeastRoom = 1024;
// Beyond this the laggards are asked to hurry.
constexpr size_t kMostUnsettled = 256;

u64 address(const void* host) { return reinterpret_cast<u64>(host); }

size_t segments_of(size_t size) { return std::clamp<size_t>(size / (2 * MiB), 4, 16); }

}  // namespace

Result<std::unique_ptr<Translations>> Translations::create(const JitOptions& options,
                                                           const x64::Callees& callees,
                                                           unsigned max_cpus) {
  if (options.code_size < MiB || options.code_size > GiB)
    return fail(Errc::OutOfRange, "tb-size={}: the code cache takes 1M to 1G", options.code_size);
  const size_t kept = kRoutineRoom + std::max(max_cpus, 1u) * kThunkRoom;
  std::unique_ptr<CodeCache> cache =
      TRY(CodeCache::create({.size = options.code_size + kept,
                             .segments = segments_of(options.code_size),
                             .kept = kept}));
  return std::unique_ptr<Translations>(new Translations(options, callees, std::move(cache)));
}

Translations::Translations(const JitOptions& options, const x64::Callees& callees,
                           std::unique_ptr<CodeCache> cache)
    : options_(options),
      cache_(std::move(cache)),
      emitter_(vcpu_layout(), callees),
      routines_(emitter_.routines(cache_->kept(), kRoutineRoom)),
      table_(routines_.miss) {
  ensure(routines_.size <= kRoutineRoom, "the JIT's routines fit their room");
}

std::span<u8> Translations::thunk_room(unsigned index) {
  return {cache_->kept() + kRoutineRoom + index * kThunkRoom, kThunkRoom};
}

void Translations::join(Author& author) {
  safepoints_.join(author.member);
  const std::lock_guard guard(mutex_);
  authors_.push_back(&author);
}

void Translations::leave(Author& author) {
  safepoints_.leave(author.member);
  const std::lock_guard guard(mutex_);
  std::erase(authors_, &author);
}

TranslatedBlock* Translations::find(const ir::Key& key) {
  const std::lock_guard guard(mutex_);
  TranslatedBlock* block = table_.find(key);
  if (block) cache_->use(block->code);
  return block;
}

// Segments are filled one after another. A spare one is emptied as soon as the one before it begins
// to be filled, so that by the time it is needed everybody has long left it.
void Translations::prepare_spare() {
  if (spare_ || fresh_ < cache_->segments().size()) return;
  spare_ = &cache_->coldest();
  spare_->serial++;
  table_.retire(spare_->begin, spare_->end);
  std::erase_if(recent_, [](const Unsettled& u) { return !u.block->live; });
  unsettled_ = static_cast<u32>(recent_.size());
  statistics_.evictions++;
  generation_.fetch_add(1, std::memory_order_release);
  spare_epoch_ = safepoints_.advance();
}

// The next segment, if nobody can be inside of it; else the epoch to wait for.
u64 Translations::next_segment(const Author& author) {
  if (fresh_ < cache_->segments().size()) {
    cache_->fill(fresh_++);
  } else {
    prepare_spare();
    if (!safepoints_.passed(spare_epoch_, author.member)) return spare_epoch_;
    table_.forget(spare_->begin, spare_->end);
    cache_->fill(*spare_);
    spare_ = nullptr;
  }
  prepare_spare();
  return 0;
}

void Translations::claim_piece(Author& author) {
  for (;;) {
    u64 epoch = 0;
    {
      const std::lock_guard guard(mutex_);
      if (std::optional<CodeCache::Piece> piece = cache_->claim()) {
        author.piece = *piece;
        return;
      }
      epoch = next_segment(author);
    }
    if (epoch) safepoints_.wait_passed(epoch, author.member);
  }
}

TranslatedBlock* Translations::translate(Author& author, const ir::Key& key,
                                         std::span<const u8> code, const jit::x86::Around& around) {
  if (TranslatedBlock* again = revive(author, key, code)) return again;
  const u64 begun = __rdtsc();
  unsigned limit = options_.block_limit;
  // Others may write to the code again and again: give up after some rounds.
  for (int round = 0; round < 16; ++round) {
    const bool fresh_piece = author.piece.room() < kLeastRoom;
    if (fresh_piece) claim_piece(author);
    // What is translated is what was copied, whatever others write meanwhile.
    const size_t most = std::min<size_t>(code.size(), limit * kLongestInstruction);
    author.snapshot.assign(code.begin(), code.begin() + static_cast<std::ptrdiff_t>(most));
    const bool whole = most == code.size();
    if (around.next && whole)
      author.snapshot.insert(author.snapshot.end(), around.next, around.next + kLongestInstruction);
    jit::x86::Around seen = around;
    if (!whole) seen.next = nullptr;
    jit::x86::translate(author.ir, key, author.snapshot, author.features, limit, seen);
    log_said(author.ir, author.snapshot);
    opt::run_passes(author.ir, options_.passes);
    log_optimised(author.ir);
    const x64::Compiled compiled = emitter_.compile(author.ir, author.piece.at, author.piece.room(),
                                                    routines_, cache_->offset(author.piece.at));
    if (compiled.size == 0) {
      if (fresh_piece) limit = std::max(1u, limit / 2);
      author.piece = {};
      continue;
    }
    const std::lock_guard guard(mutex_);
    statistics_.translation_ticks += __rdtsc() - begun;
    if (!cache_->holds(
            author.piece)) {  // emptied meanwhile, though nobody else can have got it yet
      author.piece = {};
      continue;
    }
    if (TranslatedBlock* theirs = table_.find(key)) {
      statistics_.raced++;
      return theirs;
    }
    TranslatedBlock* block = publish(author, compiled, address(around.next));
    if (guard_block(author, *block)) return block;
  }
  return nullptr;
}

TranslatedBlock* Translations::publish(Author& author, const x64::Compiled& compiled,
                                       u64 next_page) {
  const ir::Block& ir = author.ir;
  auto block = std::make_unique<TranslatedBlock>();
  block->key = ir.key;
  block->guest.assign(author.snapshot.begin(),
                      author.snapshot.begin() + static_cast<std::ptrdiff_t>(ir.bytes));
  const u64 page_left = 4096 - (ir.key.physical & 4095);
  if (ir.bytes > page_left) {
    block->tail = static_cast<u32>(ir.bytes - page_left);
    block->tail_at = next_page;
  }
  block->ahead.assign(ir.ahead.bytes.begin(), ir.ahead.bytes.begin() + ir.ahead.size);
  block->ahead_at = ir.ahead.physical;
  block->code = author.piece.at;
  block->size = compiled.size;
  block->entry = block->code + compiled.entry;
  block->entry_saved = block->code + compiled.entry_saved;
  block->checked = block->code + compiled.checked;
  block->pcs = ir.pcs;
  for (const x64::Site& site : compiled.sites)
    block->sites.push_back({site.offset, site.insn, site.flags_saved, site.borrowed});
  for (const x64::Link& link : compiled.links)
    block->links.push_back(
        {.field = link.field, .stub = link.stub, .flags_saved = link.flags_saved});
  author.piece.commit(compiled.size);
  const u8* runs_at = cache_->executable(block->code);
  log_host_code(ir, {block->code, compiled.code}, runs_at);
  if (options_.perf_map)
    options_.perf_map->add(runs_at, block->size, format("guest {:#x}", block->key.pc));
  statistics_.blocks++;
  statistics_.instructions += ir.pcs.size() - 1;
  statistics_.host_bytes += compiled.size;
  statistics_.guest_bytes += ir.bytes;
  return table_.add(std::move(block));
}

TranslatedBlock* Translations::revive(Author& author, const ir::Key& key,
                                      std::span<const u8> code) {
  const std::lock_guard guard(mutex_);
  // Others may be filling its segment anew since this vCPU's last safepoint.
  if (!cache_->holds(author.piece)) author.piece = {};
  if (TranslatedBlock* theirs = table_.find(key)) return theirs;
  TranslatedBlock* block = table_.revive(key, code);
  if (!block || !guard_block(author, *block)) return nullptr;
  statistics_.revived++;
  cache_->use(block->code);
  return block;
}

bool Translations::unchanged(const TranslatedBlock& block) {
  const u8* bytes = block.guest.data();
  const size_t first = block.guest.size() - block.tail;
  return std::memcmp(reinterpret_cast<const void*>(block.key.physical), bytes, first) == 0 &&
         (!block.tail || std::memcmp(reinterpret_cast<const void*>(block.tail_at), bytes + first,
                                     block.tail) == 0) &&
         (block.ahead.empty() || std::memcmp(reinterpret_cast<const void*>(block.ahead_at),
                                             block.ahead.data(), block.ahead.size()) == 0);
}

// From now on writes to the block are seen; were there some before? A store that found the page
// writable may still be under way in another vCPU: the block is looked at again when all have come
// by a safepoint, or when its own vCPU executes what the architecture demands to see such a store.
bool Translations::guard_block(Author& author, TranslatedBlock& block) {
  guard_page(block.key.physical);
  if (block.tail) guard_page(block.tail_at);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!unchanged(block)) {
    statistics_.raced++;
    table_.drop(&block);
    return false;
  }
  if (safepoints_.alone()) return true;
  recent_.push_back({&block, safepoints_.advance()});
  if (recent_.size() > kMostUnsettled) safepoints_.hurry(recent_.front().epoch, author.member);
  while (!recent_.empty() && safepoints_.passed(recent_.front().epoch, author.member)) {
    look_again(recent_.front());
    recent_.pop_front();
  }
  unsettled_.store(static_cast<u32>(recent_.size()), std::memory_order_relaxed);
  return block.live;
}

// Has just got a block: its first one?
void Translations::guard_page(u64 at) {
  if (table_.blocks_in_page(at) != 1) return;
  for (Author* a : authors_) a->contexts.protect(reinterpret_cast<const void*>(at & ~u64{4095}));
}

void Translations::look_again(const Unsettled& u) {
  if (!u.block->live || unchanged(*u.block)) return;
  statistics_.raced++;
  table_.drop(u.block);
}

void Translations::settle() {
  const std::lock_guard guard(mutex_);
  for (const Unsettled& u : recent_) look_again(u);
}

void Translations::connect(u64 link, TranslatedBlock* to, u64 seen) {
  const std::lock_guard guard(mutex_);
  if (generation() == seen) table_.connect(cache_->at_offset(link), to);
}

bool Translations::locate(const u8* executable, Place& place) {
  const u8* at = cache_->writable(executable);
  const std::lock_guard guard(mutex_);
  const TranslatedBlock* block = table_.find_host(at);
  const jit::SiteRecord* site = block ? block->site_at(at) : nullptr;
  if (!site) return false;
  place = {block->pcs[site->insn], site->flags_saved, site->borrowed};
  return true;
}

bool Translations::page_has_code(const void* host) {
  if (!table_.may_have_code(address(host))) return false;
  const std::lock_guard guard(mutex_);
  return table_.blocks_in_page(address(host)) != 0;
}

bool Translations::line_has_code(const void* host, u64 size) {
  if (!table_.may_have_code(address(host))) return false;
  const std::lock_guard guard(mutex_);
  return table_.line_has_code(address(host), size);
}

void Translations::written(const void* host, u64 size) {
  for (u64 at = address(host), end = at + size; at < end;) {
    const u64 part = std::min(end - at, 4096 - (at & 4095));
    if (table_.may_have_code(at)) {
      const std::lock_guard guard(mutex_);
      const size_t hit = table_.invalidate(at, part);
      statistics_.invalidations += hit != 0;
      statistics_.dropped += hit;
      dropped_.fetch_add(hit, std::memory_order_relaxed);
    }
    at += part;
  }
}

TranslationStatistics Translations::statistics() {
  const std::lock_guard guard(mutex_);
  TranslationStatistics now = statistics_;
  now.exclusive = safepoints_.exclusive_sections();
  now.live = table_.size();
  now.connected = table_.connected();
  table_.each([&](const TranslatedBlock& block) { now.links += block.links.size(); });
  now.code_size = cache_->size();
  now.segments = cache_->segments().size();
  for (const CodeCache::Segment& s : cache_->segments()) now.code += s.used();
  return now;
}

}  // namespace menura::engine
