#include "event/event_loop.h"

#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/units.h"

namespace menura {

namespace {

// What epoll reports for our own descriptors; watches are numbered from kFirstWatch.
constexpr u64 kWake = 0;
constexpr u64 kCompletions = 1;
constexpr u64 kFirstWatch = 2;

// Bounds of one round, so that no source starves the others.
constexpr int kEventsPerRound = 64;
constexpr unsigned kFunctionsPerRound = 64;

u32 epoll_events_of(FdEvents interest) {
  // Without interest, edge-triggered: a pending hang-up, which epoll always reports, comes at most
  // once instead of in every round.
  if (interest == FdEvents{}) return EPOLLET;
  return (interest.readable ? u32{EPOLLIN} : 0) | (interest.writable ? u32{EPOLLOUT} : 0);
}

void signal_eventfd(int fd) {
  const u64 one = 1;
  const ssize_t n = ::write(fd, &one, sizeof one);
  // EAGAIN: the counter stands at its limit, which wakes just as well.
  ensure(n == sizeof one || errno == EAGAIN, "an eventfd can be written");
}

// epoll_wait with nanoseconds; negative waits for ever. Returns the number of events.
int wait_for_events(int epoll, std::span<epoll_event> events, i64 timeout_ns) {
  timespec timeout{};
  timeout.tv_sec = timeout_ns / kNsPerSecond;
  timeout.tv_nsec = timeout_ns % kNsPerSecond;
  const int n = ::epoll_pwait2(epoll, events.data(), static_cast<int>(events.size()),
                               timeout_ns < 0 ? nullptr : &timeout, nullptr);
  ensure(n >= 0 || errno == EINTR, "epoll_pwait2(2) works on every supported host");
  return std::max(n, 0);
}

}  // namespace

struct Watch::Entry {
  EventLoop& loop;
  u64 id;
  int epoll;
  int fd;
  FdEvents interest;
  EventLoop::WatchFunction callback;
  bool always_ready = false;
  unsigned running = 0;  // calls of callback on the stack
  bool removed = false;  // to be deleted when the last of them returns
};

Watch& Watch::operator=(Watch&& other) noexcept {
  if (this != &other) {
    reset();
    entry_ = std::exchange(other.entry_, nullptr);
  }
  return *this;
}

void Watch::set(FdEvents interest) {
  ensure(entry_, "set() of a watch that ended");
  if (entry_->interest == interest) return;
  entry_->interest = interest;
  if (entry_->always_ready) {
    entry_->loop.wake();
    return;
  }
  epoll_event event{epoll_events_of(interest), {.u64 = entry_->id}};
  const int status = ::epoll_ctl(entry_->epoll, EPOLL_CTL_MOD, entry_->fd, &event);
  ensure(status == 0, "a watched descriptor is open");
}

void Watch::reset() {
  if (Entry* entry = std::exchange(entry_, nullptr)) entry->loop.remove(entry);
}

EventLoop::EventLoop(Tape& tape, MachineLock& lock)
    : tape_(tape),
      lock_(lock),
      virtual_clock_(tape),
      host_clock_(tape),
      virtual_time_(virtual_clock_),
      host_time_(host_clock_),
      next_id_(kFirstWatch) {
  virtual_time_.on_earlier([this] { wake(); });
  host_time_.on_earlier([this] { wake(); });
  virtual_clock_.on_start([this] { wake(); });
}

EventLoop::~EventLoop() { ensure(watches_.empty(), "watches outlive their loop"); }

Result<std::unique_ptr<EventLoop>> EventLoop::create(Tape& tape, MachineLock& lock) {
  std::unique_ptr<EventLoop> loop(new EventLoop(tape, lock));
  TRY(loop->open());
  return loop;
}

Result<void> EventLoop::open() {
  for (UniqueFd* epoll : {&epoll_, &completion_epoll_}) {
    *epoll = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
    if (!*epoll) return fail_errno(errno, "Creating an epoll descriptor");
  }
  wake_ = TRY(make_eventfd());
  completion_wake_ = TRY(make_eventfd());
  struct Inside {
    int epoll;
    int fd;
    u64 id;
    u32 events;
  };
  const Inside insides[] = {
      // Edge-triggered: each write wakes once and nobody has to read.
      {epoll_.get(), wake_.get(), kWake, EPOLLIN | EPOLLET},
      {epoll_.get(), completion_epoll_.get(), kCompletions, EPOLLIN},
      {completion_epoll_.get(), completion_wake_.get(), kCompletions, EPOLLIN},
  };
  for (const Inside& inside : insides) {
    epoll_event event{inside.events, {.u64 = inside.id}};
    if (::epoll_ctl(inside.epoll, EPOLL_CTL_ADD, inside.fd, &event) != 0)
      return fail_errno(errno, "Adding an eventfd to an epoll descriptor");
  }
  return {};
}

Result<Watch> EventLoop::watch(int fd, FdEvents interest, WatchFunction callback) {
  return add_watch(epoll_.get(), fd, interest, std::move(callback));
}

Result<Watch> EventLoop::watch_completions(int fd, WatchFunction callback) {
  return add_watch(completion_epoll_.get(), fd, {.readable = true}, std::move(callback));
}

Result<Watch> EventLoop::add_watch(int epoll, int fd, FdEvents interest, WatchFunction callback) {
  auto entry = std::make_unique<Watch::Entry>(
      Watch::Entry{*this, next_id_++, epoll, fd, interest, std::move(callback)});
  epoll_event event{epoll_events_of(interest), {.u64 = entry->id}};
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
    // EPERM: a regular file or directory, which epoll does not take.
    if (errno != EPERM || epoll != epoll_.get())
      return fail_errno(errno, "Watching file descriptor {}", fd);
    entry->always_ready = true;
    always_ready_.push_back(entry->id);
    wake();
  }
  Watch::Entry* raw = entry.get();
  watches_.emplace(raw->id, std::move(entry));
  return Watch(raw);
}

void EventLoop::remove(Watch::Entry* entry) {
  if (entry->always_ready) {
    std::erase(always_ready_, entry->id);
  } else {
    const int status = ::epoll_ctl(entry->epoll, EPOLL_CTL_DEL, entry->fd, nullptr);
    ensure(status == 0, "a descriptor is closed after its watch");
  }
  entry->removed = true;
  if (entry->running == 0) watches_.erase(entry->id);
}

bool EventLoop::dispatch(u64 id, u32 epoll_events) {
  const auto found = watches_.find(id);  // it may have ended since epoll reported it
  if (found == watches_.end() || found->second->removed) return false;
  Watch::Entry& entry = *found->second;
  const FdEvents happened{
      .readable = entry.interest.readable && (epoll_events & EPOLLIN),
      .writable = entry.interest.writable && (epoll_events & EPOLLOUT),
      .hangup = (epoll_events & (EPOLLHUP | EPOLLERR)) != 0,
  };
  if (happened == FdEvents{} || entry.interest == FdEvents{}) return false;
  entry.running++;
  entry.callback(happened);
  entry.running--;
  if (entry.removed && entry.running == 0) watches_.erase(id);
  return true;
}

bool EventLoop::run_always_ready() {
  const MachineLock::Guard guard(lock_);
  bool ran = false;
  for (const u64 id : std::vector<u64>(always_ready_)) ran |= dispatch(id, EPOLLIN | EPOLLOUT);
  return ran;
}

void EventLoop::wake() {
  // The loop's own thread looks at everything again before it sleeps.
  if (std::this_thread::get_id() == thread_.load(std::memory_order_relaxed)) return;
  if (sleeping_.exchange(false)) signal_eventfd(wake_.get());
}

void EventLoop::post(Function fn) {
  {
    const std::lock_guard guard(queue_mutex_);
    posted_.push_back(std::move(fn));
  }
  wake();
}

bool EventLoop::run_posted() {
  unsigned ran = 0;
  while (ran < kFunctionsPerRound) {
    Function fn;
    {
      const std::lock_guard guard(queue_mutex_);
      if (posted_.empty()) break;
      fn = std::move(posted_.front());
      posted_.pop_front();
    }
    const MachineLock::Guard guard(lock_);
    fn();
    fn = nullptr;  // what it holds dies under the lock
    ran++;
  }
  return ran > 0;
}

void EventLoop::complete(Function fn) {
  const std::lock_guard guard(queue_mutex_);
  completions_.push_back(std::move(fn));
  if (completions_.size() == 1) signal_eventfd(completion_wake_.get());
}

bool EventLoop::deliver_completion() {
  Function fn;
  {
    const std::lock_guard guard(queue_mutex_);
    if (completions_.empty()) return false;
    fn = std::move(completions_.front());
    completions_.pop_front();
    u64 count = 0;
    if (completions_.empty() && ::read(completion_wake_.get(), &count, sizeof count) < 0)
      ensure(errno == EAGAIN, "an eventfd can be read");
  }
  tape_.completion(std::move(fn));
  return true;
}

// Everything behind completion_epoll_ that is ready now, at most one round's worth.
bool EventLoop::serve_completions() {
  bool ran = false;
  for (unsigned i = 0; i < kFunctionsPerRound && deliver_completion(); i++) ran = true;
  epoll_event events[kEventsPerRound];
  const int count = wait_for_events(completion_epoll_.get(), events, 0);
  for (int i = 0; i < count; i++)
    if (events[i].data.u64 != kCompletions) ran |= dispatch(events[i].data.u64, events[i].events);
  return ran;
}

void EventLoop::complete_until(const std::function<bool()>& condition) {
  ensure(lock_.held(), "complete_until() under the machine lock");
  while (!condition()) {
    if (deliver_completion()) continue;
    epoll_event event;
    if (wait_for_events(completion_epoll_.get(), {&event, 1}, -1) == 1 &&
        event.data.u64 != kCompletions)
      dispatch(event.data.u64, event.events);
  }
}

i64 EventLoop::time_to_wait(i64 timeout_ns) {
  if (quit_.load()) return 0;
  {
    const std::lock_guard guard(queue_mutex_);
    if (!posted_.empty()) return 0;
  }
  const MachineLock::Guard guard(lock_);
  for (const u64 id : always_ready_)
    if (watches_.at(id)->interest != FdEvents{}) return 0;
  const auto consider = [&](const TimerQueue& queue) {
    if (queue.next_deadline() == TimerQueue::kNever) return;
    const i64 remaining = std::max<i64>(queue.next_deadline() - queue.now_ns(), 0);
    // A clock that moves only by hand does not come nearer by sleeping.
    if (remaining > 0 && !tape_.clock_runs()) return;
    if (timeout_ns < 0 || remaining < timeout_ns) timeout_ns = remaining;
  };
  if (virtual_clock_.running()) consider(virtual_time_);
  consider(host_time_);
  return timeout_ns;
}

bool EventLoop::run_timers() {
  const MachineLock::Guard guard(lock_);
  size_t ran = virtual_clock_.running() ? virtual_time_.run_expired() : 0;
  ran += host_time_.run_expired();
  return ran > 0;
}

bool EventLoop::run_once(i64 timeout_ns) {
  thread_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  // Announced before looking: who changes something after our look finds the flag and wakes us.
  sleeping_.store(true);
  const i64 wait_ns = time_to_wait(timeout_ns);
  epoll_event events[kEventsPerRound];
  const int count = wait_for_events(epoll_.get(), events, wait_ns);
  sleeping_.store(false);

  bool ran = run_timers();
  for (int i = 0; i < count; i++) {
    if (events[i].data.u64 == kWake) continue;
    const MachineLock::Guard guard(lock_);
    ran |= events[i].data.u64 == kCompletions ? serve_completions()
                                              : dispatch(events[i].data.u64, events[i].events);
  }
  ran |= run_always_ready();
  ran |= run_posted();
  return ran;
}

int EventLoop::run() {
  // The kernel's default slack of 50 us would delay every timer; see prctl(2), PR_SET_TIMERSLACK.
  ::prctl(PR_SET_TIMERSLACK, 1UL);
  while (!quit_.load()) run_once(-1);
  quit_.store(false);
  return quit_code_.load();
}

void EventLoop::quit(int code) {
  quit_code_.store(code);
  quit_.store(true);
  wake();
}

}  // namespace menura
