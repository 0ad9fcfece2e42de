// Throttle: limits on the bytes and requests of a second, shared by everybody in a group: what a
// throttle-group object, a throttle filter and a drive's own limits are made of.
//
// Owner: ThrottleGroups (of a Graph), or a disk. Threads: any, locked inside.
// A bucket leaks at the mean rate; with a burst rate it may hold so much more, for so many seconds.
// Example: `group.limit({.bps_total = {.mean = 1 * MiB}});  group.wait(Throttle::Way::Read, 4096);`
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "state/properties.h"

namespace menura {

// Of one second: 0 is no limit. "max" may be reached for "max-length" seconds.
struct ThrottleLimits {
  struct Rate {
    u64 mean = 0, burst = 0, burst_seconds = 1;
  };
  Rate bps_total, bps_read, bps_write, iops_total, iops_read, iops_write;
  u64 iops_size = 0;  // bytes: a larger request counts as several

  void describe(PropertyVisitor& p);
  bool any() const;
  // A total beside its parts, a burst below its mean rate, and such.
  Result<void> check() const;
};

// The properties of a throttle-group object.
struct ThrottleGroupConfig {
  ThrottleLimits limits;
  void describe(PropertyVisitor& p) { p.field("limits", limits, "what may pass in a second"); }
};

class Throttle {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Way : u8 { Read, Write };

  void limit(const ThrottleLimits& limits);
  ThrottleLimits limits() const;
  // How long this request must wait from now on; when it need not, it is accounted.
  Clock::duration take(Way way, u64 bytes);
  // While it lives, what this thread does has been taken from `throttles` already: wait() lets it
  // pass.
  class Taken {
   public:
    explicit Taken(const std::vector<Throttle*>& throttles);
    ~Taken();
    Taken(const Taken&) = delete;
    Taken& operator=(const Taken&) = delete;

   private:
    const std::vector<Throttle*>& throttles_;
  };
  // Returns when it may go; in the order of coming. At once while hurrying.
  void wait(Way way, u64 bytes);
  // Counted: as often `false` as `true`.
  void hurry(bool on);

 private:
  struct Bucket {
    double level = 0;        // above the mean rate
    double burst_level = 0;  // above the burst rate
  };
  static constexpr size_t kBuckets = 6;
  void leak(Clock::time_point now);
  Clock::duration delay_of(size_t bucket) const;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  ThrottleLimits limits_;
  std::array<ThrottleLimits::Rate, kBuckets> rates_{};
  std::array<Bucket, kBuckets> buckets_{};
  Clock::time_point leaked_at_{};
  u64 next_ticket_[2] = {}, served_[2] = {};
  unsigned hurrying_ = 0;
  std::set<std::thread::id> taken_;
};

// The groups of a graph by name.
class ThrottleGroups {
 public:
  Result<void> add(const std::string& name, const ThrottleLimits& limits);
  Result<void> remove(std::string_view name);  // Errc::Busy while a filter uses it
  Result<std::shared_ptr<Throttle>> find(std::string_view name) const;
  // The same; made without limits if there is none.
  std::shared_ptr<Throttle> find_or_make(const std::string& name);

 private:
  std::map<std::string, std::shared_ptr<Throttle>, std::less<>> groups_;
};

}  // namespace menura
