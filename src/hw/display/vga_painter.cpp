#include "hw/display/vga_painter.h"

#include "base/bits.h"

namespace menura {

namespace {

// Blanked monitors still have a size.
constexpr u32 kBlankWidth = 720, kBlankHeight = 400;

u32 bit_of(u8 value, unsigned from, unsigned to) { return u32{(value >> from) & 1u} << to; }

struct Cursor {
  u32 place = ~0u;  // counter
  u32 first = 0, last = 0;
};

Cursor cursor_of(const VgaRegisters& r) {
  Cursor cursor;
  cursor.first = r.cr[crtc::kCursorStart] & 0x1f;
  cursor.last = r.cr[crtc::kCursorEnd] & 0x1f;
  if (!(r.cr[crtc::kCursorStart] & crtc::kCursorOff) && cursor.first <= cursor.last)
    cursor.place = u32{r.cr[crtc::kCursorHigh]} << 8 | r.cr[crtc::kCursorLow];
  return cursor;
}

// Where a character map lies in plane 2: the first four every 16 KiB, the others between them.
u32 font_offset(unsigned map) { return (map & 3) * 0x4000 + (map & 4 ? 0x2000 : 0); }

u32 font_of(const VgaRegisters& r, u8 attributes) {
  const u8 maps = r.sr[sequencer::kCharacterMap];
  if (attributes & 8) return font_offset(bits(maps, 3, 2) | bit_of(maps, 5, 2));
  return font_offset(bits(maps, 1, 0) | bit_of(maps, 4, 2));
}

}  // namespace

VgaMode VgaMode::of(const VgaRegisters& r) {
  VgaMode mode;
  const u8 overflow = r.cr[crtc::kOverflow], scan = r.cr[crtc::kMaximumScanLine];
  const u8 clocking = r.sr[sequencer::kClockingMode];
  mode.characters = r.cr[crtc::kHorizontalDisplayEnd] + 1u;
  mode.lines =
      (r.cr[crtc::kVerticalDisplayEnd] | bit_of(overflow, 1, 8) | bit_of(overflow, 6, 9)) + 1;
  mode.cell = (scan & 0x1fu) + 1;
  mode.scans = scan & crtc::kDoubleScan ? 2 : 1;
  mode.start = u32{r.cr[crtc::kStartHigh]} << 8 | r.cr[crtc::kStartLow];
  mode.pitch = r.cr[crtc::kOffset] * 2u;
  mode.line_compare = r.cr[crtc::kLineCompare] | bit_of(overflow, 4, 8) | bit_of(scan, 6, 9);
  mode.zoom = clocking & sequencer::kHalfDotClock ? 2 : 1;
  if (!(r.ar_index & attribute::kPaletteSource) || (clocking & sequencer::kScreenOff)) {
    mode = {.characters = kBlankWidth / 8, .lines = kBlankHeight};
  } else if (!(r.gr[graphics::kMiscellaneous] & graphics::kGraphicsMode)) {
    mode.kind = Kind::Text;
    mode.dots = clocking & sequencer::kEightDots ? 8 : 9;
  } else {
    const u8 control = r.gr[graphics::kMode];
    mode.kind = control & graphics::kColour256    ? Kind::Colour256
                : control & graphics::kInterleave ? Kind::Cga
                                                  : Kind::Planar;
    mode.panning = r.ar[attribute::kPanning] & 7;
    mode.pan_below = !(r.ar[attribute::kMode] & attribute::kPanOnlyAbove);
    if (mode.kind == Kind::Colour256) mode.zoom = 1;
  }
  return mode;
}

void VgaPainter::update_palette(const VgaCore& vga) {
  const VgaRegisters& r = vga.registers();
  const u8 select = r.ar[attribute::kColourSelect];
  for (unsigned i = 0; i < 16; i++) {
    u8 index = r.ar[i] & 0x3f;
    if (r.ar[attribute::kMode] & attribute::kSelectP5P4)
      index = static_cast<u8>((index & 0x0f) | (select & 3) << 4);
    palette_[i] = vga.colour(static_cast<u8>(index | (select & 0x0c) << 4));
  }
}

void VgaPainter::paint(VgaCore& vga, Display& display, const DirtyPages& pages) {
  const VgaMode mode = VgaMode::of(vga.registers());
  const bool changed = vga.take_changed();
  const bool all = display.resize(mode.width(), mode.lines) || pages.all() || mode_ != mode;
  mode_ = mode;
  if (!all && !changed && pages.none()) return;
  update_palette(vga);
  switch (mode.kind) {
    case VgaMode::Kind::Blank:
      if (!all && !changed) return;
      for (u32 y = 0; y < mode.lines; y++) std::fill_n(display.row(y), mode.width(), 0);
      return display.changed({0, 0, mode.width(), mode.lines});
    case VgaMode::Kind::Text: return paint_text(vga, display, all || changed);
    case VgaMode::Kind::Planar:
    case VgaMode::Kind::Cga:
    case VgaMode::Kind::Colour256:
      return paint_lines(vga, display, all || changed ? DirtyPages::everything() : pages);
  }
}

// Text

void VgaPainter::paint_text(VgaCore& vga, Display& display, bool all) {
  const VgaRegisters& r = vga.registers();
  const u32 cell_lines = mode_->cell * mode_->scans;
  const u32 rows = (mode_->lines + cell_lines - 1) / cell_lines;
  const size_t count = size_t{rows} * mode_->characters;
  if (cells_.size() != count) {
    cells_.assign(count, {});
    all = true;
  }
  const Cursor cursor = cursor_of(r);
  for (u32 row = 0; row < rows; row++) {
    for (u32 column = 0; column < mode_->characters; column++) {
      const u32 counter = mode_->start + row * mode_->pitch + column;
      const u64 at = u64{counter} * 4 & vga.vram_mask() & ~u64{3};
      const Cell now{.code = vga.vram().load<u16>(at),
                     .cursor = (counter & 0xffff) == cursor.place};
      Cell& shown = cells_[size_t{row} * mode_->characters + column];
      if (!all && shown == now) continue;
      shown = now;
      paint_cell(vga, display, now, column, row);
    }
  }
}

void VgaPainter::paint_cell(VgaCore& vga, Display& display, const Cell& cell, u32 column, u32 row) {
  const VgaRegisters& r = vga.registers();
  const Cursor cursor = cursor_of(r);
  const u8 character = static_cast<u8>(cell.code), attributes = static_cast<u8>(cell.code >> 8);
  const u8 control = r.ar[attribute::kMode];
  const u32 front = palette_[attributes & 0x0f];
  const u32 back = palette_[(attributes >> 4) & (control & attribute::kBlink ? 7 : 15)];
  const u32 font = font_of(r, attributes) + character * 32u;
  const bool wide_line = (control & attribute::kLineGraphics) && (character & 0xe0) == 0xc0;
  const bool underlined = (control & 2) && (attributes & 7) == 1;
  const u32 width = mode_->dots * mode_->zoom, height = mode_->cell * mode_->scans;
  const u32 x = column * width, y = row * height;
  for (u32 line = 0; line < height && y + line < mode_->lines; line++) {
    const u32 scan = line / mode_->scans;
    u32 shape = vga.vram().load<u8>((u64{font + scan} * 4 + 2) & vga.vram_mask()) << 1;
    if (wide_line) shape |= (shape >> 1) & 1;
    if (cell.cursor && scan >= cursor.first && scan <= cursor.last) shape = 0x1ff;
    if (underlined && scan == (r.cr[crtc::kUnderline] & 0x1fu)) shape = 0x1ff;
    u32* to = display.row(y + line) + x;
    for (u32 dot = 0; dot < width; dot++)
      to[dot] = (shape >> (8 - dot / mode_->zoom)) & 1 ? front : back;
  }
  display.changed({x, y, width, height});
}

std::optional<TextScreen> VgaPainter::text(VgaCore& vga) {
  const VgaRegisters& r = vga.registers();
  const VgaMode mode = VgaMode::of(r);
  if (mode.kind != VgaMode::Kind::Text) return std::nullopt;
  const u32 rows = mode.lines / (mode.cell * mode.scans);
  TextScreen screen{.columns = mode.characters, .rows = rows};
  const Cursor cursor = cursor_of(r);
  for (u32 row = 0; row < rows; row++) {
    for (u32 column = 0; column < mode.characters; column++) {
      const u32 counter = mode.start + row * mode.pitch + column;
      const u16 code = vga.vram().load<u16>(u64{counter} * 4 & vga.vram_mask() & ~u64{3});
      screen.characters.push_back(static_cast<u8>(code));
      screen.attributes.push_back(static_cast<u8>(code >> 8));
      if ((counter & 0xffff) == cursor.place) screen.cursor = {column, row};
    }
  }
  return screen;
}

// Graphics

// The counter at a line of the monitor. CGA's modes put the row within the cell into the address.
u64 VgaPainter::counter_of_line(const VgaRegisters& r, u32 line) const {
  u32 counter = mode_->start;
  if (line > mode_->line_compare) {
    counter = 0;
    line -= mode_->line_compare + 1;
  }
  const u32 scan = line / mode_->scans;
  counter += scan / mode_->cell * mode_->pitch;
  const u32 row = scan % mode_->cell;
  const u8 control = r.cr[crtc::kModeControl];
  const unsigned a13 = control & crtc::kByteMode ? 13 : 12;
  if (!(control & crtc::kRowScanIsA13)) counter = (counter & ~(1u << a13)) | (row & 1) << a13;
  if (!(control & crtc::kRowScanIsA14))
    counter = (counter & ~(2u << a13)) | ((row >> 1) & 1) << (a13 + 1);
  return counter;
}

void VgaPainter::paint_lines(VgaCore& vga, Display& display, const DirtyPages& pages) {
  const u32 width = mode_->width();
  const u64 bytes = (u64{mode_->characters} + 1) * 4;
  u32 first = 0, count = 0;  // lines drawn and not told yet
  u64 drawn_counter = ~u64{0};
  bool drawn_below = false;
  for (u32 y = 0; y < mode_->lines; y++) {
    const u64 counter = counter_of_line(vga.registers(), y);
    const bool below = y > mode_->line_compare;
    const u64 at = counter * 4 & vga.vram_mask();
    if (!pages.touches(at, bytes) && at + bytes <= vga.vram().size()) {
      if (count > 0) display.changed({0, first, width, std::exchange(count, 0)});
      continue;
    }
    if (counter != drawn_counter || below != drawn_below) {
      read_line(vga, counter, dots_);
      drawn_counter = counter;
      drawn_below = below;
    }
    const u32 pan = below && !mode_->pan_below ? 0 : mode_->panning;
    u32* to = display.row(y);
    for (u32 x = 0; x < width; x++) to[x] = dots_[x / mode_->zoom + pan];
    if (count++ == 0) first = y;
  }
  if (count > 0) display.changed({0, first, width, count});
}

// One more character than is shown, for panning.
void VgaPainter::read_line(VgaCore& vga, u64 counter, std::vector<u32>& dots) const {
  const u8 planes = vga.registers().ar[attribute::kPlaneEnable] & 0x0f;
  dots.resize((size_t{mode_->characters} + 1) * 8);
  for (u32 c = 0; c <= mode_->characters; c++) {
    const u32 data = vga.vram().load<u32>((counter + c) * 4 & vga.vram_mask() & ~u64{3});
    u32* to = &dots[size_t{c} * 8];
    for (unsigned i = 0; i < 8; i++) {
      u32 index = 0;
      switch (mode_->kind) {
        case VgaMode::Kind::Colour256:
          to[i] = vga.colour(static_cast<u8>(data >> (8 * (i / 2))));
          continue;
        case VgaMode::Kind::Cga: {
          const unsigned shift = i / 4 * 8 + 6 - i % 4 * 2;
          index = ((data >> shift) & 3) | ((data >> (shift + 16)) & 3) << 2;
          break;
        }
        default:
          for (unsigned plane = 0; plane < 4; plane++)
            index |= ((data >> (8 * plane + 7 - i)) & 1) << plane;
      }
      to[i] = palette_[index & planes];
    }
  }
}

}  // namespace menura
