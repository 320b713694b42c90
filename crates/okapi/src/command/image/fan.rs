//! `okapi image fan` and `prepare`: a clone for every address of a network, each knowing its own.

mod identity;
mod subnet;
mod template;

use super::{disks, head_json};
use crate::failure::Failure;
use crate::session::Session;
use crate::size::{Size, counted, lasted};
use crate::view::{Tone, columns, shown};
pub(crate) use identity::mac_of;
use identity::{Identity, Surroundings};
use okapi_volume::{Access, Disk, Disks, DisksError, PartitionError, add_seed_place, seed_place};
use serde_json::json;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;
use subnet::Subnet;
use template::Template;

/// What a machine is told besides its name and addresses if nothing is said: nothing.
const USER_DATA: &[u8] = b"#cloud-config\n{}\n";

/// Make a clone for every address of a network, each with its own burned in
///
/// Each clone has a seed from which the guest's cloud-init learns its name, address, gateway and name servers: meta-data,
/// user-data and network-config, in a small volume called CIDATA in a partition of the image (`okapi image prepare` makes
/// one). Images with a place of their own for such things take a --template instead. Either all clones are made or none.
///
/// The network card of the machine is known by its MAC, which follows from the address: 10.1.2.7 is 02:00:0a:01:02:07.
/// `okapi vm run` gives it to the guest.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi image prepare debian debian-fan       an image with a place for seeds
  okapi image fan debian-fan --net 10.1.2.0/24 --gateway 10.1.2.1 --dns 9.9.9.9,1.1.1.1
  okapi image fan debian-fan --net 10.1.3.0/28 --name 'web-{host}' --user-data web.yaml
  okapi image fan appliance --net 10.1.4.0/24 --template place.toml --dry-run

A template is TOML or JSON; of its text {ip} {prefix} {netmask} {network} {broadcast} {gateway} {dns} {host} {name} {mac}
are filled in, and zeros follow up to its size:

  offset = \"1M\"
  size = 512
  text = \"ip={ip}/{prefix} gateway={gateway} dns={dns}\"")]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "BASE")]
    base: String,

    /// The network, as 10.1.2.0/24; its first and last address are no machine's
    #[arg(long, value_name = "NET")]
    net: Subnet,

    /// The gateway; if it is in the network, no machine gets its address
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<Ipv4Addr>,

    /// The name servers
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    dns: Vec<Ipv4Addr>,

    /// The clones' names, with {ip}, {host} (which address of the network it is) and so on [default: BASE-{ip}]
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,

    /// Addresses that no machine gets
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    skip: Vec<Ipv4Addr>,

    /// What cloud-init is told besides, the same for all: a file that begins with #cloud-config or #!
    #[arg(long, value_name = "FILE", conflicts_with = "template")]
    user_data: Option<PathBuf>,

    /// A file that says what to write where in the image, instead of a seed
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,

    /// Only show what would be made
    #[arg(long)]
    dry_run: bool,
}

/// Give an image a place where clones of it can have a seed
///
/// Makes a clone with one small partition more, called CIDATA: between its partitions where nothing is, or at its end, which
/// then is at most 2 MiB further. Give the image its final size before (okapi image resize): partitions that grow at the first
/// boot grow up to the next one.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi image prepare debian debian-fan
  okapi image fan debian-fan --net 10.1.2.0/24 --gateway 10.1.2.1 --dns 9.9.9.9")]
pub(crate) struct Prepare {
    /// The image; it must have a partition table, of either kind
    #[arg(value_name = "BASE")]
    base: String,

    /// The clone's name
    #[arg(value_name = "NAME")]
    name: String,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let started = Instant::now();
        let around = Surroundings { net: self.net, gateway: self.gateway, dns: self.dns.clone() };
        let pattern = self.name.clone().unwrap_or_else(|| format!("{}-{{ip}}", self.base));
        let addresses = self.net.hosts(self.gateway, &self.skip)?;
        let machines = addresses.into_iter().map(|ip| Identity::new(&pattern, ip, &around));
        let machines: Vec<Identity> = machines.collect::<Result<_, _>>()?;
        if let Some(twice) = machines.windows(2).find(|pair| pair[0].name == pair[1].name) {
            let name = shown(&twice[0].name);
            return Err(Failure::usage(format!(
                "--name: all would be called `{name}`; put {{ip}} or {{host}} into it"
            )));
        }
        let disks = disks(session, false)?;
        let base = disks.disk(&self.base, Access::Read)?;
        let burned = self.burned(&base, &machines, &around)?;
        drop(base);
        let names: Vec<&str> = machines.iter().map(|machine| machine.name.as_str()).collect();
        if self.dry_run {
            disks.check_names(&names)?;
            return tell(session, &machines);
        }
        let pieces: Vec<(usize, u64, &[u8])> =
            burned.iter().enumerate().map(|(clone, (offset, bytes))| (clone, *offset, bytes.as_slice())).collect();
        let made = disks.clone_with(&self.base, &names, &pieces)?;
        let took = started.elapsed();
        let view = &mut session.view;
        if view.json {
            return made.iter().zip(&machines).try_for_each(|(head, machine)| {
                let mut json = head_json(head);
                json["ip"] = machine.ip.to_string().into();
                json["mac"] = machine.mac.clone().into();
                view.json(&json)
            });
        }
        let base = view.paint(Tone::Strong, shown(&self.base));
        let count = counted(made.len() as u64, "clone");
        let (first, last) = (shown(names[0]), shown(names[names.len() - 1]));
        view.report(format_args!("{base}  {count}  {first} to {last}  {}", lasted(took)), &json!(null))
    }

    /// What is burned into each clone, and where.
    fn burned(
        &self,
        base: &Disk,
        machines: &[Identity],
        around: &Surroundings,
    ) -> Result<Vec<(u64, Vec<u8>)>, Failure> {
        if let Some(path) = &self.template {
            let template = Template::read(path)?;
            let end = template.offset.checked_add(template.size);
            if end.is_none_or(|end| end > base.size()) {
                let (offset, size) = (template.offset, base.size());
                let text =
                    format!("the {} bytes at {offset} are not all within the {size} of the image", template.size);
                return Err(Failure::usage(text).at(path.display()));
            }
            let bytes = |machine: &Identity| template.padded(machine.filled(&template.text, around)?);
            let burned = machines.iter().map(|machine| Ok((template.offset, bytes(machine)?)));
            return burned.collect::<Result<_, Failure>>().map_err(|failure| failure.at(path.display()));
        }
        let user_data = match &self.user_data {
            Some(path) => std::fs::read(path).map_err(|error| Failure::io(path.display(), &error))?,
            None => USER_DATA.to_vec(),
        };
        let place = place(base)?;
        let seed = |machine: &Identity| machine.seed(around, &user_data, place.end - place.start);
        let burned = machines.iter().map(|machine| Ok((place.start, seed(machine)?)));
        burned.collect::<Result<_, _>>().map_err(|error: okapi_volume::SeedError| Failure::usage(error.to_string()))
    }
}

/// Where an image has its place for a seed.
fn place(base: &Disk) -> Result<Range<u64>, Failure> {
    let name = shown(base.name());
    let hint = match seed_place(base) {
        Ok(Some(place)) => return Ok(place),
        Ok(None) => format!("`okapi image prepare {name} NAME` makes a clone that has one"),
        Err(PartitionError::NoTable(_)) => "say with --template where such things go in it".to_owned(),
        Err(error) => return Err(DisksError::Partitions(Box::new(error)).into()),
    };
    let text = format!("disk `{name}` has no place for a seed (a partition called {}); {hint}", okapi_volume::LABEL);
    Err(Failure::of("no-place", text))
}

/// What would be made.
fn tell(session: &mut Session, machines: &[Identity]) -> Result<(), Failure> {
    let view = &mut session.view;
    if view.json {
        return machines.iter().try_for_each(|machine| {
            view.json(&json!({"name": machine.name, "ip": machine.ip.to_string(), "mac": machine.mac}))
        });
    }
    let row = |machine: &Identity| vec![machine.ip.to_string(), machine.mac.clone(), shown(&machine.name)];
    let rows: Vec<_> = machines.iter().map(row).collect();
    columns(&rows, &[]).iter().try_for_each(|line| view.line(line))
}

impl Prepare {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let disks: Disks = disks(session, false)?;
        let base = disks.disk(&self.base, Access::Read)?;
        let added = add_seed_place(&base)?;
        let before = base.size();
        drop(base);
        let writes: Vec<(u64, &[u8])> = added.writes.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
        let head = disks.clone_sized(&self.base, &self.name, added.size, &writes)?;
        let (at, length) = (added.place.start, added.place.end - added.place.start);
        let mut json = head_json(&head);
        json["seed"] = json!({"offset": at, "bytes": length});
        let view = &mut session.view;
        let name = view.paint(Tone::Strong, shown(&head.name));
        let grown =
            if head.size > before { format!(", {} more than before", Size(head.size - before)) } else { String::new() };
        view.report(
            format_args!("{name}  {}{grown}, a place of {} for seeds at {at}", Size(head.size), Size(length)),
            &json,
        )
    }
}
