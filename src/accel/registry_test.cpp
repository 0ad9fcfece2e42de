#include "accel/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace menura {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Engine final : public Accelerator {
 public:
  explicit Engine(std::string_view name) : name_(name) {}
  std::string_view name() const override { return name_; }
  IrqchipMode irqchip_mode() const override { return IrqchipMode::User; }
  std::vector<CpuidEntry> supported_cpuid() const override { return {}; }
  u64 tsc_khz() const override { return 1; }
  Result<std::unique_ptr<Vcpu>> create_vcpu(const VcpuConfig&) override {
    return fail(Errc::Unsupported, "no vCPUs in this test");
  }

 private:
  std::string_view name_;
};

struct RegistryTest : testing::Test {
  RegistryTest() {
    const auto make = [this](std::string_view name) {
      return [this, name](const AcceleratorContext&) -> Result<std::unique_ptr<Accelerator>> {
        tried.emplace_back(name);
        if (name == broken) return fail(Errc::Permission, "Opening '/dev/kvm': Permission denied");
        return std::unique_ptr<Accelerator>(std::make_unique<Engine>(name));
      };
    };
    kinds.push_back({.name = "kvm", .help = "the host's KVM", .create = make("kvm")});
    kinds.push_back(
        {.name = "jit", .aliases = {"tcg"}, .help = "translation", .create = make("jit")});
    for (AcceleratorKind& kind : foreign_accelerators()) kinds.push_back(std::move(kind));
  }
  Result<ChosenAccelerator> choose(std::vector<std::string> wanted) {
    return choose_accelerator(wanted, kinds, context);
  }

  Region root = Region::container("root", 0x1000);
  AddressSpace space{"space", root};
  MachineLock lock;
  AcceleratorContext context{space, space, lock};
  std::vector<AcceleratorKind> kinds;
  std::vector<std::string> tried;
  std::string broken;
};

TEST_F(RegistryTest, TheFirstThatWorksWins) {
  const Result<ChosenAccelerator> chosen = choose({"kvm", "jit"});
  ASSERT_TRUE(chosen.ok());
  EXPECT_EQ(chosen->accelerator->name(), "kvm");
  EXPECT_EQ(chosen->kind, &kinds[0]);
  EXPECT_TRUE(chosen->warnings.empty());
  EXPECT_THAT(tried, ElementsAre("kvm"));
}

TEST_F(RegistryTest, FallsBackWithAWarningAndKnowsAliases) {
  broken = "kvm";
  const Result<ChosenAccelerator> chosen = choose({"hvf", "kvm", "tcg"});
  ASSERT_TRUE(chosen.ok());
  EXPECT_EQ(chosen->accelerator->name(), "jit");
  EXPECT_THAT(
      chosen->warnings,
      ElementsAre("Accelerator hvf does not work here: hvf is an accelerator of macOS, "
                  "menura runs on Linux; use kvm, or jit where there is no /dev/kvm",
                  "Accelerator kvm does not work here: Opening '/dev/kvm': Permission denied"));
}

TEST_F(RegistryTest, NoneWorksTellsEveryReason) {
  broken = "kvm";
  const Result<ChosenAccelerator> one = choose({"kvm"});
  ASSERT_FALSE(one.ok());
  EXPECT_EQ(one.error().text,
            "Accelerator kvm does not work here: Opening '/dev/kvm': Permission denied");
  EXPECT_EQ(one.error().code, Errc::Permission);
  const Result<ChosenAccelerator> both = choose({"kvm", "whpx"});
  ASSERT_FALSE(both.ok());
  EXPECT_THAT(both.error().text, HasSubstr("None of the accelerators works here\n"));
  EXPECT_THAT(both.error().text, HasSubstr("Permission denied"));
  EXPECT_THAT(both.error().text, HasSubstr("whpx is an accelerator of Windows"));
}

TEST_F(RegistryTest, AnUnknownNameIsAnErrorBeforeAnythingIsTried) {
  const Result<ChosenAccelerator> chosen = choose({"kvm", "jitt"});
  ASSERT_FALSE(chosen.ok());
  EXPECT_EQ(chosen.error().text, "There is no accelerator 'jitt' (did you mean 'jit'?)");
  EXPECT_TRUE(tried.empty());
  EXPECT_EQ(choose({"quantum"}).error().text,
            "There is no accelerator 'quantum'; there are kvm, jit");
  EXPECT_FALSE(choose({""}).ok());
}

TEST_F(RegistryTest, HelpListsWhatThisSystemHas) {
  EXPECT_EQ(accelerator_help(kinds),
            "Accelerators:\n"
            "  kvm             the host's KVM\n"
            "  jit, tcg        translation\n");
}

}  // namespace
}  // namespace menura
