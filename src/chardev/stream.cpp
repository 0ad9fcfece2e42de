#include "chardev/stream.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/log.h"

namespace menura {

Result<void> StreamChardev::start(int in, int out) {
  ensure(!started(), "a stream starts once");
  // A peer that went away is an error of write(2), not the end of the program.
  ::signal(SIGPIPE, SIG_IGN);
  if (in >= 0) in_watch_ = TRY(loop_.watch(in, {}, [this](FdEvents events) { on_input(events); }));
  if (out >= 0 && out != in)
    out_watch_ = TRY(loop_.watch(out, {}, [this](FdEvents events) { on_output(events); }));
  in_ = in;
  out_ = out;
  update_interest();
  return {};
}

void StreamChardev::stop() {
  in_watch_.reset();
  out_watch_.reset();
  in_ = out_ = -1;
  end_wait();
}

void StreamChardev::stop_input() {
  if (in_ == out_) return stop();
  in_watch_.reset();
  in_ = -1;
}

void StreamChardev::stop_output() {
  if (in_ == out_) return stop();
  out_watch_.reset();
  out_ = -1;
  end_wait();
}

void StreamChardev::shut() {
  sink_ = nullptr;
  stop();
}

void StreamChardev::update_interest() {
  if (in_watch_) in_watch_.set({.readable = reading(), .writable = in_ == out_ && output_waits_});
  if (out_watch_) out_watch_.set({.writable = output_waits_});
}

void StreamChardev::attach(CharSink* sink) {
  sink_ = sink;
  sink_full_ = false;
  update_interest();
  if (started()) tell(CharEvent::Opened);
}

void StreamChardev::accept_input() {
  sink_full_ = false;
  update_interest();
}

size_t StreamChardev::write(ConstBytes bytes) {
  if (out_ < 0) return bytes.size();
  size_t taken = 0;
  while (taken < bytes.size()) {
    const ssize_t n = ::write(out_, &bytes[taken], bytes.size() - taken);
    if (n >= 0) {
      taken += static_cast<size_t>(n);
      if (lost_ > 0)
        log_warning("Character device '{}' works again; {} bytes of output were lost", id_,
                    std::exchange(lost_, 0));
    } else if (errno != EINTR) {
      // Also after an error: the watch then tells whether the peer is gone.
      output_waits_ = true;
      if (errno != EAGAIN) {
        report_loss(errno, bytes.size() - taken);
        taken = bytes.size();
      }
      break;
    }
  }
  update_interest();
  return taken;
}

void StreamChardev::report_loss(int os_errno, size_t size) {
  const bool peer_gone = os_errno == EPIPE || os_errno == ECONNRESET || os_errno == EIO;
  if (peer_gone) return;
  if (lost_ == 0)
    log_error("{}", os_error(os_errno, format("Character device '{}' loses output", id_)).text);
  lost_ += size;
}

// Whoever waits to write may try again.
void StreamChardev::end_wait() {
  if (!std::exchange(output_waits_, false)) return;
  update_interest();
  if (sink_) sink_->writable();
}

void StreamChardev::on_input(FdEvents events) {
  if (in_ == out_ && (events.writable || (events.hangup && !reading()))) end_wait();
  // After a hang-up, reading finds the last bytes and then the end.
  if (reading() && (events.readable || events.hangup)) read_input();
}

void StreamChardev::on_output(FdEvents events) {
  if (events.hangup) return stop_output();
  if (events.writable) end_wait();
}

ssize_t StreamChardev::read_from(int in, Bytes to) { return ::read(in, to.data(), to.size()); }

void StreamChardev::read_input() {
  std::array<std::byte, 4096> buffer;
  const size_t room = sink_->room();
  if (room == 0) {
    sink_full_ = true;
    return update_interest();
  }
  const ssize_t n = read_from(in_, Bytes(buffer).first(std::min(room, buffer.size())));
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return ended();
  loop_.tape().input([this, bytes = std::vector(buffer.begin(), buffer.begin() + n)] {
    if (sink_) sink_->receive(bytes);
  });
}

}  // namespace menura
