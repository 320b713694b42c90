//! TLS, which a client asks for before anything else, and certificates by which both ends prove who they are.
//!
//! TLS 1.3 alone, as between members: all clients there are have it (GnuTLS since 3.6.5), though NBD asks for 1.2 too.

use super::listen::Stream;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::Arc;

/// How a server proves who it is, and whose clients it lets in.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    proves_clients: bool,
}

/// Why there is no TLS with these certificates.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// What was given is no PEM, or has nothing of that in it.
    #[error("no {what} can be read: {why}; give a PEM file, as `openssl` writes it")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// Certificate and key do not do.
    #[error("the server's certificate and key cannot be used: {0}")]
    Server(rustls::Error),
    /// An authority's certificate does not do.
    #[error("the clients' authority cannot be used: {0}")]
    Authority(String),
}

impl Tls {
    /// A server with this chain of certificates, its own first, and this key. If `authorities` are given, only clients
    /// with a certificate of one of them are let in. All are PEM.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(certificates: &[u8], key: &[u8], authorities: Option<&[u8]>) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = all("certificate of the server", certificates)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|why| TlsError::Pem { what: "private key", why: why.to_string() })?;
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(&[&TLS13]).expect("the provider can do TLS 1.3");
        let builder = match authorities {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in all("certificate of the clients' authority", authorities)? {
                    roots.add(authority).map_err(|why| TlsError::Authority(why.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|why| TlsError::Authority(why.to_string()))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(TlsError::Server)?;
        // A resumed session would not prove the client again, and connections here live long.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { config: Arc::new(config), proves_clients: authorities.is_some() })
    }

    /// Whether clients must prove who they are.
    pub(crate) fn proves_clients(&self) -> bool {
        self.proves_clients
    }

    /// Shakes hands over a stream, and gives an end to read from and one to write to.
    pub(crate) fn begin(&self, mut stream: Box<dyn Stream>) -> io::Result<(Half, Half)> {
        let mut connection = ServerConnection::new(self.config.clone()).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        let half = Half(Rc::new(RefCell::new(StreamOwned::new(connection, stream))));
        Ok((Half(half.0.clone()), half))
    }
}

fn all(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|why| TlsError::Pem { what, why: why.to_string() })?;
    if found.is_empty() {
        return Err(TlsError::Pem { what, why: "there is none".to_owned() });
    }
    Ok(found)
}

/// An end of an encrypted stream. One thread has both: it never reads while it writes.
pub(crate) struct Half(Rc<RefCell<StreamOwned<ServerConnection, Box<dyn Stream>>>>);

impl Half {
    /// Says that nothing more will come, so that the other end knows that nothing was cut off.
    pub(crate) fn close(&self) -> io::Result<()> {
        let mut stream = self.0.borrow_mut();
        stream.conn.send_close_notify();
        stream.flush()
    }
}

impl Read for Half {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(into)
    }
}

impl Write for Half {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}
