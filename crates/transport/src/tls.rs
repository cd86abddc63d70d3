//! TLS of both ends: TLS 1.3 only, raw public keys both ways, nothing resumed.
//!
//! * **Who is who:** [`connect`] accepts one server key; [`accept`] accepts the keys in an
//!   [`Authorised`] set that may change while it runs. Names and certificates play no part.
//! * **No tickets, no resumption, no early data.** A resumed handshake does not ask for the
//!   client's key again, so a key that was removed would come back through it.
//! * **Cheap refusal:** a stranger is dropped before anything is signed ([`crate::tag`]).
//! * **Two protocols** by ALPN: [`ALPN`] for subflows, [`ENROL_ALPN`] for the one connection by
//!   which an unknown key becomes a known one ([`crate::enrol`]).
//! * **Ciphers:** AES-128-GCM first where the processor has AES instructions, else
//!   ChaCha20-Poly1305; the server follows the router's order, as the router is the weaker of the
//!   two. Key exchange is X25519MLKEM768 (hybrid, so that traffic recorded today stays secret
//!   should X25519 fall), else X25519.
//!
//! * **Handshakes are rustls's.** What follows them on a subflow is protected and opened here, with rustls's keys
//!   ([`protection`]).
//!
//! A router's handshake succeeds even when the server then refuses its key: see [`crate::hello`].

use std::io;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, SupportedCipherSuite};

use crate::key::PrivateKey;

mod authorised;
mod client;
mod protected;
pub mod protection;
mod server;
#[cfg(test)]
mod tests;
mod verify;
mod wire;

pub use authorised::{Authorised, AuthorisedSet};
pub use client::{ClientTls, ConnectError, connect, connect_to_enrol};
pub(crate) use protected::{Arrived, BUFFER, Protected};
pub use server::{
    AcceptError, AcceptLimits, AcceptReason, AcceptStep, Accepted, ServerTls, accept,
};
pub use verify::RefusedKey;
pub use wire::Wire;

/// The ALPN protocol of subflows.
pub const ALPN: &[u8] = b"guywire/1";

/// The ALPN protocol of enrolment.
pub const ENROL_ALPN: &[u8] = b"guywire-enrol/1";

/// A TLS connection over TCP, at either end, as long as rustls is at work on it.
pub type TlsStream = tokio_rustls::TlsStream<Wire>;

/// The crypto of both ends: what the module's documentation says about ciphers.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: cipher_suites(aes_in_hardware()),
        kx_groups: vec![
            aws_lc_rs::kx_group::X25519MLKEM768,
            aws_lc_rs::kx_group::X25519,
        ],
        ..aws_lc_rs::default_provider()
    })
}

fn cipher_suites(aes_in_hardware: bool) -> Vec<SupportedCipherSuite> {
    use aws_lc_rs::cipher_suite::{
        TLS13_AES_128_GCM_SHA256 as AES_128, TLS13_AES_256_GCM_SHA384 as AES_256,
        TLS13_CHACHA20_POLY1305_SHA256 as CHACHA20,
    };
    if aes_in_hardware {
        vec![AES_128, CHACHA20, AES_256]
    } else {
        vec![CHACHA20, AES_128, AES_256]
    }
}

/// Whether the processor has AES instructions. 32-bit ARM and MIPS routers mostly have none, and
/// the standard library cannot ask there.
fn aes_in_hardware() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// A key pair as rustls shows it to the far end: SubjectPublicKeyInfo in the certificate's place.
fn identity(key: &PrivateKey) -> Result<Arc<CertifiedKey>, rustls::Error> {
    let der = PrivatePkcs8KeyDer::from(key.to_pkcs8());
    let signer = aws_lc_rs::sign::any_eddsa_type(&der)?;
    let spki = CertificateDer::from(key.public_key().to_spki().to_vec());
    Ok(Arc::new(CertifiedKey::new(vec![spki], signer)))
}

/// The TLS error inside an I/O error, if there is one.
fn tls_error_in(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The alert by which the far end of a TLS connection ended it, if that is what `error` is.
pub(crate) fn alert_in(error: &io::Error) -> Option<AlertDescription> {
    match tls_error_in(error)? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// Our own verifier's refusal, if that is what `error` is.
fn refused_key_in(error: &io::Error) -> Option<RefusedKey> {
    match tls_error_in(error)? {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.0.downcast_ref().copied()
        }
        _ => None,
    }
}
