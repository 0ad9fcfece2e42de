// What a client is shown.
#include "display/rfb_protocol.h"
#include "display/rfb_session.h"

namespace menura {

// Rectangles with a copy of their pixels, so that a worker can take its time.
struct RfbSession::Job {
  struct Part {
    Rect rect;
    std::vector<u32> pixels;
  };
  RfbWriter out;
  unsigned count = 0;
  size_t count_at = 0;
  RfbEncoder::Settings settings;
  std::vector<Part> parts;
};

void RfbSession::resized() {
  if (!initialised()) return;
  const Surface& surface = host_.display().surface();
  dirty_.resize(surface.width(), surface.height());
  dirty_.add_all();
  size_dirty_ = true;
}

void RfbSession::inputs_changed() {
  pointer_dirty_ |= can_.pointer_type;
  led_dirty_ |= can_.led_state;
  pointer_.reset();
}

bool RfbSession::waits_for_update() const {
  return initialised() && !ended_ && (requested_ || continuous_);
}

void RfbSession::put_size(RfbWriter& out, u32 reason, u32 status) {
  const Surface& surface = host_.display().surface();
  if (!can_.extended_size) {
    out.rect(0, 0, surface.width(), surface.height(), rfb::kDesktopSize);
    return;
  }
  out.rect(reason, status, surface.width(), surface.height(), rfb::kExtendedDesktopSize);
  out.u8_(1).u8_(0).u8_(0).u8_(0);
  out.u32_(0).u16_(0).u16_(0).u16_(surface.width()).u16_(surface.height()).u32_(0);
}

unsigned RfbSession::put_pseudo_rects(RfbWriter& out) {
  unsigned count = 0;
  const Surface& surface = host_.display().surface();
  if (std::exchange(size_dirty_, false) && (can_.desktop_size || can_.extended_size)) {
    put_size(out, 0, 0);
    client_width_ = surface.width();
    client_height_ = surface.height();
    count++;
  }
  if (std::exchange(keys_dirty_, false)) {
    out.rect(0, 0, surface.width(), surface.height(), rfb::kExtendedKey);
    count++;
  }
  if (std::exchange(pointer_dirty_, false) && can_.pointer_type) {
    out.rect(host_.inputs().absolute() ? 1 : 0, 0, surface.width(), surface.height(),
             rfb::kPointerTypeChange);
    count++;
  }
  if (std::exchange(led_dirty_, false) && can_.led_state) {
    const KeyboardLeds leds = host_.inputs().leds();
    out.rect(0, 0, 1, 1, rfb::kLedState);
    out.u8_(unsigned{leds.scroll} | unsigned{leds.num} << 1 | unsigned{leds.caps} << 2);
    count++;
  }
  const CursorImage* cursor = host_.display().cursor();
  if (std::exchange(cursor_dirty_, false) && can_.cursor && cursor) {
    out.rect(cursor->hot_x, cursor->hot_y, cursor->width, cursor->height, rfb::kCursor);
    settings_.format.put_row(out, cursor->pixels.data(), cursor->pixels.size());
    for (u32 y = 0; y < cursor->height; y++)
      for (u32 x = 0; x < cursor->width; x += 8) {
        unsigned mask = 0;
        for (u32 i = 0; i < 8 && x + i < cursor->width; i++)
          if (cursor->pixels[size_t{y} * cursor->width + x + i] >> 31) mask |= 0x80u >> i;
        out.u8_(mask);
      }
    count++;
  }
  return count;
}

void RfbSession::update() {
  if (!waits_for_update() || encoding_ || wire_.unsent() > 0) return;
  auto job = std::make_shared<Job>();
  job->out.u8_(rfb::kFramebufferUpdate).u8_(0);
  job->count_at = job->out.size();
  job->out.u16_(0);
  job->count = put_pseudo_rects(job->out);
  const Surface& surface = host_.display().surface();
  // A client that cannot follow a change of size sees what fits.
  const u32 width = std::min(client_width_, surface.width());
  const u32 height = std::min(client_height_, surface.height());
  for (const Rect& taken : dirty_.take(area_)) {
    if (taken.x >= width || taken.y >= height) continue;
    const Rect rect{taken.x, taken.y, std::min(taken.width, width - taken.x),
                    std::min(taken.height, height - taken.y)};
    Job::Part part{.rect = rect, .pixels = {}};
    part.pixels.reserve(size_t{rect.width} * rect.height);
    for (u32 y = 0; y < rect.height; y++) {
      const u32* row = surface.row(rect.y + y) + rect.x;
      part.pixels.insert(part.pixels.end(), row, row + rect.width);
    }
    job->parts.push_back(std::move(part));
  }
  if (job->count == 0 && job->parts.empty()) return;
  requested_ = false;
  encoding_ = true;
  job->settings = settings_;
  host_.encode(
      [job, encoder = encoder_] {
        for (const Job::Part& part : job->parts)
          job->count += encoder->encode(
              job->settings, part.rect.x, part.rect.y,
              {part.pixels.data(), part.rect.width, part.rect.width, part.rect.height}, job->out);
        job->out.patch_u16(job->count_at, job->count);
      },
      [this, alive = alive_, job] {
        if (*alive) finish(job);
      });
}

void RfbSession::finish(const std::shared_ptr<Job>& job) {
  encoding_ = false;
  if (ended_) return;
  send_now(job->out);
  if (!fence_.empty()) wire_.send(std::exchange(fence_, {}));
}

}  // namespace menura
