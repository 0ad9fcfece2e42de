#include "chardev/kinds.h"

namespace menura {

namespace {

class NullChardev final : public Chardev {
 public:
  size_t write(ConstBytes bytes) override { return bytes.size(); }
  void attach(CharSink*) override {}
  void accept_input() override {}
  std::string where() const override { return "null"; }
};

}  // namespace

ChardevResult open_null(EventLoop&, const std::string&, const NullConfig&) {
  return ChardevResult(std::make_unique<NullChardev>());
}

}  // namespace menura
