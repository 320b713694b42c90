//! A machine's network card: its address, and what it is connected to.

use crate::command::image::fan::mac_of;
use crate::failure::Failure;
use ipnet::Ipv4Net;
use okapi_volume::{Disk, file_of, seed_place};
use std::net::Ipv4Addr;

/// Bytes of a seed in which its network is described.
const SEED_READ: u64 = 64 << 10;

/// What a machine's network card is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Net {
    /// Nothing, and there is no card.
    None,
    /// What this computer reaches, by way of qemu; nobody from there reaches the machine but by --forward.
    User,
    /// A tap device that is there.
    Tap(String),
    /// A bridge that is there, by way of qemu's own means.
    Bridge(String),
}

impl std::str::FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "none" => Ok(Self::None),
            None if text == "user" => Ok(Self::User),
            Some(("tap", name)) if is_device(name) => Ok(Self::Tap(name.to_owned())),
            Some(("bridge", name)) if is_device(name) => Ok(Self::Bridge(name.to_owned())),
            _ => Err(format!("`{text}` is no network; write user, none, tap=NAME or bridge=NAME")),
        }
    }
}

fn is_device(name: &str) -> bool {
    (1..=15).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// A port of this computer that leads to one of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forward {
    here: u16,
    there: u16,
}

impl std::str::FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ports = text.split_once(':').and_then(|(here, there)| Some((here.parse().ok()?, there.parse().ok()?)));
        let (here, there) =
            ports.ok_or_else(|| format!("`{text}` is not two ports; write HERE:THERE, as in 2222:22"))?;
        Ok(Self { here, there })
    }
}

/// Who a machine takes itself for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Card {
    /// The address of its card.
    pub(super) mac: String,
    address: Option<Ipv4Net>,
    gateway: Option<Ipv4Addr>,
}

impl Card {
    /// As the disk's seed says; else as its name does; else one that follows from the name.
    pub(super) fn of(disk: &Disk) -> Result<Self, Failure> {
        let place = seed_place(disk).ok().flatten();
        let Some(place) = place else { return Ok(Self::named(disk.name())) };
        let length = (place.end - place.start).min(SEED_READ);
        let mut bytes = vec![0; usize::try_from(length).expect("a few KiB")];
        disk.read_at(place.start, &mut bytes)?;
        let seeded = file_of(&bytes, "network-config").and_then(|text| Self::seeded(std::str::from_utf8(text).ok()?));
        Ok(seeded.unwrap_or_else(|| Self::named(disk.name())))
    }

    /// As `okapi image fan` writes it.
    fn seeded(text: &str) -> Option<Self> {
        let after = |mark: &str| text.split_once(mark).map(|(_, rest)| rest);
        let word = |rest: &str| rest.split(['"', ']', '}', ',', '\n']).next().unwrap_or_default().to_owned();
        let mac = word(after("macaddress: \"")?);
        let is_mac = mac.len() == 17 && mac.bytes().all(|byte| byte == b':' || byte.is_ascii_hexdigit());
        let address = after("addresses: [").and_then(|rest| word(rest).parse().ok());
        let gateway = after("via: ").and_then(|rest| word(rest).parse().ok());
        is_mac.then_some(Self { mac, address, gateway })
    }

    fn named(name: &str) -> Self {
        let words = name.split(|c: char| !c.is_ascii_digit() && c != '.');
        let address = words.rev().find_map(|word| word.trim_matches('.').parse::<Ipv4Addr>().ok());
        let mac = address.map_or_else(
            || {
                let hash = blake3::hash(name.as_bytes());
                let [a, b, c, d, ..] = hash.as_bytes();
                format!("02:01:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
            },
            mac_of,
        );
        Self { mac, address: None, gateway: None }
    }

    /// What qemu is told of it.
    pub(super) fn options(&self, net: &Net, forwards: &[Forward]) -> Vec<String> {
        let (kind, more) = match net {
            Net::None => return Vec::new(),
            Net::User => ("user", self.user(forwards)),
            Net::Tap(name) => ("tap", format!(",ifname={name},script=no,downscript=no")),
            Net::Bridge(name) => ("bridge", format!(",br={name}")),
        };
        let card = format!("virtio-net-pci,netdev=net0,mac={}", self.mac);
        ["-netdev".to_owned(), format!("{kind},id=net0{more}"), "-device".to_owned(), card].into()
    }

    /// The network that qemu pretends is the one the machine takes itself to be in, if there is room in it for those whom
    /// qemu plays there.
    fn user(&self, forwards: &[Forward]) -> String {
        let own = self.address.zip(self.gateway);
        let own = own.filter(|(net, gateway)| net.prefix_len() <= 28 && net.trunc().contains(gateway));
        let mut text = String::new();
        let mut there = String::new();
        if let Some((net, gateway)) = own {
            let taken = [net.addr(), gateway];
            let mut free = net.trunc().hosts().filter(|host| !taken.contains(host));
            let (dns, dhcp) = (free.next().expect("a /28 has 14"), free.next().expect("a /28 has 14"));
            text = format!(",net={},host={gateway},dns={dns},dhcpstart={dhcp}", net.trunc());
            there = net.addr().to_string();
        }
        for Forward { here, there: port } in forwards {
            text += &format!(",hostfwd=tcp:127.0.0.1:{here}-{there}:{port}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_as_the_seed_or_the_name_says() {
        let seed = "version: 2\nethernets:\n  net0:\n    match: {macaddress: \"02:00:0a:01:02:07\"}\n    addresses: [10.1.2.7/24]\n    \
                    routes: [{to: 0.0.0.0/0, via: 10.1.2.1}]\n    nameservers: {addresses: [9.9.9.9]}\n";
        let card = Card::seeded(seed).unwrap();
        assert_eq!(card.mac, "02:00:0a:01:02:07");
        let forwards = ["2222:22".parse().unwrap()];
        assert_eq!(
            card.options(&Net::User, &forwards),
            [
                "-netdev",
                "user,id=net0,net=10.1.2.0/24,host=10.1.2.1,dns=10.1.2.2,dhcpstart=10.1.2.3,hostfwd=tcp:127.0.0.1:2222-10.1.2.7:22",
                "-device",
                "virtio-net-pci,netdev=net0,mac=02:00:0a:01:02:07"
            ]
        );
        assert_eq!(Card::named("web-10.1.2.7").mac, card.mac);
        assert!(Card::named("web").mac.starts_with("02:01:") && Card::named("web") == Card::named("web"));
        assert_eq!(Card::seeded("match: {macaddress: \"x,y\"}"), None);
        assert_eq!(card.options(&Net::None, &[]), [""; 0]);
        assert_eq!(Card::named("a").options(&Net::User, &[])[1], "user,id=net0");
    }

    #[test]
    fn networks_and_ports_are_read() {
        assert_eq!("tap=tap0".parse(), Ok(Net::Tap("tap0".to_owned())));
        assert_eq!("bridge=br0".parse(), Ok(Net::Bridge("br0".to_owned())));
        for text in ["", "tap", "tap=", "tap=a,b", "user=x", "wan"] {
            assert!(text.parse::<Net>().is_err(), "{text}");
        }
        for text in ["22", "a:22", "22:70000", ":"] {
            assert!(text.parse::<Forward>().is_err(), "{text}");
        }
    }
}
