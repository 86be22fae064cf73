//! Scenarios that only PostgreSQL has: connections, roles, messages and failures of the server. The others run on both
//! databases, see `database`.
//!
//! Without the programs of PostgreSQL each scenario prints that it is skipped.

mod commands;
mod disturbances;
mod full_disk;
mod roles;
mod rows;
mod server;
mod tls;
mod too_old;

pub(crate) use commands::{configure_database_url, database_check};
pub(crate) use rows::rows;
pub(crate) use server::{EMPTY, OWNER, Server, programs, scratch, shared, signal, unprivileged};
