//! A process of its own: the umask belongs to all its threads.
#![allow(missing_docs, reason = "tests")]

use okapi_link::UnixListen;
use rustix::fs::Mode;
use std::os::unix::fs::PermissionsExt;

#[test]
fn the_mode_is_the_one_asked_for_whatever_the_umask() {
    let directory = tempfile::tempdir().unwrap();
    for umask in [0o000, 0o022, 0o077, 0o777] {
        rustix::process::umask(Mode::from_raw_mode(umask));
        for wanted in [0o600, 0o660, 0o666, 0o000] {
            let path = directory.path().join(format!("{umask:o}-{wanted:o}"));
            let listen = UnixListen::bind(&path, wanted).unwrap();
            let found = std::fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(found, wanted, "umask {umask:o}");
            drop(listen);
        }
    }
}
