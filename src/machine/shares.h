// Shares and Audiodevs: a machine's shared folders, and the places its sound goes to, by id.
//
// Owner: Machine. Threads: under the machine lock. Example:
//   FileShare* share = TRY(machine.shares().take("fs0"));
//   AudioSink* sink = TRY(machine.audiodevs().find("snd0"));
#pragma once

#include <map>
#include <memory>
#include <string>

#include "audio/audiodev.h"
#include "event/worker_pool.h"
#include "io/file_share.h"
#include "share/config.h"

namespace menura {

class Shares {
 public:
  Shares(EventLoop& loop, WorkerPool& workers) : loop_(loop), workers_(workers) {}
  Result<void> create(const ShareOptions& options);
  // Each device has one of its own.
  Result<FileShare*> take(std::string_view id);

 private:
  struct Share {
    std::unique_ptr<FileShare> share;
    bool taken = false;
  };
  // Wiring
  EventLoop& loop_;
  WorkerPool& workers_;
  // State
  std::map<std::string, Share, std::less<>> shares_;
};

class Audiodevs {
 public:
  Result<void> create(const AudioOptions& options);
  // Several devices may play to one. Without an id the first one; null when there is none.
  Result<AudioSink*> find(std::string_view id) const;

 private:
  std::vector<std::pair<std::string, std::unique_ptr<AudioSink>>> sinks_;
};

}  // namespace menura
