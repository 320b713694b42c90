//! TLS by certificates, with the clients that people have and certificates as `openssl` makes them.

use crate::{World, run, try_run, world};
use okapi_client::Target;
use okapi_gate::nbd::{ListenError, Options, Server, Tls, TlsError};
use okapi_gate::{Catalog, DiskCatalog};
use okapi_volume::Access;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// Makes, in the directory `to`, an authority and a key with a certificate of it, as `name`.
fn certify(world: &World, to: &str, name: &str) {
    let at = |file: &str| world.path(&format!("{to}/{file}"));
    std::fs::create_dir_all(at("")).unwrap();
    let openssl = |line: &str, more: &[&str]| {
        run("openssl", &[&line.split_whitespace().collect::<Vec<_>>()[..], more].concat());
    };
    if !std::path::Path::new(&at("ca-cert.pem")).exists() {
        let line = "req -x509 -newkey ed25519 -nodes -days 2 -subj /CN=authority -keyout";
        openssl(line, &[&at("ca-key.pem"), "-out", &at("ca-cert.pem")]);
    }
    let (key, request, certificate) =
        (at(&format!("{name}-key.pem")), at("request.pem"), at(&format!("{name}-cert.pem")));
    let line = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout";
    openssl(line, &[&key, "-out", &request]);
    std::fs::write(at("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    let line = "x509 -req -CAcreateserial -days 2 -in";
    openssl(
        line,
        &[
            &request,
            "-CA",
            &at("ca-cert.pem"),
            "-CAkey",
            &at("ca-key.pem"),
            "-extfile",
            &at("names"),
            "-out",
            &certificate,
        ],
    );
}

impl World {
    fn tls(&self, authority: Option<&str>) -> Result<Tls, TlsError> {
        let read = |file: &str| std::fs::read(self.path(file)).unwrap();
        let authority = authority.map(read);
        Tls::new(&read("ours/server-cert.pem"), &read("ours/server-key.pem"), authority.as_deref())
    }

    fn serve_tls(&self, target: &str, tls: Tls) -> Result<Server, ListenError> {
        let catalog: Arc<dyn Catalog> = Arc::new(DiskCatalog::new(self.disks.clone(), None, Access::Write));
        Server::start_with(&[target.parse().unwrap()], &catalog, Options { tls: Some(tls), ..Options::default() })
    }
}

#[test]
fn whoever_has_a_certificate_is_served_over_tls_and_nobody_else() {
    let world = world();
    certify(&world, "ours", "server");
    certify(&world, "ours", "client");
    certify(&world, "theirs", "client");
    let tls = || world.tls(Some("ours/ca-cert.pem")).unwrap();
    let server = world.serve_tls("tcp://127.0.0.1:0", tls()).unwrap();
    let address = server.addresses()[0].clone();
    let Target::Tcp { port, .. } = address else { panic!("{address}") };
    let one = server.uri(&address, "one");
    assert_eq!(one, format!("nbds://127.0.0.1:{port}/one"));
    let with = |whose: &str| format!("{one}?tls-certificates={}", world.path(whose));
    // libnbd, all of it and over several connections.
    let told = run("nbdinfo", &[&with("ours")]);
    assert!(told.contains("protocol: newstyle-fixed with TLS, using structured packets"), "{told}");
    let out = world.path("out.raw");
    run("nbdcopy", &[&with("ours"), &out]);
    assert!(std::fs::read(&out).unwrap() == world.base);
    let changed: Vec<u8> = world.base.iter().map(|byte| byte.wrapping_add(1)).collect();
    std::fs::write(world.path("in.raw"), &changed).unwrap();
    run("nbdcopy", &["--flush", &world.path("in.raw"), &with("ours")]);
    // qemu.
    let credentials = |whose: &str| format!("tls-creds-x509,id=tls,endpoint=client,dir={}", world.path(whose));
    let options = format!("driver=nbd,host=127.0.0.1,port={port},export=one,tls-creds=tls");
    let convert = |whose: &str| {
        let object = credentials(whose);
        try_run("qemu-img", &["convert", "--object", &object, "--image-opts", &options, "-O", "raw", &out])
    };
    let (ok, said) = convert("ours");
    assert!(ok, "{said}");
    assert!(std::fs::read(&out).unwrap() == changed);
    // A certificate of somebody else, none, and no TLS at all.
    let (ok, said) = convert("theirs");
    assert!(!ok, "{said}");
    std::fs::create_dir(world.path("none")).unwrap();
    std::fs::copy(world.path("ours/ca-cert.pem"), world.path("none/ca-cert.pem")).unwrap();
    assert!(!try_run("nbdinfo", &[&with("none")]).0);
    let (ok, said) = try_run("nbdinfo", &[&one.replace("nbds:", "nbd:")]);
    assert!(!ok && said.contains("server replied with error to opt_go request"), "{said}");
    // From elsewhere only those come in who prove who they are.
    drop(server);
    assert!(matches!(world.serve_tls("tcp://0.0.0.0:0", world.tls(None).unwrap()), Err(ListenError::Unproven(_))));
    let outside = world.serve_tls("tcp://0.0.0.0:0", tls()).unwrap();
    let Target::Tcp { port, .. } = outside.addresses()[0] else { panic!() };
    let uri = format!("nbds://localhost:{port}/two?tls-certificates={}", world.path("ours"));
    assert!(run("nbdinfo", &["--size", &uri]).starts_with("8388608"));
}

#[test]
fn a_server_that_only_proves_itself_serves_anybody_at_this_machine() {
    let world = world();
    certify(&world, "ours", "server");
    std::fs::create_dir(world.path("none")).unwrap();
    std::fs::copy(world.path("ours/ca-cert.pem"), world.path("none/ca-cert.pem")).unwrap();
    let server = world.serve_tls("tcp://127.0.0.1:0", world.tls(None).unwrap()).unwrap();
    let address = server.addresses()[0].clone();
    let uri = format!("{}?tls-certificates={}", server.uri(&address, "one"), world.path("none"));
    assert!(run("nbdinfo", &["--size", &uri]).starts_with("8388608"));
    // What is no handshake after the answer ends the connection, and only that.
    let Target::Tcp { port, .. } = address else { panic!("{address}") };
    let mut liar = TcpStream::connect(("127.0.0.1", port)).unwrap();
    liar.read_exact(&mut [0; 18]).unwrap();
    liar.write_all(b"\0\0\0\x01IHAVEOPT\0\0\0\x05\0\0\0\0").unwrap();
    liar.read_exact(&mut [0; 20]).unwrap();
    liar.write_all(b"IHAVEOPT\0\0\0\x03\0\0\0\0").unwrap();
    let mut rest = Vec::new();
    let _ = liar.read_to_end(&mut rest);
    assert!(rest.len() < 20 && !rest.windows(3).any(|three| three == b"one"), "{rest:?}");
    assert!(run("nbdinfo", &["--size", &uri]).starts_with("8388608"));
}

#[test]
fn certificates_that_do_not_do_are_refused_in_words() {
    let world = world();
    certify(&world, "ours", "server");
    certify(&world, "ours", "other");
    let read = |file: &str| std::fs::read(world.path(file)).unwrap();
    let (certificate, key) = (read("ours/server-cert.pem"), read("ours/server-key.pem"));
    let why = |certificates: &[u8], key: &[u8], authorities: Option<&[u8]>| {
        Tls::new(certificates, key, authorities).unwrap_err().to_string()
    };
    let said = why(b"nothing", &key, None);
    assert!(said.starts_with("no certificate of the server can be read: there is none; "), "{said}");
    let said = why(&certificate, &certificate, None);
    assert!(said.starts_with("no private key can be read: "), "{said}");
    let said = why(&certificate, &read("ours/other-key.pem"), None);
    assert!(said.starts_with("the server's certificate and key cannot be used: "), "{said}");
    let said = why(&certificate, &key, Some(&key));
    assert!(said.starts_with("no certificate of the clients' authority can be read: "), "{said}");
}
