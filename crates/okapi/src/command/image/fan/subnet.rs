//! A network, and which of its addresses machines get.

use crate::failure::Failure;
use ipnet::Ipv4Net;
use okapi_volume::limits::BATCH_MAX;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// A network as it is said with `--net`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet(pub(super) Ipv4Net);

impl std::str::FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(':') {
            return Err(format!("`{text}`: only IPv4 networks can be fanned out, such as 10.1.2.0/24"));
        }
        let net: Ipv4Net = text.parse().map_err(|_| {
            format!("`{text}` is not a network; write its first address and its length, as in 10.1.2.0/24")
        })?;
        if net.trunc() != net {
            return Err(format!("`{text}` is an address within a network; the network itself is {}", net.trunc()));
        }
        Ok(Self(net))
    }
}

impl Subnet {
    /// The addresses for machines, in order: all but the first and the last (of a /31 both, of a /32 the one), the gateway, and
    /// those that are skipped.
    ///
    /// # Errors
    /// [`Failure`] if there are none or too many.
    pub(super) fn hosts(self, gateway: Option<Ipv4Addr>, skip: &[Ipv4Addr]) -> Result<Vec<Ipv4Addr>, Failure> {
        let net = self.0;
        if let Some(outside) = skip.iter().find(|address| !net.contains(*address)) {
            return Err(Failure::usage(format!("{outside} is to be skipped, and is not in {net}")));
        }
        let ends = [net.network(), net.broadcast()];
        if let Some(gateway) = gateway.filter(|gateway| net.prefix_len() < 31 && ends.contains(gateway)) {
            return Err(Failure::usage(format!(
                "{gateway} cannot be the gateway: it is no machine's address in {net}"
            )));
        }
        let left_out: BTreeSet<Ipv4Addr> = skip.iter().copied().chain(gateway).collect();
        // So that a /0 is not gone through.
        let some = BATCH_MAX + left_out.len() + 1;
        let hosts: Vec<Ipv4Addr> = net.hosts().take(some).filter(|address| !left_out.contains(address)).collect();
        if hosts.len() > BATCH_MAX {
            return Err(Failure::usage(format!(
                "{net} has more than {BATCH_MAX} addresses, which is the limit; fan out smaller networks"
            )));
        }
        if hosts.is_empty() {
            return Err(Failure::usage(format!("{net} has no address left for a machine")));
        }
        Ok(hosts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(net: &str, gateway: Option<&str>, skip: &[&str]) -> Result<Vec<String>, String> {
        let skip: Vec<Ipv4Addr> = skip.iter().map(|text| text.parse().unwrap()).collect();
        let net: Subnet = net.parse()?;
        let hosts = net.hosts(gateway.map(|text| text.parse().unwrap()), &skip);
        hosts.map(|hosts| hosts.iter().map(ToString::to_string).collect()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn all_but_the_ends_the_gateway_and_the_skipped_are_machines() {
        let all = hosts("10.1.2.0/24", None, &[]).unwrap();
        assert_eq!((all.len(), all[0].as_str(), all[253].as_str()), (254, "10.1.2.1", "10.1.2.254"));
        assert_eq!(hosts("10.1.2.0/24", Some("10.1.2.1"), &[]).unwrap().len(), 253);
        assert_eq!(hosts("10.1.2.0/24", Some("10.9.9.9"), &[]).unwrap().len(), 254, "a gateway from elsewhere");
        assert_eq!(hosts("10.0.0.0/30", Some("10.0.0.1"), &[]), Ok(vec!["10.0.0.2".to_owned()]));
        assert_eq!(hosts("10.0.0.4/31", None, &[]), Ok(vec!["10.0.0.4".to_owned(), "10.0.0.5".to_owned()]));
        assert_eq!(hosts("10.0.0.7/32", None, &[]), Ok(vec!["10.0.0.7".to_owned()]));
        assert_eq!(hosts("10.0.0.0/20", None, &["10.0.0.9"]).unwrap().len(), 4093);
    }

    #[test]
    fn what_is_no_network_says_why() {
        for (net, gateway, skip, text) in [
            ("10.1.2.7/24", None, &[][..], "the network itself is 10.1.2.0/24"),
            ("10.1.2.0", None, &[], "is not a network"),
            ("10.1.2.0/33", None, &[], "is not a network"),
            ("fd00::/64", None, &[], "only IPv4 networks"),
            ("10.0.0.0/19", None, &[], "has more than 4096 addresses"),
            ("0.0.0.0/0", None, &[], "has more than 4096 addresses"),
            ("10.0.0.0/30", None, &["10.0.0.1", "10.0.0.2"], "has no address left"),
            ("10.0.0.7/32", Some("10.0.0.7"), &[], "has no address left"),
            ("10.0.0.0/24", None, &["10.0.1.1"], "10.0.1.1 is to be skipped, and is not in 10.0.0.0/24"),
            ("10.0.0.0/24", Some("10.0.0.255"), &[], "cannot be the gateway"),
        ] {
            let error = hosts(net, gateway, skip).unwrap_err();
            assert!(error.contains(text), "{net}: {error}");
        }
    }
}
