//! Verifiers: which raw public key of the far end is good enough.
//!
//! Each checks the *key*; that the far end holds its private half is rustls' to check, with the
//! signature over the handshake (`verify_tls13_signature_with_raw_key`).

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, PeerIncompatible,
    SignatureScheme,
};
use thiserror::Error;

use super::Authorised;
use crate::key::PublicKey;

/// The far end showed a key that is not acceptable here. `None`: not an Ed25519 key at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the key offered is not acceptable")]
pub struct RefusedKey(pub Option<PublicKey>);

impl From<RefusedKey> for rustls::Error {
    fn from(refused: RefusedKey) -> Self {
        // `Other` carries our error to whoever reports it; the far end sees certificate_unknown.
        CertificateError::Other(OtherError(Arc::new(refused))).into()
    }
}

fn offered(end_entity: &CertificateDer<'_>) -> Result<PublicKey, RefusedKey> {
    PublicKey::from_spki(end_entity).ok_or(RefusedKey(None))
}

fn verify_signature(
    message: &[u8],
    spki: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let spki = SubjectPublicKeyInfoDer::from(spki.as_ref());
    verify_tls13_signature_with_raw_key(message, &spki, signed, algorithms)
}

/// Accepts one server.
#[derive(Debug)]
pub(super) struct PinnedServer {
    pub(super) key: PublicKey,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let key = offered(end_entity)?;
        if key != self.key {
            return Err(RefusedKey(Some(key)).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Which routers a server accepts on a connection.
#[derive(Debug)]
pub(super) enum Routers {
    /// Those that are enrolled: subflows.
    Enrolled(Authorised),
    /// Every one that proves it holds its key: enrolment.
    Any,
}

/// Accepts routers.
#[derive(Debug)]
pub(super) struct RouterVerifier {
    pub(super) routers: Routers,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for RouterVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let key = offered(end_entity)?;
        match &self.routers {
            Routers::Enrolled(authorised) if !authorised.contains(&key) => {
                Err(RefusedKey(Some(key)).into())
            }
            Routers::Enrolled(_) | Routers::Any => Ok(ClientCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
