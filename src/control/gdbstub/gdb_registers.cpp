#include "control/gdbstub/gdb_registers.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/bytes.h"
#include "base/format.h"

namespace menura {

namespace {

using x86::State;

constexpr size_t kMaxWidth = 16;  // bytes of the widest register
using Content = std::array<std::byte, kMaxWidth>;

struct Register {
  std::string name;
  std::string type;
  unsigned width;  // bytes
  void (*read)(const State& state, unsigned index, Content& to);
  void (*write)(State& state, unsigned index, const Content& from);  // null: read-only
  unsigned index = 0;                                                // for read and write
  std::string group = {};
};

struct Feature {
  std::string name;
  std::string types;  // XML
  std::vector<Register> registers;
};

u64 number(const Content& from) { return load_le<u64>(ConstBytes(from), 0); }
void set_number(Content& to, u64 value) { store_le<u64>(Bytes(to), 0, value); }

template <auto member>
void read_member(const State& s, unsigned, Content& to) {
  set_number(to, s.*member);
}
template <auto member>
void write_member(State& s, unsigned, const Content& from) {
  s.*member = static_cast<std::remove_reference_t<decltype(s.*member)>>(number(from));
}
template <auto member>
Register scalar(std::string name, std::string type, unsigned width) {
  return {std::move(name), std::move(type), width, read_member<member>, write_member<member>};
}

// GDB's order differs from the encoding's.
constexpr unsigned kGprOrder[] = {0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15};
constexpr std::string_view kGprNames[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr unsigned kSegmentOrder[] = {x86::Cs, x86::Ss, x86::Ds, x86::Es, x86::Fs, x86::Gs};
constexpr std::string_view kSegmentNames[] = {"es", "cs", "ss", "ds", "fs", "gs"};

void read_gpr(const State& s, unsigned i, Content& to) { set_number(to, s.gpr[i]); }
void write_gpr(State& s, unsigned i, const Content& from) { s.gpr[i] = number(from); }
void read_selector(const State& s, unsigned i, Content& to) { set_number(to, s.seg[i].selector); }
void read_base(const State& s, unsigned i, Content& to) { set_number(to, s.seg[i].base); }
void write_base(State& s, unsigned i, const Content& from) { s.seg[i].base = number(from); }

// x87. The tag word has two bits a physical register; of the non-empty ones only whether they are
// zero, special or valid can be told, which GDB works out itself.
void read_st(const State& s, unsigned i, Content& to) {
  std::ranges::copy(std::as_bytes(std::span(s.x87.st[i])), to.begin());
}
void write_st(State& s, unsigned i, const Content& from) {
  std::copy_n(from.begin(), s.x87.st[i].size(),
              std::as_writable_bytes(std::span(s.x87.st[i])).begin());
}
void read_ftag(const State& s, unsigned, Content& to) {
  u64 tags = 0;
  for (unsigned i = 0; i < 8; i++)
    if (!(s.x87.ftw >> i & 1)) tags |= u64{3} << 2 * i;
  set_number(to, tags);
}
void write_ftag(State& s, unsigned, const Content& from) {
  s.x87.ftw = 0;
  for (unsigned i = 0; i < 8; i++)
    if ((number(from) >> 2 * i & 3) != 3) s.x87.ftw = static_cast<u8>(s.x87.ftw | 1u << i);
}
enum X87 : unsigned { Control, Status, InstructionOffset, OperandOffset, Opcode, Unknown };
void read_x87(const State& s, unsigned what, Content& to) {
  const u64 values[] = {s.x87.fcw, s.x87.fsw, s.x87.fip & 0xffff'ffff, s.x87.fdp & 0xffff'ffff,
                        s.x87.fop, 0};
  set_number(to, values[what]);
}
void write_x87(State& s, unsigned what, const Content& from) {
  const u64 value = number(from);
  switch (what) {
    case Control: s.x87.fcw = static_cast<u16>(value); break;
    case Status: s.x87.fsw = static_cast<u16>(value); break;
    case InstructionOffset: s.x87.fip = value; break;
    case OperandOffset: s.x87.fdp = value; break;
    case Opcode: s.x87.fop = static_cast<u16>(value); break;
    default: break;
  }
}

template <unsigned half>
void read_vector(const State& s, unsigned i, Content& to) {
  store_le<u64>(Bytes(to), 0, s.vec[i].qwords[2 * half]);
  store_le<u64>(Bytes(to), 8, s.vec[i].qwords[2 * half + 1]);
}
template <unsigned half>
void write_vector(State& s, unsigned i, const Content& from) {
  s.vec[i].qwords[2 * half] = load_le<u64>(ConstBytes(from), 0);
  s.vec[i].qwords[2 * half + 1] = load_le<u64>(ConstBytes(from), 8);
}

constexpr std::string_view kFlagsType =
    "<flags id=\"i386_eflags\" size=\"4\">"
    "<field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"\" start=\"1\" end=\"1\"/>"
    "<field name=\"PF\" start=\"2\" end=\"2\"/><field name=\"AF\" start=\"4\" end=\"4\"/>"
    "<field name=\"ZF\" start=\"6\" end=\"6\"/><field name=\"SF\" start=\"7\" end=\"7\"/>"
    "<field name=\"TF\" start=\"8\" end=\"8\"/><field name=\"IF\" start=\"9\" end=\"9\"/>"
    "<field name=\"DF\" start=\"10\" end=\"10\"/><field name=\"OF\" start=\"11\" end=\"11\"/>"
    "<field name=\"NT\" start=\"14\" end=\"14\"/><field name=\"RF\" start=\"16\" end=\"16\"/>"
    "<field name=\"VM\" start=\"17\" end=\"17\"/><field name=\"AC\" start=\"18\" end=\"18\"/>"
    "<field name=\"VIF\" start=\"19\" end=\"19\"/><field name=\"VIP\" start=\"20\" end=\"20\"/>"
    "<field name=\"ID\" start=\"21\" end=\"21\"/></flags>";
constexpr std::string_view kVectorTypes =
    "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
    "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
    "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
    "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
    "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
    "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
    "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>"
    "<field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>"
    "<field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/>"
    "<field name=\"v2_int64\" type=\"v2i64\"/><field name=\"uint128\" type=\"uint128\"/></union>";

Feature core() {
  Feature f{"org.gnu.gdb.i386.core", std::string(kFlagsType), {}};
  for (const unsigned i : kGprOrder) {
    const bool pointer = i == 4 || i == 5;  // rsp, rbp
    f.registers.push_back(
        {std::string(kGprNames[i]), pointer ? "data_ptr" : "int64", 8, read_gpr, write_gpr, i});
  }
  f.registers.push_back(scalar<&State::rip>("rip", "code_ptr", 8));
  f.registers.push_back(scalar<&State::rflags>("eflags", "i386_eflags", 4));
  for (const unsigned i : kSegmentOrder)
    f.registers.push_back({std::string(kSegmentNames[i]), "int32", 4, read_selector, nullptr, i});
  for (unsigned i = 0; i < 8; i++)
    f.registers.push_back({format("st{}", i), "i387_ext", 10, read_st, write_st, i});
  const auto x87 = [&](std::string name, X87 what) {
    f.registers.push_back({std::move(name), "int", 4, read_x87, write_x87, what, "float"});
  };
  x87("fctrl", Control);
  x87("fstat", Status);
  f.registers.push_back({"ftag", "int", 4, read_ftag, write_ftag, 0, "float"});
  x87("fiseg", Unknown);
  x87("fioff", InstructionOffset);
  x87("foseg", Unknown);
  x87("fooff", OperandOffset);
  x87("fop", Opcode);
  return f;
}

Feature sse() {
  Feature f{"org.gnu.gdb.i386.sse", std::string(kVectorTypes), {}};
  for (unsigned i = 0; i < 16; i++)
    f.registers.push_back({format("xmm{}", i), "vec128", 16, read_vector<0>, write_vector<0>, i});
  f.registers.push_back(scalar<&State::mxcsr>("mxcsr", "int", 4));
  f.registers.back().group = "vector";
  return f;
}

Feature avx() {
  Feature f{"org.gnu.gdb.i386.avx", {}, {}};
  for (unsigned i = 0; i < 16; i++)
    f.registers.push_back({format("ymm{}h", i), "uint128", 16, read_vector<1>, write_vector<1>, i});
  return f;
}

Feature segments() {
  Feature f{"org.gnu.gdb.i386.segments", {}, {}};
  f.registers.push_back({"fs_base", "int64", 8, read_base, write_base, x86::Fs});
  f.registers.push_back({"gs_base", "int64", 8, read_base, write_base, x86::Gs});
  return f;
}

Feature system() {
  Feature f{"org.menura.x86.system", {}, {}};
  f.registers = {scalar<&State::kernel_gs_base>("k_gs_base", "int64", 8),
                 scalar<&State::cr0>("cr0", "int64", 8),
                 scalar<&State::cr2>("cr2", "int64", 8),
                 scalar<&State::cr3>("cr3", "int64", 8),
                 scalar<&State::cr4>("cr4", "int64", 8),
                 scalar<&State::cr8>("cr8", "int64", 8),
                 scalar<&State::efer>("efer", "int64", 8)};
  for (const unsigned i : {x86::Cs, x86::Ss, x86::Ds, x86::Es})
    f.registers.push_back(
        {format("{}_base", kSegmentNames[i]), "int64", 8, read_base, write_base, i});
  return f;
}

const std::vector<Feature>& features() {
  static const std::vector<Feature> kFeatures = {core(), sse(), avx(), segments(), system()};
  return kFeatures;
}

const Register* find_register(unsigned wanted) {
  for (const Feature& feature : features()) {
    if (wanted < feature.registers.size()) return &feature.registers[wanted];
    wanted -= static_cast<unsigned>(feature.registers.size());
  }
  return nullptr;
}

}  // namespace

std::string gdb_target_description() {
  std::string xml =
      "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
      "<target><architecture>i386:x86-64</architecture>";
  for (const Feature& feature : features()) {
    xml += format("<feature name=\"{}\">{}", feature.name, feature.types);
    for (const Register& r : feature.registers)
      xml += format("<reg name=\"{}\" bitsize=\"{}\" type=\"{}\"{}/>", r.name, 8 * r.width, r.type,
                    r.group.empty() ? "" : format(" group=\"{}\"", r.group));
    xml += "</feature>";
  }
  return xml + "</target>";
}

unsigned gdb_register_count() {
  size_t count = 0;
  for (const Feature& feature : features()) count += feature.registers.size();
  return static_cast<unsigned>(count);
}

std::optional<std::vector<std::byte>> read_gdb_register(const x86::State& state, unsigned number) {
  const Register* r = find_register(number);
  if (!r) return {};
  Content content{};
  r->read(state, r->index, content);
  return std::vector<std::byte>(content.begin(), content.begin() + r->width);
}

bool write_gdb_register(x86::State& state, unsigned number, ConstBytes value) {
  const Register* r = find_register(number);
  if (!r || !r->write || value.size() != r->width) return false;
  Content content{};
  std::ranges::copy(value, content.begin());
  r->write(state, r->index, content);
  return true;
}

std::vector<std::byte> read_gdb_registers(const x86::State& state) {
  std::vector<std::byte> all;
  for (unsigned i = 0; i < gdb_register_count(); i++) {
    const std::vector<std::byte> one = *read_gdb_register(state, i);
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

void write_gdb_registers(x86::State& state, ConstBytes values) {
  for (unsigned i = 0; i < gdb_register_count(); i++) {
    const unsigned width = find_register(i)->width;
    if (values.size() < width) return;
    write_gdb_register(state, i, values.first(width));
    values = values.subspan(width);
  }
}

}  // namespace menura
