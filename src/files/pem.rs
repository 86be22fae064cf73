//! Reads PEM files, and says what an unusable one holds instead, with the command that converts it.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretSlice};

use super::is_utf16;
use crate::model::shell_word;

/// Padding is optional, as in OpenSSL.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const BEGIN: &str = "-----BEGIN ";

/// A file with a certificate, a private key or both. It may hold a secret.
#[derive(Clone, Debug)]
pub struct PemFile {
    /// The file.
    pub path: PathBuf,
    /// Its content.
    pub content: SecretSlice<u8>,
}

/// A block between `-----BEGIN label-----` and `-----END label-----`.
pub(crate) struct PemBlock<'f> {
    pub(crate) label: &'f str,
    /// The block with its first and last line.
    pub(crate) text: &'f str,
    /// `None` when the content is not base64.
    pub(crate) der: Option<Vec<u8>>,
}

impl PemFile {
    /// The blocks in the order of the file. Other text is ignored, as OpenSSL does.
    pub(crate) fn blocks(&self) -> Vec<PemBlock<'_>> {
        let (mut blocks, mut rest) = (Vec::new(), self.text());
        while let Some(start) = rest.find(BEGIN) {
            let block = &rest[start..];
            rest = &block[BEGIN.len()..];
            let Some((label, after)) = rest.split_once("-----") else { break };
            let last_line = format!("-----END {label}-----");
            let Some(length) = after.find(&last_line) else { continue };
            // Headers such as Proc-Type contain a colon.
            let content = after[..length].lines().filter(|line| !line.contains(':')).flat_map(str::split_whitespace);
            rest = &after[length + last_line.len()..];
            blocks.push(PemBlock {
                label,
                text: &block[..block.len() - rest.len()],
                der: BASE64.decode(content.collect::<String>()).ok(),
            });
        }
        blocks
    }

    /// Whether there is a certificate.
    pub(crate) fn has_certificate(&self) -> bool {
        self.blocks().iter().any(|block| block.label.ends_with("CERTIFICATE"))
    }

    /// Whether there is a private key of any kind.
    pub(crate) fn has_key(&self) -> bool {
        self.blocks().iter().any(|block| block.label.ends_with("PRIVATE KEY"))
    }

    /// The text up to the first byte that is not UTF-8. Blocks are ASCII.
    fn text(&self) -> &str {
        let bytes = self.content.expose_secret();
        let end = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
        std::str::from_utf8(&bytes[..end]).unwrap_or_default()
    }

    /// Why the file has no usable certificate.
    pub(crate) fn no_certificate(&self) -> String {
        let none = "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)";
        self.found_instead().unwrap_or_else(|| none.to_owned())
    }

    /// Why the file has no usable private key.
    pub(crate) fn no_key(&self) -> String {
        let none =
            "holds no RSA private key in PEM form (-----BEGIN PRIVATE KEY----- or -----BEGIN RSA PRIVATE KEY-----)";
        self.found_instead().unwrap_or_else(|| none.to_owned())
    }

    /// The content of a file that is not a certificate or a private key in PEM, and how to convert it.
    fn found_instead(&self) -> Option<String> {
        let (bytes, text) = (self.content.expose_secret(), self.text());
        let convert = |command: &str| converting(command, &self.path);
        if is_utf16(bytes) {
            return Some(format!("is UTF-16 text; {}", convert("iconv -f UTF-16 -t UTF-8 IN > OUT")));
        }
        if let Some((kind, command)) = binary_kind(bytes) {
            return Some(format!("is {kind}, not PEM; {}", convert(command)));
        }
        let labels: Vec<&str> =
            text.split(BEGIN).skip(1).filter_map(|rest| Some(rest.split_once("-----")?.0)).collect();
        for label in &labels {
            let (found, command) = match *label {
                "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => {
                    ("a certificate request; use the certificate that was issued for it", None)
                }
                "PKCS7" | "CMS" => ("a PKCS#7 container", Some("openssl pkcs7 -print_certs -in IN -out OUT")),
                "TRUSTED CERTIFICATE" => ("a certificate in a form of OpenSSL", Some("openssl x509 -in IN -out OUT")),
                "OPENSSH PRIVATE KEY" => (
                    "a private key in the form of OpenSSH; a key of 2048 bits or more converts with",
                    Some("cp -p IN OUT && ssh-keygen -p -N '' -m PKCS8 -f OUT"),
                ),
                "EC PRIVATE KEY" | "EC PARAMETERS" => ("an elliptic curve key; Entra accepts RSA only", None),
                "DSA PRIVATE KEY" => ("a DSA key; Entra accepts RSA only", None),
                "PUBLIC KEY" | "RSA PUBLIC KEY" => {
                    ("a public key; use the private key that belongs to the certificate", None)
                }
                label if label.starts_with("PGP ") => ("a key of OpenPGP; Entra accepts RSA keys in PEM only", None),
                _ => continue,
            };
            let command = command.map(|command| format!("; {}", convert(command))).unwrap_or_default();
            return Some(format!("holds {found}{command}"));
        }
        if labels.iter().any(|label| !text.contains(&format!("-----END {label}-----"))) {
            return Some("is cut off: the line -----END ...----- of a block is missing".to_owned());
        }
        if labels.is_empty() {
            if text.starts_with("PuTTY-User-Key-File") {
                return Some(format!("is a key of PuTTY; {}", convert("puttygen IN -O private-openssh-new -o OUT")));
            }
            if text.starts_with("ssh-") {
                return Some(
                    "is a public key of OpenSSH; use the private key that belongs to the certificate".to_owned(),
                );
            }
            let content: String = text.split_whitespace().collect();
            let kind = BASE64.decode(content).ok().and_then(|der| binary_kind(&der));
            if let Some((kind, _)) = kind {
                return Some(format!(
                    "is {kind} in base64 without the lines -----BEGIN ...----- and -----END ...-----"
                ));
            }
        }
        None
    }
}

/// `run: ...` with the names of the file and of the new one in the place of the words IN and OUT.
pub(crate) fn converting(command: &str, path: &Path) -> String {
    let quoted = |path: &Path| shell_word(&path.display().to_string());
    let new = quoted(&path.with_extension("new.pem"));
    let between = quoted(&path.with_extension("p12"));
    let words = command.split(' ').map(|word| match word {
        "IN" => quoted(path),
        "BETWEEN" => between.clone(),
        "OUT" => new.clone(),
        word => word.to_owned(),
    });
    let command = words.collect::<Vec<_>>().join(" ");
    // The new file must not be readable by others, not even for a moment.
    format!(
        "run: (umask 027 && {command} && chown root:learner-sync {new}); then name the new file in the configuration"
    )
}

/// The kind of a binary file, and the command that converts it.
fn binary_kind(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    const PKCS12: &str = "openssl pkcs12 -in IN -nodes -out OUT";
    if bytes.starts_with(b"\xfe\xed\xfe\xed") || bytes.starts_with(b"\xce\xce\xce\xce") {
        let command = "keytool -importkeystore -srckeystore IN -destkeystore BETWEEN -deststoretype PKCS12 && \
                       openssl pkcs12 -in BETWEEN -nodes -out OUT";
        return Some(("a Java key store", command));
    }
    // A DER sequence: its tag, and its length in one to five bytes.
    let [0x30, length, ..] = bytes else { return None };
    let header = if length & 0x80 == 0 { 2 } else { 2 + usize::from(length & 0x7f) };
    let inner = bytes.get(header..).filter(|_| (2..=6).contains(&header))?;
    let begin = &inner[..inner.len().min(40)];
    let has = |oid: &[u8]| begin.windows(oid.len()).any(|window| window == oid);
    Some(match inner {
        [2, 1, 3, 0x30, ..] => ("a PKCS#12 file (PFX) with certificate and private key", PKCS12),
        [2, 1, 0 | 1, 2 | 0x30, ..] => ("a private key in DER", "openssl pkey -inform DER -in IN -out OUT"),
        [6, 9, ..] if has(b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02") => {
            ("a PKCS#7 container in DER", "openssl pkcs7 -inform DER -print_certs -in IN -out OUT")
        }
        [0x30, ..] if has(b"\x2a\x86\x48\x86\xf7\x0d\x01\x05") => {
            ("an encrypted private key in DER", "openssl pkey -inform DER -in IN -out OUT")
        }
        [0x30, ..] if has(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01") => {
            ("a public key in DER", "openssl pkey -pubin -inform DER -in IN -out OUT")
        }
        [0x30, ..] => ("a certificate in DER", "openssl x509 -inform DER -in IN -out OUT"),
        _ => return None,
    })
}
