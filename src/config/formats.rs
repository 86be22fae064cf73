//! Parsers for texts in the configuration: durations, ids, origins, proxies.
//!
//! The messages never repeat the text, because an administrator may have pasted a secret into the wrong key.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::EntraId;

/// The longest accepted duration, far below any overflow.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

/// A duration such as `20m`, `1h30m` or `90d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const EXAMPLES: &str = "write for example 30s, 20m, 1h30m or 90d";
    if text.starts_with('-') {
        return Err("must not be negative".to_owned());
    }
    let wrong = || format!("not a duration; {EXAMPLES}");
    let mut seconds: u64 = 0;
    let mut rest = text.trim();
    let mut units = ["d", "h", "m", "s"].into_iter().zip([86_400, 3600, 60, 1]);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit());
        let digits = digits.ok_or_else(|| format!("the unit of the duration is missing; {EXAMPLES}"))?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        // Each unit may occur once, the larger first.
        let (unit, length) = units.find(|(unit, _)| rest[digits..].starts_with(unit)).ok_or_else(wrong)?;
        rest = &rest[digits + unit.len()..];
        seconds = number.checked_mul(length).and_then(|part| seconds.checked_add(part)).ok_or_else(wrong)?;
    }
    let duration = Duration::from_secs(seconds);
    if duration > LONGEST { Err("must not be longer than 3650d".to_owned()) } else { Ok(duration) }
}

/// A duration of at least `min`, written as `min_text`.
pub(super) fn duration_of_at_least(
    min: Duration,
    min_text: &'static str,
) -> impl FnOnce(&str) -> Result<Duration, String> {
    move |text| match duration(text)? {
        short if short < min => Err(format!("must be at least {min_text}")),
        long => Ok(long),
    }
}

/// A GUID.
pub(super) fn id(text: &str) -> Result<EntraId, String> {
    text.parse().map_err(|error: crate::model::InvalidEntraId| format!("is {error}"))
}

/// A tenant: a GUID or a domain name, in lower case.
pub(super) fn tenant(text: &str) -> Result<String, String> {
    let tenant = text.to_ascii_lowercase();
    if ["common", "organizations", "consumers"].contains(&tenant.as_str()) {
        return Err(format!(
            "{tenant:?} means any tenant, but an application signs in to a single one; write the Directory (tenant) ID or \
             a domain of the tenant"
        ));
    }
    let label =
        |label: &str| !label.is_empty() && label.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
    let is_domain = tenant.contains('.') && tenant.split('.').all(label);
    if tenant.parse::<EntraId>().is_ok() || is_domain {
        Ok(tenant)
    } else {
        Err("must be a GUID or a domain name such as contoso.onmicrosoft.com".to_owned())
    }
}

/// An absolute path of a file or directory.
pub(super) fn absolute_path(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if path.is_absolute() { Ok(path.to_owned()) } else { Err("must be an absolute path, starting with /".to_owned()) }
}

/// An origin: scheme, host and port, without a trailing slash.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let Address { scheme, user, host, port } = address(text)?;
    if user.is_some() {
        return Err("must not contain a user name or password".to_owned());
    }
    if scheme == "http" && !is_loopback(&host) {
        return Err(format!(
            "must use https, which protects the access token; http is allowed for 127.0.0.0/8, ::1 and localhost only, \
             not for {host}"
        ));
    }
    Ok(format!("{scheme}://{host}{port}"))
}

/// The URL of a proxy, with an optional user name but without a password.
pub(super) fn proxy(text: &str) -> Result<String, String> {
    if !text.contains("://") {
        return Err("must start with http:// (or https://, if the proxy itself uses TLS)".to_owned());
    }
    let Address { scheme, user, host, port } = address(text)?;
    let user = match user {
        Some(user) if user.contains(':') => {
            return Err("contains a password: write it to a file and set entra.proxy_password_file".to_owned());
        }
        Some(user) => format!("{user}@"),
        None => String::new(),
    };
    Ok(format!("{scheme}://{user}{host}{port}"))
}

/// A log level, or tracing's `target=level` directives.
pub(super) fn log_level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let wrong = || format!("must be one of {}, or a list of target=level", LEVELS.join(", "));
    for directive in text.split(',').map(str::trim) {
        // The filter would interpret any other word as a target that does not exist.
        let bare = !directive.contains(['=', '[']);
        if bare && !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(directive)) {
            return Err(wrong());
        }
    }
    tracing_subscriber::EnvFilter::try_new(text).map_err(|_| wrong())?;
    Ok(text.to_owned())
}

/// The parts of an `http` or `https` URL without a path.
struct Address {
    scheme: &'static str,
    user: Option<String>,
    host: String,
    /// The port with its colon; empty for the default port of the scheme.
    port: String,
}

fn address(text: &str) -> Result<Address, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let (scheme, own_port) = match scheme.to_ascii_lowercase().as_str() {
        "https" => ("https", 443),
        "http" => ("http", 80),
        "" => return Err("must start with https://".to_owned()),
        other => return Err(format!("must start with https://; {other}:// is not supported")),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (None, rest),
    };
    if rest.contains(['/', '?', '#', '\\']) {
        return Err("must consist of scheme, host and port only, without a path, tenant or version".to_owned());
    }
    let (host, port) = match rest.rsplit_once(':') {
        // The colons in the brackets of an IPv6 address do not precede a port.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    if !is_host(host) {
        return Err("the host is missing or invalid".to_owned());
    }
    let port = match port.map(str::parse::<u16>) {
        None => String::new(),
        Some(Ok(port)) if port == own_port => String::new(),
        Some(Ok(port)) if port > 0 => format!(":{port}"),
        Some(_) => return Err("the port must be a number from 1 to 65535".to_owned()),
    };
    Ok(Address { scheme, user, host: host.to_ascii_lowercase(), port })
}

pub(super) fn is_host(host: &str) -> bool {
    match bracketed(host) {
        Some(inside) => inside.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|letter| letter.is_ascii_alphanumeric() || "-._".contains(letter)),
    }
}

/// Whether the host of a URL, an address or `localhost` in lower case, is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    match bracketed(host) {
        Some(inside) => inside.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
        None => host == "localhost" || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
    }
}

fn bracketed(host: &str) -> Option<&str> {
    host.strip_prefix('[')?.strip_suffix(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_units_in_descending_order() {
        let seconds = |text| duration(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("0s"), Ok(0));
        assert_eq!(seconds("20m"), Ok(1200));
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!(seconds("90d"), Ok(90 * 86_400));
        for wrong in ["", "-5m", "20", "m", "30m1h", "1m1m", "1.5h", "20 minutes", "5µ", "4000d", "99999999999999999d"]
        {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_origin_needs_https_except_on_the_loopback() {
        for (text, expect) in [
            ("https://Graph.Microsoft.com/", "https://graph.microsoft.com"),
            ("https://graph.example.org:443", "https://graph.example.org"),
            ("https://graph.example.org:8443", "https://graph.example.org:8443"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://127.9.9.9:80/", "http://127.9.9.9"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(origin(text).as_deref(), Ok(expect));
        }
        for wrong in [
            "",
            "graph.microsoft.com",
            "ftp://localhost",
            "http://graph.microsoft.com",
            "http://127.0.0.1.example.org",
            "http://localhost.example.org",
            "http://localhost@example.org",
            "http://example.org#@localhost",
            "http://example.org\\@localhost",
            "http://[::2]",
            "https://graph.microsoft.com/v1.0",
            "https://graph.microsoft.com?x",
            "https://user@graph.microsoft.com",
            "https://graph.microsoft.com:0",
            "https://graph.microsoft.com:x",
            "https://:443",
            "https:// graph",
        ] {
            assert!(origin(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_proxy_has_a_scheme_and_no_password() {
        for (text, expect) in [
            ("http://proxy.example.org:3128", "http://proxy.example.org:3128"),
            ("HTTP://me@Proxy.example.org/", "http://me@proxy.example.org"),
            ("https://[::1]:8080", "https://[::1]:8080"),
        ] {
            assert_eq!(proxy(text).as_deref(), Ok(expect));
        }
        for (wrong, words) in [
            ("proxy.example.org:3128", "must start with http://"),
            ("socks5://proxy.example.org", "socks5:// is not supported"),
            ("http://me:letmein@proxy.example.org", "contains a password"),
            ("http://proxy.example.org/pac", "without a path"),
        ] {
            let message = proxy(wrong).unwrap_err();
            assert!(message.contains(words) && !message.contains("letmein"), "{wrong}: {message}");
        }
        let message = proxy("http://me:p@ss/w@proxy.example.org").unwrap_err();
        assert!(!message.contains("p@ss"), "{message}");
    }

    #[test]
    fn a_tenant_is_a_guid_or_a_domain() {
        assert_eq!(tenant("Contoso.OnMicrosoft.com").as_deref(), Ok("contoso.onmicrosoft.com"));
        assert_eq!(
            tenant("0A1B2C3D-0000-4000-8000-00000000ABCD").as_deref(),
            Ok("0a1b2c3d-0000-4000-8000-00000000abcd")
        );
        for wrong in ["common", "Organizations", "contoso", "contoso..com", "https://contoso.com", ""] {
            assert!(tenant(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn log_levels_are_levels_and_directives() {
        for right in ["info", "WARN", "warn,learner_sync=debug", "learner_sync::directory=trace"] {
            assert!(log_level(right).is_ok(), "{right:?}");
        }
        for wrong in ["", "verbose", "info,", "learner_sync=loud"] {
            assert!(log_level(wrong).is_err(), "{wrong:?}");
        }
    }
}
