//! Certificates and keys in every form in which administrators receive them, made by OpenSSL.

use std::path::Path;
use std::process::Command;

use super::*;

/// Creates the files in the current directory.
const FILES: &str = r#"
    set -e
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=sync -keyout key.pem -out cert.pem
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=ca -keyout ca-key.pem -out ca.pem
    openssl req -x509 -newkey rsa:1024 -nodes -days 30 -subj /CN=weak -keyout weak-key.pem -out weak.pem
    openssl genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256 -out ec-key.pem
    openssl ec -in ec-key.pem -out ec-key1.pem
    openssl req -x509 -key ec-key.pem -days 30 -subj /CN=ec -out ec.pem
    openssl genpkey -algorithm ed25519 -out ed-key.pem
    openssl genpkey -algorithm rsa-pss -pkeyopt rsa_keygen_bits:2048 -out pss-key.pem
    openssl pkcs12 -export -in cert.pem -inkey key.pem -passout pass:x -out both.pfx
    openssl x509 -in cert.pem -outform DER -out cert.der
    openssl pkey -in key.pem -outform DER -out key.der
    openssl rsa -in key.pem -traditional -out key1.pem
    openssl rsa -in key.pem -traditional -outform DER -out key1.der
    openssl pkcs8 -topk8 -in key.pem -passout pass:x -out encrypted.pem
    openssl pkcs8 -topk8 -in key.pem -passout pass:x -outform DER -out encrypted.der
    openssl rsa -in key.pem -traditional -aes128 -passout pass:x -out encrypted1.pem
    openssl crl2pkcs7 -nocrl -certfile cert.pem -out cert.p7b
    openssl crl2pkcs7 -nocrl -certfile cert.pem -outform DER -out cert.p7c
    openssl req -new -key key.pem -subj /CN=sync -out request.pem
    openssl pkey -in key.pem -pubout -out public.pem
    openssl pkey -in key.pem -pubout -outform DER -out public.der
    openssl rsa -in key.pem -RSAPublicKey_out -out public1.pem
    openssl x509 -in cert.pem -trustout -out trusted.pem
    openssl pkcs12 -in both.pfx -passin pass:x -nodes -out bags.pem
    cat ca.pem cert.pem > chain.pem
    cat ca-key.pem key.pem > keys.pem
    cat key.pem cert.pem > both.pem
    sed 's/$/\r/' both.pem > crlf.pem
    printf '\357\273\277' | cat - both.pem > bom.pem
    iconv -f UTF-8 -t UTF-16 cert.pem > utf16.pem
    iconv -f UTF-8 -t UTF-16LE key.pem > utf16-key.pem
    grep -v -- ----- cert.pem > bare.pem
    grep -v -- '-----END' cert.pem > cut.pem
    sed '5s/^./!/' cert.pem > broken.pem
    sed '5s/^./!/' key.pem > broken-key.pem
    sed '5,6d' cert.pem > short.pem
    sed '5,6d' key.pem > short-key.pem
    : > empty
    printf '\376\355\376\355\0\0\0\2' > store.jks
    printf -- '-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n' > ssh-key.pem
    echo 'ssh-rsa AAAAB3NzaC1yc2E sync@host' > ssh.pub
    printf 'PuTTY-User-Key-File-3: ssh-rsa\n' > key.ppk
"#;

fn read(directory: &Path, name: &str) -> PemFile {
    PemFile { path: name.into(), content: std::fs::read(directory.join(name)).unwrap().into() }
}

#[test]
fn files_of_every_form_are_used_or_explained() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let made = Command::new("sh").args(["-c", FILES]).current_dir(at).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let load = |certificate: &str, key: &str| Certificate::from_files(&read(at, certificate), &read(at, key));

    let thumbprint = load("cert.pem", "key.pem").unwrap().thumbprint();
    for (certificate, key) in [
        ("cert.pem", "key1.pem"),
        ("chain.pem", "key.pem"),
        ("cert.pem", "keys.pem"),
        ("both.pem", "both.pem"),
        ("crlf.pem", "crlf.pem"),
        ("bom.pem", "bom.pem"),
        ("bags.pem", "bags.pem"),
    ] {
        let loaded = load(certificate, key).map(|loaded| loaded.thumbprint()).map_err(|error| error.to_string());
        assert_eq!(loaded.as_ref(), Ok(&thumbprint), "{certificate} {key}");
    }
    assert_ne!(load("chain.pem", "ca-key.pem").unwrap().thumbprint(), thumbprint);
    let signed = load("crlf.pem", "key1.pem").unwrap().assertion("client", "https://x.example", Timestamp::UNIX_EPOCH);
    assert_eq!(signed.unwrap().split('.').count(), 3);

    let loaded = load("cert.pem", "key.pem").unwrap();
    let (begin, end) = (loaded.public.not_before, loaded.not_after());
    assert_eq!(loaded.date_problem(begin), None);
    assert!(loaded.date_problem(end).unwrap().starts_with("expired on "));
    assert!(loaded.date_problem(Timestamp::UNIX_EPOCH).unwrap().starts_with("is valid only from "));

    for (certificate, key, expected) in [
        ("cert.pem", "ca-key.pem", "ca-key.pem holds a private key that does not belong to the certificate"),
        ("weak.pem", "weak-key.pem", "weak-key.pem holds an RSA key of 1024 bits"),
        ("cert.pem", "weak-key.pem", "weak-key.pem holds an RSA key of 1024 bits"),
        ("cert.pem", "encrypted.pem", "passphrase"),
        ("cert.pem", "encrypted1.pem", "passphrase"),
        (
            "cert.pem",
            "encrypted.der",
            "is an encrypted private key in DER, not PEM; run: (umask 027 && openssl pkey -inform DER -in encrypted.der -out encrypted.new.pem",
        ),
        ("cert.pem", "key.der", "is a private key in DER"),
        ("cert.pem", "key1.der", "openssl pkey -inform DER -in key1.der -out"),
        ("cert.pem", "both.pfx", "is a PKCS#12 file"),
        ("both.pfx", "both.pfx", "openssl pkcs12 -in both.pfx -nodes -out both.new.pem"),
        ("cert.der", "key.pem", "openssl x509 -inform DER -in cert.der -out cert.new.pem"),
        ("cert.p7b", "key.pem", "openssl pkcs7 -print_certs -in cert.p7b"),
        ("cert.p7c", "key.pem", "openssl pkcs7 -inform DER -print_certs -in cert.p7c"),
        ("trusted.pem", "key.pem", "openssl x509 -in trusted.pem"),
        ("store.jks", "key.pem", "keytool -importkeystore -srckeystore store.jks"),
        ("utf16.pem", "key.pem", "iconv -f UTF-16 -t UTF-8 utf16.pem >"),
        ("cert.pem", "utf16-key.pem", "UTF-16"),
        ("ec.pem", "ec-key.pem", "ec.pem holds a certificate without an RSA key"),
        ("cert.pem", "ec-key.pem", "an elliptic curve key"),
        ("cert.pem", "ec-key1.pem", "an elliptic curve key"),
        ("cert.pem", "ed-key.pem", "an Edwards curve key"),
        ("cert.pem", "pss-key.pem", "RSA-PSS"),
        ("request.pem", "key.pem", "a certificate request"),
        ("cert.pem", "public.pem", "a public key; use the private key"),
        ("cert.pem", "public1.pem", "a public key; use the private key"),
        ("cert.pem", "public.der", "a public key in DER"),
        ("cert.pem", "ssh-key.pem", "ssh-keygen"),
        ("cert.pem", "ssh.pub", "a public key of OpenSSH"),
        ("cert.pem", "key.ppk", "puttygen"),
        ("bare.pem", "key.pem", "without the lines -----BEGIN"),
        ("cut.pem", "key.pem", "is cut off"),
        ("broken.pem", "key.pem", "broken.pem holds a damaged certificate"),
        ("short.pem", "key.pem", "short.pem holds a damaged certificate"),
        ("cert.pem", "broken-key.pem", "broken-key.pem holds a private key that is not base64"),
        ("cert.pem", "short-key.pem", "short-key.pem holds no RSA private key"),
        ("empty", "key.pem", "empty holds no certificate"),
        ("key.pem", "key.pem", "key.pem holds no certificate in PEM form"),
        ("cert.pem", "cert.pem", "cert.pem holds no RSA private key in PEM form"),
    ] {
        let Err(error) = load(certificate, key) else { panic!("{certificate} {key} is used") };
        let message = error.to_string();
        assert!(message.contains(expected), "{certificate} {key}: {message}");
        assert!(!message.contains("MII"), "{message}");
        assert_eq!(
            error.is_about_the_key,
            message.starts_with(key) && key != certificate || key == "weak-key.pem" || (key == "cert.pem"),
            "{message}"
        );
    }
}
