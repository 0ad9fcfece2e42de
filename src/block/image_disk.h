// ImageDisk: an image of the graph as a Disk for devices. Where guest data lies plainly in a file,
// io_uring moves it without a thread; everything else is done by the worker pool.
//
// Owner: the machine's drives. Threads: as io/disk.h; destroyed under the machine lock, too.
// Requests that overlap wait for each other where one of them changes where the other's bytes lie.
// Example: `ImageDisk disk(loop, engine, pool, TRY(Child::attach(node, use)), {.writethrough = true});`
#pragma once

#include <list>
#include <memory>
#include <vector>

#include "block/core/graph.h"
#include "event/event_loop.h"
#include "event/io_engine.h"
#include "event/timer.h"
#include "event/worker_pool.h"
#include "io/disk.h"

namespace menura {

// What query-blockstats tells.
struct DiskStatistics {
  u64 read_bytes = 0, written_bytes = 0, unmapped_bytes = 0;
  u64 reads = 0, writes = 0, flushes = 0, unmaps = 0;
  u64 failed_reads = 0, failed_writes = 0, failed_flushes = 0, failed_unmaps = 0;
  u64 highest_offset = 0;  // of writes
};

class ImageDisk final : public Disk, private GraphUser {
 public:
  struct Wiring {
    EventLoop& loop;
    IoEngine& engine;
    WorkerPool& pool;
  };
  enum class Cache : u8 { Writeback, Writethrough };
  ImageDisk(const Wiring& wiring, Child image, Cache cache);
  ~ImageDisk() override;

  u64 size() const override { return image_->size(); }
  bool read_only() const override { return image_->read_only(); }
  void submit(DiskRequest request) override;
  void drain() override;
  void changed() override;
  Node& node() { return *image_; }
  Cache cache() const { return cache_; }
  void set_cache(Cache cache) { cache_ = cache; }
  // What the disk does with its image, and lets others do.
  Result<void> set_permissions(Permissions permissions) {
    return image_.set_permissions(permissions);
  }
  const DiskStatistics& statistics() const { return statistics_; }
  // Limits of the disk itself, beside those of throttle filters at its top; null: none.
  void set_limits(std::shared_ptr<Throttle> limits);
  Throttle* limits() const { return limits_.get(); }

 private:
  enum class Way : u8 { Direct, Worker };
  // A request between submit() and done.
  struct Request {
    DiskRequest asked;
    u64 begin, end;       // of whole clusters
    size_t admitted = 0;  // by so many of throttles_
    bool running = false;
    Way way = Way::Worker;
    unsigned parts = 0;  // of Direct: transfers under way
    Result<void> outcome;
  };
  using Requests = std::list<Request>;
  Result<void> check(const DiskRequest& request) const;
  // Whether all limits let it go; else it is tried again when they will.
  bool admit(Requests::iterator request);
  // Whether it must wait for an earlier one, when it would go this way.
  bool blocked(Requests::iterator request, Way way) const;
  void start_what_can();
  void start(Requests::iterator request);
  // The places of its bytes; empty: a worker must do it.
  std::vector<Direct> places_of(const DiskRequest& request);
  void move_directly(Requests::iterator request, const std::vector<Direct>& places);
  void finish(Requests::iterator request);
  void count(const DiskRequest& request, bool ok);
  static Result<void> perform(Node& node, const DiskRequest& request);

  // Wiring
  const Wiring wiring_;
  Child image_;
  // Configuration
  Cache cache_;
  u64 unit_ = 512;  // the cluster size
  // State
  std::shared_ptr<Throttle> limits_;
  std::vector<Throttle*> throttles_;  // all that concern it
  unsigned draining_ = 0;             // nobody is made to wait
  Timer retry_;
  Requests requests_;  // in the order of their coming
  DiskStatistics statistics_;
};

}  // namespace menura
