#include "machine/pc/pc_user_tables.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/text.h"
#include "base/units.h"
#include "base/uuid.h"
#include "state/properties.h"

namespace menura {

namespace {

constexpr u64 kFileLimit = 1 << 20;

// The properties of each type; `type` itself was looked at before.
struct TypeOnly {
  u32 type = 0;
  void describe(PropertyVisitor& p) { p.field("type", type); }
};

struct BiosOptions : TypeOnly {
  std::string vendor, version, date, release;
  bool uefi = false;
  void describe(PropertyVisitor& p) {
    TypeOnly::describe(p);
    p.field("vendor", vendor);
    p.field("version", version);
    p.field("date", date);
    p.field("release", release);
    p.field("uefi", uefi);
  }
  Result<void> put(SmbiosConfig& c) const {
    if (!vendor.empty()) c.bios.vendor = vendor;
    if (!version.empty()) c.bios.version = version;
    if (!date.empty()) c.bios.date = date;
    if (uefi) c.bios.uefi = true;
    if (release.empty()) return {};
    const size_t dot = release.find('.');
    const Result<u64> major = parse_u64(release.substr(0, dot));
    const Result<u64> minor = parse_u64(dot == release.npos ? "" : release.substr(dot + 1));
    if (!major || !minor || *major > 255 || *minor > 255)
      return fail(Errc::InvalidArgument, "release={} is no pair of numbers like 4.2", release);
    c.bios.release = {static_cast<u8>(*major), static_cast<u8>(*minor)};
    return {};
  }
};

// Those of SmbiosNames that a type has, by the name they have there.
struct Named : TypeOnly {
  void names(PropertyVisitor& p, SmbiosNames& n, std::string_view which) {
    TypeOnly::describe(p);
    const auto has = [&](char letter) { return which.find(letter) != which.npos; };
    if (has('m')) p.field("manufacturer", n.manufacturer);
    if (has('p')) p.field("product", n.product);
    if (has('v')) p.field("version", n.version);
    if (has('s')) p.field("serial", n.serial);
    if (has('a')) p.field("asset", n.asset);
    if (has('t')) p.field("part", n.part);
    if (has('k')) p.field("sku", n.sku);
  }
};

struct SystemOptions : Named {
  SmbiosConfig& c;
  std::string uuid;
  explicit SystemOptions(SmbiosConfig& config) : c(config) {}
  void describe(PropertyVisitor& p) {
    names(p, c.system, "mpvsk");
    p.field("uuid", uuid);
    p.field("family", c.family);
  }
  Result<void> put(SmbiosConfig& config) const {
    if (!uuid.empty()) config.uuid = TRY(parse_uuid(uuid));
    return {};
  }
};

struct BoardOptions : Named {
  SmbiosConfig::Baseboard& board;
  explicit BoardOptions(SmbiosConfig& config)
      : board(config.board ? *config.board : config.board.emplace(SmbiosConfig::Baseboard{})) {}
  void describe(PropertyVisitor& p) {
    names(p, board.names, "mpvsa");
    p.field("location", board.location);
  }
  Result<void> put(SmbiosConfig&) const { return {}; }
};

struct ChassisOptions : Named {
  SmbiosConfig& c;
  explicit ChassisOptions(SmbiosConfig& config) : c(config) {}
  void describe(PropertyVisitor& p) { names(p, c.chassis, "mvsak"); }
  Result<void> put(SmbiosConfig&) const { return {}; }
};

struct ProcessorOptions : Named {
  SmbiosConfig& c;
  explicit ProcessorOptions(SmbiosConfig& config) : c(config) {}
  void describe(PropertyVisitor& p) {
    names(p, c.processor.names, "mvsat");
    p.field("sock_pfx", c.processor.socket_prefix);
    p.field("max-speed", c.processor.max_mhz);
    p.field("current-speed", c.processor.current_mhz);
    p.field("processor-id", c.processor.id);
  }
  Result<void> put(SmbiosConfig&) const { return {}; }
};

struct MemoryDeviceOptions : Named {
  SmbiosConfig& c;
  explicit MemoryDeviceOptions(SmbiosConfig& config) : c(config) {}
  void describe(PropertyVisitor& p) {
    names(p, c.memory.names, "msat");
    p.field("loc_pfx", c.memory.locator_prefix);
    p.field("bank", c.memory.bank);
    p.field("speed", c.memory.speed);
  }
  Result<void> put(SmbiosConfig&) const { return {}; }
};

template <class Options>
Result<void> read_type(Options options, const Value& given, SmbiosConfig& config) {
  TRY(read_properties(options, given, format("-smbios type={}", options.type)));
  return options.put(config);
}

// value= and path= may come many times.
Result<void> read_oem_strings(std::string_view text, SmbiosConfig& config) {
  constexpr size_t kMost = 255;
  for (const std::string_view part : split(text, ',')) {
    const size_t equals = part.find('=');
    const std::string_view key = part.substr(0, equals);
    const std::string value(equals == part.npos ? "" : part.substr(equals + 1));
    if (key == "value") {
      config.oem_strings.push_back(value);
    } else if (key == "path") {
      std::string content = TRY(read_file(value, kFileLimit), "-smbios type=11");
      content.resize(std::min(content.size(), content.find('\0')));
      config.oem_strings.push_back(std::move(content));
    } else if (key != "type") {
      return fail(Errc::InvalidArgument, "-smbios type=11: expected value= or path=, not '{}'",
                  key);
    }
  }
  if (config.oem_strings.size() > kMost)
    return fail(Errc::OutOfRange, "-smbios type=11: more than {} strings", kMost);
  return {};
}

Result<void> read_structures(const std::string& file, SmbiosConfig& config) {
  const std::string content = TRY(read_file(file, kFileLimit), "-smbios");
  auto structures = split_smbios(bytes_of(content));
  if (structures.empty())
    return fail(Errc::Corrupt, "-smbios file={}: it is not made of whole SMBIOS structures", file);
  for (auto& structure : structures) config.structures.push_back(std::move(structure));
  return {};
}

Result<void> read_smbios_option(const std::string& text, SmbiosConfig& config) {
  const Value given = TRY(parse_keyval(text), "-smbios");
  if (const Value* file = given.find("file")) {
    if (given.as<Value::Object>()->size() != 1)
      return fail(Errc::InvalidArgument, "-smbios file= stands alone, without '{}'", text);
    return read_structures(detail::print_value(*file), config);
  }
  const Value* type = given.find("type");
  if (!type) return fail(Errc::InvalidArgument, "-smbios {}: expected type= or file=", text);
  switch (TRY(detail::convert<u8>(*type), "-smbios type")) {
    case 0: return read_type(BiosOptions{}, given, config);
    case 1: return read_type(SystemOptions{config}, given, config);
    case 2: return read_type(BoardOptions{config}, given, config);
    case 3: return read_type(ChassisOptions{config}, given, config);
    case 4: return read_type(ProcessorOptions{config}, given, config);
    case 11: return read_oem_strings(text, config);
    case 17: return read_type(MemoryDeviceOptions{config}, given, config);
    default:
      return fail(Errc::Unsupported, "-smbios type={}: types 0 to 4, 11 and 17 can be described",
                  detail::print_value(*type));
  }
}

struct AcpiTableOptions {
  std::optional<std::string> sig, oem_id, oem_table_id, asl_compiler_id;
  std::optional<u8> rev;
  std::optional<u32> oem_rev, asl_compiler_rev;
  std::string file, data;
  void describe(PropertyVisitor& p) {
    p.field("sig", sig);
    p.field("rev", rev);
    p.field("oem_id", oem_id);
    p.field("oem_table_id", oem_table_id);
    p.field("oem_rev", oem_rev);
    p.field("asl_compiler_id", asl_compiler_id);
    p.field("asl_compiler_rev", asl_compiler_rev);
    p.field("file", file);
    p.field("data", data);
  }
};

// The fields of a header, §5.2.6.
enum : unsigned {
  kSignature = 0,
  kRevision = 8,
  kOemId = 10,
  kOemTableId = 16,
  kOemRevision = 24,
  kCreatorId = 28,
  kCreatorRevision = 32,
  kHeaderSize = 36
};

Result<void> put_text(std::vector<std::byte>& table, size_t at, size_t size,
                      const std::optional<std::string>& text) {
  if (!text) return {};
  if (text->size() > size)
    return fail(Errc::OutOfRange, "-acpitable: '{}' has more than {} characters", *text, size);
  for (size_t i = 0; i < size; i++)
    table[at + i] = static_cast<std::byte>(i < text->size() ? (*text)[i] : 0);
  return {};
}

Result<std::vector<std::byte>> read_acpi_table(const std::string& text) {
  AcpiTableOptions options;
  const Value given = TRY(parse_keyval(text), "-acpitable");
  TRY(read_properties(options, given, "-acpitable"));
  if (options.file.empty() == options.data.empty())
    return fail(Errc::InvalidArgument, "-acpitable {}: expected either file= or data=", text);
  const bool whole = !options.file.empty();
  if (!whole && !options.sig)
    return fail(Errc::InvalidArgument, "-acpitable data=: the table needs a sig=");
  std::vector<std::byte> table(whole ? size_t{0} : size_t{kHeaderSize});
  if (!whole) {
    options.rev = options.rev.value_or(1);
    options.oem_id = options.oem_id.value_or("MENURA");
    options.oem_table_id = options.oem_table_id.value_or("MENURAPC");
    options.oem_rev = options.oem_rev.value_or(1);
    options.asl_compiler_id = options.asl_compiler_id.value_or("MNRA");
    options.asl_compiler_rev = options.asl_compiler_rev.value_or(1);
  }
  for (const std::string_view file : split(whole ? options.file : options.data, ':')) {
    const std::string content = TRY(read_file(std::string(file), kFileLimit), "-acpitable");
    const ConstBytes bytes = bytes_of(content);
    table.insert(table.end(), bytes.begin(), bytes.end());
  }
  if (table.size() < kHeaderSize)
    return fail(Errc::Corrupt, "-acpitable file={}: a table has {} bytes at least", options.file,
                kHeaderSize);
  TRY(put_text(table, kSignature, 4, options.sig));
  TRY(put_text(table, kOemId, 6, options.oem_id));
  TRY(put_text(table, kOemTableId, 8, options.oem_table_id));
  TRY(put_text(table, kCreatorId, 4, options.asl_compiler_id));
  if (options.rev) table[kRevision] = static_cast<std::byte>(*options.rev);
  if (options.oem_rev) store_le(Bytes(table), kOemRevision, *options.oem_rev);
  if (options.asl_compiler_rev) store_le(Bytes(table), kCreatorRevision, *options.asl_compiler_rev);
  table[9] = std::byte{0};  // the checksum
  return table;
}

}  // namespace

Result<SmbiosConfig> read_smbios_options(const std::vector<std::string>& options) {
  SmbiosConfig config;
  for (const std::string& option : options) TRY(read_smbios_option(option, config));
  return config;
}

Result<std::vector<std::vector<std::byte>>> read_acpi_tables(
    const std::vector<std::string>& options) {
  std::vector<std::vector<std::byte>> tables;
  for (const std::string& option : options) tables.push_back(TRY(read_acpi_table(option)));
  return tables;
}

}  // namespace menura
