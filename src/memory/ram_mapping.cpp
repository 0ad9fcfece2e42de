#include "memory/ram_mapping.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <thread>

#include "base/bits.h"
#include "base/log.h"
#include "base/text.h"
#include "base/units.h"

namespace menura {

namespace {

// Larger ones cannot be mapped by any host of today, and rounding them up must not wrap.
constexpr u64 kMaxSize = u64{1} << 52;
// What one page-table entry of the host's second level maps: the unit of transparent huge pages,
// for us and for KVM's own page tables.
constexpr u64 kHugeAlignment = 2 * MiB;

struct Backing {
  UniqueFd fd;
  u64 page_size = kPageSize;
};

// "RAM 'pc.ram'", with the path it comes from if there is one: how errors name it.
std::string describe(const RamConfig& config) {
  std::string text = format("RAM '{}'", config.name);
  if (!config.path.empty()) text += format(" from '{}'", config.path);
  return text;
}

// "Hugepagesize" and its like in /proc/meminfo, in bytes; 0 when the host does not say.
u64 meminfo(std::string_view key) {
  const Result<std::string> text = read_file("/proc/meminfo", 64 * KiB);
  if (!text) return 0;
  for (std::string_view line : split(*text, '\n')) {
    if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ':') continue;
    std::string_view value = trim(line.substr(key.size() + 1));
    const bool kilobytes = value.ends_with(" kB");
    if (kilobytes) value.remove_suffix(3);
    return parse_u64(value).value_or(0) * (kilobytes ? KiB : 1);
  }
  return 0;
}

Error no_huge_pages(int os_errno, const RamConfig& config, u64 page_size) {
  return fail_errno(os_errno,
                    "Mapping {} for {} with {} pages (the host has {} free; reserve some "
                    "with 'sysctl vm.nr_hugepages=N')",
                    format_size(config.size), describe(config), format_size(page_size),
                    page_size == meminfo("Hugepagesize") ? std::to_string(meminfo("HugePages_Free"))
                                                         : std::string("no known number"));
}

Result<Backing> open_anonymous(const RamConfig& config) {
  Backing backing;
  unsigned flags = MFD_CLOEXEC | (config.seal ? MFD_ALLOW_SEALING : 0u);
  if (config.huge == HugePages::Explicit) {
    backing.page_size = config.huge_page_size ? config.huge_page_size : meminfo("Hugepagesize");
    if (!is_power_of_two(backing.page_size) || backing.page_size <= kPageSize)
      return fail(Errc::InvalidArgument, "Allocating RAM '{}': {} is not a huge page size",
                  config.name, format_size(backing.page_size));
    // The logarithm of the size in bits 26 to 31, memfd_create(2).
    flags |= MFD_HUGETLB | static_cast<unsigned>(std::countr_zero(backing.page_size)) << 26;
  }
  backing.fd = UniqueFd(::memfd_create(config.name.c_str(), flags));
  if (!backing.fd) {
    if (config.huge == HugePages::Explicit) return no_huge_pages(errno, config, backing.page_size);
    return fail_errno(errno, "Creating a memfd for RAM '{}'", config.name);
  }
  return backing;
}

// A nameless file in a directory.
Result<UniqueFd> open_in_directory(const std::string& directory) {
  int fd = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0) return UniqueFd(fd);
  // Not every file system knows O_TMPFILE.
  std::string name = directory + "/menura-ram-XXXXXX";
  fd = ::mkostemp(name.data(), O_CLOEXEC);
  if (fd < 0) return fail_errno(errno, "Creating a file in '{}'", directory);
  ::unlink(name.c_str());
  return UniqueFd(fd);
}

// Existing files are used as they are; a missing one is made.
Result<UniqueFd> open_path(const RamConfig& config) {
  struct stat status;
  if (::stat(config.path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) return open_in_directory(config.path);
    const bool grow = static_cast<u64>(status.st_size) < config.size;
    return open_file(config.path, config.share || grow ? O_RDWR : O_RDONLY);
  }
  return open_file(config.path, O_RDWR | O_CREAT | O_EXCL, 0600);
}

Result<Backing> open_backing(const RamConfig& config) {
  if (config.path.empty()) return open_anonymous(config);
  Backing backing;
  backing.fd = TRY(open_path(config), "Allocating RAM '{}'", config.name);
  struct statfs filesystem;
  if (::fstatfs(backing.fd.get(), &filesystem) < 0)
    return fail_errno(errno, "Asking for the page size of '{}'", config.path);
  if (filesystem.f_type == HUGETLBFS_MAGIC) {
    backing.page_size = static_cast<u64>(filesystem.f_bsize);
  } else if (config.huge == HugePages::Explicit) {
    return fail(Errc::InvalidArgument,
                "Allocating RAM '{}': '{}' is not on a hugetlbfs, which huge pages need",
                config.name, config.path);
  }
  return backing;
}

// Gives an empty file its size; one with content must be large enough, for we never cut or grow
// what somebody made.
Result<void> fit_file(const RamConfig& config, int fd, u64 size) {
  struct stat status;
  if (::fstat(fd, &status) < 0)
    return fail_errno(errno, "Asking for the size of RAM '{}'", config.name);
  const u64 present = static_cast<u64>(status.st_size);
  if (present >= size) return {};
  if (present != 0)
    return fail(Errc::InvalidArgument, "Allocating RAM '{}': '{}' has {} bytes, but {} are needed",
                config.name, config.path, present, size);
  if (::ftruncate(fd, static_cast<off_t>(size)) < 0)
    return fail_errno(errno, "Allocating {} for RAM '{}'", format_size(size), config.name);
  return {};
}

// An address range of ours, aligned so that huge pages fit, with an inaccessible page behind it.
Result<std::byte*> reserve(const RamConfig& config, u64 size, u64 alignment) {
  const u64 whole = size + alignment + kPageSize;
  void* at = ::mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED)
    return fail_errno(errno, "Reserving {} of address space for RAM '{}'", format_size(size),
                      config.name);
  auto* const begin = static_cast<std::byte*>(at);
  const u64 before = align_up(reinterpret_cast<u64>(at), alignment) - reinterpret_cast<u64>(at);
  if (before > 0) ::munmap(begin, before);
  const u64 after = alignment - before;
  if (after > 0) ::munmap(begin + before + size + kPageSize, after);
  return begin + before;
}

// mbind(2) by its number: libnuma is not worth a dependency.
Result<void> bind_to_nodes(const RamConfig& config, const RamMapping& mapping) {
  constexpr unsigned kMaxNodes = 1024;
  const std::string_view policy = enum_names(config.policy)[static_cast<size_t>(config.policy)];
  if (config.host_nodes.empty() && config.policy != HostPolicy::Default)
    return fail(Errc::InvalidArgument, "RAM '{}': the policy '{}' needs host nodes", config.name,
                policy);
  if (!config.host_nodes.empty() && config.policy == HostPolicy::Default)
    return fail(Errc::InvalidArgument,
                "RAM '{}': the policy '{}' has no use for host nodes (preferred, bind and "
                "interleave have)",
                config.name, policy);
  if (config.host_nodes.empty()) return {};
  std::array<u64, kMaxNodes / 64> nodes{};
  std::string list;
  for (const u32 node : config.host_nodes) {
    if (node >= kMaxNodes)
      return fail(Errc::OutOfRange, "Binding RAM '{}' to host node {}: nodes end at {}",
                  config.name, node, kMaxNodes - 1);
    nodes[node / 64] |= bit(node % 64);
    list += format("{}{}", list.empty() ? "" : ", ", node);
  }
  // MPOL_PREFERRED, MPOL_BIND and MPOL_INTERLEAVE are numbered as our policies are.
  const int mode = static_cast<int>(config.policy);
  if (::syscall(SYS_mbind, mapping.host, mapping.size, mode, nodes.data(), kMaxNodes + 1, 0) < 0)
    return fail_errno(errno, "Binding RAM '{}' to host node {} ({})", config.name, list, policy);
  return {};
}

void advise_transparent(const RamConfig& config, const RamMapping& mapping) {
  if (config.huge != HugePages::Transparent) return;
  if (::madvise(mapping.host, mapping.size, MADV_HUGEPAGE) < 0)
    log_warning("ram '{}': the host has no transparent huge pages, using small ones", config.name);
}

// Before anything is tried: touching more than the host has would not fail but swap or kill.
Result<void> check_size(const RamConfig& config) {
  if (config.size == 0 || config.size > kMaxSize)
    return fail(Errc::InvalidArgument, "Allocating RAM '{}': a size of {} bytes is not possible",
                config.name, config.size);
  const bool small_pages = config.path.empty() && config.huge != HugePages::Explicit;
  if (!config.preallocate || !small_pages) return {};
  const u64 available = meminfo("MemAvailable") + meminfo("SwapFree");
  if (available != 0 && config.size > available)
    return fail(Errc::NoMemory, "Preallocating {} for {}: the host has {} to give",
                format_size(config.size), describe(config), format_size(available));
  return {};
}

Result<void> advise(const RamConfig& config, const RamMapping& mapping) {
  const bool shared = config.share || config.path.empty();
  if (config.merge && shared)
    return fail(Errc::Unsupported,
                "RAM '{}': the host merges only pages of private mappings (a file with share=off)",
                config.name);
  if (config.merge && ::madvise(mapping.host, mapping.size, MADV_MERGEABLE) < 0)
    return fail_errno(errno, "Letting the host merge equal pages of RAM '{}'", config.name);
  if (!config.dump && ::madvise(mapping.host, mapping.size, MADV_DONTDUMP) < 0)
    return fail_errno(errno, "Leaving RAM '{}' out of core dumps", config.name);
  return {};
}

// Touches every page by MADV_POPULATE_WRITE, which reports a lack of memory where a plain write
// would end in SIGBUS or wake the kernel's killer of processes. 0, or an errno.
int populate(std::byte* at, u64 size) {
  constexpr u64 kStep = GiB;
  for (u64 done = 0; done < size;) {
    const u64 length = std::min(kStep, size - done);
    if (::madvise(at + done, length, MADV_POPULATE_WRITE) == 0)
      done += length;
    else if (errno != EINTR && errno != EAGAIN)
      return errno;
  }
  return 0;
}

// Each thread has a run of whole huge pages.
Result<void> preallocate(const RamConfig& config, const RamMapping& mapping) {
  if (!config.preallocate) return {};
  const u64 threads = std::max(1u, config.preallocate_threads);
  const u64 share = align_up((mapping.size + threads - 1) / threads, kHugeAlignment);
  std::atomic<int> failure{0};
  std::vector<std::thread> helpers;
  const auto work = [&](u64 first) {
    const int os_errno = populate(mapping.host + first, std::min(share, mapping.size - first));
    if (os_errno != 0) failure = os_errno;
  };
  for (u64 first = share; first < mapping.size; first += share) helpers.emplace_back(work, first);
  work(0);
  for (std::thread& helper : helpers) helper.join();
  if (failure == 0) return {};
  return fail_errno(failure, "Preallocating {} for {}", format_size(mapping.size),
                    describe(config));
}

}  // namespace

Result<RamMapping> map_ram(const RamConfig& config) {
  TRY(check_size(config));
  Backing backing = TRY(open_backing(config));
  RamMapping mapping{.size = align_up(config.size, backing.page_size)};
  TRY(fit_file(config, backing.fd.get(), mapping.size));
  if (config.seal && config.path.empty() &&
      ::fcntl(backing.fd.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
    return fail_errno(errno, "Sealing the size of RAM '{}'", config.name);
  mapping.host = TRY(reserve(config, mapping.size, std::max(kHugeAlignment, backing.page_size)));
  const int sharing = config.share || config.path.empty() ? MAP_SHARED : MAP_PRIVATE;
  const void* at = ::mmap(mapping.host, mapping.size, PROT_READ | PROT_WRITE, sharing | MAP_FIXED,
                          backing.fd.get(), 0);
  const int map_errno = errno;
  Result<void> ready;
  if (at == MAP_FAILED)
    ready = backing.page_size > kPageSize ? no_huge_pages(map_errno, config, backing.page_size)
                                          : fail_errno(map_errno, "Mapping {} for {}",
                                                       format_size(mapping.size), describe(config));
  if (ready) ready = bind_to_nodes(config, mapping);
  if (ready) advise_transparent(config, mapping);
  if (ready) ready = advise(config, mapping);
  if (ready) ready = preallocate(config, mapping);
  if (!ready) {
    ::munmap(mapping.host, mapping.size + kPageSize);
    return std::move(ready.error());
  }
  mapping.fd = std::move(backing.fd);
  return mapping;
}

void unmap_ram(std::byte* host, u64 size) { ::munmap(host, size + kPageSize); }

}  // namespace menura
