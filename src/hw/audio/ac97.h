// Ac97: the AC'97 audio controller of Intel's ICH (82801AA, 8086:2415) with an AC'97 codec.
//
// Owner: the user. Threads: under the machine lock. Source: Intel 82801AA data sheet 290655 §13; AC'97
// Component Specification 2.3. Three engines (PCM in, PCM out, microphone) each walk a list of 32
// buffers. Deviations: what is recorded is silence; the modem is not there; of the codec's volumes
// master and PCM out are heard. Example:
//   Ac97 card("sound", time, sink);   bus.add(card, PciBus::devfn(5, 0)).value();
#pragma once

#include <array>

#include "event/timer.h"
#include "hw/core/window.h"
#include "hw/pci/pci_function.h"
#include "io/audio.h"

namespace menura {

class Ac97 final : public PciFunction {
 public:
  // Without a sink nothing is heard.
  Ac97(std::string id, TimerQueue& time, AudioSink* sink, Device* parent = nullptr);

  std::string_view type() const override { return "AC97"; }

 protected:
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  enum EngineId : unsigned { kPcmIn, kPcmOut, kMicrophone, kEngines };
  struct Engine {
    u32 list = 0;  // BDBAR
    u8 civ = 0, lvi = 0, piv = 0, control = 0;
    u16 status = 1;           // SR: halted
    u16 picb = 0;             // samples left of the present buffer
    u32 address = 0;          // of the next one
    bool interrupts = false;  // at the buffer's end
    i64 since_ns = 0;         // up to when it was played
    void describe(StateVisitor& v);
  };

  u64 read_mixer(Access access);
  void write_mixer(Access access, u64 value);
  u64 read_master(Access access);
  void write_master(Access access, u64 value);
  u8 read_master_byte(unsigned offset);
  void write_engine(unsigned number, unsigned offset, unsigned size, u32 value);
  void write_control(unsigned number, u8 value);
  void reset_codec();
  u16 codec(unsigned reg) const { return mixer_[reg / 2]; }
  bool load_buffer(Engine& engine);
  void run(unsigned number);
  void end_buffer(Engine& engine);
  bool move(unsigned number, u32 samples, i64 at_ns);
  u32 rate(unsigned number) const;
  static u32 channels(unsigned number) { return number == kMicrophone ? 1 : 2; }
  void advance();
  void arm();
  void update_irq();

  // Wiring
  Window<Ac97> mixer_window_{*this, &Ac97::read_mixer, &Ac97::write_mixer};
  Window<Ac97> master_window_{*this, &Ac97::read_master, &Ac97::write_master};
  Region mixer_region_;
  Region master_region_;
  TimerQueue& time_;
  AudioSink* const sink_;
  Timer timer_;

  // State
  std::array<u16, 64> mixer_{};
  std::array<Engine, kEngines> engines_;
  u32 global_control_ = 0;
  bool semaphore_ = false;
};

}  // namespace menura
