//! Signing in with a certificate: its private key signs a short-lived assertion, which replaces the secret.
//!
//! <https://learn.microsoft.com/entra/identity-platform/certificate-credentials>

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::parse_der;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;

pub use crate::files::PemFile;
use crate::files::{PemBlock, converting};

/// The lifetime of an assertion. Entra uses it at once; the rest allows for clock differences.
const LIFETIME: Duration = Duration::from_secs(600);
/// Entra and the TLS library accept these key sizes.
const BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
const NEW_CERTIFICATE: &str = "create a new key and certificate: openssl req -x509 -newkey rsa:3072 -nodes -days 365 \
                               -subj /CN=learner-sync -keyout private-key.pem -out certificate.pem";

/// A certificate with its private key. It holds a secret, so it has no `Debug`.
#[derive(Clone)]
pub struct Certificate {
    key: EncodingKey,
    public: PublicPart,
}

/// A certificate with an RSA key.
#[derive(Clone)]
struct PublicPart {
    der: Vec<u8>,
    /// The RSA public key in DER.
    key: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// A certificate or its private key is unusable.
#[derive(Debug, thiserror::Error)]
#[error("{} {problem}", path.display())]
pub struct CertificateError {
    path: PathBuf,
    /// Whether the private key is at fault, not the certificate.
    pub is_about_the_key: bool,
    problem: String,
}

impl CertificateError {
    fn certificate(file: &PemFile, problem: impl Into<String>) -> Self {
        Self { path: file.path.clone(), is_about_the_key: false, problem: problem.into() }
    }

    fn key(file: &PemFile, problem: impl Into<String>) -> Self {
        Self { path: file.path.clone(), is_about_the_key: true, problem: problem.into() }
    }
}

#[derive(Serialize)]
struct AssertionClaims<'c> {
    aud: &'c str,
    iss: &'c str,
    sub: &'c str,
    jti: String,
    nbf: i64,
    iat: i64,
    exp: i64,
}

impl PublicPart {
    /// # Errors
    /// Why the block is not a certificate for Entra.
    fn read(block: &PemBlock<'_>) -> Result<Self, &'static str> {
        const BROKEN: &str = "holds a damaged certificate; copy the file again";
        let der = block.der.as_ref().ok_or(BROKEN)?;
        let (_, parsed) = X509Certificate::from_der(der).map_err(|_| BROKEN)?;
        let time = |seconds| Timestamp::from_second(seconds).map_err(|_| BROKEN);
        let Ok(PublicKey::RSA(_)) = parsed.public_key().parsed() else {
            return Err("holds a certificate without an RSA key; Entra accepts RSA only");
        };
        Ok(Self {
            key: parsed.public_key().subject_public_key.data.to_vec(),
            not_before: time(parsed.validity().not_before.timestamp())?,
            not_after: time(parsed.validity().not_after.timestamp())?,
            der: der.clone(),
        })
    }
}

impl Certificate {
    /// The certificate that belongs to the private key: a file may hold a chain in any order. Both are in PEM, and may be
    /// in one file; the key has no passphrase.
    ///
    /// # Errors
    /// One of the two files is unusable.
    pub fn from_files(certificate_file: &PemFile, key_file: &PemFile) -> Result<Self, CertificateError> {
        let fault = |problem: &str| CertificateError::certificate(certificate_file, problem);
        let (mut chain, mut refused) = (Vec::new(), None);
        for block in
            certificate_file.blocks().iter().filter(|block| matches!(block.label, "CERTIFICATE" | "X509 CERTIFICATE"))
        {
            match PublicPart::read(block) {
                Ok(certificate) => chain.push(certificate),
                Err(problem) => refused = refused.or(Some(problem)),
            }
        }
        if chain.is_empty() {
            return Err(refused.map_or_else(|| fault(&certificate_file.no_certificate()), fault));
        }
        let keys = private_keys(key_file)?;
        let pair = |key: &PrivateKey| {
            Some((key.signing.clone(), chain.iter().find(|public| public.key == key.public)?.clone()))
        };
        // Entra would only report "invalid signature" for the key of another certificate.
        let Some((key, public)) = keys.iter().find_map(pair) else {
            let problem = "holds a private key that does not belong to the certificate; the two are made together";
            return Err(CertificateError::key(key_file, problem));
        };
        Ok(Self { key, public })
    }

    /// The expiry by the certificate itself.
    pub(super) fn not_after(&self) -> Timestamp {
        self.public.not_after
    }

    /// Why the certificate is not valid at `now`, if it is not.
    pub(super) fn date_problem(&self, now: Timestamp) -> Option<String> {
        let PublicPart { not_before, not_after, .. } = &self.public;
        if now < *not_before {
            Some(format!("is valid only from {not_before}"))
        } else if now >= *not_after {
            Some(format!("expired on {not_after}"))
        } else {
            None
        }
    }

    /// The thumbprint that the portal shows.
    pub(super) fn thumbprint(&self) -> String {
        let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.public.der);
        digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
    }

    /// A signed assertion with which `client_id` requests one token at `endpoint`.
    pub(super) fn assertion(
        &self,
        client_id: &str,
        endpoint: &str,
        now: Timestamp,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::PS256);
        header.x5t_s256 = Some(BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, &self.public.der)));
        let now = now.as_second();
        let claims = AssertionClaims {
            aud: endpoint,
            iss: client_id,
            sub: client_id,
            jti: uuid::Uuid::from_u128(rand::random()).to_string(),
            nbf: now,
            iat: now,
            exp: now.saturating_add_unsigned(LIFETIME.as_secs()),
        };
        jsonwebtoken::encode(&header, &claims, &self.key)
    }
}

struct PrivateKey {
    /// The RSA public key in DER.
    public: Vec<u8>,
    signing: EncodingKey,
}

/// The RSA keys in a file.
fn private_keys(file: &PemFile) -> Result<Vec<PrivateKey>, CertificateError> {
    let (mut keys, mut refused) = (Vec::new(), None);
    let labels = ["PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "EC PRIVATE KEY"];
    for block in file.blocks().iter().filter(|block| labels.contains(&block.label)) {
        match private_key(block, file) {
            Ok(key) => keys.push(key),
            Err(problem) => refused = refused.or(Some(problem)),
        }
    }
    if keys.is_empty() {
        return Err(CertificateError::key(file, refused.unwrap_or_else(|| file.no_key())));
    }
    Ok(keys)
}

fn private_key(block: &PemBlock<'_>, file: &PemFile) -> Result<PrivateKey, String> {
    const DAMAGED: &str = "holds no RSA private key that can be read; copy the file again";
    if let Some(problem) = unusable_key(block, file) {
        return Err(problem);
    }
    let der = block.der.as_deref().ok_or(DAMAGED)?;
    if let Some(bits) = modulus_bits(der).filter(|bits| !BITS.contains(bits)) {
        return Err(format!(
            "holds an RSA key of {bits} bits, not {} to {}; {NEW_CERTIFICATE}",
            BITS.start(),
            BITS.end()
        ));
    }
    let pair = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)).map_err(|_| DAMAGED)?;
    let signing = EncodingKey::from_rsa_pem(block.text.as_bytes()).map_err(|_| DAMAGED)?;
    Ok(PrivateKey { public: pair.public_key().as_ref().to_vec(), signing })
}

/// The size of an RSA private key, in PKCS#8 or PKCS#1.
fn modulus_bits(der: &[u8]) -> Option<usize> {
    let (_, key) = parse_der(der).ok()?;
    match key.as_sequence().ok()?.get(1..)? {
        [algorithm, key, ..] if algorithm.as_sequence().is_ok() => modulus_bits(key.as_slice().ok()?),
        [modulus, ..] => {
            let digits = modulus.as_slice().ok()?;
            let zeros = digits.iter().take_while(|byte| **byte == 0).count();
            let first = digits.get(zeros)?;
            Some((digits.len() - zeros) * 8 - first.leading_zeros() as usize)
        }
        [] => None,
    }
}

/// Why a private key in a block cannot sign for Entra; `None` when it looks like an RSA key.
fn unusable_key(block: &PemBlock<'_>, file: &PemFile) -> Option<String> {
    if block.label == "ENCRYPTED PRIVATE KEY" || block.text.contains("Proc-Type: 4,ENCRYPTED") {
        return Some(format!(
            "holds a private key with a passphrase, which the service cannot use; {}",
            converting("openssl pkey -in IN -out OUT", &file.path)
        ));
    }
    let Some(der) = &block.der else {
        return Some("holds a private key that is not base64; copy the file again".to_owned());
    };
    let begin = &der[..der.len().min(40)];
    let has = |oid: &[u8]| begin.windows(oid.len()).any(|window| window == oid);
    if has(b"\x2a\x86\x48\xce\x3d") || block.label == "EC PRIVATE KEY" {
        Some("holds an elliptic curve key; Entra accepts RSA only".to_owned())
    } else if has(b"\x06\x03\x2b\x65") {
        Some("holds an Edwards curve key; Entra accepts RSA only".to_owned())
    } else if has(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a") {
        Some("holds a key for RSA-PSS only; Entra accepts plain RSA keys".to_owned())
    } else {
        None
    }
}
