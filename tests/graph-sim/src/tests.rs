//! The simulator over real HTTP: what the product's tests rest on.

mod assertion;
mod batch;
mod client;
mod control;
mod delivery;
mod faults;
mod graph;
mod journal;
mod managed_identity;
mod speed;
mod stranger;
mod tls;
mod token;
