//! `okapi init`: gives this machine's node an identity, so that it can be in a group.

use crate::command::founding::{Wishes, halves};
use crate::command::give::halves_words;
use crate::command::key::Home;
use crate::command::key::keeping::{Protection, keep, phrase_rows, unlock};
use crate::failure::Failure;
use crate::session::Session;
use crate::settings::Effective;
use crate::standing::short;
use crate::view::{Tone, View, shown};
use okapi_node::group::{FoundError, Founded, Founding, RestoreVia, begin_restore, found};
use okapi_seal::{MemberSecret, RecoveryPhrase};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Make this machine ready to be in a group
///
/// Makes your member key, unless it is there already, and prints the 24 words that bring everything back: once, so have
/// paper ready. Asks for a passphrase that keeps the key, how much disk you give, and where to listen for the others; a
/// flag answers in advance. Half of the disk you give is for your own data, half for what you hold for others.
///
/// Afterwards `okapi up` runs the node, in a group of its own until somebody joins it or it joins somebody.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi init                        asks what it needs to know
  okapi init --give 200G --listen 0.0.0.0:7072 --passphrase-file pass.txt
  okapi init --give 1T --listen none --no-passphrase --json
  okapi key import < words.txt && okapi init --number 1
                                    a second node of yours, on another machine

If your node is lost and its data is to come back, that is `okapi restore`.")]
pub(crate) struct Args {
    #[command(flatten)]
    wishes: Wishes,

    #[command(flatten)]
    home: Home,

    #[command(flatten)]
    protection: Protection,
}

/// The member whose node it is to be.
pub(super) struct Owner {
    pub(super) secret: MemberSecret,
    /// Its key's file.
    path: PathBuf,
    protected: bool,
    /// Whether the file was made just now.
    made: bool,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let data = Effective::for_clients(&session.global)?.data;
        let data = std::path::absolute(&data).map_err(|error| Failure::io(data.display(), &error))?;
        Wishes::check_new(&data)?;
        let path = self.home.path(session)?;
        let known = path.symlink_metadata().is_ok();
        if !known && self.wishes.number > 0 {
            return Err(Failure::usage(format!(
                "a further node needs your member key, and there is none at {}; bring it with `okapi key import`",
                path.display()
            )));
        }
        let founding = self.wishes.settle(&data)?;
        let owner = if known {
            Owner::known(session, &self.home, &self.protection)?
        } else {
            Owner::keep(session, self.home.place(session)?, MemberSecret::random(), &self.protection)?
        };
        let founded = owner.found(&data, &founding)?;
        tell(session, &owner, &founding, founded)
    }
}

impl Owner {
    /// A member whose key is there already.
    pub(super) fn known(session: &Session, home: &Home, protection: &Protection) -> Result<Self, Failure> {
        let key = home.key(session)?;
        let secret = unlock(&key, &protection.passphrase)?;
        Ok(Self { secret, path: home.path(session)?, protected: key.is_protected(), made: false })
    }

    /// A member whose key is written to its file just now.
    pub(super) fn keep(
        session: &Session,
        path: PathBuf,
        secret: MemberSecret,
        protection: &Protection,
    ) -> Result<Self, Failure> {
        let protected = keep(session, &path, &secret, protection)?;
        Ok(Self { secret, path, protected, made: true })
    }

    /// Gives the node its identity. A key that was made for it goes again if that fails: nobody has seen its words.
    pub(super) fn found(&self, data: &Path, founding: &Founding) -> Result<Founded, Failure> {
        self.or_forget(found(data, &self.secret, founding))
    }

    /// Gives the node its identity again, with all its data to come back.
    pub(super) fn begin_restore(&self, data: &Path, founding: &Founding, via: &RestoreVia) -> Result<Founded, Failure> {
        self.or_forget(begin_restore(data, &self.secret, founding, via))
    }

    fn or_forget(&self, done: Result<Founded, FoundError>) -> Result<Founded, Failure> {
        done.map_err(|error| {
            let failure = Failure::from(error);
            match self.made.then(|| std::fs::remove_file(&self.path)) {
                Some(Err(error)) => {
                    let left = format!("{}; the key {} is left", failure.message, self.path.display());
                    Failure { message: format!("{left}, as it cannot be removed: {error}"), ..failure }
                }
                _ => failure,
            }
        })
    }
}

fn tell(session: &mut Session, owner: &Owner, founding: &Founding, founded: Founded) -> Result<(), Failure> {
    let (user, server) = halves(founding.give);
    let phrase = owner.made.then(|| owner.secret.phrase());
    let view = &mut session.view;
    if view.json {
        let mut json = json!({
            "member": founded.member.to_string(),
            "node": founded.node.to_string(),
            "number": founding.number,
            "name": founding.name,
            "gives": founding.give,
            "user_half": user,
            "server_half": server,
            "listen": founding.listen,
            "advertise": founding.advertise,
            "file": owner.path.display().to_string(),
            "protected": owner.protected,
        });
        if let Some(phrase) = phrase {
            json["phrase"] = phrase.as_str().into();
        }
        return view.json(&json);
    }
    if view.quiet {
        // The one result that must not be lost.
        return phrase.map_or(Ok(()), |phrase| view.line(phrase.as_str()));
    }
    let kept = format!("{}, {}", owner.path.display(), Protection::words(owner.protected));
    let named = format!("{}, number {}, {}", shown(&founding.name), founding.number, short(&founded.node.0));
    view.facts(&[
        ("member", founded.member.to_string()),
        ("its key", kept),
        ("this node", named),
        ("gives", halves_words(user, server)),
        ("listens", listens(founding)),
    ])?;
    view.line("")?;
    if let Some(phrase) = phrase {
        frame(view, &phrase).iter().try_for_each(|line| view.line(line))?;
        view.line("")?;
    }
    for (command, does) in NEXT {
        let command = view.paint(Tone::Strong, format_args!("{command:NEXT_WIDE$}"));
        let does = view.paint(Tone::Faint, does);
        view.line(format_args!("{command}  {does}"))?;
    }
    Ok(())
}

/// What to do then.
const NEXT: [(&str, &str); 3] = [
    ("okapi up", "runs the node"),
    ("okapi invite", "makes a ticket by which somebody joins you"),
    ("okapi join TICKET", "takes the ticket of somebody whom you join"),
];
const NEXT_WIDE: usize = 17;

fn listens(founding: &Founding) -> String {
    let mut text = match founding.listen.as_slice() {
        [] => "nowhere: it reaches the others, they do not reach it".to_owned(),
        listen => listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "),
    };
    if !founding.advertise.is_empty() {
        text += &format!(", to be reached at {}", founding.advertise.join(" and "));
    }
    text
}

/// What stands below the words in their frame.
const ADVICE: [&str; 6] = [
    "Write these 24 words on paper, in this order, now. Keep the paper",
    "where no fire and no thief finds it.",
    "",
    "On a new machine they bring back everything: `okapi restore`.",
    "Whoever has them is you. Without them and without this disk,",
    "your data is lost, and nobody can help.",
];
const HEADING: &str = " your recovery phrase ";
/// Columns inside the frame.
const INSIDE: usize = 70;

/// The words in a frame, with the advice to write them down.
pub(super) fn frame(view: &View, phrase: &RecoveryPhrase) -> Vec<String> {
    let edge = |text: &str| view.paint(Tone::Faint, text);
    let line = |text: &str, tone: Option<Tone>| {
        let blank = " ".repeat(INSIDE.saturating_sub(text.chars().count() + 3));
        let text = tone.map_or_else(|| text.to_owned(), |tone| view.paint(tone, text));
        format!("{}   {text}{blank}{}", edge("│"), edge("│"))
    };
    let rest = "─".repeat(INSIDE - 1 - HEADING.chars().count());
    let mut lines = vec![format!("{}{}{}", edge("┌─"), view.paint(Tone::Strong, HEADING), edge(&format!("{rest}┐")))];
    lines.push(line("", None));
    lines.extend(phrase_rows(phrase).iter().map(|row| line(row, Some(Tone::Strong))));
    lines.push(line("", None));
    lines.extend(ADVICE.iter().map(|text| line(text, None)));
    lines.push(edge(&format!("└{}┘", "─".repeat(INSIDE))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_holds_all_words_at_any_length() {
        for phrase in [MemberSecret::from_bytes([0; 32]).phrase(), MemberSecret::random().phrase()] {
            let lines = frame(&View::plain(std::io::sink()), &phrase);
            for line in &lines {
                assert_eq!(line.chars().count(), INSIDE + 2, "{line}");
            }
            let all = lines.join("\n");
            for (at, word) in (1..).zip(phrase.words()) {
                assert!(all.contains(&format!("{at:>2} {word}")), "{word}");
            }
        }
        // Rows of four of the longest words.
        let longest = 4 * "24 abcdefgh".len() + 3 * 2;
        assert!(longest + 3 <= INSIDE);
    }

    #[test]
    fn where_it_listens_is_told() {
        let founding = Founding {
            number: 0,
            name: "attic".to_owned(),
            give: 1 << 30,
            listen: vec![],
            advertise: vec![],
            site: None,
        };
        assert!(listens(&founding).starts_with("nowhere"));
        let listen = vec!["0.0.0.0:7072".parse().unwrap()];
        let founding = Founding { listen, advertise: vec!["example.org:7072".into()], ..founding };
        assert_eq!(listens(&founding), "0.0.0.0:7072, to be reached at example.org:7072");
    }
}
