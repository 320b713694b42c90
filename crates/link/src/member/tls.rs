//! TLS 1.3 with raw public keys: both ends prove the Ed25519 key that is their name, and there are no certificates.

use super::carrier::Protocol;
use super::identity::{Identity, node_of, provider};
use okapi_base::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};
use std::sync::{Arc, OnceLock};

/// Makes the configurations of handshakes.
pub(crate) struct Tls {
    key: Arc<CertifiedKey>,
    server: Arc<ServerConfig>,
}

impl Tls {
    pub(crate) fn new(identity: &Identity) -> Self {
        let key = identity.certified();
        let any = Arc::new(AnyNode { provider: provider(), wanted: None, found: Arc::default() });
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(&[&TLS13]).expect("the provider can do TLS 1.3");
        let resolver = Arc::new(AlwaysResolvesServerRawPublicKeys::new(key.clone()));
        let mut server = builder.with_client_cert_verifier(any).with_cert_resolver(resolver);
        server.alpn_protocols = Protocol::ALL.map(|protocol| protocol.name().to_vec()).to_vec();
        // A resumed session would not prove the key again, and connections here live long.
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Self { key, server: Arc::new(server) }
    }

    /// For the end that was dialled.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }

    /// For the end that dials: only `wanted` will do, or any node. Whoever answers is told in `found`.
    pub(crate) fn client(
        &self,
        wanted: Option<NodeId>,
        found: Arc<OnceLock<NodeId>>,
        protocol: Protocol,
    ) -> Arc<ClientConfig> {
        let verifier = Arc::new(AnyNode { provider: provider(), wanted, found });
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(&[&TLS13]).expect("the provider can do TLS 1.3");
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let resolver = Arc::new(AlwaysResolvesClientRawPublicKeys::new(self.key.clone()));
        let mut client = builder.with_client_cert_resolver(resolver);
        client.alpn_protocols = vec![protocol.name().to_vec()];
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Arc::new(client)
    }
}

/// The node at the other end of a finished handshake, and what it wants to speak.
pub(crate) fn proven(connection: &CommonState) -> Option<(NodeId, Protocol)> {
    let key = connection.peer_certificates()?.first()?;
    Some((node_of(key)?, Protocol::named(connection.alpn_protocol()?)?))
}

/// Takes whoever proves an Ed25519 key, or only the one that is wanted.
#[derive(Debug)]
pub(crate) struct AnyNode {
    provider: Arc<CryptoProvider>,
    wanted: Option<NodeId>,
    found: Arc<OnceLock<NodeId>>,
}

impl AnyNode {
    #[cfg(test)]
    pub(crate) fn any() -> Self {
        Self { provider: provider(), wanted: None, found: Arc::default() }
    }

    fn check(&self, key: &CertificateDer<'_>) -> Result<(), Error> {
        let node = node_of(key).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let _ = self.found.set(node);
        if self.wanted.is_some_and(|wanted| wanted != node) {
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(())
    }

    fn check_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
    }
}

const SCHEMES: [SignatureScheme; 1] = [SignatureScheme::ED25519];

impl ServerCertVerifier for AnyNode {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(key).map(|()| ServerCertVerified::assertion())
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
        self.check_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for AnyNode {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(key).map(|()| ClientCertVerified::assertion())
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
        self.check_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
