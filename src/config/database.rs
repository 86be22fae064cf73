//! Parses `learners.database_url`: an SQLite file, or a database on a PostgreSQL server or on one of several.

use std::net::Ipv6Addr;
use std::path::Path;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::DatabaseConfig;

const FILE: &str = "sqlite:///absolute/path/of/learners.db";
const SERVER: &str = "postgres://user@host:5432/database";
const SERVERS: &str = "postgres://user@host1:5432,host2:5432/database";
/// The modes of libpq without `allow`, which differs from `prefer` only in the order of its attempts.
const SSL_MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];
/// The sessions of libpq without those that cannot write.
const TARGETS: [&str; 3] = ["any", "read-write", "primary"];

pub(super) fn database(text: &str) -> Result<DatabaseConfig, String> {
    if has_password(text) {
        return Err("contains a password: write it to a file and set learners.password_file".to_owned());
    }
    if let Some(path) = text.strip_prefix("sqlite://") {
        return file(path);
    }
    match text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) {
        Some(rest) => server(rest),
        None => Err(format!("must be a database URL, {FILE} or {SERVER}")),
    }
}

fn has_password(text: &str) -> bool {
    let (_, rest) = text.split_once("://").unwrap_or(("", text));
    // Each host may have a user by mistake; then a port is not a password.
    let is_secret = |part: &str| match part.split_once('@') {
        None => part.contains(':'),
        Some((user, address)) => {
            user.contains(':') || split_address(address).1.is_some_and(|port| check_port(port).is_err())
        }
    };
    let in_authority = rest.rsplit_once('@').is_some_and(|(users, _)| users.split(',').any(is_secret));
    let in_options = rest.split_once('?').is_some_and(|(_, options)| options.contains("password="));
    in_authority || in_options
}

fn file(path: &str) -> Result<DatabaseConfig, String> {
    if path.is_empty() || path.ends_with('/') {
        return Err(format!("the file name is missing; write {FILE}"));
    }
    if !path.starts_with('/') {
        // A relative path would mean a different database in each working directory.
        return Err(format!("needs an absolute path, with three slashes; write {FILE}"));
    }
    if path.contains('?') {
        return Err("an SQLite URL has no options".to_owned());
    }
    Ok(DatabaseConfig::Sqlite { path: path.into() })
}

fn server(rest: &str) -> Result<DatabaseConfig, String> {
    let (location, options) =
        rest.split_once('?').map_or((rest, None), |(location, options)| (location, Some(options)));
    let (authority, name) = location.split_once('/').unwrap_or((location, ""));
    if name.is_empty() || name.contains(['/', '#']) {
        return Err(format!("needs one database name after the host; write {SERVER}"));
    }
    let (user, addresses) =
        authority.rsplit_once('@').map_or((None, authority), |(user, addresses)| (Some(user), addresses));
    if user.is_some_and(str::is_empty) {
        return Err(format!("the user before the @ is missing; write {SERVER}"));
    }
    if user.is_some_and(|user| user.contains(['@', ','])) {
        return Err(format!("name the user once, before the first host, an @ in its name as %40; write {SERVERS}"));
    }
    let addresses: Vec<&str> = addresses.split(',').collect();
    let several = addresses.len() > 1;
    addresses.iter().try_for_each(|address| check_address(address, several))?;
    let ServerOptions { sockets, ports, others } = ServerOptions::read(options.unwrap_or_default())?;
    let user = user.map_or_else(String::new, |user| format!("{user}@"));
    let url = |hosts: &str, options: &str| {
        let options = if options.is_empty() { String::new() } else { format!("?{options}") };
        DatabaseConfig::Postgres { url: format!("postgres://{user}{hosts}/{name}{options}") }
    };
    if !several && sockets.len() <= 1 {
        if ports.len() > 1 {
            return Err("the option port names more ports than there are hosts".to_owned());
        }
        let address = addresses.first().copied().unwrap_or_default();
        // A URL with a user needs a host, which the socket overrides.
        let (host, port) = split_address(address);
        let address = match (host.is_empty(), port) {
            (false, _) => address.to_owned(),
            (true, _) if sockets.is_empty() => {
                return Err(format!(
                    "the host is missing; write {SERVER}, or postgres:///database?host=/directory/of/the/socket"
                ));
            }
            (true, None) => "localhost".to_owned(),
            (true, Some(port)) => format!("localhost:{port}"),
        };
        return Ok(url(&address, options.unwrap_or_default()));
    }
    let hosts = hosts(&addresses, &sockets, &ports)?;
    Ok(url(&hosts.join(","), &others.join("&")))
}

/// Several hosts with their ports, from the place before the database or from the options `host` and `port`.
fn hosts(addresses: &[&str], sockets: &[String], ports: &[&str]) -> Result<Vec<String>, String> {
    if !sockets.is_empty() && addresses.iter().any(|address| !address.is_empty()) {
        return Err("names hosts twice: before the database, and in the option host".to_owned());
    }
    let hosts: Vec<(&str, Option<&str>)> = if sockets.is_empty() {
        addresses.iter().map(|address| split_address(address)).collect()
    } else {
        sockets.iter().map(|socket| (socket.as_str(), None)).collect()
    };
    if ports.len() > 1 && ports.len() != hosts.len() {
        return Err(format!("the option port names {} ports for {} hosts", ports.len(), hosts.len()));
    }
    let address = |(position, (host, port)): (usize, &(&str, Option<&str>))| {
        let port = if ports.len() == 1 { ports.first() } else { ports.get(position) }.copied().or(*port);
        port.map_or_else(|| (*host).to_owned(), |port| format!("{host}:{port}"))
    };
    Ok(hosts.iter().enumerate().map(address).collect())
}

/// Host and port of an address; an IPv6 address contains colons in brackets.
fn split_address(address: &str) -> (&str, Option<&str>) {
    match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    }
}

/// Checks an address: one of `several`, or the only one, whose host may be in the options.
fn check_address(address: &str, several: bool) -> Result<(), String> {
    let (host, port) = split_address(address);
    if several && host.is_empty() {
        return Err(format!("a host in the list is missing; write {SERVERS}"));
    }
    // The host can be the encoded directory of a socket.
    let is_socket = host.to_ascii_uppercase().starts_with("%2F");
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_invalid = |letter: char| !letter.is_ascii_alphanumeric() && !".-_".contains(letter);
    let is_valid = match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => is_socket || !host.contains(is_invalid),
    };
    if !is_valid {
        return Err(format!("contains an invalid host; write {SERVER}, {SERVERS}, or an IPv6 address in brackets"));
    }
    port.map_or(Ok(()), check_port)
}

fn check_port(text: &str) -> Result<(), String> {
    match text.parse::<u16>() {
        Ok(1..) => Ok(()),
        Ok(0) | Err(_) => Err("the port must be a number from 1 to 65535".to_owned()),
    }
}

/// The options of the URL of a server.
#[derive(Default)]
struct ServerOptions<'t> {
    /// The directories of the option `host`, encoded.
    sockets: Vec<String>,
    /// The option `port`: one for all hosts, or one for each.
    ports: Vec<&'t str>,
    others: Vec<&'t str>,
}

impl<'t> ServerOptions<'t> {
    fn read(options: &'t str) -> Result<Self, String> {
        let (mut read, mut mode, mut root) = (Self::default(), "prefer", false);
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            let decoded = percent_decode_str(value).decode_utf8_lossy();
            match key {
                "sslmode" if SSL_MODES.contains(&value) => mode = value,
                "sslmode" => return Err(format!("sslmode must be one of {}", SSL_MODES.join(", "))),
                "sslrootcert" if Path::new(&*decoded).is_absolute() => root = true,
                "sslrootcert" => return Err("sslrootcert must be an absolute path".to_owned()),
                "target_session_attrs" if TARGETS.contains(&value) => {}
                "target_session_attrs" => {
                    return Err(format!(
                        "target_session_attrs must be one of {}: cycles need a server that accepts writes",
                        TARGETS.join(", ")
                    ));
                }
                "host" if decoded.split(',').all(|path| Path::new(path).is_absolute()) => {
                    let encode = |path| utf8_percent_encode(path, NON_ALPHANUMERIC).to_string();
                    read.sockets = decoded.split(',').map(encode).collect();
                    continue;
                }
                "host" => return Err("the option host must be the absolute directory of a socket".to_owned()),
                "port" => {
                    read.ports = value.split(',').collect();
                    read.ports.iter().try_for_each(|port| check_port(port))?;
                    continue;
                }
                "user" if !value.is_empty() => {}
                _ => {
                    return Err("has an unknown option; valid are host, port, user, sslmode, sslrootcert and \
                                target_session_attrs"
                        .to_owned());
                }
            }
            read.others.push(option);
        }
        if root && !mode.starts_with("verify-") {
            return Err("sslrootcert has no effect without sslmode=verify-full or verify-ca".to_owned());
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sqlite_url_needs_an_absolute_path() {
        let expect = DatabaseConfig::Sqlite { path: "/var/lib/learners.db".into() };
        assert_eq!(database("sqlite:///var/lib/learners.db"), Ok(expect));
        for wrong in [
            "",
            "learners.db",
            "sqlite:learners.db",
            "sqlite://",
            "sqlite://learners.db",
            "sqlite://:memory:",
            "sqlite:///var/",
            "sqlite:///a.db?mode=ro",
            "mysql://db.example.org/learners",
        ] {
            assert!(database(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_postgres_url_needs_a_host_or_socket_and_a_database() {
        for (text, expect) in [
            ("postgres://sync@db.example.org:5433/learners", "postgres://sync@db.example.org:5433/learners"),
            ("postgresql://db/learners?sslmode=require", "postgres://db/learners?sslmode=require"),
            (
                "postgres://sync@[::1]/learners?sslmode=verify-full&sslrootcert=/etc/ssl/db.pem",
                "postgres://sync@[::1]/learners?sslmode=verify-full&sslrootcert=/etc/ssl/db.pem",
            ),
            ("postgres:///learners?host=/run/postgresql", "postgres://localhost/learners?host=/run/postgresql"),
            (
                "postgres://sync@/learners?host=/run/postgresql",
                "postgres://sync@localhost/learners?host=/run/postgresql",
            ),
            ("postgres://sync@:5433/learners?host=%2Frun", "postgres://sync@localhost:5433/learners?host=%2Frun"),
            (
                "postgres:///learners?host=/run&port=5433&user=sync",
                "postgres://localhost/learners?host=/run&port=5433&user=sync",
            ),
            ("postgres://sync@%2Frun%2Fpostgresql/learners", "postgres://sync@%2Frun%2Fpostgresql/learners"),
        ] {
            assert_eq!(database(text), Ok(DatabaseConfig::Postgres { url: expect.to_owned() }), "{text}");
        }
        for (wrong, words) in [
            ("postgres://sync@db.example.org", "needs one database name"),
            ("postgres://sync@db.example.org/learners/public", "needs one database name"),
            ("postgres://@db.example.org/learners", "the user before the @"),
            ("postgres:///learners", "the host is missing"),
            ("postgres://one two/learners", "an invalid host"),
            ("postgres://one,tw/o/learners", "needs one database name"),
            ("postgres://::1/learners", "an invalid host"),
            ("postgres://[db]/learners", "an invalid host"),
            ("postgres://db.example.org:port/learners", "a number from 1 to 65535"),
            ("postgres://db/learners?sslmode=always", "sslmode must be one of disable, prefer"),
            ("postgres://db/learners?sslmode=verify-ca&sslrootcert=db.pem", "absolute path"),
            ("postgres://db/learners?sslrootcert=/etc/ssl/db.pem", "without sslmode=verify-full"),
            ("postgres://db/learners?host=other", "directory of a socket"),
            ("postgres://db/learners?options=-c", "an unknown option"),
            ("postgres://db/learners?port=x", "a number from 1 to 65535"),
            ("postgres://db/learners?user=", "an unknown option"),
            ("postgres://sync:letmein@db/learners", "contains a password"),
            ("postgres://db/learners?password=letmein", "contains a password"),
        ] {
            let message = database(wrong).unwrap_err();
            assert!(message.contains(words) && !message.contains("letmein"), "{wrong}: {message}");
        }
    }

    #[test]
    fn several_hosts_have_a_port_each() {
        for (text, expect) in [
            ("postgres://sync@db1,db2:5433/learners", "postgres://sync@db1,db2:5433/learners"),
            (
                "postgresql://sync@db1.example.org:5432,[2001:db8::2]:5433,10.0.0.3,%2Frun%2Fpg:5434/learners?sslmode=require",
                "postgres://sync@db1.example.org:5432,[2001:db8::2]:5433,10.0.0.3,%2Frun%2Fpg:5434/learners?sslmode=require",
            ),
            (
                "postgres://db1,db2/learners?target_session_attrs=read-write&user=sync",
                "postgres://db1,db2/learners?target_session_attrs=read-write&user=sync",
            ),
            ("postgres://db1,db2/learners?port=5433", "postgres://db1:5433,db2:5433/learners"),
            (
                "postgres://db1,db2:9/learners?port=1,2&sslmode=require",
                "postgres://db1:1,db2:2/learners?sslmode=require",
            ),
            (
                "postgres://sync@/learners?host=/run/a,/run/b&port=5433,5434",
                "postgres://sync@%2Frun%2Fa:5433,%2Frun%2Fb:5434/learners",
            ),
            ("postgres:///learners?host=%2Frun%2Fa%2C%2Fb.c", "postgres://%2Frun%2Fa,%2Fb%2Ec/learners"),
            ("postgres://db1/learners?target_session_attrs=any", "postgres://db1/learners?target_session_attrs=any"),
            (
                "postgres://db1,db2/learners?target_session_attrs=primary",
                "postgres://db1,db2/learners?target_session_attrs=primary",
            ),
        ] {
            assert_eq!(database(text), Ok(DatabaseConfig::Postgres { url: expect.to_owned() }), "{text}");
        }
        for (wrong, words) in [
            ("postgres://sync@db1,,db2/learners", "a host in the list is missing"),
            ("postgres://sync@db1,/learners", "a host in the list is missing"),
            ("postgres://sync@db1,:5433/learners", "a host in the list is missing"),
            ("postgres://sync@db1,db 2/learners", "an invalid host"),
            ("postgres://sync@db1,[db2]/learners", "an invalid host"),
            ("postgres://sync@db1:5432,db2:0/learners", "a number from 1 to 65535"),
            ("postgres://sync@db1,db2/learners?port=1,2,3", "names 3 ports for 2 hosts"),
            ("postgres://sync@db1,db2/learners?port=1,x", "a number from 1 to 65535"),
            ("postgres://sync@db1/learners?port=1,2", "more ports than there are hosts"),
            ("postgres://sync@db1,db2/learners?host=/run/a", "names hosts twice"),
            ("postgres://sync@db1/learners?host=/run/a,/run/b", "names hosts twice"),
            ("postgres://sync@/learners?host=/run/a,db2", "directory of a socket"),
            (
                "postgres://db1,db2/learners?target_session_attrs=standby",
                "one of any, read-write, primary: cycles need",
            ),
            ("postgres://db1,db2/learners?target_session_attrs=prefer-standby", "target_session_attrs must be one of"),
            ("postgres://db1,db2/learners?target_session_attrs=", "target_session_attrs must be one of"),
            ("postgres://sync@db1,sync@db2/training", "name the user once, before the first host"),
            ("postgres://sync@db1:5432,sync@db2:5433/training", "name the user once, before the first host"),
            ("postgres://db1,sync@db2/training", "name the user once, before the first host"),
            ("postgres://sync@db1,sync:letmein@db2/learners", "contains a password"),
            ("postgres://sync:letmein@db1,sync@db2/learners", "contains a password"),
            ("postgres://sync@tenant:letmein@db1,db2/learners", "contains a password"),
            ("postgres://sync:let@letmein@db1,db2/learners", "contains a password"),
            ("postgres://sync:letmein@db1,db2/learners", "contains a password"),
            ("postgres://db1,sync:letmein@db2/learners", "contains a password"),
            ("postgres://db1,db2/learners?password=letmein", "contains a password"),
        ] {
            let message = database(wrong).unwrap_err();
            assert!(message.contains(words) && !message.contains("letmein"), "{wrong}: {message}");
        }
    }
}
