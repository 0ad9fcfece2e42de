#include "block/core/throttle.h"

#include <algorithm>

#include "base/text.h"

namespace menura {

namespace {

using Seconds = std::chrono::duration<double>;
// Without a burst rate, a bucket holds what comes in this part of a second.
constexpr double kSlice = 0.1;

}  // namespace

void ThrottleLimits::describe(PropertyVisitor& p) {
  p.field("bps-total", bps_total.mean, "bytes a second");
  p.field("bps-total-max", bps_total.burst, "bytes a second, in a burst");
  p.field("bps-total-max-length", bps_total.burst_seconds, "seconds of such a burst");
  p.field("bps-read", bps_read.mean, "bytes read a second");
  p.field("bps-read-max", bps_read.burst, "bytes read a second, in a burst");
  p.field("bps-read-max-length", bps_read.burst_seconds, "seconds of such a burst");
  p.field("bps-write", bps_write.mean, "bytes written a second");
  p.field("bps-write-max", bps_write.burst, "bytes written a second, in a burst");
  p.field("bps-write-max-length", bps_write.burst_seconds, "seconds of such a burst");
  p.field("iops-total", iops_total.mean, "requests a second");
  p.field("iops-total-max", iops_total.burst, "requests a second, in a burst");
  p.field("iops-total-max-length", iops_total.burst_seconds, "seconds of such a burst");
  p.field("iops-read", iops_read.mean, "reads a second");
  p.field("iops-read-max", iops_read.burst, "reads a second, in a burst");
  p.field("iops-read-max-length", iops_read.burst_seconds, "seconds of such a burst");
  p.field("iops-write", iops_write.mean, "writes a second");
  p.field("iops-write-max", iops_write.burst, "writes a second, in a burst");
  p.field("iops-write-max-length", iops_write.burst_seconds, "seconds of such a burst");
  p.field("iops-size", iops_size, "bytes that count as one request");
}

bool ThrottleLimits::any() const {
  return bps_total.mean || bps_read.mean || bps_write.mean || iops_total.mean || iops_read.mean ||
         iops_write.mean;
}

Result<void> ThrottleLimits::check() const {
  if ((bps_total.mean && (bps_read.mean || bps_write.mean)) ||
      (iops_total.mean && (iops_read.mean || iops_write.mean)))
    return fail(Errc::InvalidArgument,
                "A limit is either for all requests, or for reads or writes");
  if (iops_size && !iops_total.mean && !iops_read.mean && !iops_write.mean)
    return fail(Errc::InvalidArgument, "iops-size needs a limit on requests");
  for (const Rate& rate : {bps_total, bps_read, bps_write, iops_total, iops_read, iops_write}) {
    if (rate.burst && rate.burst < rate.mean)
      return fail(Errc::InvalidArgument,
                  "A burst of {} a second is less than the {} allowed always", rate.burst,
                  rate.mean);
    if (rate.burst && !rate.mean)
      return fail(Errc::InvalidArgument, "A burst of {} a second needs a limit beside it",
                  rate.burst);
    if (rate.burst_seconds == 0 || (rate.burst_seconds > 1 && !rate.burst))
      return fail(Errc::InvalidArgument, "A burst lasts a second at least, and needs a rate");
    if (std::max(rate.mean, rate.burst) > 1'000'000'000'000'000 ||
        rate.burst_seconds > 1'000'000'000)
      return fail(Errc::OutOfRange, "Limits go up to 10^15 a second and 10^9 seconds");
  }
  return {};
}

void Throttle::limit(const ThrottleLimits& limits) {
  {
    const std::lock_guard guard(mutex_);
    limits_ = limits;
    rates_ = {limits.bps_total,  limits.bps_read,  limits.bps_write,
              limits.iops_total, limits.iops_read, limits.iops_write};
    buckets_ = {};
    leaked_at_ = Clock::now();
  }
  changed_.notify_all();
}

ThrottleLimits Throttle::limits() const {
  const std::lock_guard guard(mutex_);
  return limits_;
}

void Throttle::leak(Clock::time_point now) {
  const double passed = Seconds(now - leaked_at_).count();
  leaked_at_ = now;
  for (size_t i = 0; i < kBuckets; i++) {
    Bucket& b = buckets_[i];
    b.level = std::max(0.0, b.level - passed * static_cast<double>(rates_[i].mean));
    b.burst_level = std::max(0.0, b.burst_level - passed * static_cast<double>(rates_[i].burst));
  }
}

Throttle::Clock::duration Throttle::delay_of(size_t bucket) const {
  const ThrottleLimits::Rate& rate = rates_[bucket];
  if (!rate.mean) return {};
  const auto until = [](double level, double capacity, u64 leak_rate) {
    return level > capacity ? (level - capacity) / static_cast<double>(leak_rate) : 0.0;
  };
  const double mean = static_cast<double>(rate.mean), burst = static_cast<double>(rate.burst);
  const double capacity =
      rate.burst ? burst * static_cast<double>(rate.burst_seconds) : mean * kSlice;
  double seconds = until(buckets_[bucket].level, capacity, rate.mean);
  if (rate.burst && rate.burst_seconds > 1)
    seconds = std::max(seconds, until(buckets_[bucket].burst_level, burst * kSlice, rate.burst));
  return std::chrono::duration_cast<Clock::duration>(Seconds(seconds));
}

Throttle::Clock::duration Throttle::take(Way way, u64 bytes) {
  const std::lock_guard guard(mutex_);
  if (hurrying_ || !limits_.any()) return {};
  leak(Clock::now());
  const size_t mine = way == Way::Read ? 1 : 2;
  const size_t concerned[] = {0, mine, 3, 3 + mine};
  Clock::duration delay{};
  for (const size_t bucket : concerned) delay = std::max(delay, delay_of(bucket));
  if (delay > Clock::duration{}) return delay;
  const double requests = limits_.iops_size && bytes > limits_.iops_size
                              ? static_cast<double>(bytes) / static_cast<double>(limits_.iops_size)
                              : 1.0;
  for (const size_t bucket : concerned) {
    const double units = bucket < 3 ? static_cast<double>(bytes) : requests;
    buckets_[bucket].level += units;
    buckets_[bucket].burst_level += units;
  }
  return {};
}

Throttle::Taken::Taken(const std::vector<Throttle*>& throttles) : throttles_(throttles) {
  for (Throttle* throttle : throttles_) {
    const std::lock_guard guard(throttle->mutex_);
    throttle->taken_.insert(std::this_thread::get_id());
  }
}

Throttle::Taken::~Taken() {
  for (Throttle* throttle : throttles_) {
    const std::lock_guard guard(throttle->mutex_);
    throttle->taken_.erase(std::this_thread::get_id());
  }
}

void Throttle::wait(Way way, u64 bytes) {
  const size_t queue = static_cast<size_t>(way);
  u64 ticket = 0;
  {
    std::unique_lock guard(mutex_);
    if (taken_.contains(std::this_thread::get_id())) return;
    ticket = next_ticket_[queue]++;
    changed_.wait(guard, [&] { return served_[queue] == ticket; });
  }
  for (;;) {
    const Clock::duration delay = take(way, bytes);
    std::unique_lock guard(mutex_);
    if (delay <= Clock::duration{}) {
      served_[queue]++;
      break;
    }
    changed_.wait_for(guard, delay);
  }
  changed_.notify_all();
}

void Throttle::hurry(bool on) {
  {
    const std::lock_guard guard(mutex_);
    on ? hurrying_++ : hurrying_--;
  }
  changed_.notify_all();
}

Result<void> ThrottleGroups::add(const std::string& name, const ThrottleLimits& limits) {
  TRY(limits.check(), "Throttle group '{}'", name);
  if (groups_.count(name))
    return fail(Errc::Exists, "There is a throttle group '{}' already", name);
  find_or_make(name)->limit(limits);
  return {};
}

Result<void> ThrottleGroups::remove(std::string_view name) {
  const auto found = groups_.find(name);
  if (found == groups_.end()) return fail(Errc::NotFound, "There is no throttle group '{}'", name);
  if (found->second.use_count() > 1)
    return fail(Errc::Busy, "Throttle group '{}' limits a drive or node", name);
  groups_.erase(found);
  return {};
}

Result<std::shared_ptr<Throttle>> ThrottleGroups::find(std::string_view name) const {
  const auto found = groups_.find(name);
  if (found != groups_.end()) return found->second;
  std::vector<std::string_view> names;
  for (const auto& [known, group] : groups_) names.push_back(known);
  return fail(Errc::NotFound, "There is no throttle group '{}'{}", name, suggestion(name, names));
}

std::shared_ptr<Throttle> ThrottleGroups::find_or_make(const std::string& name) {
  std::shared_ptr<Throttle>& group = groups_[name];
  if (!group) group = std::make_shared<Throttle>();
  return group;
}

}  // namespace menura
