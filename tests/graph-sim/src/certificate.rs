//! Certificates and keys generated at run time, so that no private key is kept in the repository.

use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use time::OffsetDateTime;

/// A self-signed certificate with its RSA key, for an application to sign in with.
#[derive(Clone)]
pub struct SigningCertificate {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// The private key, PKCS#8 PEM.
    pub key_pem: String,
}

impl std::fmt::Debug for SigningCertificate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SigningCertificate").field("certificate_pem", &self.certificate_pem).finish()
    }
}

impl SigningCertificate {
    /// Generates a certificate that is valid until 2099.
    pub fn new(common_name: &str) -> Self {
        Self::valid(common_name, Timestamp::UNIX_EPOCH, Timestamp::constant(4_070_908_800, 0))
    }

    /// Generates a certificate with a given period of validity.
    ///
    /// # Panics
    ///
    /// When the system has no random numbers for a key.
    pub fn valid(common_name: &str, from: Timestamp, to: Timestamp) -> Self {
        Self::generate(common_name, from, to).unwrap_or_else(|error| panic!("cannot create a certificate: {error}"))
    }

    fn generate(common_name: &str, from: Timestamp, to: Timestamp) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.not_before = date_time(from);
        params.not_after = date_time(to);
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

fn date_time(time: Timestamp) -> OffsetDateTime {
    // The fallback is unreachable: both types end with the year 9999.
    OffsetDateTime::from_unix_timestamp(time.as_second()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
