//! Learners in a database on a PostgreSQL server: the same cycles, and what can happen to a server meanwhile.
//!
//! Each scenario does nothing where the programs of PostgreSQL are not installed, and says so.

mod commands;
mod disturbances;
mod full_disk;
mod roles;
mod rows;
mod server;
mod tls;
mod too_old;

pub(crate) use rows::rows;
pub(crate) use server::{EMPTY, OWNER, Server, shared};
