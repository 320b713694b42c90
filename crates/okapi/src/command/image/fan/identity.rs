//! Who a machine is: its name, its address, and the texts by which its image says so.

use super::subnet::Subnet;
use crate::failure::Failure;
use okapi_volume::SeedError;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// Characters of one part of a host's name.
const HOSTNAME_MAX: usize = 63;

/// What placeholders there are.
const PLACEHOLDERS: &str = "{ip} {prefix} {netmask} {network} {broadcast} {gateway} {dns} {host} {name} {mac}";

/// What all machines of a network have in common.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) net: Subnet,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) dns: Vec<Ipv4Addr>,
}

/// Who a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// Its disk's name.
    pub(super) name: String,
    pub(super) ip: Ipv4Addr,
    pub(super) mac: String,
}

impl Identity {
    /// The machine that gets this address; `pattern` is its name, with placeholders.
    pub(super) fn new(pattern: &str, ip: Ipv4Addr, around: &Surroundings) -> Result<Self, Failure> {
        let mut this = Self { name: String::new(), ip, mac: mac_of(ip) };
        this.name = this.filled(pattern, around).map_err(|failure| failure.at("--name"))?;
        Ok(this)
    }

    /// Its name as a host's name may be.
    pub(super) fn hostname(&self) -> String {
        let letters = self.name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
        let text: String = letters.collect();
        // The end is what tells it from others.
        match text[text.len().saturating_sub(HOSTNAME_MAX)..].trim_matches('-') {
            "" => format!("ip-{}", self.ip).replace('.', "-"),
            name => name.to_owned(),
        }
    }

    /// The files of its seed, for a place of so many bytes.
    pub(super) fn seed(&self, around: &Surroundings, user_data: &[u8], place: u64) -> Result<Vec<u8>, SeedError> {
        let meta = format!("instance-id: \"{}\"\nlocal-hostname: \"{}\"\n", self.name, self.hostname());
        let network = self.network_config(around);
        let files = [("meta-data", meta.as_bytes()), ("user-data", user_data), ("network-config", network.as_bytes())];
        okapi_volume::seed(&files, place)
    }

    fn network_config(&self, around: &Surroundings) -> String {
        let Self { ip, mac, .. } = self;
        let net = around.net.0;
        let mut text = format!(
            "version: 2\nethernets:\n  net0:\n    match: {{macaddress: \"{mac}\"}}\n    addresses: [{ip}/{}]\n",
            net.prefix_len()
        );
        // Writing to a string does not fail.
        if let Some(gateway) = around.gateway {
            let on_link = if net.contains(&gateway) { "" } else { ", on-link: true" };
            let _ = writeln!(text, "    routes: [{{to: 0.0.0.0/0, via: {gateway}{on_link}}}]");
        }
        if !around.dns.is_empty() {
            let _ = writeln!(text, "    nameservers: {{addresses: [{}]}}", listed(&around.dns, ", "));
        }
        text
    }

    /// A text with what is known of the machine in place of `{ip}` and so on. Other braces stay as they are.
    pub(super) fn filled(&self, text: &str, around: &Surroundings) -> Result<String, Failure> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            filled.push_str(before);
            let word = &from[1..];
            let end = word.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(word.len());
            if end == 0 || !word[end..].starts_with('}') {
                filled.push('{');
                rest = word;
                continue;
            }
            filled.push_str(&self.value(&word[..end], around)?);
            rest = &word[end + 1..];
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn value(&self, word: &str, around: &Surroundings) -> Result<String, Failure> {
        let net = around.net.0;
        let missing = |flag: &str| Failure::usage(format!("{{{word}}} is not known; say it with {flag}"));
        Ok(match word {
            "ip" => self.ip.to_string(),
            "prefix" => net.prefix_len().to_string(),
            "netmask" => net.netmask().to_string(),
            "network" => net.network().to_string(),
            "broadcast" => net.broadcast().to_string(),
            "gateway" => around.gateway.ok_or_else(|| missing("--gateway"))?.to_string(),
            "dns" if around.dns.is_empty() => return Err(missing("--dns")),
            "dns" => listed(&around.dns, " "),
            "host" => (u32::from(self.ip) - u32::from(net.network())).to_string(),
            // Empty as long as the name is being made.
            "name" if !self.name.is_empty() => self.name.clone(),
            "mac" => self.mac.clone(),
            _ => return Err(Failure::usage(format!("{{{word}}} stands for nothing; there are {PLACEHOLDERS}"))),
        })
    }
}

/// The address of a network card for the machine with this address: one that nobody was sold.
pub(crate) fn mac_of(ip: Ipv4Addr) -> String {
    let [a, b, c, d] = ip.octets();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

fn listed(addresses: &[Ipv4Addr], between: &str) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around() -> Surroundings {
        let address = |text: &str| text.parse().unwrap();
        Surroundings {
            net: "10.1.2.0/23".parse().unwrap(),
            gateway: Some(address("10.1.2.1")),
            dns: vec![address("9.9.9.9"), address("1.1.1.1")],
        }
    }

    fn machine(pattern: &str) -> Identity {
        Identity::new(pattern, Ipv4Addr::new(10, 1, 3, 7), &around()).unwrap()
    }

    #[test]
    fn placeholders_are_filled_and_other_braces_stay() {
        let machine = machine("web-{host}");
        assert_eq!(machine.name, "web-263");
        let all = "{ip}/{prefix} {netmask} {network} {broadcast} {gateway} {dns} {host} {name} {mac}";
        assert_eq!(
            machine.filled(all, &around()).unwrap(),
            "10.1.3.7/23 255.255.254.0 10.1.2.0 10.1.3.255 10.1.2.1 9.9.9.9 1.1.1.1 263 web-263 02:00:0a:01:03:07"
        );
        assert_eq!(
            machine.filled("{\"ip\": \"{ip}\"} {{ x } {", &around()).unwrap(),
            "{\"ip\": \"10.1.3.7\"} {{ x } {"
        );
        let none = Surroundings { gateway: None, dns: Vec::new(), ..around() };
        for (text, said) in [
            ("{gateway}", "{gateway} is not known; say it with --gateway"),
            ("{dns}", "{dns} is not known; say it with --dns"),
            ("{hots}", "{hots} stands for nothing; there are {ip} "),
        ] {
            let failure = machine.filled(text, &none).unwrap_err().to_string();
            assert!(failure.starts_with(said), "{failure}");
        }
        assert!(Identity::new("{name}", machine.ip, &none).is_err());
    }

    #[test]
    fn seeds_are_what_cloud_init_reads() {
        let machine = machine("Web/{ip}");
        assert_eq!(machine.hostname(), "web-10-1-3-7");
        let seed = machine.seed(&around(), b"#cloud-config\n", 1 << 20).unwrap();
        assert_eq!(seed.len(), 4096, "one block");
        let text = |name| String::from_utf8(okapi_volume::file_of(&seed, name).unwrap().to_vec()).unwrap();
        assert_eq!(text("meta-data"), "instance-id: \"Web/10.1.3.7\"\nlocal-hostname: \"web-10-1-3-7\"\n");
        assert_eq!(text("user-data"), "#cloud-config\n");
        assert_eq!(
            text("network-config"),
            "version: 2\nethernets:\n  net0:\n    match: {macaddress: \"02:00:0a:01:03:07\"}\n    addresses: [10.1.3.7/23]\n    \
             routes: [{to: 0.0.0.0/0, via: 10.1.2.1}]\n    nameservers: {addresses: [9.9.9.9, 1.1.1.1]}\n"
        );
        let elsewhere = Surroundings { gateway: Some(Ipv4Addr::new(10, 0, 0, 1)), dns: Vec::new(), ..around() };
        let text = machine.network_config(&elsewhere);
        assert!(text.ends_with("routes: [{to: 0.0.0.0/0, via: 10.0.0.1, on-link: true}]\n"), "{text}");
    }
}
