// Job: long work on images beside a running machine: its own thread, with progress, a speed limit,
// pauses and an orderly end. What it does to the graph, it does while nothing is in flight.
//
// Owner: Jobs. Threads: commands and ends in the loop, under the machine lock; JobWork::run() on the
// job's thread. States, events and their order are QEMU's (docs/interop, "jobs").
// Example: `TRY(jobs.start({.id = "job0", .type = JobType::Stream}, std::move(work)));`
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "block/core/graph.h"
#include "block/core/rate_limit.h"
#include "event/event_loop.h"

namespace menura {

enum class JobType : u8 { Commit, Stream, Mirror, Backup, Create };
std::span<const std::string_view> enum_names(JobType);
enum class JobStatus : u8 {
  Created,
  Running,
  Paused,
  Ready,
  Standby,
  Waiting,
  Pending,
  Aborting,
  Concluded,
  Null
};
std::span<const std::string_view> enum_names(JobStatus);
// What follows an error of reading or writing: `stop` pauses until the user resumes.
enum class OnError : u8 { Report, Ignore, Enospc, Stop, Auto };
std::span<const std::string_view> enum_names(OnError);

struct JobOptions {
  std::string id;
  JobType type = JobType::Stream;
  u64 speed = 0;  // bytes a second; 0: no limit
  bool auto_finalize = true;
  bool auto_dismiss = true;
};

class Job;

// What a job's work has of its job, on the job's thread.
class JobControl {
 public:
  explicit JobControl(Job& job) : job_(job) {}
  // Between pieces, holding nothing: waits as speed and pauses demand. Errc::Cancelled: end now.
  Result<void> breathe(u64 bytes);
  void add_total(u64 bytes);
  void advance(u64 bytes);
  // Everything is there; from now on it follows what is written.
  void become_ready();
  bool completion_wanted() const;
  // Until the work is woken, or a moment has passed.
  void rest();
  // Whether the piece is to be tried again; else the error is the job's end.
  enum class Operation : u8 { Read, Write };
  bool survives(OnError policy, Operation operation, const Error& error);

 private:
  Job& job_;
};

class JobWork {
 public:
  virtual ~JobWork() = default;
  // In the loop, under Graph::Change. When it fails there is no job.
  virtual Result<void> begin() { return {}; }
  virtual Result<void> run(JobControl& control) = 0;
  // In the loop, under Graph::Change, when run() has ended well.
  virtual Result<void> finish() { return {}; }
  // The same, after a failure or cancelling: what begin() did is undone.
  virtual void abandon() {}
  // Whether it gets ready, and then waits to be completed. `pivot`: cancelled then, it only ends.
  virtual bool gets_ready() const { return false; }
  virtual void set_pivot(bool) {}
  // The nodes that no other job may have.
  virtual std::vector<Node*> nodes() const = 0;
};

class Jobs;

class Job : public std::enable_shared_from_this<Job> {
 public:
  Job(Jobs& jobs, JobOptions options, std::unique_ptr<JobWork> work);
  ~Job();
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  const JobOptions& options() const { return options_; }
  JobStatus status() const { return status_; }
  u64 progress() const { return progress_; }
  u64 total() const { return total_; }
  bool paused() const;
  bool ready() const { return ready_; }
  bool stopped_by_error() const { return stopped_by_error_; }
  const std::optional<Error>& error() const { return error_; }
  u64 speed() const { return limit_.rate(); }

  Result<void> set_speed(u64 speed);
  enum class Cancel : u8 { Soft, Force };
  Result<void> cancel(Cancel how);
  Result<void> pause();
  Result<void> resume();
  Result<void> complete();
  Result<void> finalize();
  Result<void> dismiss();

 private:
  friend class JobControl;
  friend class Jobs;
  void start();
  void main();
  void set_status(JobStatus status);
  void run_ended(Result<void> outcome);
  void conclude();
  void fail_with(Error error);
  Error refused(std::string_view verb) const;
  Value event_data() const;
  void tell_error(JobControl::Operation operation, std::string_view action);

  // Configuration
  JobOptions options_;
  // Wiring
  Jobs& jobs_;
  const std::unique_ptr<JobWork> work_;
  std::thread thread_;
  // State of the loop
  JobStatus status_ = JobStatus::Created;
  std::optional<Error> error_;
  bool cancelled_ = false;
  // State of both, the last ones under mutex_
  RateLimit limit_;
  std::atomic<u64> progress_{0}, total_{0};
  std::atomic<bool> ready_{false};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool ends_ = false;
  bool completes_ = false;
  unsigned pauses_ = 0;  // by the user, by an error
  bool paused_by_user_ = false;
  bool stopped_by_error_ = false;
};

// All jobs of a graph.
class Jobs {
 public:
  // Sends an event to clients: name and data.
  using Emit = std::function<void(std::string name, Value data)>;
  Jobs(Graph& graph, EventLoop& loop, Emit emit)
      : graph_(graph), loop_(loop), emit_(std::move(emit)) {}
  // Under the machine lock. Cancels and waits for all.
  ~Jobs();

  Result<Job*> start(JobOptions options, std::unique_ptr<JobWork> work);
  // Two steps of start(), for transactions under one Change: launch() cannot fail.
  Result<Job*> prepare(JobOptions options, std::unique_ptr<JobWork> work);
  void launch(Job& job);
  void withdraw(Job& job);
  Result<Job*> find(std::string_view id) const;
  const std::vector<std::shared_ptr<Job>>& all() const { return jobs_; }
  Graph& graph() { return graph_; }

 private:
  friend class Job;
  friend class JobControl;
  void remove(Job& job);

  Graph& graph_;
  EventLoop& loop_;
  const Emit emit_;
  std::vector<std::shared_ptr<Job>> jobs_;
};

}  // namespace menura
