//! What the person running a bench asks for.

use crate::Fault;
use std::path::PathBuf;

/// The command line, as shown to whoever mistypes it.
pub(crate) const USAGE: &str = "\
okapi-bench grid|store|disk|group|link|route|keys [--quick] [--rounds N] [--only NAME]... [--scenario WORD] [--dir DIR]
  --quick           fewer and shorter rounds: a look, not a measurement
  --rounds N        so many rounds (group, disk)
  --only NAME       only this contender or engine (may be said several times)
  --scenario WORD   only scenarios whose name contains WORD
  --dir DIR         where servers and engines keep their files (default: the temporary folder)";

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// A look, not a measurement.
    pub(crate) quick: bool,
    /// How many rounds, if the bench's own number is not wanted.
    pub(crate) rounds: Option<usize>,
    /// Names of contenders; none means all.
    only: Vec<String>,
    /// Part of the names of scenarios.
    scenario: Option<String>,
    dir: Option<PathBuf>,
}

impl Options {
    /// Reads the words after `grid`, `store` and so on.
    pub(crate) fn read(words: &[String]) -> Result<Self, Fault> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().cloned().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                "--quick" => options.quick = true,
                "--rounds" => options.rounds = Some(value()?.parse().map_err(|why| format!("--rounds: {why}"))?),
                "--only" => options.only.push(value()?),
                "--scenario" => options.scenario = Some(value()?),
                "--dir" => options.dir = Some(value()?.into()),
                _ => return Err(format!("`{word}` is no option\n{USAGE}").into()),
            }
        }
        Ok(options)
    }

    /// Whether this contender or engine takes part.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// Whether this scenario is run.
    pub(crate) fn wants_scenario(&self, name: &str) -> bool {
        self.scenario.as_ref().is_none_or(|word| name.contains(word.as_str()))
    }

    /// A fresh folder for files, removed when dropped.
    pub(crate) fn folder(&self) -> Result<tempfile::TempDir, Fault> {
        let builder = &mut tempfile::Builder::new();
        let builder = builder.prefix("okapi-bench-");
        Ok(match &self.dir {
            Some(dir) => builder.tempdir_in(dir).map_err(|why| format!("{}: {why}", dir.display()))?,
            None => builder.tempdir()?,
        })
    }
}
