//! What a node is to be when it begins: said by flags, or asked for.

use crate::ask;
use crate::disk::Room;
use crate::failure::Failure;
use crate::size::Size;
use okapi_node::LockError;
use okapi_node::group::{FoundError, Founding, GIVE_MIN, is_address, is_founded};
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

/// Where a node listens for other members unless it is told otherwise.
const LISTEN: &str = "0.0.0.0:7072";
/// Bytes of a node's name.
const NAME_MAX: usize = okapi_node::group::NODE_NAME_MAX;

/// What a node is to be when it begins.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Wishes {
    /// What the others call this node [default: the name of this machine]
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,

    /// Which of your nodes it is: 0 the first, 1 the next. Two with one number are one node, and must never both run
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(super) number: u32,

    /// How much disk to give, both halves together: 200G, 2T [otherwise: asked for]
    #[arg(long, value_name = "SIZE")]
    give: Option<Size>,

    /// Where to listen for other members, or `none` [otherwise: 0.0.0.0:7072, if you agree]
    ///
    /// What goes over these links is encrypted, and both ends prove who they are by their keys. A node that listens
    /// nowhere can still reach the others.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<Listen>,

    /// Where others reach this node, if that is not where it listens: behind a router, say
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', value_parser = advertised)]
    advertise: Vec<String>,

    /// A number of your choice that nodes in the same building share: they may be lost together
    #[arg(long, value_name = "NUMBER")]
    site: Option<u64>,
}

/// Addresses to listen at; maybe none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listen(Vec<SocketAddr>);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(Vec::new()));
        }
        let address = |part: &str| {
            let wrong = || format!("`{part}` is not an address; write 0.0.0.0:7072, [::]:7072, or none");
            part.trim().parse::<SocketAddr>().map_err(|_| wrong())
        };
        text.split(',').map(address).collect::<Result<_, _>>().map(Self)
    }
}

fn name(text: &str) -> Result<String, String> {
    let right = (1..=NAME_MAX).contains(&text.len()) && !text.chars().any(char::is_control) && text.trim() == text;
    if right { Ok(text.to_owned()) } else { Err(format!("a name has 1 to {NAME_MAX} bytes on one line")) }
}

fn advertised(text: &str) -> Result<String, String> {
    if is_address(text) {
        Ok(text.to_owned())
    } else {
        Err("an address has no blanks and at most 255 bytes".to_owned())
    }
}

impl Wishes {
    /// Makes sure that a data directory is nobody's yet.
    ///
    /// # Errors
    /// [`Failure`] if it is somebody's, or a node runs there.
    pub(super) fn check_new(data: &Path) -> Result<(), Failure> {
        if is_founded(data) {
            return Err(FoundError::Already { data: data.to_owned() }.into());
        }
        Ok(okapi_node::check_free(data).map_err(FoundError::from)?)
    }

    /// What the node is to be, with everything asked for that no flag says.
    ///
    /// # Errors
    /// [`Failure`] if something is not possible, or nobody is there to ask.
    pub(super) fn settle(&self, data: &Path) -> Result<Founding, Failure> {
        let room = Room::at(data)?;
        let give = match self.give {
            Some(give) => may_give(give, room).map_err(Failure::usage)?,
            None => ask_give(data, room)?,
        };
        let listen = match &self.listen {
            Some(Listen(listen)) => listen.clone(),
            None => ask_listen()?,
        };
        let name = self.name.clone().unwrap_or_else(machine_name);
        Ok(Founding { number: self.number, name, give, listen, advertise: self.advertise.clone(), site: self.site })
    }
}

/// How the halves of what is given are: the user's and the server's.
pub(super) const fn halves(give: u64) -> (u64, u64) {
    let server = give / 2;
    (give - server, server)
}

fn may_give(give: Size, room: Room) -> Result<u64, String> {
    if give.0 > room.most() {
        let taken =
            if room.taken > 0 { format!(", and Okapi has {} already", Size(room.taken)) } else { String::new() };
        return Err(format!("{give} cannot be given: {} are free on that disk{taken}", Size(room.free)));
    }
    if give.0 < GIVE_MIN {
        return Err(format!("{give} is too little: give at least {}", Size(GIVE_MIN)));
    }
    Ok(give.0)
}

fn ask_give(data: &Path, room: Room) -> Result<u64, Failure> {
    let free = Size(room.free);
    if room.most() < GIVE_MIN {
        return Err(Failure::of("full", format!("only {free} are free on the disk of {}", data.display())));
    }
    if !ask::is_possible() {
        return Err(Failure::usage(format!("how much disk do you give? say --give SIZE; {free} are free")));
    }
    let proposal = half_of(room.most()).to_string();
    eprint_line(&format!(
        "How much disk do you give? {free} are free where {} is.\nOne half is for your own data, the other for what you \
         hold for others.",
        data.display()
    ));
    loop {
        let answer = ask::text("give", &proposal)?;
        match answer.parse::<Size>().and_then(|give| may_give(give, room)) {
            Ok(give) => return Ok(give),
            Err(why) => eprint_line(&why),
        }
    }
}

/// About half of it, as people would say it.
fn half_of(bytes: u64) -> Size {
    let half = bytes / 2;
    let unit = if half >= 2 << 30 { 1 << 30 } else { 1 << 20 };
    Size((half / unit * unit).max(GIVE_MIN))
}

fn ask_listen() -> Result<Vec<SocketAddr>, Failure> {
    let address: SocketAddr = LISTEN.parse().expect("the address is ours");
    if !ask::is_possible() {
        return Err(Failure::usage(format!(
            "where is it to listen for other members? say --listen {LISTEN} (every address of this machine) or --listen \
             none"
        )));
    }
    let question = format!(
        "Other members reach this node over the network, encrypted, and both ends prove who they are by their keys.\n\
         Listen at {LISTEN}, every address of this machine?"
    );
    Ok(if ask::yes(&question, true)? { vec![address] } else { Vec::new() })
}

/// What this machine is called, as far as a name can be so.
fn machine_name() -> String {
    let uname = rustix::system::uname();
    let name: String = uname.nodename().to_string_lossy().chars().filter(|c| !c.is_control()).collect();
    let name: String = name.trim().chars().take(NAME_MAX / 4).collect();
    if name.is_empty() { "okapi".to_owned() } else { name }
}

/// Says something before a question, where the question is asked.
fn eprint_line(text: &str) {
    use std::io::Write as _;
    // If that fails, so does the question.
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl From<FoundError> for Failure {
    fn from(error: FoundError) -> Self {
        let kind = match &error {
            FoundError::Data(LockError::InUse { .. }) => "in-use",
            FoundError::Data(_) => "data-directory",
            FoundError::Already { .. } => "exists",
            FoundError::NotEmpty { .. } => "exists",
            FoundError::TooLittle { .. } | FoundError::Name { .. } => return Self::usage(error.to_string()),
            FoundError::Key(_) | FoundError::Io { .. } => "failed",
        };
        Self::of(kind, crate::failure::without_code(&error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_must_be_there() {
        let room = Room { free: 10 << 30, taken: 0 };
        assert_eq!(may_give(Size(10 << 30), room), Ok(10 << 30));
        assert_eq!(
            may_give(Size((10 << 30) + 1), room).unwrap_err(),
            "10.0 GiB cannot be given: 10 GiB are free on that disk"
        );
        let room = Room { free: 10 << 30, taken: 1 << 30 };
        assert_eq!(may_give(Size(11 << 30), room), Ok(11 << 30));
        assert!(may_give(Size(12 << 30), room).unwrap_err().ends_with("and Okapi has 1 GiB already"));
        assert_eq!(may_give(Size(1), room).unwrap_err(), "1 B is too little: give at least 64 MiB");
        assert_eq!((halves(100), halves(101)), ((50, 50), (51, 50)));
    }

    #[test]
    fn half_a_disk_is_proposed_in_round_numbers() {
        assert_eq!(half_of(87_654_321_000).to_string(), "40 GiB");
        assert_eq!(half_of(3 << 30).to_string(), "1.50 GiB");
        assert_eq!(half_of(1000 << 20).to_string(), "500 MiB");
        assert_eq!(half_of(100 << 20).to_string(), "64 MiB", "never less than can be given");
        assert_eq!("1.50 GiB".parse(), Ok(half_of(3 << 30)), "what is proposed can be typed");
    }

    #[test]
    fn addresses_and_names() {
        let listen = |text: &str| text.parse::<Listen>().map(|listen| listen.0.len());
        assert_eq!((listen("none"), listen("0.0.0.0:7072"), listen("[::]:1, 10.0.0.1:2")), (Ok(0), Ok(1), Ok(2)));
        assert!(listen("").is_err() && listen("7072").unwrap_err().contains("is not an address"));
        assert_eq!(LISTEN.parse::<Listen>().unwrap().0.len(), 1);
        assert!(name("attic").is_ok() && name("").is_err() && name(" a").is_err() && name("a\n").is_err());
        assert!(name(&"x".repeat(65)).is_err());
        assert!(name(&machine_name()).is_ok(), "{}", machine_name());
        assert!(advertised("example.org:7072").is_ok() && advertised("a b").is_err());
    }
}
