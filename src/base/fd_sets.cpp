#include "base/fd_sets.h"

#include <fcntl.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "base/units.h"

namespace menura {

namespace {

struct FdSets {
  struct Entry {
    u32 set;
    UniqueFd fd;
    std::string opaque;
  };
  std::mutex mutex;
  std::vector<Entry> entries;
  std::map<std::string, UniqueFd, std::less<>> named;
};

FdSets& the_fd_sets() {
  static FdSets sets;
  return sets;
}

}  // namespace

Result<void> add_to_fd_set(u32 set, int fd, std::string opaque) {
  if (::fcntl(fd, F_GETFD) < 0) return fail_errno(errno, "File descriptor {}", fd);
  FdSets& sets = the_fd_sets();
  const std::lock_guard lock(sets.mutex);
  if (std::ranges::any_of(sets.entries, [&](const auto& e) { return e.fd.get() == fd; }))
    return fail(Errc::Exists, "File descriptor {} is in a set already", fd);
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  const auto after = std::ranges::find_if(sets.entries, [&](const auto& e) { return e.set > set; });
  sets.entries.insert(after, {set, UniqueFd(fd), std::move(opaque)});
  return {};
}

u32 free_fd_set() {
  FdSets& sets = the_fd_sets();
  const std::lock_guard lock(sets.mutex);
  u32 set = 0;
  for (const FdSets::Entry& e : sets.entries)  // which are in order
    if (e.set == set) set++;
  return set;
}

Result<void> remove_from_fd_set(u32 set, int fd) {
  FdSets& sets = the_fd_sets();
  const std::lock_guard lock(sets.mutex);
  const size_t removed = std::erase_if(sets.entries, [&](const FdSets::Entry& e) {
    return e.set == set && (fd < 0 || e.fd.get() == fd);
  });
  if (removed == 0) return fail(Errc::NotFound, "There is no such descriptor in set {}", set);
  return {};
}

std::vector<FdSetEntry> fd_sets() {
  FdSets& sets = the_fd_sets();
  const std::lock_guard lock(sets.mutex);
  std::vector<FdSetEntry> list;
  for (const FdSets::Entry& e : sets.entries) list.push_back({e.set, e.fd.get(), e.opaque});
  return list;
}

Result<UniqueFd> open_from_fd_set(u32 set, int flags) {
  FdSets& sets = the_fd_sets();
  const std::lock_guard lock(sets.mutex);
  bool found = false;
  for (const FdSets::Entry& e : sets.entries) {
    if (e.set != set) continue;
    found = true;
    const int status = ::fcntl(e.fd.get(), F_GETFL);
    if (status < 0 || (status & O_ACCMODE) != (flags & O_ACCMODE)) continue;
    const int fd = ::fcntl(e.fd.get(), F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return fail_errno(errno, "Opening '{}{}'", kFdSetPath, set);
    return UniqueFd(fd);
  }
  if (found)
    return fail(Errc::Permission, "Opening '{}{}': none of its descriptors is open in that way",
                kFdSetPath, set);
  return fail(Errc::NotFound, "Opening '{}{}': there is no such set", kFdSetPath, set);
}

Result<void> name_fd(std::string name, UniqueFd fd) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9'))
    return fail(Errc::InvalidArgument, "A descriptor cannot be called '{}': that is a number",
                name);
  FdSets& sets = the_fd_sets();
  const std::lock_guard lock(sets.mutex);
  sets.named.insert_or_assign(std::move(name), std::move(fd));
  return {};
}

Result<void> close_named_fd(std::string_view name) {
  FdSets& sets = the_fd_sets();
  const std::lock_guard lock(sets.mutex);
  const auto at = sets.named.find(name);
  if (at == sets.named.end())
    return fail(Errc::NotFound, "There is no descriptor called '{}'", name);
  sets.named.erase(at);
  return {};
}

Result<UniqueFd> take_fd(std::string_view number_or_name) {
  FdSets& sets = the_fd_sets();
  const std::lock_guard lock(sets.mutex);
  if (const auto at = sets.named.find(number_or_name); at != sets.named.end()) {
    UniqueFd fd = std::move(at->second);
    sets.named.erase(at);
    return fd;
  }
  const Result<u64> number = parse_u64(number_or_name);
  if (!number || *number > 0x7fffffff || ::fcntl(static_cast<int>(*number), F_GETFD) < 0)
    return fail(Errc::InvalidArgument,
                "'{}' is neither the number of an inherited descriptor nor the name of a sent one",
                number_or_name);
  return UniqueFd(static_cast<int>(*number));
}

}  // namespace menura
