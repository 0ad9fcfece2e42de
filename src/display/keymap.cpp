#include "display/keymap.h"

#include <memory>
#include <span>

#include "base/text.h"

namespace menura {

namespace {

// A key's symbols: plain, with shift, with AltGr, with both; a space is none.
struct Symbols {
  Key key;
  std::u16string_view levels;
};

constexpr Symbols kEnUs[] = {
    {Key::GraveAccent, u"`~"},
    {Key::Num1, u"1!"},
    {Key::Num2, u"2@"},
    {Key::Num3, u"3#"},
    {Key::Num4, u"4$"},
    {Key::Num5, u"5%"},
    {Key::Num6, u"6^"},
    {Key::Num7, u"7&"},
    {Key::Num8, u"8*"},
    {Key::Num9, u"9("},
    {Key::Num0, u"0)"},
    {Key::Minus, u"-_"},
    {Key::Equal, u"=+"},
    {Key::Q, u"qQ"},
    {Key::W, u"wW"},
    {Key::E, u"eE"},
    {Key::R, u"rR"},
    {Key::T, u"tT"},
    {Key::Y, u"yY"},
    {Key::U, u"uU"},
    {Key::I, u"iI"},
    {Key::O, u"oO"},
    {Key::P, u"pP"},
    {Key::BracketLeft, u"[{"},
    {Key::BracketRight, u"]}"},
    {Key::Backslash, u"\\|"},
    {Key::A, u"aA"},
    {Key::S, u"sS"},
    {Key::D, u"dD"},
    {Key::F, u"fF"},
    {Key::G, u"gG"},
    {Key::H, u"hH"},
    {Key::J, u"jJ"},
    {Key::K, u"kK"},
    {Key::L, u"lL"},
    {Key::Semicolon, u";:"},
    {Key::Apostrophe, u"'\""},
    {Key::Z, u"zZ"},
    {Key::X, u"xX"},
    {Key::C, u"cC"},
    {Key::V, u"vV"},
    {Key::B, u"bB"},
    {Key::N, u"nN"},
    {Key::M, u"mM"},
    {Key::Comma, u",<"},
    {Key::Dot, u".>"},
    {Key::Slash, u"/?"},
    {Key::Less, u"<>"},
};

// What differs from en-us.
constexpr Symbols kEnGb[] = {
    {Key::GraveAccent, u"`\u00ac\u00a6"},
    {Key::Num2, u"2\""},
    {Key::Num3, u"3\u00a3"},
    {Key::Num4, u"4$\u20ac"},
    {Key::Apostrophe, u"'@"},
    {Key::Backslash, u"#~"},
    {Key::Less, u"\\|"},
};
constexpr Symbols kDe[] = {
    {Key::GraveAccent, u"^\u00b0"},
    {Key::Num2, u"2\"\u00b2"},
    {Key::Num3, u"3\u00a7\u00b3"},
    {Key::Num6, u"6&"},
    {Key::Num7, u"7/{"},
    {Key::Num8, u"8(["},
    {Key::Num9, u"9)]"},
    {Key::Num0, u"0=}"},
    {Key::Minus, u"\u00df?\\"},
    {Key::Equal, u"\u00b4`"},
    {Key::Q, u"qQ@"},
    {Key::E, u"eE\u20ac"},
    {Key::Y, u"zZ"},
    {Key::Z, u"yY"},
    {Key::BracketLeft, u"\u00fc\u00dc"},
    {Key::BracketRight, u"+*~"},
    {Key::Semicolon, u"\u00f6\u00d6"},
    {Key::Apostrophe, u"\u00e4\u00c4"},
    {Key::Backslash, u"#'"},
    {Key::M, u"mM\u00b5"},
    {Key::Comma, u",;"},
    {Key::Dot, u".:"},
    {Key::Slash, u"-_"},
    {Key::Less, u"<>|"},
};
constexpr Symbols kFr[] = {
    {Key::GraveAccent, u"\u00b2"},
    {Key::Num1, u"&1"},
    {Key::Num2, u"\u00e92~"},
    {Key::Num3, u"\"3#"},
    {Key::Num4, u"'4{"},
    {Key::Num5, u"(5["},
    {Key::Num6, u"-6|"},
    {Key::Num7, u"\u00e87`"},
    {Key::Num8, u"_8\\"},
    {Key::Num9, u"\u00e79^"},
    {Key::Num0, u"\u00e00@"},
    {Key::Minus, u")\u00b0]"},
    {Key::Equal, u"=+}"},
    {Key::Q, u"aA"},
    {Key::A, u"qQ"},
    {Key::W, u"zZ"},
    {Key::Z, u"wW"},
    {Key::E, u"eE\u20ac"},
    {Key::BracketRight, u"$\u00a3\u00a4"},
    {Key::Semicolon, u"mM"},
    {Key::Apostrophe, u"\u00f9%"},
    {Key::Backslash, u"*\u00b5"},
    {Key::M, u",?"},
    {Key::Comma, u";."},
    {Key::Dot, u":/"},
    {Key::Slash, u"!\u00a7"},
    {Key::Less, u"<>"},
};
constexpr Symbols kEs[] = {
    {Key::GraveAccent, u"\u00ba\u00aa\\"},
    {Key::Num1, u"1!|"},
    {Key::Num2, u"2\"@"},
    {Key::Num3, u"3\u00b7#"},
    {Key::Num4, u"4$~"},
    {Key::Num6, u"6&\u00ac"},
    {Key::Num7, u"7/"},
    {Key::Num8, u"8("},
    {Key::Num9, u"9)"},
    {Key::Num0, u"0="},
    {Key::Minus, u"'?"},
    {Key::Equal, u"\u00a1\u00bf"},
    {Key::E, u"eE\u20ac"},
    {Key::BracketLeft, u"`^["},
    {Key::BracketRight, u"+*]"},
    {Key::Semicolon, u"\u00f1\u00d1"},
    {Key::Apostrophe, u"\u00b4\u00a8{"},
    {Key::Backslash, u"\u00e7\u00c7}"},
    {Key::Comma, u",;"},
    {Key::Dot, u".:"},
    {Key::Slash, u"-_"},
    {Key::Less, u"<>"},
};
constexpr Symbols kIt[] = {
    {Key::GraveAccent, u"\\|"},
    {Key::Num2, u"2\""},
    {Key::Num3, u"3\u00a3"},
    {Key::Num6, u"6&"},
    {Key::Num7, u"7/{"},
    {Key::Num8, u"8(["},
    {Key::Num9, u"9)]"},
    {Key::Num0, u"0=}"},
    {Key::Minus, u"'?`"},
    {Key::Equal, u"\u00ec^~"},
    {Key::E, u"eE\u20ac"},
    {Key::BracketLeft, u"\u00e8\u00e9["},
    {Key::BracketRight, u"+*]"},
    {Key::Semicolon, u"\u00f2\u00e7@"},
    {Key::Apostrophe, u"\u00e0\u00b0#"},
    {Key::Backslash, u"\u00f9\u00a7"},
    {Key::Comma, u",;"},
    {Key::Dot, u".:"},
    {Key::Slash, u"-_"},
    {Key::Less, u"<>"},
};
constexpr Symbols kSv[] = {
    {Key::GraveAccent, u"\u00a7\u00bd"},
    {Key::Num2, u"2\"@"},
    {Key::Num3, u"3#\u00a3"},
    {Key::Num4, u"4\u00a4$"},
    {Key::Num5, u"5%\u20ac"},
    {Key::Num6, u"6&"},
    {Key::Num7, u"7/{"},
    {Key::Num8, u"8(["},
    {Key::Num9, u"9)]"},
    {Key::Num0, u"0=}"},
    {Key::Minus, u"+?\\"},
    {Key::Equal, u"\u00b4`"},
    {Key::E, u"eE\u20ac"},
    {Key::BracketLeft, u"\u00e5\u00c5"},
    {Key::BracketRight, u"\u00a8^~"},
    {Key::Semicolon, u"\u00f6\u00d6"},
    {Key::Apostrophe, u"\u00e4\u00c4"},
    {Key::Backslash, u"'*"},
    {Key::Comma, u",;"},
    {Key::Dot, u".:"},
    {Key::Slash, u"-_"},
    {Key::Less, u"<>|"},
};

// Keys that have no character, the same in every layout.
struct Function {
  u32 keysym;
  Key key;
};
constexpr Function kFunctions[] = {
    {0xff08, Key::Backspace},  {0xff09, Key::Tab},       {0xfe20, Key::Tab},
    {0xff0d, Key::Ret},        {0xff13, Key::Pause},     {0xff14, Key::ScrollLock},
    {0xff15, Key::SysRq},      {0xff1b, Key::Esc},       {0xffff, Key::Delete},
    {0xff50, Key::Home},       {0xff51, Key::Left},      {0xff52, Key::Up},
    {0xff53, Key::Right},      {0xff54, Key::Down},      {0xff55, Key::PgUp},
    {0xff56, Key::PgDn},       {0xff57, Key::End},       {0xff61, Key::Print},
    {0xff63, Key::Insert},     {0xff67, Key::Menu},      {0xff7f, Key::NumLock},
    {0xff8d, Key::KpEnter},    {0xff95, Key::Kp7},       {0xff96, Key::Kp4},
    {0xff97, Key::Kp8},        {0xff98, Key::Kp6},       {0xff99, Key::Kp2},
    {0xff9a, Key::Kp9},        {0xff9b, Key::Kp3},       {0xff9c, Key::Kp1},
    {0xff9d, Key::Kp5},        {0xff9e, Key::Kp0},       {0xff9f, Key::KpDecimal},
    {0xffaa, Key::KpMultiply}, {0xffab, Key::KpAdd},     {0xffac, Key::KpComma},
    {0xffad, Key::KpSubtract}, {0xffae, Key::KpDecimal}, {0xffaf, Key::KpDivide},
    {0xffb0, Key::Kp0},        {0xffb1, Key::Kp1},       {0xffb2, Key::Kp2},
    {0xffb3, Key::Kp3},        {0xffb4, Key::Kp4},       {0xffb5, Key::Kp5},
    {0xffb6, Key::Kp6},        {0xffb7, Key::Kp7},       {0xffb8, Key::Kp8},
    {0xffb9, Key::Kp9},        {0xffbd, Key::KpEquals},  {0xffbe, Key::F1},
    {0xffbf, Key::F2},         {0xffc0, Key::F3},        {0xffc1, Key::F4},
    {0xffc2, Key::F5},         {0xffc3, Key::F6},        {0xffc4, Key::F7},
    {0xffc5, Key::F8},         {0xffc6, Key::F9},        {0xffc7, Key::F10},
    {0xffc8, Key::F11},        {0xffc9, Key::F12},       {0xffe1, Key::Shift},
    {0xffe2, Key::ShiftR},     {0xffe3, Key::Ctrl},      {0xffe4, Key::CtrlR},
    {0xffe5, Key::CapsLock},   {0xffe7, Key::Alt},       {0xffe8, Key::AltR},
    {0xffe9, Key::Alt},        {0xffea, Key::AltR},      {0xffeb, Key::MetaL},
    {0xffec, Key::MetaR},      {0xfe03, Key::AltR},      {0xff7e, Key::AltR},
    {0x0020, Key::Spc},
};

// Dead accents are sent as such.
u32 dead_of(char16_t accent) {
  switch (accent) {
    case u'`': return 0xfe50;
    case u'\u00b4': return 0xfe51;
    case u'^': return 0xfe52;
    case u'~': return 0xfe53;
    case u'\u00a8': return 0xfe57;
    default: return 0;
  }
}

}  // namespace

struct Keymap::Layout {
  std::string_view name;
  std::span<const Symbols> differs;
};

Keymap::Keymap(const Layout& layout) {
  for (const Function& function : kFunctions) chords_[function.keysym] = {.key = function.key};
  // A symbol on two keys is typed with the first one's simplest form.
  const auto add = [this](const Symbols& symbols) {
    for (size_t level = 0; level < symbols.levels.size(); level++) {
      const char16_t c = symbols.levels[level];
      if (c == u' ') continue;
      const KeyChord chord{.key = symbols.key,
                           .shift = (level & 1) != 0,
                           .alt_gr = (level & 2) != 0,
                           .is_letter = (c >= u'a' && c <= u'z') || (c >= u'A' && c <= u'Z')};
      // Latin-1 is itself, the rest has an offset; the euro has both.
      chords_.emplace(c < 0x100 || c == 0x20ac ? c : 0x0100'0000 + c, chord);
      if (c == 0x20ac) chords_.emplace(0x0100'20ac, chord);
      if (const u32 dead = dead_of(c)) chords_.emplace(dead, chord);
    }
  };
  for (const Symbols& symbols : layout.differs) add(symbols);
  for (const Symbols& symbols : kEnUs) {
    const auto same_key = [&](const Symbols& other) { return other.key == symbols.key; };
    bool replaced = false;
    for (const Symbols& other : layout.differs) replaced |= same_key(other);
    if (!replaced) add(symbols);
  }
}

Result<const Keymap*> Keymap::of(std::string_view name) {
  static constexpr Layout kLayouts[] = {{"en-us", {}}, {"en-gb", kEnGb}, {"de", kDe}, {"fr", kFr},
                                        {"es", kEs},   {"it", kIt},      {"sv", kSv}};
  static const std::vector<Keymap> kMaps = [] {
    std::vector<Keymap> maps;
    for (const Layout& layout : kLayouts) maps.push_back(Keymap(layout));
    return maps;
  }();
  std::vector<std::string_view> known;
  for (size_t i = 0; i < std::size(kLayouts); i++) {
    if (kLayouts[i].name == name) return &kMaps[i];
    known.push_back(kLayouts[i].name);
  }
  return fail(Errc::NotFound, "There is no keyboard layout '{}'{}; known are {}", name,
              suggestion(name, known), join(known, ", "));
}

std::optional<KeyChord> Keymap::find(u32 keysym) const {
  const auto at = chords_.find(keysym);
  if (at == chords_.end()) return std::nullopt;
  return at->second;
}

}  // namespace menura
