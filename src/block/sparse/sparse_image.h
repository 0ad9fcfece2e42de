// SparseImage: an image made of blocks of one size, each found by an entry of a table in its file. A
// driver says what entries mean; how blocks are read, written and allocated, and in which order all
// that reaches the file, is here.
//
// Owner: its Node. Threads: as Image; what a driver overrides is called under meta_, but for
// unpack() and write_pieces(). Example: block/vdi, the shortest one.
#pragma once

#include <condition_variable>
#include <mutex>
#include <set>

#include "block/core/driver.h"
#include "block/sparse/table_pages.h"

namespace menura {

class SparseImage : public Image {
 public:
  u64 size() const final { return size_.load(std::memory_order_relaxed); }
  Result<Extent> map(u64 offset, u64 length) override;
  std::optional<Direct> peek(u64 offset, u64 length) override;
  Result<void> read(u64 offset, Bytes to) override;
  Result<void> write(u64 offset, ConstBytes from, WriteMode mode) override;
  Result<void> zero(u64 offset, u64 length, WriteMode mode) override;
  Result<void> discard(u64 offset, u64 length) override;
  Result<void> flush() override { return commit(); }
  Result<void> close() override;
  Result<void> reopen(bool read_only) override;
  Result<CheckReport> check(Repair repair) override;
  ImageInfo info() override;
  std::optional<u64> allocated_size() override { return (*file_)->image().allocated_size(); }
  bool has_zero_init() const override { return true; }

 protected:
  struct Place {
    enum class Kind : u8 {
      Absent,  // the backing image's, or zeroes
      Zero,    // zeroes, whatever lies below
      At,      // plain at `offset`
      Packed,  // compressed at `offset`: unpack()
    };
    Kind kind = Kind::Absent;
    u64 offset = 0;
    u64 packed = 0;  // bytes of a packed one
    u64 alike = 1;   // blocks from this one on that are Absent as well, as far as is cheap to know
  };
  struct Layout {
    u64 size = 0;   // of the disk
    u64 block = 0;  // a power of two
    u64 end = 0;    // where new blocks may go
    // Where nothing lies below, map() calls absent blocks this image's zeroes, unless:
    bool absent_is_hole = false;
  };
  SparseImage(const Layout& layout, bool writable, const Child& file,
              const Child* backing = nullptr);

  // --- What a driver says.
  virtual Result<Place> find(u64 index) = 0;
  virtual Result<void> record(u64 index, const Place& place) = 0;
  // Room for the bytes of a block, before anything is said of it.
  virtual Result<u64> allocate(u64 /*index*/) { return take_room(block_, alignment_); }
  virtual Result<void> unpack(const Place& place, Bytes block);
  // Zero entries exist.
  virtual bool marks_zero() const { return false; }
  // What take() gave of tables and roots, on its way to the file. The data is durable.
  virtual Result<void> write_pieces(const std::vector<TablePages::Piece>& tables,
                                    const std::vector<TablePages::Piece>& roots);
  // Before the first change since it was opened writable; after the last one.
  virtual Result<void> mark_in_use() { return {}; }
  virtual Result<void> mark_closed() { return {}; }

  // --- For drivers.
  // Bytes at the end of the file that read as zeroes.
  Result<u64> take_room(u64 bytes, u64 alignment);
  // Block `index` is `packed` from now on, for Packed places; room at multiples of `alignment`.
  Result<void> write_packed(u64 index, ConstBytes packed, u64 alignment);
  void set_size(u64 size) { size_.store(size, std::memory_order_relaxed); }
  u64 block() const { return block_; }
  u64 blocks() const { return (size() + block_ - 1) / block_; }
  const Child& file() const { return *file_; }
  u64 end() const { return end_; }
  bool is_writable() const { return writable_; }
  void set_alignment(u64 alignment) { alignment_ = alignment; }
  // Metadata and data on their way: both durable afterwards.
  Result<void> commit();

  std::mutex meta_;
  TablePages tables_;  // what leads to blocks
  TablePages roots_;   // what leads to tables; headers

 private:
  using Lock = std::unique_lock<std::mutex>;
  // As far as one answer holds, from a place inside a block.
  struct Run {
    Place place;
    u64 length = 0;
  };
  Result<Run> run_at(u64 offset, u64 length);
  Result<void> begin_change();
  bool is_zero_below(u64 index) const;
  Result<void> read_below(u64 offset, Bytes to);
  Result<void> read_packed(const Place& place, u64 within, Bytes to);
  Result<void> write_new(const Place& old, u64 host, u64 offset, ConstBytes from);
  Result<void> copy_old(const Place& old, u64 host, u64 offset, u64 length);
  Result<void> change_block(u64 offset, ConstBytes from);
  Result<void> zero_absent(Lock& lock, const Run& run, u64 offset, WriteMode mode);
  Result<void> check_blocks(Repair repair, CheckReport& report);
  Result<void> check_block(u64 index, const Place& place, Repair repair, CheckReport& report);

  // Configuration
  const u64 block_;
  const ExtentKind absent_;
  u64 alignment_ = 512;
  // Wiring
  const Child* file_;
  const Child* backing_;
  // State
  std::atomic<u64> size_;
  bool writable_;
  bool in_use_ = false;
  u64 end_;
  u64 zero_from_;       // what the file has from here on reads as zeroes
  std::set<u64> busy_;  // blocks on their way to a new place
  std::condition_variable settled_;
  std::mutex committing_;
};

// The new image's file, for whoever fills it.
Result<Child> attach_for_creation(const CreateContext& context);

}  // namespace menura
