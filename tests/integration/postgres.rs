//! What only a PostgreSQL server has: how it is reached, what its commands say, and what can happen to it meanwhile. The
//! scenarios that it has in common with a file are played on both, see `database`.
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
