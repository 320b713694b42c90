//! Nodes of one local network find each other by multicast DNS (DNS-SD, `_okapi._tcp.local.`).
//!
//! What is told is seen by everybody in that network: the node's name, sixteen bytes that stand for its group, the port.
//! What is heard is a hint and no more: whoever answers at an address must still prove the key.

use super::host::Standing;
use super::hub::Hub;
use super::settings::StartError;
use mdns_sd::{Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use okapi_base::NodeId;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What is told and heard.
const SERVICE: &str = "_okapi._tcp.local.";
/// The port of multicast DNS.
const PORT: u16 = 5353;

/// Tells and hears, until it is dropped.
pub(crate) struct Local {
    daemon: ServiceDaemon,
}

impl Local {
    /// Begins, if the settings say so.
    pub(crate) fn start(hub: &Arc<Hub>, targets: &[SocketAddr]) -> Result<Option<Self>, StartError> {
        let Some(group) = &hub.settings.local_network else { return Ok(None) };
        let daemon = ServiceDaemon::new_with_port(PORT).map_err(error)?;
        Self::begin(daemon, hub, targets, group).map(Some)
    }

    fn begin(
        daemon: ServiceDaemon,
        hub: &Arc<Hub>,
        targets: &[SocketAddr],
        group: &[u8; 16],
    ) -> Result<Self, StartError> {
        let local = Self { daemon };
        // Where only this machine can reach a node there is nothing to tell.
        if let Some(service) = service(hub.me(), group, targets) {
            local.daemon.register(service.map_err(error)?).map_err(error)?;
        }
        let heard = local.daemon.browse(SERVICE).map_err(error)?;
        let (hub, group) = (hub.clone(), hex(group));
        let listening = std::thread::Builder::new().name("okapi-link-mdns".to_owned());
        listening.spawn(move || listen(&hub, &group, &heard)).map_err(StartError::Threads)?;
        Ok(local)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // It says goodbye to the network; whoever listens sees its channel closed.
        let _ = self.daemon.shutdown();
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what turns one error into another")]
fn error(why: mdns_sd::Error) -> StartError {
    StartError::LocalNetwork(why.to_string())
}

fn listen(hub: &Hub, group: &str, heard: &Receiver<ServiceEvent>) {
    while let Ok(event) = heard.recv() {
        let ServiceEvent::ServiceResolved(service) = event else { continue };
        let Some((node, addresses)) = understood(&service, group) else { continue };
        // Anybody can tell anything here; nothing is kept of nodes that nobody asked for.
        if node != hub.me() && hub.host.standing(&node) == Standing::Member {
            let whom = hub.correspondent(node);
            addresses.iter().for_each(|address| whom.hint(address));
        }
    }
}

/// What is told of a node; nothing if it can be reached from nowhere else.
fn service(node: NodeId, group: &[u8; 16], targets: &[SocketAddr]) -> Option<mdns_sd::Result<ServiceInfo>> {
    let targets: Vec<&SocketAddr> = targets.iter().filter(|target| !crate::is_loopback_only(target)).collect();
    let port = targets.first()?.port();
    let everywhere = targets.iter().any(|target| target.ip().is_unspecified());
    let places: Vec<IpAddr> =
        targets.iter().filter(|target| !everywhere && target.port() == port).map(|target| target.ip()).collect();
    let name = &node.to_string()[..32];
    let properties = [("node", node.to_string()), ("group", hex(group))];
    let service = ServiceInfo::new(SERVICE, name, &format!("{name}.local."), &places[..], port, &properties[..]);
    Some(if everywhere { service.map(ServiceInfo::enable_addr_auto) } else { service })
}

/// Which node of this group a service is, and where.
fn understood(service: &ResolvedService, group: &str) -> Option<(NodeId, Vec<String>)> {
    if service.get_property_val_str("group")? != group {
        return None;
    }
    let node = unhex(service.get_property_val_str("node")?)?;
    // An address that is only good on one link cannot be dialled without saying on which; IPv4 serves there.
    let usable = |ip: &IpAddr| match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    };
    let places = service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr).filter(usable);
    let mut addresses: Vec<String> = places.map(|ip| format!("tcp://{}", SocketAddr::new(ip, service.port))).collect();
    addresses.sort();
    Some((node, addresses))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<NodeId> {
    let digit = |at: usize| char::from(*text.as_bytes().get(at)?).to_digit(16);
    let mut node = [0; 32];
    for (at, byte) in node.iter_mut().enumerate() {
        *byte = (digit(2 * at)? << 4 | digit(2 * at + 1)?) as u8;
    }
    (text.len() == 64).then_some(NodeId(node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Event;
    use crate::member::tests::Node;
    use mdns_sd::IfKind;
    use std::net::UdpSocket;

    fn resolved(node: NodeId, group: u8, targets: &[&str]) -> Option<ResolvedService> {
        let targets: Vec<SocketAddr> = targets.iter().map(|target| target.parse().unwrap()).collect();
        Some(service(node, &[group; 16], &targets)?.unwrap().as_resolved_service())
    }

    #[test]
    fn what_is_told_is_understood_by_the_same_group_alone() {
        let node = NodeId(std::array::from_fn(|at| at as u8 * 7));
        let service = resolved(node, 5, &["192.0.2.1:7072", "[2001:db8::1]:7072", "127.0.0.1:7072"]).unwrap();
        let addresses = ["tcp://192.0.2.1:7072".to_owned(), "tcp://[2001:db8::1]:7072".to_owned()].to_vec();
        assert_eq!(understood(&service, &"05".repeat(16)), Some((node, addresses)));
        assert_eq!(understood(&service, &"06".repeat(16)), None);
        assert!(resolved(node, 5, &["127.0.0.1:7072", "[::1]:7072"]).is_none(), "nobody else could come");
    }

    #[test]
    fn names_that_are_none_are_nobody() {
        assert_eq!(unhex(&"0f".repeat(32)), Some(NodeId([15; 32])));
        for text in ["", "0", &"0f".repeat(31), &"0f".repeat(33), &"0g".repeat(32), &"ö".repeat(32)] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }

    #[test]
    fn nodes_of_one_network_find_each_other() {
        let (one, other) = (Node::new(1), Node::new(2));
        let port = UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let targets = other.links.targets();
        // Nothing leaves this machine; the address told is one of its own, which would not be told outside of tests.
        let on_loopback = || {
            let daemon = ServiceDaemon::new_with_port(port).unwrap();
            daemon.disable_interface(IfKind::All).unwrap();
            daemon.enable_interface(IfKind::LoopbackV4).unwrap();
            daemon
        };
        let telling = on_loopback();
        let properties = [("node", other.id().to_string()), ("group", hex(&[5; 16]))];
        let info = ServiceInfo::new(SERVICE, "other", "other.local.", "127.0.0.1", targets[0].port(), &properties[..]);
        telling.register(info.unwrap()).unwrap();
        let _local = Local::begin(on_loopback(), &one.links.hub, &one.links.targets(), &[5; 16]).unwrap();
        one.say(&other, b"found");
        assert_eq!(other.letter(&one).0, b"found");
        assert!(!one.host.has(|event| matches!(event, Event::Refused { .. })));
        let _ = telling.shutdown();
    }
}
