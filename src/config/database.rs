//! How a learner database is named: the path of an SQLite file, or the URL of a database on a PostgreSQL server.

use std::path::Path;

use super::DatabaseConfig;

const FILE: &str = "sqlite:///absolute/path/of/learners.db";
const SERVER: &str = "postgres://user@host:5432/database";
/// As the client of PostgreSQL has them; `allow` comes to the same as `prefer`, and is not known here.
const SSL_MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];

/// Where the learners are.
pub(super) fn database(text: &str) -> Result<DatabaseConfig, String> {
    if holds_a_password(text) {
        return Err("holds a password: put it in a file and name that with learners.password_file".to_owned());
    }
    if let Some(path) = text.strip_prefix("sqlite://") {
        return file(path);
    }
    match text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) {
        Some(rest) => server(rest),
        None => Err(format!("must be a database URL, {FILE} or {SERVER}")),
    }
}

fn holds_a_password(text: &str) -> bool {
    let (_, rest) = text.split_once("://").unwrap_or(("", text));
    let in_authority = rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    let in_options = rest.split_once('?').is_some_and(|(_, options)| options.contains("password="));
    in_authority || in_options
}

fn file(path: &str) -> Result<DatabaseConfig, String> {
    if path.is_empty() || path.ends_with('/') {
        return Err(format!("names no file: {FILE}"));
    }
    if !path.starts_with('/') {
        // A forgotten slash would make another database in every directory a command is run from.
        return Err(format!("must name an absolute path, with three slashes: {FILE}"));
    }
    if path.contains('?') {
        return Err("takes no options after a question mark".to_owned());
    }
    Ok(DatabaseConfig::Sqlite { path: path.into() })
}

fn server(rest: &str) -> Result<DatabaseConfig, String> {
    let (location, options) =
        rest.split_once('?').map_or((rest, None), |(location, options)| (location, Some(options)));
    let (authority, name) = location.split_once('/').unwrap_or((location, ""));
    if name.is_empty() || name.contains(['/', '#']) {
        return Err(format!("must name one database behind the host: {SERVER}"));
    }
    let (user, address) = authority.rsplit_once('@').map_or((None, authority), |(user, address)| (Some(user), address));
    if user.is_some_and(str::is_empty) {
        return Err(format!("names no user before the @: {SERVER}"));
    }
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    };
    // The directory of a socket may stand in the place of the host.
    let in_place = host.to_ascii_uppercase().starts_with("%2F");
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let strange = |letter: char| !letter.is_ascii_alphanumeric() && !".-_".contains(letter);
    if !is_bracketed && !in_place && host.contains(strange) {
        return Err(format!("must name one host: {SERVER}"));
    }
    if let Some(port) = port {
        is_port(port)?;
    }
    let socket = read_options(options.unwrap_or_default())?;
    if host.is_empty() && !socket {
        return Err(format!("names no host: {SERVER}, or postgres:///database?host=/directory/of/the/socket"));
    }
    let user = user.map_or_else(String::new, |user| format!("{user}@"));
    // A URL with a user has a host; the socket wins over it.
    let host = if host.is_empty() { "localhost" } else { host };
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    let options = options.map_or_else(String::new, |options| format!("?{options}"));
    Ok(DatabaseConfig::Postgres { url: format!("postgres://{user}{host}{port}/{name}{options}") })
}

fn is_port(text: &str) -> Result<(), String> {
    match text.parse::<u16>() {
        Ok(1..) => Ok(()),
        Ok(0) | Err(_) => Err("has a port that is no number from 1 to 65535".to_owned()),
    }
}

/// Whether the options name a socket; an error when one of them would not be understood.
fn read_options(options: &str) -> Result<bool, String> {
    let (mut socket, mut mode, mut root) = (false, "prefer", false);
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let absolute = Path::new(&value.replace("%2F", "/").replace("%2f", "/")).is_absolute();
        match key {
            "sslmode" if SSL_MODES.contains(&value) => mode = value,
            "sslmode" => return Err(format!("has an sslmode that is none of {}", SSL_MODES.join(", "))),
            "sslrootcert" if absolute => root = true,
            "host" if absolute => socket = true,
            "sslrootcert" => return Err("must name sslrootcert with an absolute path".to_owned()),
            "host" => return Err("takes host= for the directory of a socket only, an absolute path".to_owned()),
            "port" => is_port(value)?,
            "user" if !value.is_empty() => {}
            _ => {
                let known = "host, port, user, sslmode and sslrootcert";
                return Err(format!("takes {known} behind the question mark, and nothing else"));
            }
        }
    }
    if root && !mode.starts_with("verify-") {
        return Err("needs sslmode=verify-full (or verify-ca), or sslrootcert proves nothing".to_owned());
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_absolute_paths() {
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
    fn servers_have_a_host_or_a_socket_and_a_database() {
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
            ("postgres://sync@db.example.org", "must name one database"),
            ("postgres://sync@db.example.org/learners/public", "must name one database"),
            ("postgres://@db.example.org/learners", "names no user"),
            ("postgres:///learners", "names no host"),
            ("postgres://one,two/learners", "must name one host"),
            ("postgres://db.example.org:port/learners", "no number from 1 to 65535"),
            ("postgres://db/learners?sslmode=always", "has an sslmode that is none of disable, prefer"),
            ("postgres://db/learners?sslmode=verify-ca&sslrootcert=db.pem", "absolute path"),
            ("postgres://db/learners?sslrootcert=/etc/ssl/db.pem", "needs sslmode=verify-full"),
            ("postgres://db/learners?host=other", "directory of a socket"),
            ("postgres://db/learners?options=-c", "and nothing else"),
            ("postgres://db/learners?port=x", "no number from 1 to 65535"),
            ("postgres://db/learners?user=", "and nothing else"),
            ("postgres://sync:letmein@db/learners", "holds a password"),
            ("postgres://db/learners?password=letmein", "holds a password"),
        ] {
            let told = database(wrong).unwrap_err();
            assert!(told.contains(words) && !told.contains("letmein"), "{wrong}: {told}");
        }
    }
}
