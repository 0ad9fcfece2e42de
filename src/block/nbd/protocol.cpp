#include "block/nbd/protocol.h"

#include <cerrno>

namespace menura {

namespace {

std::string_view text_of(ConstBytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

u32 nbd_error_of(const Error& error) {
  switch (error.code) {
    case Errc::Permission: return kNbdEperm;
    case Errc::NoSpace: return kNbdEnospc;
    case Errc::NoMemory: return kNbdEnomem;
    case Errc::InvalidArgument:
    case Errc::OutOfRange: return kNbdEinval;
    case Errc::Unsupported: return kNbdEnotsup;
    case Errc::Cancelled: return kNbdEshutdown;
    default: return kNbdEio;
  }
}

Error error_of_nbd(u32 number, std::string what) {
  switch (number) {
    case kNbdEperm:
    case kNbdEio:
    case kNbdEnomem:
    case kNbdEinval:
    case kNbdEnospc: return os_error(static_cast<int>(number), std::move(what));
    case kNbdEnotsup: {
      Error error = os_error(EOPNOTSUPP, std::move(what));
      error.code = Errc::Unsupported;
      return error;
    }
    case kNbdEshutdown: return os_error(ESHUTDOWN, std::move(what));
    default: return os_error(EINVAL, std::move(what));  // as the specification asks of clients
  }
}

std::array<std::byte, NbdOptionHeader::kSize> NbdOptionHeader::encode() const {
  std::array<std::byte, kSize> bytes;
  store_be<u64>(bytes, 0, kNbdOptionMagic);
  store_be<u32>(bytes, 8, static_cast<u32>(option));
  store_be<u32>(bytes, 12, length);
  return bytes;
}

Result<NbdOptionHeader> NbdOptionHeader::decode(ConstBytes from) {
  if (load_be<u64>(from, 0) != kNbdOptionMagic)
    return fail(Errc::Corrupt, "An NBD option begins with {:#x}", load_be<u64>(from, 0));
  return NbdOptionHeader{static_cast<NbdOption>(load_be<u32>(from, 8)), load_be<u32>(from, 12)};
}

std::array<std::byte, NbdOptionReplyHeader::kSize> NbdOptionReplyHeader::encode() const {
  std::array<std::byte, kSize> bytes;
  store_be<u64>(bytes, 0, kNbdOptionReplyMagic);
  store_be<u32>(bytes, 8, static_cast<u32>(option));
  store_be<u32>(bytes, 12, static_cast<u32>(reply));
  store_be<u32>(bytes, 16, length);
  return bytes;
}

Result<NbdOptionReplyHeader> NbdOptionReplyHeader::decode(ConstBytes from) {
  if (load_be<u64>(from, 0) != kNbdOptionReplyMagic)
    return fail(Errc::Corrupt, "The answer to an NBD option begins with {:#x}",
                load_be<u64>(from, 0));
  return NbdOptionReplyHeader{static_cast<NbdOption>(load_be<u32>(from, 8)),
                              static_cast<NbdOptionReply>(load_be<u32>(from, 12)),
                              load_be<u32>(from, 16)};
}

std::array<std::byte, NbdRequest::kSize> NbdRequest::encode() const {
  std::array<std::byte, kSize> bytes;
  store_be<u32>(bytes, 0, kNbdRequestMagic);
  store_be<u16>(bytes, 4, flags);
  store_be<u16>(bytes, 6, static_cast<u16>(command));
  store_be<u64>(bytes, 8, cookie);
  store_be<u64>(bytes, 16, offset);
  store_be<u32>(bytes, 24, length);
  return bytes;
}

Result<NbdRequest> NbdRequest::decode(ConstBytes from) {
  if (load_be<u32>(from, 0) != kNbdRequestMagic)
    return fail(Errc::Corrupt, "An NBD request begins with {:#x}", load_be<u32>(from, 0));
  return NbdRequest{load_be<u16>(from, 4), static_cast<NbdCommand>(load_be<u16>(from, 6)),
                    load_be<u64>(from, 8), load_be<u64>(from, 16), load_be<u32>(from, 24)};
}

std::array<std::byte, NbdSimpleReply::kSize> NbdSimpleReply::encode() const {
  std::array<std::byte, kSize> bytes;
  store_be<u32>(bytes, 0, kNbdSimpleReplyMagic);
  store_be<u32>(bytes, 4, error);
  store_be<u64>(bytes, 8, cookie);
  return bytes;
}

std::array<std::byte, NbdChunkHeader::kSize> NbdChunkHeader::encode() const {
  std::array<std::byte, kSize> bytes;
  store_be<u32>(bytes, 0, kNbdStructuredReplyMagic);
  store_be<u16>(bytes, 4, flags);
  store_be<u16>(bytes, 6, static_cast<u16>(type));
  store_be<u64>(bytes, 8, cookie);
  store_be<u32>(bytes, 16, length);
  return bytes;
}

NbdWriter& NbdWriter::text(std::string_view text) {
  const ConstBytes from = bytes_of(text);
  bytes_.insert(bytes_.end(), from.begin(), from.end());
  return *this;
}

NbdWriter& NbdWriter::counted(std::string_view counted) {
  return add(static_cast<u32>(counted.size())).text(counted);
}

Error NbdReader::too_short() { return fail(Errc::Corrupt, "An NBD message ends too early"); }

Result<std::string> NbdReader::text(u32 length) {
  if (length > kNbdLongestString)
    return fail(Errc::Corrupt, "An NBD string of {} bytes is longer than the {} allowed", length,
                kNbdLongestString);
  if (length > bytes_.size()) return too_short();
  std::string text(text_of(bytes_.first(length)));
  bytes_ = bytes_.subspan(length);
  return text;
}

Result<std::string> NbdReader::counted() { return text(TRY(take<u32>())); }

std::string NbdReader::rest() {
  std::string text(text_of(bytes_));
  bytes_ = {};
  return text;
}

}  // namespace menura
