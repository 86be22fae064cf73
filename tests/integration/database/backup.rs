//! Backups of the learner database of a scenario.

use std::fs;
use std::path::{Path, PathBuf};

use super::Database;
use crate::postgres::EMPTY;

/// A backup of a database.
#[derive(Debug)]
pub(crate) enum Backup {
    /// The files of SQLite, with the content of those that exist.
    Files(Vec<(PathBuf, Option<Vec<u8>>)>),
    /// The copy of a database on a server.
    Copy(String),
}

impl Database {
    /// Saves the content. No other connection may be open.
    pub(crate) async fn backup(&self) -> Backup {
        match self {
            Self::File(path) => {
                Backup::Files(files(path).into_iter().map(|path| (path.clone(), fs::read(path).ok())).collect())
            }
            Self::Server(server, name) => Backup::Copy(server.copy(name).await),
        }
    }

    pub(crate) async fn restore(&self, backup: &Backup) {
        self.remove().await;
        match (self, backup) {
            (Self::File(_), Backup::Files(files)) => {
                for (path, content) in files {
                    content.iter().for_each(|content| fs::write(path, content).unwrap());
                }
            }
            (Self::Server(server, name), Backup::Copy(copy)) => server.create(name, copy).await,
            _ => panic!("{backup:?} is none of {self:?}"),
        }
    }

    /// Deletes the file, or replaces the database by an empty one.
    pub(crate) async fn clear(&self) {
        self.remove().await;
        if let Self::Server(server, name) = self {
            server.create(name, EMPTY).await;
        }
    }

    /// The database after a kill. A file is copied to `directory`, because opening it recovers it, which is left to the
    /// program. A server first finishes the running statement.
    pub(crate) async fn left_behind(&self, directory: &Path) -> Self {
        match self {
            Self::File(path) => {
                let _ = fs::remove_dir_all(directory);
                fs::create_dir(directory).unwrap();
                let copy = directory.join("learners.db");
                for (from, to) in files(path).into_iter().zip(files(&copy)).filter(|(from, _)| from.exists()) {
                    fs::copy(from, to).unwrap();
                }
                Self::File(copy)
            }
            Self::Server(server, name) => {
                self.wait_for_dropped_connections().await;
                Self::Server(server, name.clone())
            }
        }
    }

    async fn remove(&self) {
        match self {
            Self::File(path) => {
                for path in files(path) {
                    // Not all of them exist.
                    let _ = fs::remove_file(path);
                }
            }
            Self::Server(server, name) => {
                server.execute("postgres", &format!("DROP DATABASE {name} WITH (FORCE)")).await
            }
        }
    }
}

/// The files of an SQLite database.
fn files(path: &Path) -> [PathBuf; 4] {
    ["", "-wal", "-shm", "-journal"].map(|suffix| PathBuf::from(format!("{}{suffix}", path.display())))
}
