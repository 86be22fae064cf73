//! Learners in a database on a PostgreSQL server: the same cycles, and what can happen to a server meanwhile.
//!
//! Each scenario does nothing where the programs of PostgreSQL are not installed, and says so.

mod commands;
mod disturbances;
mod rows;
mod server;

pub(crate) use rows::rows;
pub(crate) use server::{OWNER, Server, shared};
