// read, write, readv, writev, aio_read, aio_write, aio_flush, discard, flush.
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "app/io/exerciser.h"
#include "app/io/numbers.h"
#include "base/fd.h"
#include "base/units.h"

namespace menura::io {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::byte kFill{0xcd};    // of what is written without a pattern
constexpr std::byte kUnread{0xab};  // of a buffer before reading

constexpr Flag kMachineForm{'C', "machine", "", "the result in a form for programs", false};
constexpr Flag kPattern{'P', "pattern", "BYTE", "what is written, or must be read", false};
constexpr Flag kQuiet{'q', "quiet", "", "no result line", false};
constexpr Flag kDump{'v', "dump", "", "show the bytes", false};
constexpr Flag kFua{'f', "fua", "", "durable when done", false};
constexpr Flag kZero{'z', "zero", "", "zeroing, without bytes to write", false};
constexpr Flag kUnmap{'u', "unmap", "", "with -z: the space may go", false};
constexpr Flag kVmState{'b', "vm-state", "", "of the machine's state beside the disk", false};
constexpr Flag kOldP{'p', "old", "", "nothing (scripts of old say it)", false};

constexpr Flag kReadFlags[] = {kVmState,
                               kMachineForm,
                               kOldP,
                               kPattern,
                               kQuiet,
                               kDump,
                               {'s', "start", "OFFSET", "with -P: compare from here", false},
                               {'l', "length", "BYTES", "with -P: compare so much", false}};
constexpr Flag kReadvFlags[] = {kMachineForm, kPattern, kQuiet, kDump};
constexpr Flag kWriteFlags[] = {kVmState,
                                {'c', "compress", "", "compressed", false},
                                kMachineForm,
                                kFua,
                                {'n', "no-fallback", "", "with -z: fail if slow", false},
                                kOldP,
                                kPattern,
                                kQuiet,
                                kUnmap,
                                kZero,
                                {'s', "source", "FILE", "a file's bytes, repeated", false}};
constexpr Flag kWritevFlags[] = {kMachineForm, kFua, kPattern, kQuiet};
constexpr Flag kAioReadFlags[] = {kMachineForm, kPattern, kQuiet, kDump};
constexpr Flag kAioWriteFlags[] = {kMachineForm, kFua, kPattern, kQuiet, kUnmap, kZero};
constexpr Flag kDiscardFlags[] = {kMachineForm, kQuiet};

Result<std::optional<std::byte>> pattern_of(const Arguments& arguments) {
  const auto text = arguments.value("pattern");
  if (!text) return std::optional<std::byte>{};
  const Result<u64> number = parse_u64(*text);
  if (!number || *number > 255)
    return fail(Errc::InvalidArgument, "'{}' is no byte to fill with (0 to 255)", *text);
  return std::optional(static_cast<std::byte>(*number));
}

// The offset, and the lengths that follow it, together.
struct Range {
  u64 offset = 0, length = 0;
};
Result<Range> range_of(const Arguments& arguments) {
  const auto& words = arguments.operands();
  Range range{TRY(number_of(words[0])), 0};
  for (size_t i = 1; i < words.size(); i++) range.length += TRY(length_of(words[i]));
  if (range.length > kMostBytes)
    return fail(Errc::OutOfRange, "{} bytes are more than one request may move ({})", range.length,
                kMostBytes);
  return range;
}

void report(const Arguments& arguments, std::string_view verb, const Range& range,
            Clock::time_point begin) {
  if (arguments.has("quiet")) return;
  const auto form = arguments.has("machine") ? ReportForm::Machine : ReportForm::Human;
  std::string text;
  if (form == ReportForm::Human)
    text = format("{} {}/{} bytes at offset {}\n", verb, range.length, range.length, range.offset);
  text += report_text(range.length, 1, Clock::now() - begin, form);
  std::fputs(text.c_str(), stdout);
}

// "read failed: …" is a result, which scripts look for among the others.
Result<void> told(Result<void> outcome, std::string_view verb) {
  if (!outcome)
    std::printf("%s failed: %s\n", std::string(verb).c_str(), outcome.error().text.c_str());
  return {};
}

// --- read

// What -P demands of the bytes that were read.
struct Expectation {
  std::optional<std::byte> pattern;
  u64 start = 0;
  u64 length = 0;
};

bool verify(const Expectation& wanted, ConstBytes bytes, u64 offset) {
  if (!wanted.pattern) return true;
  const ConstBytes part = bytes.subspan(wanted.start, wanted.length);
  if (std::ranges::all_of(part, [&](std::byte b) { return b == *wanted.pattern; })) return true;
  std::printf("Pattern verification failed at offset %llu, %zu bytes\n",
              static_cast<unsigned long long>(offset) + wanted.start, part.size());
  return false;
}

Result<Expectation> expectation(const Arguments& arguments, const Range& range) {
  Expectation wanted{TRY(pattern_of(arguments)), 0, range.length};
  if ((arguments.value("start") || arguments.value("length")) && !wanted.pattern)
    return fail(Errc::InvalidArgument, "-s and -l say what -P compares: it is missing");
  if (const auto text = arguments.value("start")) {
    wanted.start = TRY(number_of(*text));
    if (wanted.start > range.length)
      return fail(Errc::OutOfRange, "-s {} lies beyond the {} bytes that are read", *text,
                  range.length);
    wanted.length = range.length - wanted.start;
  }
  if (const auto text = arguments.value("length")) {
    wanted.length = TRY(length_of(*text));
    if (wanted.length > range.length - wanted.start)
      return fail(Errc::OutOfRange, "-l {} goes beyond the bytes that are read", *text);
  }
  return wanted;
}

// What a command has failed at was printed already.
Error failed_quietly() { return Error{Errc::Io, ""}; }

Result<void> read(Exerciser& io, const Arguments& arguments) {
  const Range range = TRY(range_of(arguments));
  const Expectation wanted = TRY(expectation(arguments, range));
  const Buffer buffer = io.buffer(range.length, kUnread);
  const auto begin = Clock::now();
  Result<void> done;
  if (arguments.has("vm-state")) {
    io.wait_for_all();
    done = io.node().image().read_vm_state(range.offset, buffer.bytes());
  } else {
    done = io.request({.op = DiskOp::Read, .offset = range.offset, .data = buffer.bytes()});
  }
  if (!done) {
    TRY(told(std::move(done), "read"));
    return failed_quietly();
  }
  const bool right = verify(wanted, buffer.bytes(), range.offset);
  if (arguments.has("dump") && !arguments.has("quiet"))
    std::fputs(dump_text(buffer.bytes(), range.offset).c_str(), stdout);
  report(arguments, "read", range, begin);
  if (!right) return failed_quietly();
  return {};
}

// --- write

// A file's bytes, again and again.
Result<void> fill_from(const std::string& path, Bytes bytes) {
  const std::string source = TRY(read_file(path, kMostBytes));
  if (source.empty()) return fail(Errc::InvalidArgument, "'{}' is empty: nothing to write", path);
  for (size_t i = 0; i < bytes.size(); i++)
    bytes[i] = static_cast<std::byte>(source[i % source.size()]);
  return {};
}

Result<void> check_write_flags(const Arguments& arguments) {
  const bool zero = arguments.has("zero");
  if (int{zero} + arguments.has("pattern") + (arguments.value("source").has_value()) > 1)
    return fail(Errc::InvalidArgument, "-z, -P and -s each say what is written: give one");
  if (arguments.has("vm-state") && (arguments.has("compress") || zero))
    return fail(Errc::InvalidArgument, "-b writes plainly: leave out -c and -z");
  if (arguments.has("compress") && (zero || arguments.has("fua")))
    return fail(Errc::InvalidArgument, "-c goes neither with -z nor with -f");
  if ((arguments.has("unmap") || arguments.has("no-fallback")) && !zero)
    return fail(Errc::InvalidArgument, "-u and -n say how -z zeroes: it is missing");
  return {};
}

Result<void> write(Exerciser& io, const Arguments& arguments) {
  TRY(check_write_flags(arguments));
  const Range range = TRY(range_of(arguments));
  const std::byte fill = TRY(pattern_of(arguments)).value_or(kFill);
  const bool zero = arguments.has("zero");
  const Buffer buffer = io.buffer(zero ? 0 : range.length, fill);
  if (const auto source = arguments.value("source")) TRY(fill_from(*source, buffer.bytes()));
  const auto begin = Clock::now();
  Result<void> done;
  if (arguments.has("vm-state")) {
    io.wait_for_all();
    done = io.node().image().write_vm_state(range.offset, buffer.bytes());
  } else if (arguments.has("compress")) {
    io.wait_for_all();
    done = io.node().write_compressed(range.offset, buffer.bytes());
  } else if (arguments.has("no-fallback")) {
    io.wait_for_all();
    done = io.node().zero(
        range.offset, range.length,
        {.fua = arguments.has("fua"), .may_unmap = arguments.has("unmap"), .no_fallback = true});
  } else {
    done = io.request({.op = zero ? DiskOp::WriteZeroes : DiskOp::Write,
                       .offset = range.offset,
                       .length = range.length,
                       .data = buffer.bytes(),
                       .fua = arguments.has("fua"),
                       .may_unmap = arguments.has("unmap")});
  }
  if (!done) {
    TRY(told(std::move(done), "write"));
    return failed_quietly();
  }
  report(arguments, "wrote", range, begin);
  return {};
}

// --- aio_read, aio_write

// Lives until its request is done.
struct AioRequest {
  Arguments arguments;
  Range range;
  Expectation wanted;
  Buffer buffer;
  Clock::time_point begin;
};

Result<void> aio_read(Exerciser& io, const Arguments& arguments) {
  const Range range = TRY(range_of(arguments));
  auto aio =
      std::make_shared<AioRequest>(AioRequest{arguments, range, TRY(expectation(arguments, range)),
                                              io.buffer(range.length, kUnread), Clock::now()});
  const Bytes bytes = aio->buffer.bytes();
  io.start({.op = DiskOp::Read,
            .offset = range.offset,
            .data = bytes,
            .done = [aio = std::move(aio)](Result<void> outcome) {
              if (!outcome) {
                (void)told(std::move(outcome), "aio_read").ok();
                return;
              }
              (void)verify(aio->wanted, aio->buffer.bytes(), aio->range.offset);
              if (aio->arguments.has("dump") && !aio->arguments.has("quiet"))
                std::fputs(dump_text(aio->buffer.bytes(), aio->range.offset).c_str(), stdout);
              report(aio->arguments, "read", aio->range, aio->begin);
            }});
  return {};
}

Result<void> aio_write(Exerciser& io, const Arguments& arguments) {
  TRY(check_write_flags(arguments));
  const Range range = TRY(range_of(arguments));
  const bool zero = arguments.has("zero");
  const std::byte fill = TRY(pattern_of(arguments)).value_or(kFill);
  auto aio = std::make_shared<AioRequest>(
      AioRequest{arguments, range, {}, io.buffer(zero ? 0 : range.length, fill), Clock::now()});
  const Bytes bytes = aio->buffer.bytes();
  io.start({.op = zero ? DiskOp::WriteZeroes : DiskOp::Write,
            .offset = range.offset,
            .length = range.length,
            .data = bytes,
            .fua = arguments.has("fua"),
            .may_unmap = arguments.has("unmap"),
            .done = [aio = std::move(aio)](Result<void> outcome) {
              if (!outcome)
                (void)told(std::move(outcome), "aio_write").ok();
              else
                report(aio->arguments, "wrote", aio->range, aio->begin);
            }});
  return {};
}

Result<void> aio_flush(Exerciser& io, const Arguments&) {
  io.wait_for_all();
  return {};
}

// --- discard, flush

Result<void> discard(Exerciser& io, const Arguments& arguments) {
  const Range range = TRY(range_of(arguments));
  const auto begin = Clock::now();
  Result<void> done =
      io.request({.op = DiskOp::Discard, .offset = range.offset, .length = range.length});
  if (!done) {
    TRY(told(std::move(done), "discard"));
    return failed_quietly();
  }
  report(arguments, "discard", range, begin);
  return {};
}

Result<void> flush(Exerciser& io, const Arguments&) { return io.request({.op = DiskOp::Flush}); }

constexpr Command kCommands[] = {
    {"aio_flush", "", "", "waits for all asynchronous requests", {}, 0, 0, true, aio_flush},
    {"aio_read", "", "OFFSET LENGTH...", "begins to read", kAioReadFlags, 2, kAnyNumber, true,
     aio_read},
    {"aio_write", "", "OFFSET LENGTH...", "begins to write", kAioWriteFlags, 2, kAnyNumber, true,
     aio_write},
    {"discard", "d", "OFFSET LENGTH", "gives a range up", kDiscardFlags, 2, 2, true, discard},
    {"flush", "f", "", "makes what was written durable", {}, 0, 0, true, flush},
    {"read", "r", "OFFSET LENGTH", "reads a range", kReadFlags, 2, 2, true, read},
    {"readv", "rv", "OFFSET LENGTH...", "reads into several buffers", kReadvFlags, 2, kAnyNumber,
     true, read},
    {"write", "w", "OFFSET LENGTH", "writes a range", kWriteFlags, 2, 2, true, write},
    {"writev", "wv", "OFFSET LENGTH...", "writes from several buffers", kWritevFlags, 2, kAnyNumber,
     true, write},
};

}  // namespace

std::span<const Command> transfer_commands() { return kCommands; }

}  // namespace menura::io
