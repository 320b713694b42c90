//! `okapi vm`: machines that run from disks in the grid.

mod card;
mod console;
mod list;
mod machine;
mod qemu;
mod qmp;
mod run;
mod stop;

use crate::failure::Failure;
use crate::session::Session;

/// Run virtual machines from disks, and see what they use
///
/// qemu runs the machine; its disk is served to it by the same command, over NBD on a socket that only the two use. What the
/// guest flushes is on the node's disk then, and nobody else can write to the disk meanwhile.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi vm run web-01                         until it is off; its console is this terminal
  okapi vm run web-01 --detach --memory 1G --forward 2222:22
  okapi vm ls                                 who runs, and what each uses
  okapi vm console web-01                     Ctrl-] leaves
  okapi vm stop web-01                        as by the button of a real one")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Ls(list::Args),
    Stop(stop::Args),
    Console(console::Args),
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self.command {
            Command::Run(args) => args.run(session),
            Command::Ls(args) => args.run(session),
            Command::Stop(args) => args.run(session),
            Command::Console(args) => args.run(session),
        }
    }
}
