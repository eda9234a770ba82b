//! Judges an answer of Kedge's door for Linkerd with the libraries that linkerd2-proxy
//! judges it with (rustls, webpki, x509-parser), set as it sets them: TLS 1.3 only, no
//! ALPN, its list of signature algorithms, a verifier that looks at no name, and the
//! names read apart. Then two such ends speak mutual TLS with each other.
//!
//! Arguments: ADDRESS ISSUER-NAME BUNDLE.pem NAME-A DIR-A NAME-B DIR-B. A DIR has
//! key.p8 and tls.crt as `probe linkerd` writes them.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{ring, CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{pem::PemObject, CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, ServerConfig, ServerConnection, SignatureScheme};
use std::error::Error;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// linkerd/rustls/src/crypto.rs; P-521 is not in ring.
static ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        webpki::ring::ECDSA_P256_SHA256,
        webpki::ring::ECDSA_P256_SHA384,
        webpki::ring::ECDSA_P384_SHA256,
        webpki::ring::ECDSA_P384_SHA384,
        webpki::ring::ED25519,
        webpki::ring::RSA_PKCS1_2048_8192_SHA256,
        webpki::ring::RSA_PKCS1_2048_8192_SHA384,
        webpki::ring::RSA_PKCS1_2048_8192_SHA512,
        webpki::ring::RSA_PKCS1_3072_8192_SHA384,
    ],
    mapping: &[
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[webpki::ring::ECDSA_P384_SHA384, webpki::ring::ECDSA_P256_SHA384]),
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[webpki::ring::ECDSA_P256_SHA256, webpki::ring::ECDSA_P384_SHA256]),
        (SignatureScheme::ED25519, &[webpki::ring::ED25519]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[webpki::ring::RSA_PKCS1_2048_8192_SHA512]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[webpki::ring::RSA_PKCS1_2048_8192_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[webpki::ring::RSA_PKCS1_2048_8192_SHA256]),
    ],
};

fn provider() -> Arc<CryptoProvider> {
    let mut p = ring::default_provider();
    p.signature_verification_algorithms = ALGORITHMS;
    Arc::new(p)
}

/// linkerd/meshtls/src/creds/verify.rs
#[derive(Debug)]
struct AnySan(Arc<RootCertStore>);

impl ServerCertVerifier for AnySan {
    fn verify_server_cert(&self, leaf: &CertificateDer, between: &[CertificateDer], _: &ServerName, _: &[u8], now: UnixTime) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let cert = ParsedCertificate::try_from(leaf)?;
        rustls::client::verify_server_cert_signed_by_trust_anchor(&cert, &self.0, between, now, ALGORITHMS.all)?;
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(&self, m: &[u8], c: &CertificateDer, d: &DigitallySignedStruct) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(m, c, d, &ALGORITHMS)
    }
    fn verify_tls13_signature(&self, m: &[u8], c: &CertificateDer, d: &DigitallySignedStruct) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(m, c, d, &ALGORITHMS)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ALGORITHMS.supported_schemes()
    }
}

/// linkerd/meshtls/verifier/src/lib.rs: DNS and URI names in their order.
fn names(der: &[u8]) -> Result<Vec<String>> {
    let (_, c) = X509Certificate::from_der(der)?;
    let mut found = vec![];
    if let Some(san) = c.subject_alternative_name()? {
        for n in &san.value.general_names {
            match n {
                GeneralName::DNSName(s) if !s.ends_with('.') => found.push(s.to_string()),
                GeneralName::URI(s) => found.push(s.to_string()),
                _ => {}
            }
        }
    }
    Ok(found)
}

/// A pod: linkerd/meshtls/src/creds/store.rs.
struct Pod {
    name: String,
    key: Arc<CertifiedKey>,
}

impl Pod {
    fn read(name: &str, dir: &str, roots: &Arc<RootCertStore>) -> Result<Self> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(format!("{dir}/tls.crt"))?.collect::<std::result::Result<_, _>>()?;
        AnySan(roots.clone()).verify_server_cert(&chain[0], &chain[1..], &ServerName::try_from(name.to_string())?, &[], UnixTime::now())?;
        let found = names(&chain[0])?;
        if found.first().map(String::as_str) != Some(name) {
            return Err(format!("{name}: the first name is not its own: {found:?}").into());
        }
        let key = PrivatePkcs8KeyDer::from(std::fs::read(format!("{dir}/key.p8"))?);
        let key = CertifiedKey::from_der(chain, key.into(), &provider())?;
        key.keys_match()?;
        Ok(Self { name: name.to_string(), key: Arc::new(key) })
    }
}

#[derive(Debug)]
struct Resolver(Arc<CertifiedKey>);

impl Resolver {
    fn choose(&self, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        schemes.contains(&SignatureScheme::ECDSA_NISTP256_SHA256).then(|| self.0.clone())
    }
}
impl rustls::client::ResolvesClientCert for Resolver {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.choose(schemes)
    }
    fn has_certs(&self) -> bool {
        true
    }
}
impl rustls::server::ResolvesServerCert for Resolver {
    fn resolve(&self, hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.signature_schemes())
    }
}

fn client(roots: &Arc<RootCertStore>, own: Option<&Pod>) -> Result<Arc<ClientConfig>> {
    let b = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnySan(roots.clone())));
    Ok(Arc::new(match own {
        Some(p) => b.with_client_cert_resolver(Arc::new(Resolver(p.key.clone()))),
        None => b.with_no_client_auth(),
    }))
}

/// The first connection of a proxy: no certificate of its own, no ALPN.
fn connect(address: &str, issuer: &str, roots: &Arc<RootCertStore>) -> Result<()> {
    let mut tcp = std::net::TcpStream::connect(address)?;
    let mut c = ClientConnection::new(client(roots, None)?, ServerName::try_from(issuer.to_string())?)?;
    while c.is_handshaking() {
        c.complete_io(&mut tcp)?;
    }
    let leaf = &c.peer_certificates().ok_or("no certificate")?[0];
    if !names(leaf)?.iter().any(|n| n == issuer) {
        return Err(format!("the server is not {issuer}: {:?}", names(leaf)?).into());
    }
    println!("connected: {:?} {:?} retried={:?}", c.protocol_version(), c.negotiated_key_exchange_group().map(|g| g.name()), c.handshake_kind());
    Ok(())
}

/// from is a client of to, in memory; both present their certificates.
fn mutual(from: &Pod, to: &Pod, roots: &Arc<RootCertStore>) -> Result<()> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).allow_unauthenticated().build()?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(Resolver(to.key.clone())));
    let mut s = ServerConnection::new(Arc::new(config))?;
    let mut c = ClientConnection::new(client(roots, Some(from))?, ServerName::try_from(to.name.clone())?)?;
    while c.is_handshaking() || s.is_handshaking() {
        let mut wire = vec![];
        while c.wants_write() {
            c.write_tls(&mut wire)?;
        }
        s.read_tls(&mut wire.as_slice())?;
        s.process_new_packets()?;
        wire.clear();
        while s.wants_write() {
            s.write_tls(&mut wire)?;
        }
        c.read_tls(&mut wire.as_slice())?;
        c.process_new_packets()?;
    }
    let seen = names(&s.peer_certificates().ok_or("the client presented nothing")?[0])?;
    let served = names(&c.peer_certificates().ok_or("the server presented nothing")?[0])?;
    if seen.first() != Some(&from.name) || !served.contains(&to.name) {
        return Err(format!("{} to {}: {seen:?}, {served:?}", from.name, to.name).into());
    }
    println!("mutual: {} to {}", from.name, to.name);
    Ok(())
}

fn main() -> Result<()> {
    let a: Vec<String> = std::env::args().collect();
    if a.len() != 8 {
        return Err("arguments: ADDRESS ISSUER-NAME BUNDLE NAME-A DIR-A NAME-B DIR-B".into());
    }
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(&a[3])? {
        roots.add(cert?)?;
    }
    let roots = Arc::new(roots);
    connect(&a[1], &a[2], &roots)?;
    let (x, y) = (Pod::read(&a[4], &a[5], &roots)?, Pod::read(&a[6], &a[7], &roots)?);
    mutual(&x, &y, &roots)?;
    mutual(&y, &x, &roots)
}
