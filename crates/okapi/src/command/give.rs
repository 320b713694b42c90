//! `okapi give`: changes how much disk is given.

use crate::failure::Failure;
use crate::session::Session;
use crate::size::Size;
use okapi_client::group::GroupHalves;
use serde_json::json;

/// Change how much disk you give
///
/// One half is for your own data, the other for what you hold for the others; what you may place with them grows with
/// what you verifiably hold for them. Less than is used already cannot be given.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi give 500G                   250 GiB for yourself, 250 GiB for the others
  okapi status                      what of it is used")]
pub(crate) struct Args {
    /// Bytes of disk, both halves together: 500G, 2T
    #[arg(value_name = "SIZE")]
    bytes: Size,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let client = session.client()?;
        client.give(self.bytes.0)?;
        let GroupHalves { user, server, .. } = client.group_status()?.halves;
        let json = json!({"gives": self.bytes.0, "user_half": user, "server_half": server});
        session.view.report(halves_words(user, server), &json)
    }
}

/// What is given, in a sentence.
pub(crate) fn halves_words(user: u64, server: u64) -> String {
    let (given, user, server) = (Size(user.saturating_add(server)), Size(user), Size(server));
    format!("{given}: {user} for your own data, {server} for what you hold for others")
}
