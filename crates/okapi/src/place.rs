//! Places: a record or some blocks, in a grid, on a node, in one text.

use crate::failure::Failure;
use crate::span::Indexes;
use std::fmt;
use std::str::FromStr;

/// What in a grid a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Thing {
    /// A record by its name.
    Record(String),
    /// Blocks by index.
    Blocks(Indexes),
}

/// `#5` and `#5..10` are blocks; anything else is a record's name.
impl FromStr for Thing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix('#') {
            Some(_) => text.parse().map(Self::Blocks),
            None if text.is_empty() => Err("a name cannot be empty".to_owned()),
            None => Ok(Self::Record(text.to_owned())),
        }
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(name) => f.write_str(name),
            Self::Blocks(indexes) => indexes.fmt(f),
        }
    }
}

/// The argument by which commands take a [`Thing`].
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct What {
    /// A record's name, or blocks: #5, #5..10, #5+10
    #[arg(value_name = "WHAT")]
    what: Option<Thing>,

    /// Blocks: 5, 5..10 (5 to 9), 5+10 (ten from 5); the same as #5 and so on, without quotes
    #[arg(long, short = 'i', value_name = "INDEX", conflicts_with = "what")]
    index: Option<Indexes>,
}

impl What {
    /// What is meant, if anything is.
    pub(crate) fn given(&self) -> Option<Thing> {
        self.index.map(Thing::Blocks).or_else(|| self.what.clone())
    }

    /// What is meant.
    ///
    /// # Errors
    /// [`Failure`] if nothing is.
    pub(crate) fn thing(&self) -> Result<Thing, Failure> {
        self.given().ok_or_else(|| Failure::usage("what? name a record, or a block with --index"))
    }
}

/// A grid on a node: `[NODE//]GRID`, or on another member's: `@MEMBER//GRID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GridPlace {
    /// The node; nothing for the one in use.
    pub node: Option<String>,
    /// The grid; nothing for the one in use.
    pub grid: Option<String>,
}

impl FromStr for GridPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (node, grid) = split_node(text)?;
        let grid = grid.strip_suffix(':').unwrap_or(grid);
        if !is_grid_name(grid) {
            return Err(format!(
                "`{grid}` is not a grid's name; write [NODE//]GRID, as in photos or tcp://host:7070//photos"
            ));
        }
        Ok(Self { node, grid: Some(grid.to_owned()) })
    }
}

impl fmt::Display for GridPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.node {
            write!(f, "{node}//")?;
        }
        f.write_str(self.grid.as_deref().unwrap_or_default())
    }
}

/// A record, some blocks or all of a grid, on a node: `[NODE//]GRID:NAME`, `[NODE//]GRID:#5..10`, `[NODE//]GRID:`,
/// or just `NAME` or `#5..10` in the grid in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where.
    pub grid: GridPlace,
    /// What; nothing for everything in the grid.
    pub thing: Option<Thing>,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (node, rest) = split_node(text)?;
        let (grid, thing) = match rest.split_once(':').filter(|(grid, _)| grid.is_empty() || is_grid_name(grid)) {
            Some((grid, thing)) => (Some(grid).filter(|grid| !grid.is_empty()).map(str::to_owned), thing),
            None if node.is_some() => {
                return Err(format!(
                    "`{text}` names a node and no grid; write NODE//GRID:NAME, or NODE//GRID: for all of it"
                ));
            }
            None => (None, rest),
        };
        let thing = if thing.is_empty() && grid.is_some() { None } else { Some(thing.parse()?) };
        Ok(Self { grid: GridPlace { node, grid }, thing })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.grid.grid.is_some() {
            write!(f, "{}:", self.grid)?;
        }
        match &self.thing {
            Some(thing) => thing.fmt(f),
            None => Ok(()),
        }
    }
}

/// The node before the first `//`, where the text begins like a node at all: names of records may have `//` in them.
fn split_node(text: &str) -> Result<(Option<String>, &str), String> {
    let skip = if text.starts_with("tcp://") {
        "tcp://".len()
    } else if let Some(path) = text.strip_prefix("unix:") {
        text.len() - path.trim_start_matches('/').len()
    } else if text.starts_with(['/', '.', '@']) && text.contains("//") {
        1
    } else {
        return Ok((None, text));
    };
    match text[skip..].find("//") {
        Some(at) => Ok((Some(text[..skip + at].to_owned()), &text[skip + at + 2..])),
        None => {
            Err(format!("`{text}` names a node and nothing on it; write NODE//GRID, as in tcp://host:7070//photos"))
        }
    }
}

/// Whether `text` may be a grid's name: 1 to 64 of `A-Z a-z 0-9 . _ -`, not beginning with `.` or `-`.
pub(crate) fn is_grid_name(text: &str) -> bool {
    (1..=okapi_base::limits::GRID_NAME_MAX).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> (Option<String>, Option<String>, Option<String>) {
        let place: Place = text.parse().unwrap();
        assert_eq!(place.to_string().parse::<Place>().as_ref(), Ok(&place), "{text}");
        (place.grid.node, place.grid.grid, place.thing.map(|thing| thing.to_string()))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn places_in_all_their_forms() {
        assert_eq!(place("a/b.jpg"), (None, None, some("a/b.jpg")));
        assert_eq!(place("#5..10"), (None, None, some("#5..10")));
        assert_eq!(place("photos:a/b.jpg"), (None, some("photos"), some("a/b.jpg")));
        assert_eq!(place("photos:"), (None, some("photos"), None));
        assert_eq!(place("photos:#7"), (None, some("photos"), some("#7")));
        assert_eq!(place("photos:a//b:c"), (None, some("photos"), some("a//b:c")));
        assert_eq!(place("tcp://[::1]:70//photos:a"), (some("tcp://[::1]:70"), some("photos"), some("a")));
        assert_eq!(place("unix:/run/o.sock//p:"), (some("unix:/run/o.sock"), some("p"), None));
        assert_eq!(place("unix:///run/o.sock//p:"), (some("unix:///run/o.sock"), some("p"), None));
        assert_eq!(place("/run/o.sock//p:#1"), (some("/run/o.sock"), some("p"), some("#1")));
        assert_eq!(place("@attic//p:a//b"), (some("@attic"), some("p"), some("a//b")));
        assert_eq!(place("@attic"), (None, None, some("@attic")));
        assert_eq!(place("a b: c"), (None, None, some("a b: c")));
    }

    #[test]
    fn what_is_no_place_says_why() {
        for text in ["", ":", "#x", "tcp://host:70", "tcp://host:70//name", "photos:#9..3"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
        for text in ["", "a b", ".x", "tcp://host:70", "tcp://host:70//", "p:name"] {
            assert!(text.parse::<GridPlace>().is_err(), "{text}");
        }
        assert_eq!("tcp://h:1//p".parse::<GridPlace>().unwrap().to_string(), "tcp://h:1//p");
        assert_eq!("p:".parse::<GridPlace>().unwrap().to_string(), "p");
    }
}
