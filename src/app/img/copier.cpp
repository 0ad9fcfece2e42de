#include "app/img/copier.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/log.h"
#include "base/units.h"

namespace menura::img {

namespace {

constexpr u64 kPiece = 2 * MiB;

bool is_zero(ConstBytes bytes) {
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace

Copier::Copier(std::vector<Node*> sources, Node& target, const CopyOptions& options)
    : options_(options), rate_(options.rate_limit), sources_(std::move(sources)), target_(target) {
  const u64 cluster = target.image().info().cluster_size;
  unit_ = options.compress && cluster ? cluster : 512;
  ordered_ = !options.out_of_order && !options.compress && cluster != 0;
}

Result<Copier::Piece> Copier::map_piece() {
  while (sources_[source_]->size() == source_at_) source_++, source_at_ = 0, extent_left_ = 0;
  Node* source = sources_[source_];
  const u64 left = source->size() - source_at_;
  if (extent_left_ == 0) {
    const Node* base = options_.target_has_backing ? source->backing() : nullptr;
    const ChainExtent e = TRY(map_chain(*source, base, source_at_, left));
    extent_left_ = e.extent.length;
    switch (e.extent.kind) {
      case ExtentKind::Data:
      case ExtentKind::Opaque: extent_what_ = What::Data; break;
      case ExtentKind::Zero: extent_what_ = What::Zero; break;
      case ExtentKind::Hole:
        extent_what_ = options_.target_has_backing && source_at_ < (base ? base->size() : 0)
                           ? What::Skip
                           : What::Zero;
        break;
    }
    if (options_.sparse == 0 && extent_what_ == What::Zero) extent_what_ = What::Data;
  }
  Piece piece{next_number_++, at_, std::min(extent_left_, left), extent_what_, source, source_at_};
  if (piece.what == What::Data) piece.length = std::min(piece.length, std::max(unit_, kPiece));
  // Compressed clusters are written whole: a piece ends where one does.
  if (options_.compress) {
    const u64 end = at_ + piece.length;
    if (piece.what != What::Data && piece.length >= unit_ && end % unit_ != 0 && at_ % unit_ == 0 &&
        end != target_.size())
      piece.length -= end % unit_;
    else if (end % unit_ != 0 || at_ % unit_ != 0)
      piece.length = std::min(left, (end + unit_ - 1) / unit_ * unit_ - at_),
      piece.what = What::Data;
  }
  at_ += piece.length;
  source_at_ += piece.length;
  extent_left_ -= std::min(extent_left_, piece.length);
  return piece;
}

std::optional<Copier::Piece> Copier::next_piece() {
  const std::lock_guard guard(mutex_);
  u64 total = 0;
  for (const Node* source : sources_) total += source->size();
  if (error_ || at_ >= total) return {};
  Result<Piece> piece = map_piece();
  if (piece) return *piece;
  error_ = std::move(piece.error());
  return {};
}

void Copier::fail_with(Error error) {
  const std::lock_guard guard(mutex_);
  if (!error_) error_ = std::move(error);
  turned_.notify_all();
}

void Copier::wait_for_turn(u64 number) {
  if (!ordered_) return;
  std::unique_lock guard(mutex_);
  turned_.wait(guard, [&] { return turn_ == number || error_; });
}

Result<void> Copier::write_zeroes(u64 offset, u64 length) {
  if (options_.target_is_zero && !options_.target_has_backing) return {};
  return target_.zero(offset, length, {.may_unmap = options_.sparse != 0});
}

// Whole runs of zeroes, aligned to the wanted length, are left out.
Result<void> Copier::write_sparse(u64 offset, ConstBytes bytes) {
  const WriteMode mode{.fua = options_.writethrough};
  if (options_.sparse == 0) return target_.write(offset, bytes, mode);
  const u64 step = std::max<u64>(options_.sparse, 512);
  size_t at = 0;
  while (at < bytes.size()) {
    const bool zero = is_zero(bytes.subspan(at, std::min<size_t>(step, bytes.size() - at)));
    size_t end = at;
    while (end < bytes.size()) {
      const ConstBytes here = bytes.subspan(end, std::min<size_t>(step, bytes.size() - end));
      if (is_zero(here) != zero) break;
      end += here.size();
    }
    if (zero)
      TRY(write_zeroes(offset + at, end - at));
    else
      TRY(target_.write(offset + at, bytes.subspan(at, end - at), mode));
    at = end;
  }
  return {};
}

u64 Copier::copy_by_kernel(const Piece& piece) {
  u64 copied = 0;
  while (copied < piece.length) {
    const u64 left = piece.length - copied;
    const std::optional<Direct> from = piece.source->peek(piece.source_offset + copied, left);
    const std::optional<Direct> to = target_.peek(piece.offset + copied, left);
    if (!from || !to || from->kind != Direct::Kind::File || to->kind != Direct::Kind::File ||
        !to->writable)
      break;
    off_t in = static_cast<off_t>(from->offset), out = static_cast<off_t>(to->offset);
    const ssize_t moved = ::copy_file_range(from->fd, &in, to->fd, &out,
                                            std::min({left, from->length, to->length}), 0);
    // Where the file systems cannot, and where the host errs, the plain way finds out.
    if (moved <= 0) break;
    copied += static_cast<u64>(moved);
  }
  return copied;
}

Result<void> Copier::copy(const Piece& whole, std::vector<std::byte>& buffer) {
  Piece piece = whole;
  if (options_.offload && piece.what == What::Data) {
    wait_for_turn(piece.number);
    const u64 copied = copy_by_kernel(piece);
    piece.offset += copied, piece.source_offset += copied, piece.length -= copied;
    if (piece.length == 0) return {};
  }
  if (piece.what == What::Data) {
    buffer.resize(static_cast<size_t>(piece.length));
    Result<void> read = piece.source->read(piece.source_offset, buffer);
    if (!read && options_.salvage) {
      log_warning("Reading at {}: {}; zeroes take its place", piece.source_offset,
                  read.error().text);
      std::ranges::fill(buffer, std::byte{0});
      read = {};
    }
    TRY(std::move(read));
  }
  wait_for_turn(piece.number);
  if (piece.what == What::Skip) return {};
  if (piece.what == What::Zero) return write_zeroes(piece.offset, piece.length);
  if (!options_.compress) return write_sparse(piece.offset, buffer);
  for (u64 at = 0; at < piece.length; at += unit_) {
    const ConstBytes cluster = ConstBytes(buffer).subspan(at, std::min(unit_, piece.length - at));
    if (is_zero(cluster) && options_.sparse != 0)
      TRY(write_zeroes(piece.offset + at, cluster.size()));
    else
      TRY(target_.write_compressed(piece.offset + at, cluster));
  }
  return {};
}

void Copier::work(const std::atomic<bool>& stop, const std::function<void(u64)>& progress) {
  std::vector<std::byte> buffer;
  for (;;) {
    if (stop) fail_with(fail(Errc::Cancelled, "Interrupted"));
    const std::optional<Piece> piece = next_piece();
    if (!piece) return;
    if (Result<void> copied = copy(*piece, buffer); !copied) {
      const std::string_view verb = piece->what == What::Data ? "copying" : "zeroing";
      return fail_with(std::move(copied.error())
                           .within(format("error while {} at byte {}", verb, piece->offset)));
    }
    {
      const std::lock_guard guard(mutex_);
      turn_ = std::max(turn_, piece->number + 1);
      progress(piece->length);
    }
    turned_.notify_all();
    if (piece->what == What::Data) std::this_thread::sleep_for(rate_.delay_of(piece->length));
  }
}

Result<void> Copier::run(const std::atomic<bool>& stop, const std::function<void(u64)>& progress) {
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < options_.workers; i++)
    threads.emplace_back([&] { work(stop, progress); });
  work(stop, progress);
  for (std::thread& thread : threads) thread.join();
  if (error_) return std::move(*error_);
  return {};
}

}  // namespace menura::img
