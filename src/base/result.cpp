#include "base/result.h"

#include <cerrno>
#include <system_error>

namespace menura {

namespace {

Errc code_of(int os_errno) {
  switch (os_errno) {
    case ENOENT:
    case ENODEV:
    case ENXIO: return Errc::NotFound;
    case EEXIST: return Errc::Exists;
    case EACCES:
    case EPERM:
    case EROFS: return Errc::Permission;
    case EBUSY:
    case EAGAIN:
    case EADDRINUSE: return Errc::Busy;
    case EINVAL: return Errc::InvalidArgument;
    case ENOSYS:
    case ENOTSUP:
    case ENOTTY: return Errc::Unsupported;
    case ENOSPC:
    case EDQUOT: return Errc::NoSpace;
    case ENOMEM: return Errc::NoMemory;
    case ECANCELED: return Errc::Cancelled;
    case ETIMEDOUT: return Errc::Timeout;
    default: return Errc::Io;
  }
}

}  // namespace

Error os_error(int os_errno, std::string text) {
  text += ": ";
  text += std::generic_category().message(os_errno);
  return Error{code_of(os_errno), std::move(text), os_errno};
}

}  // namespace menura
