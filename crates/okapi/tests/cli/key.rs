//! Keys: the member's own, and those that the real `openssl` makes and uses.

use crate::dice::Dice;
use crate::house::{Ended, House, noise};
use serde_json::{Value, json};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

/// What openssl has to be told to do RSA-OAEP with SHA-256.
const OAEP: [&str; 6] =
    ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256"];
const PASSPHRASE: &str = "correct horse";

impl House {
    /// Runs the real `openssl`, which must end well, and gives what it printed.
    pub(crate) fn openssl(&self, line: &str, more: &[&str]) -> Vec<u8> {
        let mut command = Command::new("openssl");
        command.args(line.split_whitespace()).args(more).current_dir(self.path(""));
        let done = command.output().expect("the program openssl; `cargo xtask test` installs it");
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    }

    /// Runs the program with a passphrase in its environment.
    fn with_passphrase(&self, passphrase: &str, line: &str, input: &[u8]) -> Ended {
        let mut command = self.command(line.split_whitespace());
        command.env("OKAPI_PASSPHRASE", passphrase);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A program that refuses before it reads may be gone by now; what it said is what counts.
        let fed = child.stdin.take().unwrap().write_all(input);
        assert!(fed.is_ok() || fed.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe), "{line}");
        let done = child.wait_with_output().unwrap();
        let err = String::from_utf8(done.stderr).unwrap();
        assert!(!err.contains("panicked"), "{line}: {err}");
        Ended { code: done.status.code().unwrap(), out: done.stdout, err }
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().mode() & 0o777
    }

    /// Makes a member without a passphrase, which is quicker.
    fn member(&self) -> Value {
        serde_json::from_str(&self.ok("key new --no-passphrase --json")).unwrap()
    }

    /// A run that fails with this exit code, and what it said.
    fn fails(&self, code: i32, line: &str) -> String {
        let ended = self.run(line);
        assert_eq!((ended.code, ended.out.len()), (code, 0), "{line}: {ended:?}");
        assert!(ended.err.starts_with("error: ") && ended.err.lines().count() == 1, "{line}: {}", ended.err);
        ended.err
    }

    fn path_bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn same(&self, one: &str, other: &str) -> bool {
        fs::read(self.path(one)).unwrap() == fs::read(self.path(other)).unwrap()
    }
}

#[test]
fn a_member_key_is_made_once_and_comes_back_from_its_words() {
    let house = House::new();
    let made = house.with_passphrase(PASSPHRASE, "key new --json", b"");
    let made: Value = serde_json::from_str(&made.ok("new")).unwrap();
    let phrase = made["phrase"].as_str().unwrap();
    assert_eq!((phrase.split(' ').count(), &made["protected"]), (24, &json!(true)));
    assert_eq!(house.mode("data/member.key"), 0o600);
    assert_eq!(house.mode("data"), 0o700);
    // What is public needs no passphrase, and nothing secret is in it.
    let shown = house.ok("key show");
    assert!(shown.contains(made["member"].as_str().unwrap()) && shown.contains("under its passphrase"), "{shown}");
    let json = &house.json("key show")[0];
    assert_eq!((&json["member"], &json["recipient"]), (&made["member"], &made["recipient"]));
    assert_eq!(house.ok("key show --pem").trim_end(), made["recipient"]["pem"].as_str().unwrap().trim_end());
    // The words again, and the file never again.
    let again = house.with_passphrase(PASSPHRASE, "key phrase", b"").ok("phrase");
    assert_eq!(again, format!("{phrase}\n"));
    let wrong = house.with_passphrase("wrong", "key phrase", b"");
    assert_eq!((wrong.code, wrong.out.len()), (1, 0));
    assert!(wrong.err.starts_with("error: the passphrase of the member key is wrong; "), "{}", wrong.err);
    let before = fs::read(house.path("data/member.key")).unwrap();
    for line in ["key new", "key new --no-passphrase", "key import"] {
        let refused = house.with_passphrase(PASSPHRASE, line, again.as_bytes());
        assert!(refused.code == 1 && refused.err.contains("there already is a key file"), "{line}: {refused:?}");
    }
    assert_eq!(fs::read(house.path("data/member.key")).unwrap(), before);
    // On another machine.
    let other = House::new();
    let back = other.with_passphrase("another", "key import --json", phrase.to_uppercase().as_bytes()).ok("import");
    let back: Value = serde_json::from_str(&back).unwrap();
    assert_eq!((&back["member"], &back["recipient"]), (&made["member"], &made["recipient"]));
    assert!(back.get("phrase").is_none());
    // A node lives beside it.
    let node = house.up(&[]);
    assert!(node.said[0].starts_with("okapi is up"));
}

#[test]
fn a_wrong_word_is_named() {
    let house = House::new();
    let said = |words: &str| house.run_with(&["key", "import", "--no-passphrase"], words.as_bytes());
    let good = format!("{}art", "abandon ".repeat(23));
    said(&good.replacen("abandon", "abandom", 1))
        .failed(1, "error: word 1, `abandom`, is not a word of recovery phrases; did you mean `abandon`?\n");
    said("abandon art")
        .failed(1, "error: a recovery phrase has 24 words and this has 2; type all of them, in their order\n");
    let swapped = said(&good.replace("art", "arm"));
    assert!(swapped.code == 1 && swapped.err.contains("the words do not belong together"), "{swapped:?}");
    assert!(!house.path("data/member.key").exists());
    let ended = said(&good);
    assert_eq!(ended.code, 0);
    assert!(ended.err.starts_with("warning: ") && ended.err.contains("has no passphrase"), "{}", ended.err);
    assert_eq!(house.ok("key phrase").trim_end(), good);
}

#[test]
fn key_files_that_others_can_read_or_that_are_damaged_are_refused() {
    let house = House::new();
    assert!(house.fails(3, "key show").contains("make one with `okapi key new`"));
    house.member();
    let key = house.path("data/member.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    for line in ["key show", "key phrase", "key export --private", "key encrypt --to me -"] {
        assert!(house.fails(1, line).contains(&format!("run `chmod 600 {}`", key.display())), "{line}");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let whole = fs::read(&key).unwrap();
    for (at, what) in [(60, "its checksum does not match"), (3, "it does not begin as a member key does")] {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        fs::write(&key, bad).unwrap();
        assert!(house.fails(1, "key show").contains(what));
    }
    fs::write(&key, &whole[..100]).unwrap();
    assert!(house.fails(1, "key show").contains("it is not 156 bytes long"));
    house.file("pass", "x\n");
    fs::set_permissions(house.path("pass"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(house.fails(1, "key new --file other --passphrase-file pass").contains("so others can read it"));
    let pem = house.file("rsa.pem", house.ok("key rsa --bits 2048"));
    fs::set_permissions(&pem, fs::Permissions::from_mode(0o604)).unwrap();
    assert!(house.fails(1, &format!("key export --key {pem}")).contains("so others can read it"));
}

#[test]
fn passphrases_come_from_files_too() {
    let house = House::new();
    house.file("pass", format!("{PASSPHRASE}\n"));
    fs::set_permissions(house.path("pass"), fs::Permissions::from_mode(0o600)).unwrap();
    house.ok("key new --file k --passphrase-file pass -q");
    let words = house.ok("key phrase --file k --passphrase-file pass");
    assert_eq!(house.with_passphrase(PASSPHRASE, "key phrase --file k", b"").ok("the same"), words);
    let empty = house.with_passphrase("", "key phrase --file k", b"");
    assert_eq!((empty.code, empty.err.contains("the passphrase is empty")), (2, true));
}

/// Another session has no terminal, so nobody can be asked.
#[test]
fn without_a_terminal_nobody_is_asked() {
    let house = House::new();
    let okapi = house.command(["key"]).get_program().to_owned();
    let mut command = Command::new("setsid");
    command
        .arg("--wait")
        .arg(okapi)
        .args(["key", "new"])
        .env("HOME", house.path(""))
        .env("OKAPI_DATA", house.path("d"));
    let done = command.env_remove("OKAPI_PASSPHRASE").output().unwrap();
    let err = String::from_utf8(done.stderr).unwrap();
    assert!(err.contains("give --passphrase-file FILE or set OKAPI_PASSPHRASE"), "{err}");
    assert_eq!((done.status.code(), house.path("d/member.key").exists()), (Some(1), false));
}

/// On a terminal that `script` makes.
#[test]
fn what_is_typed_is_not_shown() {
    let house = House::new();
    let okapi = house.command(["key"]).get_program().to_str().unwrap().to_owned();
    let on_terminal = |line: &str, talk: &[(&str, &str)]| {
        let mut command = Command::new("script");
        command.args(["-qec", &format!("{okapi} {line}; echo ended $?; stty -a"), "/dev/null"]);
        command.env("HOME", house.path("")).env("OKAPI_DATA", house.path("data")).env_remove("OKAPI_PASSPHRASE");
        command.env("SHELL", "/bin/sh").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("the program script, of bsdutils");
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut said = Vec::new();
        for (prompt, typed) in talk {
            while !said.ends_with(prompt.as_bytes()) {
                let mut byte = [0];
                stdout.read_exact(&mut byte).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said)));
                said.push(byte[0]);
            }
            stdin.write_all(typed.as_bytes()).unwrap();
        }
        stdout.read_to_end(&mut said).unwrap();
        child.wait().unwrap();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(" icanon ") && said.contains(" echo "), "the terminal is as before: {said}");
        assert!(!said.contains("horse"), "{said}");
        said
    };
    let first = ("new passphrase for the member key: ", "correct hors\u{e9}\u{7f}e\n");
    let said = on_terminal("key new", &[first, ("once more: ", "correct horses\n")]);
    assert!(said.contains("the two passphrases differ") && said.contains("ended 2"), "{said}");
    let said = on_terminal("key new", &[("member key: ", "\u{3}")]);
    assert!(said.contains("no passphrase was typed") && said.contains("ended 1"), "{said}");
    assert!(!house.path("data/member.key").exists());
    let said = on_terminal("key new", &[first, ("once more: ", "correct horse\n")]);
    assert!(said.contains("ended 0") && said.contains(" 1 ") && said.contains("24 "), "{said}");
    let words = house.with_passphrase(PASSPHRASE, "key phrase", b"").ok("typed as it was meant");
    assert!(said.contains(words.split(' ').next().unwrap()));
    let said = on_terminal("key phrase", &[("passphrase of the member key: ", "correct horse\n")]);
    assert!(said.contains("ended 0"), "{said}");
}

#[test]
fn rsa_secrets_go_both_ways_between_okapi_and_openssl() {
    let house = House::new();
    let secret = noise(48);
    house.file("secret", &secret);
    for (bits, most) in [("2048", 190), ("3072", 318), ("4096", 446)] {
        // One key made here, one made there.
        house.ok(&format!("key rsa --bits {bits} -o ours-{bits}.pem -q"));
        assert_eq!(house.mode(&format!("ours-{bits}.pem")), 0o600);
        house.openssl(&format!("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:{bits} -out theirs-{bits}.pem"), &[]);
        for whose in ["ours", "theirs"] {
            let key = format!("{whose}-{bits}.pem");
            house.openssl(&format!("pkey -in {key} -check -noout"), &[]);
            house.openssl(&format!("pkey -in {key} -pubout -out public.pem"), &[]);
            assert_eq!(house.ok(&format!("key export --key {key}")).as_bytes(), house.path_bytes("public.pem"));
            house.ok("key wrap --to public.pem secret -o wrapped -q");
            house.openssl(&format!("pkeyutl -decrypt -inkey {key} -in wrapped -out back"), &OAEP);
            assert!(house.same("secret", "back"), "{key}: openssl opens what okapi wrapped");
            house.openssl("pkeyutl -encrypt -pubin -inkey public.pem -in secret -out wrapped", &OAEP);
            let back = house.run(&format!("key unwrap --key {key} wrapped"));
            assert!(back.code == 0 && back.out == secret, "{key}: okapi opens what openssl wrapped");
            // A file for it, too.
            house.ok("key encrypt --to public.pem secret -o sealed -q");
            let back = house.run(&format!("key decrypt --key {key} sealed -o -"));
            assert!(back.code == 0 && back.out == secret, "{key}");
        }
        let long = house.run_with(&["key", "wrap", "--to", "public.pem", "-", "-o", "wrapped"], &noise(most + 1));
        assert!(long.code == 1 && long.err.contains(&format!("takes {most} at most")), "{long:?}");
        house
            .run_with(&["key", "wrap", "--to", "public.pem", "-", "-o", "wrapped", "-q"], &noise(most))
            .ok("the longest");
    }
    // The older form, which openssl writes if it is told to.
    house.openssl("rsa -in theirs-2048.pem -traditional -out older.pem", &[]);
    house.openssl("rsa -in theirs-2048.pem -RSAPublicKey_out -out older.pub", &[]);
    house.ok("key wrap --to older.pub secret -o wrapped -q");
    assert!(house.run("key unwrap --key older.pem wrapped").out == secret);
    // Wrong keys and damaged bytes.
    assert!(house.fails(1, "key unwrap --key ours-2048.pem wrapped").contains("it does not open with this RSA key"));
    assert!(house.fails(1, "key unwrap --key ours-4096.pem wrapped").contains("seals 512 bytes and here are 256"));
    let mut wrapped = house.path_bytes("wrapped");
    wrapped[9] ^= 1;
    house.file("wrapped", wrapped);
    assert!(house.fails(1, "key unwrap --key older.pem wrapped").contains("or is damaged"));
    // A secret that was unwrapped is not left open, nor anything written over.
    house.ok("key wrap --to older.pub secret -o wrapped -q");
    house.ok("key unwrap --key older.pem wrapped -o mine -q");
    assert!(house.mode("mine") == 0o600 && house.same("mine", "secret"));
    assert!(house.fails(1, "key unwrap --key older.pem wrapped -o mine").contains("never written over"));
    assert!(house.fails(1, "key rsa --bits 2048 -o ours-2048.pem").contains("never written over"));
    assert_eq!(house.run("key rsa --bits 1024").code, 2);
}

#[test]
fn x25519_and_ed25519_keys_go_both_ways_too() {
    let house = House::new();
    house.member();
    // Ours are read there.
    for (flags, kind) in [("", "X25519"), ("--signing", "ED25519")] {
        house.ok(&format!("key export {flags} --private -o private.pem -q"));
        house.ok(&format!("key export {flags} -o public.pem -q"));
        assert_eq!(house.mode("private.pem"), 0o600);
        let public = house.openssl("pkey -in private.pem -pubout", &[]);
        assert_eq!(public, house.path_bytes("public.pem"), "{kind}");
        assert_eq!(house.openssl("pkey -in private.pem", &[]), house.path_bytes("private.pem"), "{kind}");
        let text = String::from_utf8(house.openssl("pkey -pubin -in public.pem -text -noout", &[])).unwrap();
        assert!(text.to_uppercase().starts_with(kind), "{text}");
        fs::remove_file(house.path("private.pem")).unwrap();
    }
    assert_eq!(house.ok("key export"), house.ok("key show --pem"));
    // Theirs are read here.
    for kind in ["X25519", "ED25519"] {
        house.openssl(&format!("genpkey -algorithm {kind} -out theirs.pem"), &[]);
        house.openssl("pkey -in theirs.pem -pubout -out theirs.pub", &[]);
        assert_eq!(house.ok("key export --key theirs.pem").as_bytes(), house.path_bytes("theirs.pub"));
        assert_eq!(house.ok("key export --key theirs.pem --private").as_bytes(), house.path_bytes("theirs.pem"));
        if kind == "X25519" {
            house.file("plain", "for theirs");
            house.ok("key encrypt --to theirs.pub plain -o sealed -q");
            assert_eq!(house.ok("key decrypt --key theirs.pem sealed"), "for theirs");
            assert!(house.fails(1, "key decrypt sealed").contains("none of them yours here"));
        } else {
            assert!(house.fails(1, "key encrypt --to theirs.pub plain -o x").contains("which signs"));
        }
    }
}

#[test]
fn keys_that_are_none_are_told_apart() {
    let house = House::new();
    house.member();
    house.file("x", "x");
    house.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem", &[]);
    house.openssl("pkey -in ec.pem -pubout -out ec.pub", &[]);
    assert!(house.fails(1, "key encrypt --to ec.pub x -o y").contains("it is an elliptic-curve key"));
    house.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out short.pem", &[]);
    assert!(house.fails(1, "key export --key short.pem").contains("no RSA key of 2048 to 4096 bits"));
    house.openssl("genpkey -algorithm X25519 -aes256 -pass pass:x -out locked.pem", &[]);
    let said = house.fails(1, "key decrypt --key locked.pem x -o y");
    assert!(said.contains("it is no file that `okapi key encrypt` made"), "{said}");
    let said = house.fails(1, "key import locked.pem");
    assert!(said.contains("decrypt it with `openssl pkey -in FILE -out PLAIN.pem`"), "{said}");
    house.openssl("genpkey -algorithm X25519 -out private.pem", &[]);
    let said = house.fails(1, "key encrypt --to private.pem x -o y");
    assert!(said.contains("that is a private key") && said.contains("okapi key export --key private.pem"), "{said}");
    assert!(house.fails(1, "key encrypt --to x x -o y").contains("it is no PEM"));
    assert!(house.fails(3, "key encrypt --to nobody x -o y").contains("`okapi key show` lists those"));
    assert!(house.fails(1, "key wrap --to me x").contains("for RSA alone"));
    assert_eq!(house.run("key encrypt x -o y").code, 2, "to whom?");
    assert!(!house.path("y").exists());
    let error = house.run("key decrypt x -o y --json").err;
    let error: Value = serde_json::from_str(&error).unwrap();
    assert_eq!(error["error"]["kind"], json!("not-encrypted"));
}

#[test]
fn imported_keys_open_what_is_encrypted_to_them() {
    let house = House::new();
    house.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out old.pem", &[]);
    house.openssl("pkey -in old.pem -pubout -out old.pub", &[]);
    house.member();
    let ended = house.with_passphrase(PASSPHRASE, "key import old.pem", b"");
    assert!(ended.ok("import").starts_with("imported old  RSA 2048  "));
    house.openssl("genpkey -algorithm X25519 -out second.pem", &[]);
    let ended = house.run("key import second.pem --name open --no-passphrase");
    assert!(ended.code == 0 && ended.err.starts_with("warning: key `open` has no passphrase"), "{ended:?}");
    for file in ["old.key", "old.pub", "open.key", "open.pub"] {
        assert_eq!(house.mode(&format!("data/recipients/{file}")), 0o600, "{file}");
    }
    assert!(!house.path_bytes("data/recipients/old.key").windows(5).any(|five| five == b"BEGIN"));
    let listed = &house.json("key show")[0]["imported"];
    assert_eq!((&listed[0]["name"], &listed[1]["kind"]), (&json!("old"), &json!("X25519")), "{listed}");
    assert!(house.ok("key show").contains("imported  open  X25519 "));
    fs::remove_file(house.path("old.pem")).unwrap();
    house.file("plain", noise(100_000));
    house.ok("key encrypt --to old.pub plain -o sealed -q");
    let wrong = house.with_passphrase("wrong", "key decrypt sealed -o back", b"");
    assert!(wrong.code == 1 && wrong.err.contains("the passphrase is wrong") && !house.path("back").exists());
    house.with_passphrase(PASSPHRASE, "key decrypt sealed -o back -q", b"").ok("it is found by itself");
    assert!(house.same("plain", "back"));
    house.ok("key encrypt --to open plain -o sealed -q");
    house.ok("key decrypt sealed -o back -q");
    assert!(house.same("plain", "back"));
    for line in ["key import second.pem --name open", "key import second.pem --name old --no-passphrase"] {
        assert!(house.fails(1, line).contains("there already is a key file"), "{line}");
    }
    assert_eq!(house.run("key import second.pem --name ../x --no-passphrase").code, 2);
    assert_eq!(house.run("key import second.pem --name me --no-passphrase").code, 2);
}

#[test]
fn files_of_any_length_are_encrypted_and_come_back() {
    let house = House::new();
    house.member();
    house.ok("key rsa --bits 2048 -o rsa.pem -q");
    house.ok("key export --key rsa.pem -o rsa.pub -q");
    for length in [0, 1, 65_535, 65_536, 65_537, 3 << 20] {
        house.file("plain", noise(length));
        house.ok("key encrypt --to me --to rsa.pub plain -o sealed -q");
        for more in ["", "--key me", "--key rsa.pem"] {
            house.ok(&format!("key decrypt {more} sealed -o back -q"));
            assert!(house.same("plain", "back"), "{length} {more}");
        }
    }
    assert_eq!(house.mode("sealed"), house.mode("plain"), "what is encrypted is no secret");
    let report = &house.json("key encrypt --to me plain -o sealed")[0];
    assert_eq!(report["bytes"], json!(3 << 20));
    // Through pipes.
    let sealed = house.run_with(&["key", "encrypt", "--to", "me", "-"], &noise(200_000));
    assert_eq!(sealed.code, 0);
    let back = house.run_with(&["key", "decrypt", "-"], &sealed.out);
    assert!(back.code == 0 && back.out == noise(200_000), "{}", back.err);
    // Under a passphrase.
    house.with_passphrase(PASSPHRASE, "key encrypt --passphrase plain -o sealed -q", b"").ok("encrypt");
    house.with_passphrase(PASSPHRASE, "key decrypt sealed -o back -q", b"").ok("decrypt");
    assert!(house.same("plain", "back"));
    fs::remove_file(house.path("back")).unwrap();
    let wrong = house.with_passphrase("wrong", "key decrypt sealed -o back", b"");
    assert!(wrong.code == 1 && wrong.err.contains("the passphrase is wrong") && !house.path("back").exists());
    assert_eq!(house.run("key encrypt --passphrase --to me plain -o x").code, 2);
}

#[test]
fn damaged_and_cut_files_never_appear_whole() {
    let house = House::new();
    house.member();
    house.file("plain", noise(200_000));
    house.ok("key encrypt --to me plain -o sealed -q");
    let whole = house.path_bytes("sealed");
    let refused = |bytes: &[u8]| {
        house.file("bad", bytes);
        let said = house.fails(1, "key decrypt bad -o back");
        assert!(!house.path("back").exists());
        said
    };
    assert!(refused(&whole[..whole.len() - 1]).contains("damaged or cut"));
    // Cut between two chunks: only the missing mark of the last one tells.
    let border = 144 + 2 * (65_536 + 16);
    assert_eq!(refused(&whole[..border]), "error: bad: it is cut short: its end is missing; get it anew\n");
    let mut dice = Dice::new(0x6b65);
    for _ in 0..40 {
        let mut bad = whole.clone();
        let at = dice.roll(bad.len() as u64) as usize;
        bad[at] ^= 1 << dice.roll(8);
        refused(&bad);
        refused(&whole[..at]);
    }
    let other = House::new();
    other.member();
    other.file("sealed", &whole);
    assert!(other.fails(1, "key decrypt sealed -o x").contains("it is encrypted to a key, none of them yours here"));
    assert!(other.fails(1, "key decrypt --key me sealed -o x").contains("it is not sealed to this key"));
}
