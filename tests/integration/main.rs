//! Scenarios against a simulated tenant over real HTTP, a real SQLite file and a real cache.
#![expect(clippy::unwrap_used, reason = "a scenario that cannot go on has failed")]

mod architecture;
mod cache;
mod command;
mod conflicts;
mod crash;
mod daemon;
mod directory;
mod empty_groups;
mod held_updates;
mod holds;
mod interruptions;
mod learners;
mod leavers;
mod mapping;
mod program;
mod races;
mod reading;
mod sign_in;
mod sources;
mod world;
