// Translations: the translated code that all vCPUs of a machine share: its memory, the table of
// blocks, the way a vCPU adds one, and the guest's writes to code.
//
// Owner: JitAccelerator. Threads: any vCPU's; translation itself runs beside the lock.
// Design: docs/decisions/007-shared-code-cache.md. Example:
//   TranslatedBlock* block = translations.find(key);
//   if (!block) block = translations.translate(author, key, bytes_up_to_page_end);
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "accel/jit/contexts.h"
#include "accel/jit/statistics.h"
#include "jit/back/x64/emitter.h"
#include "jit/front/x86/translate.h"
#include "jit/opt/passes.h"
#include "jit/run/block_table.h"
#include "jit/run/code_cache.h"
#include "jit/run/perf_map.h"
#include "jit/run/safepoints.h"

namespace menura::engine {

using jit::CodeCache;
using jit::TranslatedBlock;

struct JitOptions {
  size_t code_size = 64 << 20;  // tb-size=, bytes
  unsigned block_limit = 64;    // guest instructions in a block; 0: none, everything is stepped
  opt::PassSet passes = {};     // opt=
  std::shared_ptr<jit::PerfMap> perf_map = {};  // perf-map=on
  bool lockstep = false;  // lockstep=interp: each block is also stepped, and compared
};

class Translations {
 public:
  // A vCPU as translator and user of blocks.
  struct Author {
    Author(ContextPool& pool, std::function<void()> kick)
        : contexts(pool), member(std::move(kick)) {}
    ContextPool& contexts;
    jit::Safepoints::Member member;
    // Of its CPUID; that of all vCPUs is alike as far as instructions go.
    jit::x86::FeatureSet features = {};
    CodeCache::Piece piece;
    ir::Block ir;
    std::vector<u8> snapshot;
  };

  static Result<std::unique_ptr<Translations>> create(const JitOptions& options,
                                                      const x64::Callees& callees,
                                                      unsigned max_cpus);

  void join(Author& author);
  void leave(Author& author);

  const CodeCache& cache() const { return *cache_; }
  const x64::Routines& routines() const { return routines_; }
  jit::Safepoints& safepoints() { return safepoints_; }
  // Memory for the thunks of vCPU `index`, which are no blocks: beside the segments.
  std::span<u8> thunk_room(unsigned index);
  x64::Emitter& emitter() { return emitter_; }

  // Changes whenever code has been evicted: jump caches and addresses kept must then be forgotten.
  u64 generation() const { return generation_.load(std::memory_order_acquire); }

  TranslatedBlock* find(const ir::Key& key);
  // `code`: from the block's first byte to the end of its page. The caller keeps no block over this.
  // `around`: the page behind, for an instruction that reaches into it.
  TranslatedBlock* translate(Author& author, const ir::Key& key, std::span<const u8> code,
                             const jit::x86::Around& around);
  // Links the jump named by an exit of generation `seen`.
  void connect(u64 link, TranslatedBlock* to, u64 seen);
  // The guest instruction of a place in host code; false: none.
  struct Place {
    u64 pc;
    bool flags_saved;
    u16 borrowed;
  };
  bool locate(const u8* executable, Place& place);

  // Of guest memory, by its host address.
  bool page_has_code(const void* host);
  bool line_has_code(const void* host, u64 size);
  // The guest, or a device, has written there. Any length.
  void written(const void* host, u64 size);
  // How many blocks were dropped because their code was written.
  u64 dropped() const { return dropped_.load(std::memory_order_relaxed); }
  // A serializing instruction of a guest: it must see writes of other vCPUs that were under way when
  // code was translated.
  void serialize() {
    if (unsettled_.load(std::memory_order_relaxed)) settle();
  }
  // Held while a vCPU looks for what devices wrote, so that no other finds it done too early.
  std::mutex& dma_mutex() { return dma_mutex_; }

  TranslationStatistics statistics();

 private:
  Translations(const JitOptions& options, const x64::Callees& callees,
               std::unique_ptr<CodeCache> cache);
  struct Unsettled {
    TranslatedBlock* block;
    u64 epoch;
  };
  void claim_piece(Author& author);
  // With mutex_ held:
  void prepare_spare();
  u64 next_segment(const Author& author);
  TranslatedBlock* publish(Author& author, const x64::Compiled& compiled, u64 next_page);
  bool guard_block(Author& author, TranslatedBlock& block);
  void guard_page(u64 at);
  static bool unchanged(const TranslatedBlock& block);
  void look_again(const Unsettled& u);
  // Without:
  TranslatedBlock* revive(Author& author, const ir::Key& key, std::span<const u8> code);
  void settle();

  // Configuration
  const JitOptions options_;

  // Wiring
  const std::unique_ptr<CodeCache> cache_;
  x64::Emitter emitter_;
  const x64::Routines routines_;
  jit::Safepoints safepoints_;

  // State
  std::mutex mutex_;  // guards what follows
  jit::BlockTable table_;
  std::vector<Author*> authors_;
  CodeCache::Segment* spare_ = nullptr;  // emptied once spare_epoch_ has passed
  u64 spare_epoch_ = 0;
  size_t fresh_ = 1;              // segments from here on were never filled
  std::deque<Unsettled> recent_;  // a write to their bytes may have been under way
  TranslationStatistics statistics_;

  std::atomic<u64> generation_{1};
  std::atomic<u64> dropped_{0};
  std::atomic<u32> unsettled_{0};  // recent_.size()
  std::mutex dma_mutex_;
};

}  // namespace menura::engine
