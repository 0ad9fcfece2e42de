// InputSink: a keyboard, mouse or tablet of the machine; Inputs: all of them, and where the user's
// keys and movements go.
//
// Owner: the machine; devices add themselves, front ends (monitor, VNC) call. Threads: under the
// machine lock. What users do enters through the Tape. Example, of a tablet:
//   inputs.add(*this);                 // takes() says {.absolute = true}
//   inputs.activate(*this);            // the guest's driver listens: it now gets the pointer
//   void move_to(u16 x, u16 y) override { x_ = x; y_ = y; }   void sync() override { report(); }
#pragma once

#include <bitset>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "event/tape.h"
#include "io/keys.h"

namespace menura {

enum class PointerButton : u8 { Left, Middle, Right, Side, Extra };

// The far corner of an absolute pointer is at (kPointerMax, kPointerMax), the near one at (0, 0).
inline constexpr u16 kPointerMax = 0x7fff;

struct InputKinds {
  bool keys = false;
  bool relative = false;
  bool absolute = false;
};

class InputSink {
 public:
  virtual ~InputSink() = default;
  virtual InputKinds takes() const = 0;
  virtual std::string_view input_name() const = 0;  // for people: "PS/2 mouse"

  virtual void key(Key /*key*/, bool /*down*/) {}
  virtual void move(i32 /*dx*/, i32 /*dy*/) {}   // right and down are positive
  virtual void move_to(u16 /*x*/, u16 /*y*/) {}  // 0 to kPointerMax
  virtual void button(PointerButton /*button*/, bool /*down*/) {}
  virtual void wheel(i32 /*up*/, i32 /*right*/) {}  // notches
  // The calls since the last one belong together: one report.
  virtual void sync() {}
};

// A keyboard's lights.
struct KeyboardLeds {
  bool scroll = false, num = false, caps = false;
  bool operator==(const KeyboardLeds&) const = default;
};

class Inputs {
 public:
  explicit Inputs(Tape& tape) : tape_(tape) {}
  Inputs(const Inputs&) = delete;
  Inputs& operator=(const Inputs&) = delete;

  // For devices. The one activated last gets what it takes; until one is, the one added first.
  void add(InputSink& sink);
  void remove(InputSink& sink);
  void activate(InputSink& sink);
  // What a sink takes is no more what it was.
  void kinds_changed() { tell(); }
  void set_leds(const InputSink& sink, KeyboardLeds leds);

  // For front ends. Without a device that takes it an event is lost; the result says so.
  bool key(Key key, bool down);
  bool move(i32 dx, i32 dy);
  bool move_to(u16 x, u16 y);
  bool button(PointerButton button, bool down);
  bool wheel(i32 up, i32 right);
  void sync();
  // Lets go of every key and button that is down.
  void release_all();

  bool has_keyboard() const { return keyboard() != nullptr; }
  // Whether the pointer in use takes positions, not movements.
  bool absolute() const;
  KeyboardLeds leds() const { return leds_; }
  // Where move_to() was last; the near corner at first.
  std::pair<u16, u16> place() const { return {x_, y_}; }
  bool is_down(Key key) const { return down_[static_cast<size_t>(key)]; }
  bool is_down(PointerButton button) const { return buttons_down_[static_cast<size_t>(button)]; }

  // Called when leds() or absolute() may have changed. The id is for unobserve().
  unsigned observe(std::function<void()> changed);
  void unobserve(unsigned id);

  // For info mice: pointers in order of preference, the first is in use.
  struct Pointer {
    unsigned number = 0;  // by order of adding, as select_pointer() takes it
    std::string name;
    bool absolute = false;
    bool current = false;
  };
  std::vector<Pointer> pointers() const;
  Result<void> select_pointer(unsigned number);

 private:
  InputSink* keyboard() const;
  InputSink* pointer() const;
  InputSink* pointer_taking(bool absolute) const;
  void tell() const;

  // Wiring
  Tape& tape_;
  struct Entry {
    InputSink* sink;
    unsigned number;
  };
  std::vector<Entry> sinks_;  // the preferred one first
  struct Observer {
    unsigned id;
    std::function<void()> call;
  };
  std::vector<Observer> observers_;
  unsigned next_number_ = 0;
  unsigned next_observer_ = 1;
  // State
  std::bitset<static_cast<size_t>(Key::kCount)> down_;
  std::bitset<5> buttons_down_;
  KeyboardLeds leds_;
  u16 x_ = 0, y_ = 0;
};

}  // namespace menura
