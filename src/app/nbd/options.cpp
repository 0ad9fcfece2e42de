#include "app/nbd/options.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "base/units.h"
#include "block/nbd/protocol.h"
#include "block/tool/arguments.h"

namespace menura::nbd {

namespace {

// In the order of --help.
constexpr Flag kFlags[] = {
    {'h', "help", "", "show this text"},
    {'V', "version", "", "show the version"},
    {'v', "verbose", "", "tell on standard error who comes and goes"},
    {'T', "trace", "PATTERN", "trace the events of that name"},
    {0, "object", "TYPE,id=ID,...", "make a secret, or credentials for TLS"},
    {'p', "port", "PORT", "TCP port (10809)"},
    {'b', "bind", "ADDRESS", "host name or address to listen on (all)"},
    {'k', "socket", "PATH", "a UNIX domain socket instead of TCP"},
    {0, "tls-creds", "ID", "speak TLS only, with this object's credentials"},
    {0, "tls-hostname", "NAME", "with --list: whose certificate to expect"},
    {'L', "list", "", "serve nothing: list the exports of the server there"},
    {'e', "shared", "N", "so many clients at once (1); 0: up to 1000"},
    {'t', "persistent", "", "go on when the last client has left"},
    {0, "handshake-limit", "SECONDS", "how long a client may negotiate (10)"},
    {0, "fork", "", "return when clients can connect, serve in the background"},
    {0, "pid-file", "PATH", "write the server's process ID there"},
    {'x', "export-name", "NAME", "the export's name (empty)"},
    {'D', "description", "TEXT", "what clients can show people about it"},
    {'B', "bitmap", "NAME", "let clients see this dirty bitmap; may be repeated"},
    {'A', "allocation-depth", "", "let clients see which image of the chain has what"},
    {'f', "format", "FORMAT", "the image's format (by its first bytes)"},
    {0, "image-opts", "", "FILE is options, driver=...,file.filename=..."},
    {'o', "offset", "SIZE", "begin the export that far into the image"},
    {'r', "read-only", "", "let nobody write"},
    {'s', "snapshot", "", "keep writes in a file that is gone afterwards"},
    {'l', "load-snapshot", "NAME", "show an internal snapshot, read-only"},
    {'n', "nocache", "", "the same as --cache=none"},
    {0, "cache", "MODE", "none, writeback (default), writethrough, directsync, unsafe"},
    {0, "aio", "MODE", "threads is all there is"},
    {0, "discard", "MODE", "what to do with clients' trims: ignore (default), unmap"},
    {0, "detect-zeroes", "MODE", "turn written zeroes into holes: off, on, unmap"},
};

Error wrong(std::string_view flag, std::string_view value,
            std::span<const std::string_view> choices) {
  return fail(Errc::InvalidArgument, "--{}: '{}' is not one of {}{}", flag, value,
              join(choices, ", "), suggestion(value, choices));
}

Result<u64> number(const Arguments& arguments, std::string_view flag, u64 fallback, u64 most) {
  const std::optional<std::string> text = arguments.value(flag);
  if (!text) return fallback;
  const Result<u64> value = parse_u64(*text);
  if (!value || *value > most)
    return fail(Errc::InvalidArgument, "--{}: '{}' is not a number from 0 to {}", flag, *text,
                most);
  return *value;
}

// "NAME", or "snapshot.id=1,snapshot.name=x".
Result<std::string> snapshot_name(const std::string& text) {
  if (!text.starts_with("snapshot.")) return text;
  const Value given = TRY(parse_keyval(text));
  struct Parts {
    struct Inner {
      std::string id, name;
      void describe(PropertyVisitor& p) {
        p.field("id", id, "its number");
        p.field("name", name, "its name");
      }
    } snapshot;
    void describe(PropertyVisitor& p) { p.field("snapshot", snapshot, "which one"); }
  } parts;
  TRY(read_properties(parts, given, "--load-snapshot"));
  return parts.snapshot.id.empty() ? parts.snapshot.name : parts.snapshot.id;
}

Result<void> read_place(const Arguments& arguments, Options& options) {
  const std::string bind = arguments.value_or("bind", ""), path = arguments.value_or("socket", "");
  options.place_given = arguments.has("socket") || arguments.has("bind") || arguments.has("port");
  if (!path.empty() && (arguments.has("port") || arguments.has("bind")))
    return fail(Errc::InvalidArgument, "--socket is a UNIX domain socket: no --port or --bind");
  const u64 port = TRY(number(arguments, "port", 10809, 65535));
  options.place.path = path;
  if (!path.empty()) return {};
  options.place.host = bind;
  options.place.port = format("{}", port);
  if (options.task == Options::Task::List && bind.empty()) options.place.host = "localhost";
  return {};
}

Result<void> read_image(const Arguments& arguments, Options& options) {
  constexpr std::array<std::string_view, 4> kDiscard = {"ignore", "off", "unmap", "on"};
  constexpr std::array<std::string_view, 3> kZeroes = {"off", "on", "unmap"};
  OpenImage& image = options.image;
  image.format = arguments.value_or("format", "");
  image.image_opts = arguments.has("image-opts");
  image.writable =
      !arguments.has("read-only") && !arguments.has("load-snapshot") && !arguments.has("snapshot");
  if (arguments.has("nocache") && arguments.has("cache"))
    return fail(Errc::InvalidArgument, "--nocache and --cache say the same, give one");
  image.cache = TRY(parse_cache_mode(
      arguments.has("nocache") ? "none" : arguments.value_or("cache", "writeback")));
  const std::string discard = arguments.value_or("discard", "ignore");
  if (std::ranges::find(kDiscard, discard) == kDiscard.end())
    return wrong("discard", discard, kDiscard);
  image.unmap = discard == "unmap" || discard == "on";
  image.detect_zeroes = arguments.value_or("detect-zeroes", "off");
  if (std::ranges::find(kZeroes, image.detect_zeroes) == kZeroes.end())
    return wrong("detect-zeroes", image.detect_zeroes, kZeroes);
  if (image.detect_zeroes == "unmap" && !image.unmap)
    return fail(Errc::InvalidArgument, "--detect-zeroes=unmap needs --discard=unmap");
  const std::string aio = arguments.value_or("aio", "threads");
  if (aio != "threads")
    return fail(Errc::Unsupported,
                "--aio={}: every request has a thread of its own here, only 'threads' can be asked",
                aio);
  if (const auto offset = arguments.value("offset"))
    options.offset = TRY(parse_size(*offset), "--offset");
  options.snapshot = arguments.has("snapshot");
  if (const auto name = arguments.value("load-snapshot"))
    options.load_snapshot = TRY(snapshot_name(*name));
  if (options.snapshot && !options.load_snapshot.empty())
    return fail(Errc::InvalidArgument, "--snapshot and --load-snapshot do not go together");
  return {};
}

Result<void> read_export(const Arguments& arguments, Options& options) {
  NbdExportOptions& exported = options.exported;
  exported.name = arguments.value_or("export-name", "");
  exported.description = arguments.value_or("description", "");
  exported.allocation_depth = arguments.has("allocation-depth");
  exported.bitmaps = arguments.values("bitmap");
  exported.writable = !arguments.has("read-only") && (options.image.writable || options.snapshot);
  exported.writethrough = options.image.cache.writethrough;
  exported.many_clients = options.shared != 1;
  return {};
}

}  // namespace

Result<Options> read_options(const std::vector<std::string>& words) {
  const Arguments arguments = TRY(Arguments::parse(kFlags, words));
  Options options;
  using Task = Options::Task;
  options.task = arguments.has("help")      ? Task::Help
                 : arguments.has("version") ? Task::Version
                 : arguments.has("list")    ? Task::List
                                            : Task::Serve;
  if (options.task == Task::Help || options.task == Task::Version) return options;
  options.verbose = arguments.has("verbose");
  options.objects = arguments.values("object");
  options.traces = arguments.values("trace");
  options.tls_creds = arguments.value_or("tls-creds", "");
  options.tls_hostname = arguments.value_or("tls-hostname", "");
  TRY(read_place(arguments, options));
  if (options.task == Task::List) {
    if (!arguments.operands().empty())
      return fail(Errc::InvalidArgument, "--list asks a server: it takes no file");
    return options;
  }
  if (!options.tls_hostname.empty())
    return fail(Errc::InvalidArgument, "--tls-hostname is for --list: a server has no use for it");
  if (arguments.operands().size() != 1)
    return fail(Errc::InvalidArgument, "expected one image, got {}", arguments.operands().size());
  options.file = arguments.operands()[0];
  options.shared = static_cast<unsigned>(TRY(number(arguments, "shared", 1, 1000)));
  options.persistent = arguments.has("persistent");
  options.handshake_limit =
      std::chrono::seconds(TRY(number(arguments, "handshake-limit", 10, 86'400)));
  options.fork = arguments.has("fork");
  options.pid_file = arguments.value_or("pid-file", "");
  TRY(read_image(arguments, options));
  TRY(read_export(arguments, options));
  return options;
}

std::string help_text() {
  return "Exports a disk image to NBD clients.\n\n"
         "usage: menura-nbd [OPTION...] IMAGE\n"
         "       menura-nbd --list [OPTION...]\n\n" +
         flags_help(kFlags) +
         "\nA listening socket may be handed over instead of -p, -b and -k (LISTEN_FDS=1).\n";
}

}  // namespace menura::nbd
