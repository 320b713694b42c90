//! `okapi completions`, `okapi man` and `okapi version`: what Okapi tells of itself, all from the one list of commands.

use crate::cli;
use crate::failure::Failure;
use crate::session::Session;
use crate::size::counted;
use clap_complete::Shell;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
To use them:
  bash  okapi completions bash > ~/.local/share/bash-completion/completions/okapi
  zsh   okapi completions zsh > ~/.zfunc/_okapi     (with ~/.zfunc in fpath)
  fish  okapi completions fish > ~/.config/fish/completions/okapi.fish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

impl Completions {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let shell = match self.shell.as_str() {
            "zsh" => Shell::Zsh,
            "fish" => Shell::Fish,
            _ => Shell::Bash,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut cli::command(), "okapi", &mut script);
        write(session, &script)
    }
}

fn write(session: &mut Session, bytes: &[u8]) -> Result<(), Failure> {
    session.view.bytes().write_all(bytes).map_err(|error| Failure::io("standard output", &error))
}

/// Print the manual page, or write all pages to a directory
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Write okapi.1, okapi-put.1 and so on here
    directory: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let mut command = cli::command();
        command.build();
        let Some(directory) = self.directory else {
            let page = page(&command, "okapi".to_owned()).map_err(|error| Failure::io("the manual page", &error))?;
            return write(session, &page);
        };
        std::fs::create_dir_all(&directory).map_err(|error| Failure::io(directory.display(), &error))?;
        let count = write_pages(&command, "okapi", &directory)?;
        let text = format!("{} in {}", counted(count, "page"), directory.display());
        session.view.report(text, &json!({"pages": count, "directory": directory.display().to_string()}))
    }
}

fn page(command: &clap::Command, name: String) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let man = clap_mangen::Man::new(command.clone().display_name(name)).manual("Okapi").source("okapi");
    man.render(&mut bytes)?;
    Ok(bytes)
}

fn write_pages(command: &clap::Command, name: &str, directory: &Path) -> Result<u64, Failure> {
    let path = directory.join(format!("{name}.1"));
    page(command, name.to_owned())
        .and_then(|page| std::fs::write(&path, page))
        .map_err(|error| Failure::io(path.display(), &error))?;
    let mut count = 1;
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help" && !inner.is_hide_set()) {
        count += write_pages(inner, &format!("{name}-{}", inner.get_name()), directory)?;
    }
    Ok(count)
}

/// Print the version
#[derive(Debug, clap::Args)]
pub(crate) struct Version {}

impl Version {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let version = env!("CARGO_PKG_VERSION");
        match session.view.json {
            true => session.view.json(&json!({"okapi": version})),
            false => session.view.line(format_args!("okapi {version}")),
        }
    }
}
