// Sound cards.
#include "hw/audio/ac97.h"
#include "machine/catalogue/device_kinds.h"

namespace menura {

namespace {

struct SoundProperties {
  PciPlace place;
  std::string audiodev;
  void describe(PropertyVisitor& p) {
    place.describe(p);
    p.field("audiodev", audiodev, "id of the -audiodev that it plays to; the first one");
  }
};

MadeDevice make_ac97(Machine& machine, const std::string& id, const Value& options) {
  SoundProperties properties;
  TRY(read_properties(properties, options, "AC97"));
  AudioSink* const sink = TRY(machine.audiodevs().find(properties.audiodev), "AC97");
  auto card = std::make_unique<Ac97>(id, machine.loop().virtual_time(), sink);
  TRY(plug_pci(machine, *card, properties.place, "AC97"));
  return std::unique_ptr<Device>(std::move(card));
}

constexpr DeviceKind kKinds[] = {
    {.name = "AC97",
     .bus = "PCI",
     .category = "Sound devices",
     .description = "Intel 82801AA, AC'97",
     .properties = properties_of<SoundProperties>,
     .make = make_ac97},
};

}  // namespace

std::span<const DeviceKind> sound_device_kinds() { return kKinds; }

}  // namespace menura
