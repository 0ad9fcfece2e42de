// QMP commands about VNC servers: who is connected, and passwords.
//
// Owner: control/monitor. Threads: under the machine lock. Errors: as control/monitor/command.h.
// Example: `command<&query_vnc>("query-vnc", "The first VNC server and its clients")`
#pragma once

#include "control/monitor/command.h"

namespace menura {

enum class AddressFamily : u8 { Ipv4, Ipv6, Unix, Vsock, Unknown };
std::span<const std::string_view> enum_names(AddressFamily);

struct VncClientReply {
  std::string host, service;
  AddressFamily family = AddressFamily::Unknown;
  bool websocket = false;
  void describe(PropertyVisitor& p);
};

struct VncReply {
  bool enabled = false;
  std::optional<std::string> host, service, auth;
  std::optional<AddressFamily> family;
  std::optional<std::vector<VncClientReply>> clients;
  void describe(PropertyVisitor& p);
};
Result<VncReply> query_vnc(MonitorTarget& target, const Nothing&);

enum class VncPrimaryAuth : u8 { None, Vnc, Vencrypt };
std::span<const std::string_view> enum_names(VncPrimaryAuth);
enum class VncVencryptAuth : u8 { TlsNone, X509None, TlsVnc, X509Vnc };
std::span<const std::string_view> enum_names(VncVencryptAuth);

struct VncServerReply {
  struct Listener {
    VncClientReply at;
    VncPrimaryAuth auth = VncPrimaryAuth::None;
    std::optional<VncVencryptAuth> vencrypt;
    void describe(PropertyVisitor& p);
  };
  std::string id;
  std::vector<Listener> server;
  std::vector<VncClientReply> clients;
  VncPrimaryAuth auth = VncPrimaryAuth::None;
  std::optional<VncVencryptAuth> vencrypt;
  std::optional<std::string> display;
  void describe(PropertyVisitor& p);
};
Result<std::vector<VncServerReply>> query_vnc_servers(MonitorTarget& target, const Nothing&);

enum class DisplayProtocol : u8 { Vnc };
std::span<const std::string_view> enum_names(DisplayProtocol);
enum class SetPasswordAction : u8 { Keep };
std::span<const std::string_view> enum_names(SetPasswordAction);

struct SetPassword {
  DisplayProtocol protocol = DisplayProtocol::Vnc;
  std::string password;
  SetPasswordAction connected = SetPasswordAction::Keep;
  std::optional<std::string> display;
  void describe(PropertyVisitor& p);
};
Result<Nothing> set_password(MonitorTarget& target, const SetPassword& arguments);

struct ExpirePassword {
  DisplayProtocol protocol = DisplayProtocol::Vnc;
  std::string time;
  std::optional<std::string> display;
  void describe(PropertyVisitor& p);
};
Result<Nothing> expire_password(MonitorTarget& target, const ExpirePassword& arguments);

struct ChangeVncPassword {
  std::string password;
  void describe(PropertyVisitor& p);
};
Result<Nothing> change_vnc_password(MonitorTarget& target, const ChangeVncPassword& arguments);

}  // namespace menura
