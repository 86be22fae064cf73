//! All that is in a database at some time, and its return to that.

use std::fs;
use std::path::{Path, PathBuf};

use super::Database;
use crate::postgres::EMPTY;

/// A backup of a database.
#[derive(Debug)]
pub(crate) enum Backup {
    /// Its files with their content, or without one.
    Files(Vec<(PathBuf, Option<Vec<u8>>)>),
    /// The copy of a database on a server.
    Copy(String),
}

impl Database {
    /// What is in it now. Nobody may be at work on it.
    pub(crate) async fn backup(&self) -> Backup {
        match self {
            Self::File(path) => {
                Backup::Files(files(path).into_iter().map(|path| (path.clone(), fs::read(path).ok())).collect())
            }
            Self::Server(server, name) => Backup::Copy(server.copy(name).await),
        }
    }

    /// Puts a backup back.
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

    /// As if nobody had ever been here: no file, or an empty database.
    pub(crate) async fn clear(&self) {
        self.remove().await;
        if let Self::Server(server, name) = self {
            server.create(name, EMPTY).await;
        }
    }

    /// What a program has left behind that was just killed. A file is looked at in a copy in `directory`: whoever opens
    /// it first tidies up in it, and that is to be the program. A server finishes what it was told until it notices.
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
                self.comes_to_rest().await;
                Self::Server(server, name.clone())
            }
        }
    }

    async fn remove(&self) {
        match self {
            Self::File(path) => {
                for path in files(path) {
                    // Not all of them are there.
                    let _ = fs::remove_file(path);
                }
            }
            Self::Server(server, name) => {
                server.execute("postgres", &format!("DROP DATABASE {name} WITH (FORCE)")).await
            }
        }
    }
}

/// The file of an SQLite database with all that belongs to it.
fn files(path: &Path) -> [PathBuf; 4] {
    ["", "-wal", "-shm", "-journal"].map(|suffix| PathBuf::from(format!("{}{suffix}", path.display())))
}
