//! The commands, one file each, and the one list of them.

mod about;
mod cp;
mod defrag;
mod del;
mod demo;
mod founding;
mod fsck;
pub(crate) mod get;
mod give;
mod grant;
mod grid;
mod image;
mod init;
mod invite;
mod join;
mod key;
mod leave;
pub(crate) mod lost;
pub(crate) mod ls;
pub(crate) mod map;
mod members;
mod nbd;
pub(crate) mod put;
mod replicate;
mod restore;
mod shell;
mod slice;
mod stat;
mod status;
mod top;
pub(crate) mod up;
#[cfg(feature = "vhost")]
mod vhost;
mod vm;

use crate::failure::Failure;
use crate::session::Session;
use clap::ArgMatches;

/// How records and blocks are named, at the end of the help of every command that takes them.
pub(crate) const NAMING: &str = "\
Records have names, which may look like paths. Blocks have indexes: #5 is one
block, #5..10 are blocks 5 to 9, #5+10 ten from 5, #5.. all from 5. In most
shells a word that begins with # needs quotes, '#5'; --index 5 needs none.";

/// Commands that only make sense from outside.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Init(init::Args),
    Restore(restore::Args),
    Top(top::Args),
    Up(up::Args),
    Config(up::Config),
    Key(key::Args),
    Demo(demo::Args),
    Nbd(nbd::Args),
    #[cfg(feature = "vhost")]
    Vhost(vhost::Args),
    Vm(vm::Args),
    Shell(shell::Args),
    Run(shell::Run),
    Completions(about::Completions),
    Man(about::Man),
    #[command(flatten)]
    Data(Box<Data>),
}

/// Commands that are the same in the shell and in scripts.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Data {
    Put(put::Args),
    Get(get::Args),
    Del(del::Args),
    Ls(ls::Args),
    Stat(stat::Args),
    Slice(slice::Args),
    Cp(cp::Args),
    Map(map::Args),
    Grid(grid::Args),
    Image(image::Args),
    Grant(grant::Grant),
    Revoke(grant::Revoke),
    Grants(grant::Args),
    Replicate(replicate::Args),
    Invite(invite::Args),
    Join(join::Args),
    Members(members::Args),
    Leave(leave::Args),
    Lost(lost::Args),
    Give(give::Args),
    Status(status::Args),
    Ping(status::Ping),
    Fsck(fsck::Args),
    Defrag(defrag::Args),
    Version(about::Version),
}

/// The commands in groups, as the help shows them; every command is in one.
pub(crate) const GROUPS: [(&str, &[&str]); 8] = [
    ("Node", &["up", "config", "status", "ping", "fsck", "defrag"]),
    ("Group", &["init", "invite", "join", "members", "top", "give", "leave", "lost", "restore", "demo"]),
    ("Data", &["put", "get", "slice", "ls", "stat", "del", "cp", "map"]),
    ("Grids", &["grid", "grant", "revoke", "grants", "replicate"]),
    ("Disks", if cfg!(feature = "vhost") { &["image", "vm", "nbd", "vhost"] } else { &["image", "vm", "nbd"] }),
    ("Keys", &["key"]),
    ("Shell", &["shell", "run"]),
    ("Okapi", &["completions", "man", "version", "help"]),
];

impl Command {
    /// Whether it serves others, and says meanwhile what wants attention.
    pub(crate) fn serves(&self) -> bool {
        match self {
            Self::Up(_) | Self::Nbd(_) => true,
            #[cfg(feature = "vhost")]
            Self::Vhost(_) => true,
            _ => false,
        }
    }

    /// Runs the command; `matches` are those of the command itself.
    pub(crate) fn run(self, mut session: Session, matches: &ArgMatches) -> Result<(), Failure> {
        let done = match self {
            Self::Shell(args) => return args.run(session),
            Self::Init(args) => args.run(&mut session),
            Self::Restore(args) => args.run(&mut session),
            Self::Top(args) => args.run(&mut session),
            Self::Up(args) => args.run(&mut session, matches),
            Self::Config(args) => args.run(&mut session, matches),
            Self::Key(args) => args.run(&mut session),
            Self::Demo(args) => args.run(&mut session),
            Self::Nbd(args) => args.run(&mut session),
            #[cfg(feature = "vhost")]
            Self::Vhost(args) => args.run(&mut session),
            Self::Vm(args) => args.run(&mut session),
            Self::Run(args) => args.run(&mut session),
            Self::Completions(args) => args.run(&mut session),
            Self::Man(args) => args.run(&mut session),
            Self::Data(command) => command.run(&mut session),
        };
        done.and_then(|()| session.view.flush())
    }
}

impl Data {
    /// Runs the command.
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        self.run_at(session).map_err(|failure| session.without_address(failure))
    }

    /// Whether it is about the node itself and its part in the group, and not about what lies in grids.
    fn is_about_the_node(&self) -> bool {
        matches!(
            self,
            Self::Invite(_)
                | Self::Join(_)
                | Self::Members(_)
                | Self::Leave(_)
                | Self::Give(_)
                | Self::Status(_)
                | Self::Fsck(_)
                | Self::Defrag(_)
        )
    }

    fn run_at(self, session: &mut Session) -> Result<(), Failure> {
        if session.global.member.is_some() && self.is_about_the_node() {
            // Nobody is to leave the group because OKAPI_MEMBER was still set.
            let text = "this command is about your own node: leave out --member, and unset OKAPI_MEMBER";
            return Err(Failure::usage(text));
        }
        match self {
            Self::Put(args) => args.run(session),
            Self::Get(args) => args.run(session),
            Self::Del(args) => args.run(session),
            Self::Ls(args) => args.run(session),
            Self::Stat(args) => args.run(session),
            Self::Slice(args) => args.run(session),
            Self::Cp(args) => args.run(session),
            Self::Map(args) => args.run(session),
            Self::Grid(args) => args.run(session),
            Self::Image(args) => args.run(session),
            Self::Grant(args) => args.run(session),
            Self::Revoke(args) => args.run(session),
            Self::Grants(args) => args.run(session),
            Self::Replicate(args) => args.run(session),
            Self::Invite(args) => args.run(session),
            Self::Join(args) => args.run(session),
            Self::Members(args) => args.run(session),
            Self::Leave(args) => args.run(session),
            Self::Lost(args) => args.run(session),
            Self::Give(args) => args.run(session),
            Self::Status(args) => args.run(session),
            Self::Ping(args) => args.run(session),
            Self::Fsck(args) => args.run(session),
            Self::Defrag(args) => args.run(session),
            Self::Version(args) => args.run(session),
        }
    }
}
