#include "block/job/job.h"

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "base/text.h"

namespace menura {

namespace {

constexpr std::string_view kTypes[] = {"commit", "stream", "mirror", "backup", "create"};
constexpr std::string_view kStatuses[] = {"created", "running", "paused",   "ready",     "standby",
                                          "waiting", "pending", "aborting", "concluded", "null"};
constexpr std::string_view kOnError[] = {"report", "ignore", "enospc", "stop", "auto"};
constexpr auto kRest = std::chrono::milliseconds(20);

template <class Enum>
std::string_view name_of(Enum value) {
  return enum_names(value)[static_cast<size_t>(value)];
}

}  // namespace

std::span<const std::string_view> enum_names(JobType) { return kTypes; }
std::span<const std::string_view> enum_names(JobStatus) { return kStatuses; }
std::span<const std::string_view> enum_names(OnError) { return kOnError; }

// --- On the job's thread

Result<void> JobControl::breathe(u64 bytes) {
  const auto delay = job_.limit_.delay_of(bytes);
  std::unique_lock guard(job_.mutex_);
  if (delay > RateLimit::Clock::duration{})
    job_.changed_.wait_for(guard, delay, [&] { return job_.ends_; });
  if (job_.pauses_ && !job_.ends_) {
    const auto tell = [&](JobStatus status) {
      job_.jobs_.loop_.complete([job = job_.shared_from_this(), status] {
        const bool resting =
            job->status_ == JobStatus::Paused || job->status_ == JobStatus::Standby;
        const bool active = job->status_ == JobStatus::Running || job->status_ == JobStatus::Ready;
        if (resting || active) job->set_status(status);
      });
    };
    const bool ready = job_.ready_;
    tell(ready ? JobStatus::Standby : JobStatus::Paused);
    job_.changed_.wait(guard, [&] { return job_.pauses_ == 0 || job_.ends_; });
    tell(ready ? JobStatus::Ready : JobStatus::Running);
  }
  if (job_.ends_) return fail(Errc::Cancelled, "Job '{}' was cancelled", job_.options_.id);
  return {};
}

void JobControl::add_total(u64 bytes) { job_.total_ += bytes; }
void JobControl::advance(u64 bytes) { job_.progress_ += bytes; }

void JobControl::become_ready() {
  if (job_.ready_.exchange(true)) return;
  job_.jobs_.loop_.complete([job = job_.shared_from_this()] {
    if (job->status_ != JobStatus::Running) return;
    job->set_status(JobStatus::Ready);
    job->jobs_.emit_("BLOCK_JOB_READY", job->event_data());
  });
}

bool JobControl::completion_wanted() const {
  const std::lock_guard guard(job_.mutex_);
  return job_.completes_;
}

void JobControl::rest() {
  std::unique_lock guard(job_.mutex_);
  job_.changed_.wait_for(guard, kRest, [&] { return job_.ends_ || job_.completes_; });
}

bool JobControl::survives(OnError policy, Operation operation, const Error& error) {
  if (policy == OnError::Auto || policy == OnError::Enospc)
    policy = error.os_errno == ENOSPC ? OnError::Stop : OnError::Report;
  const std::string_view action = name_of(policy);
  if (policy == OnError::Stop) {
    const std::lock_guard guard(job_.mutex_);
    if (!job_.stopped_by_error_) job_.pauses_++;
    job_.stopped_by_error_ = true;
  }
  job_.jobs_.loop_.complete(
      [job = job_.shared_from_this(), operation, action] { job->tell_error(operation, action); });
  return policy != OnError::Report;
}

void Job::main() {
  JobControl control(*this);
  Result<void> outcome = work_->run(control);
  jobs_.loop_.complete([job = shared_from_this(), outcome = std::move(outcome)]() mutable {
    job->run_ended(std::move(outcome));
  });
}

// --- In the loop

Job::Job(Jobs& jobs, JobOptions options, std::unique_ptr<JobWork> work)
    : options_(std::move(options)), jobs_(jobs), work_(std::move(work)), limit_(options_.speed) {}

Job::~Job() {
  if (thread_.joinable()) thread_.join();
}

bool Job::paused() const {
  const std::lock_guard guard(mutex_);
  return pauses_ > 0;
}

void Job::set_status(JobStatus status) {
  if (status_ == status) return;
  status_ = status;
  Value data = Value::object();
  data.set("status", name_of(status));
  data.set("id", options_.id);
  jobs_.emit_("JOB_STATUS_CHANGE", std::move(data));
}

Value Job::event_data() const {
  Value data = Value::object();
  data.set("device", options_.id);
  data.set("len", total_.load());
  data.set("offset", progress_.load());
  data.set("speed", speed());
  data.set("type", name_of(options_.type));
  return data;
}

void Job::tell_error(JobControl::Operation operation, std::string_view action) {
  Value data = Value::object();
  data.set("device", options_.id);
  data.set("operation", operation == JobControl::Operation::Read ? "read" : "write");
  data.set("action", action);
  jobs_.emit_("BLOCK_JOB_ERROR", std::move(data));
}

void Job::start() {
  set_status(JobStatus::Running);
  thread_ = std::thread([this] { main(); });
}

Error Job::refused(std::string_view verb) const {
  return fail(Errc::InvalidArgument, "Job '{}' is {}: it cannot be {} now", options_.id,
              name_of(status_), verb);
}

Result<void> Job::set_speed(u64 speed) {
  limit_.set(speed);
  changed_.notify_all();
  return {};
}

Result<void> Job::cancel(Cancel how) {
  if (status_ == JobStatus::Concluded || status_ == JobStatus::Aborting ||
      status_ == JobStatus::Null)
    return refused("cancelled");
  if (status_ == JobStatus::Pending || status_ == JobStatus::Waiting) {
    cancelled_ = true;
    fail_with(fail(Errc::Cancelled, "Job '{}' was cancelled", options_.id));
    return {};
  }
  const bool only_ends = how == Cancel::Soft && ready_;
  {
    const std::lock_guard guard(mutex_);
    if (only_ends) {
      work_->set_pivot(false);
      completes_ = true;
      // A paused one goes on, to its end.
      pauses_ = 0;
    } else {
      ends_ = true;
    }
  }
  cancelled_ = cancelled_ || !only_ends;
  changed_.notify_all();
  return {};
}

Result<void> Job::pause() {
  if (status_ > JobStatus::Standby) return refused("paused");
  const std::lock_guard guard(mutex_);
  if (paused_by_user_)
    return fail(Errc::InvalidArgument, "Job '{}' is paused already", options_.id);
  paused_by_user_ = true;
  pauses_++;
  return {};
}

Result<void> Job::resume() {
  {
    const std::lock_guard guard(mutex_);
    if (!paused_by_user_ && !stopped_by_error_)
      return fail(Errc::InvalidArgument, "Job '{}' is not paused", options_.id);
    paused_by_user_ = stopped_by_error_ = false;
    pauses_ = 0;
  }
  changed_.notify_all();
  return {};
}

Result<void> Job::complete() {
  if (!work_->gets_ready() || status_ != JobStatus::Ready) return refused("completed");
  {
    const std::lock_guard guard(mutex_);
    work_->set_pivot(true);
    completes_ = true;
  }
  changed_.notify_all();
  return {};
}

void Job::run_ended(Result<void> outcome) {
  if (thread_.joinable()) thread_.join();
  if (!outcome) return fail_with(std::move(outcome.error()));
  set_status(JobStatus::Waiting);
  set_status(JobStatus::Pending);
  if (options_.auto_finalize) {
    (void)finalize().ok();
    return;
  }
  Value data = Value::object();
  data.set("type", name_of(options_.type));
  data.set("id", options_.id);
  if (options_.type != JobType::Create) jobs_.emit_("BLOCK_JOB_PENDING", std::move(data));
}

Result<void> Job::finalize() {
  if (status_ != JobStatus::Pending) return refused("finalized");
  Result<void> done;
  {
    const Graph::Change change(jobs_.graph_);
    done = work_->finish();
  }
  if (!done) {
    fail_with(std::move(done.error()));
    return {};
  }
  if (options_.type != JobType::Create) jobs_.emit_("BLOCK_JOB_COMPLETED", event_data());
  conclude();
  return {};
}

void Job::fail_with(Error error) {
  {
    const Graph::Change change(jobs_.graph_);
    work_->abandon();
  }
  set_status(JobStatus::Aborting);
  if (options_.type != JobType::Create) {
    Value data = event_data();
    if (!cancelled_) data.set("error", error.text);
    jobs_.emit_(cancelled_ ? "BLOCK_JOB_CANCELLED" : "BLOCK_JOB_COMPLETED", std::move(data));
  }
  error_ = std::move(error);
  conclude();
}

void Job::conclude() {
  set_status(JobStatus::Concluded);
  if (options_.auto_dismiss) (void)dismiss().ok();
}

Result<void> Job::dismiss() {
  if (status_ != JobStatus::Concluded) return refused("dismissed");
  set_status(JobStatus::Null);
  jobs_.remove(*this);
  return {};
}

// --- Jobs

Jobs::~Jobs() {
  for (const std::shared_ptr<Job>& job : jobs_) {
    {
      const std::lock_guard guard(job->mutex_);
      job->ends_ = true;
    }
    job->changed_.notify_all();
    if (!job->thread_.joinable()) continue;
    job->thread_.join();
    const Graph::Change change(graph_);
    job->work_->abandon();
  }
}

Result<Job*> Jobs::prepare(JobOptions options, std::unique_ptr<JobWork> work) {
  if (options.id.empty())
    return fail(Errc::InvalidArgument, "A job on a node needs a name: give job-id");
  if (find(options.id)) return fail(Errc::Exists, "There is a job '{}' already", options.id);
  for (const std::shared_ptr<Job>& other : jobs_) {
    if (other->status_ >= JobStatus::Concluded) continue;
    for (const Node* theirs : other->work_->nodes())
      for (const Node* mine : work->nodes())
        if (mine == theirs)
          return fail(Errc::Busy, "Node '{}' belongs to job '{}'", mine->name(),
                      other->options_.id);
  }
  if (Result<void> begun = work->begin(); !begun) {
    work->abandon();
    return std::move(begun.error());
  }
  jobs_.push_back(std::make_shared<Job>(*this, std::move(options), std::move(work)));
  return jobs_.back().get();
}

void Jobs::launch(Job& job) {
  Value data = Value::object();
  data.set("status", name_of(JobStatus::Created));
  data.set("id", job.options_.id);
  emit_("JOB_STATUS_CHANGE", std::move(data));
  job.start();
}

void Jobs::withdraw(Job& job) {
  job.work_->abandon();
  remove(job);
}

Result<Job*> Jobs::start(JobOptions options, std::unique_ptr<JobWork> work) {
  Job* job = nullptr;
  {
    const Graph::Change change(graph_);
    job = TRY(prepare(std::move(options), std::move(work)));
  }
  launch(*job);
  return job;
}

Result<Job*> Jobs::find(std::string_view id) const {
  std::vector<std::string_view> ids;
  for (const std::shared_ptr<Job>& job : jobs_) {
    if (job->options_.id == id) return job.get();
    ids.push_back(job->options_.id);
  }
  return fail(Errc::NotFound, "There is no job '{}'{}", id, suggestion(id, ids));
}

void Jobs::remove(Job& job) {
  std::erase_if(jobs_, [&](const std::shared_ptr<Job>& j) { return j.get() == &job; });
}

}  // namespace menura
