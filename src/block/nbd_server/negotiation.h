// The server's part of NBD's negotiation: options until the client has chosen an export.
//
// Owner: a connection's thread. Threads: that one. The client is hostile: every length is checked,
// and the whole must end before the stream's deadline.
// Example: `auto agreed = TRY(negotiate(stream, exports, {.tls = creds}));  if (agreed) serve(*agreed);`
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block/nbd/nbd_stream.h"
#include "block/nbd_server/export.h"

namespace menura {

class NbdExportTable;

// Somebody's use of an export: while it lives the export stays open.
class NbdExportUse {
 public:
  NbdExportUse(NbdExportTable& table, NbdExport& used) : table_(&table), export_(&used) {}
  NbdExportUse(NbdExportUse&& other) noexcept
      : table_(other.table_), export_(std::exchange(other.export_, nullptr)) {}
  NbdExportUse& operator=(NbdExportUse&&) = delete;
  ~NbdExportUse();
  NbdExport* operator->() const { return export_; }
  NbdExport& operator*() const { return *export_; }

 private:
  NbdExportTable* table_;
  NbdExport* export_;
};

// The exports of a server, by name. Threads: any.
class NbdExportTable {
 public:
  struct Line {
    std::string name, description;
  };
  virtual ~NbdExportTable() = default;
  virtual std::vector<Line> list() = 0;
  // For what is constant about it; null: there is none.
  virtual std::shared_ptr<NbdExport> lookup(std::string_view name) = 0;
  // For its image; nothing: it has gone since.
  virtual std::optional<NbdExportUse> use(NbdExport& exported) = 0;

 protected:
  friend class NbdExportUse;
  virtual void unuse(NbdExport& used) = 0;
};

struct NbdAgreement {
  NbdExportUse exported;
  bool structured = false;
  std::vector<u32> contexts;  // chosen for BLOCK_STATUS
};

struct NbdServerTls {
  std::shared_ptr<const TlsCredentials> credentials;  // null: plain connections; else only TLS
};

// Nothing: the client took its leave. An error: it broke the rules, or the connection broke.
Result<std::optional<NbdAgreement>> negotiate(NbdStream& stream, NbdExportTable& exports,
                                              const NbdServerTls& tls);

}  // namespace menura
