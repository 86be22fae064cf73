//! Parses `learners.database_url`: an SQLite file, or a database on a PostgreSQL server.

use std::path::Path;

use super::DatabaseConfig;

const FILE: &str = "sqlite:///absolute/path/of/learners.db";
const SERVER: &str = "postgres://user@host:5432/database";
/// The modes of libpq without `allow`, which differs from `prefer` only in the order of its attempts.
const SSL_MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];

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
    let in_authority = rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
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
    let (user, address) = authority.rsplit_once('@').map_or((None, authority), |(user, address)| (Some(user), address));
    if user.is_some_and(str::is_empty) {
        return Err(format!("the user before the @ is missing; write {SERVER}"));
    }
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    };
    // The host can be the encoded directory of a socket.
    let is_socket = host.to_ascii_uppercase().starts_with("%2F");
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let is_invalid = |letter: char| !letter.is_ascii_alphanumeric() && !".-_".contains(letter);
    if !is_bracketed && !is_socket && host.contains(is_invalid) {
        return Err(format!("needs exactly one host; write {SERVER}"));
    }
    if let Some(port) = port {
        check_port(port)?;
    }
    let socket = read_options(options.unwrap_or_default())?;
    if host.is_empty() && !socket {
        return Err(format!(
            "the host is missing; write {SERVER}, or postgres:///database?host=/directory/of/the/socket"
        ));
    }
    let user = user.map_or_else(String::new, |user| format!("{user}@"));
    // A URL with a user needs a host, which the socket overrides.
    let host = if host.is_empty() { "localhost" } else { host };
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    let options = options.map_or_else(String::new, |options| format!("?{options}"));
    Ok(DatabaseConfig::Postgres { url: format!("postgres://{user}{host}{port}/{name}{options}") })
}

fn check_port(text: &str) -> Result<(), String> {
    match text.parse::<u16>() {
        Ok(1..) => Ok(()),
        Ok(0) | Err(_) => Err("the port must be a number from 1 to 65535".to_owned()),
    }
}

/// Checks the options, and returns whether they name a socket.
fn read_options(options: &str) -> Result<bool, String> {
    let (mut socket, mut mode, mut root) = (false, "prefer", false);
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let absolute = Path::new(&value.replace("%2F", "/").replace("%2f", "/")).is_absolute();
        match key {
            "sslmode" if SSL_MODES.contains(&value) => mode = value,
            "sslmode" => return Err(format!("sslmode must be one of {}", SSL_MODES.join(", "))),
            "sslrootcert" if absolute => root = true,
            "host" if absolute => socket = true,
            "sslrootcert" => return Err("sslrootcert must be an absolute path".to_owned()),
            "host" => return Err("the option host must be the absolute directory of a socket".to_owned()),
            "port" => check_port(value)?,
            "user" if !value.is_empty() => {}
            _ => {
                return Err("has an unknown option; valid are host, port, user, sslmode and sslrootcert".to_owned());
            }
        }
    }
    if root && !mode.starts_with("verify-") {
        return Err("sslrootcert has no effect without sslmode=verify-full or verify-ca".to_owned());
    }
    Ok(socket)
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
            ("postgres://one,two/learners", "needs exactly one host"),
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
}
