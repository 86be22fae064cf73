//! Tests of the simulator over real HTTP.

mod assertion;
mod batch;
mod client;
mod control;
mod delivery;
mod faults;
mod foreign_server;
mod graph;
mod journal;
mod large;
mod managed_identity;
mod speed;
mod tls;
mod token;
