//! A bare TLS stream: what tokio-rustls does for whoever writes whole buffers into it and reads whole ones out.

use crate::Fault;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// Both ends of a stream, each with a runtime of its own as two nodes have.
pub(crate) struct Pair {
    near_runtime: Runtime,
    far_runtime: Runtime,
    near: Arc<Mutex<client::TlsStream<TcpStream>>>,
    far: Arc<Mutex<server::TlsStream<TcpStream>>>,
}

impl Pair {
    pub(crate) fn new() -> Result<Self, Fault> {
        let runtime = || Builder::new_multi_thread().worker_threads(2).enable_io().build();
        let (near_runtime, far_runtime) = (runtime()?, runtime()?);
        let (server, client) = configurations()?;
        let listener = far_runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let far = far_runtime.spawn(async move {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            TlsAcceptor::from(server).accept(stream).await
        });
        let near = near_runtime.block_on(async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            TlsConnector::from(client).connect(ServerName::try_from("okapi").expect("a name"), stream).await
        })?;
        let far = far_runtime.block_on(far)??;
        let (near, far) = (Arc::new(Mutex::new(near)), Arc::new(Mutex::new(far)));
        Ok(Self { near_runtime, far_runtime, near, far })
    }

    pub(crate) fn move_buffers(&self, size: usize, count: usize) -> Result<(), Fault> {
        let far = self.far.clone();
        let reading = self.far_runtime.spawn(async move {
            let mut far = far.lock().await;
            let mut buffer = vec![0; size];
            for _ in 0..count {
                far.read_exact(&mut buffer).await?;
            }
            Ok::<_, std::io::Error>(())
        });
        let near = self.near.clone();
        let writing = self.near_runtime.spawn(async move {
            let mut near = near.lock().await;
            let buffer = vec![7; size];
            for _ in 0..count {
                near.write_all(&buffer).await?;
            }
            near.flush().await
        });
        self.near_runtime.block_on(writing)??;
        self.far_runtime.block_on(reading)??;
        Ok(())
    }
}

fn configurations() -> Result<(Arc<ServerConfig>, Arc<ClientConfig>), Fault> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let der = [&head[..], &[9; 32]].concat();
    let key = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(&der[..]))?;
    let public = key.public_key().ok_or("a key has a public half")?;
    let key = Arc::new(CertifiedKey::new(vec![CertificateDer::from(public.to_vec())], key));
    let versions = &[&rustls::version::TLS13];
    let server = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let resolver = Arc::new(AlwaysResolvesServerRawPublicKeys::new(key));
    let server = server.with_no_client_auth().with_cert_resolver(resolver);
    let client = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let client = client.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth();
    Ok((Arc::new(server), Arc::new(client)))
}

/// Takes whoever proves any key: only the speed of the stream matters here.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _key: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
