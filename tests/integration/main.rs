//! Scenarios against a simulated tenant over real HTTP, real databases and a real cache.
#![expect(clippy::unwrap_used, reason = "a scenario that cannot go on has failed")]

mod architecture;
mod cache;
mod command;
mod conflicts;
mod crash;
mod daemon;
mod database;
mod deadlines;
mod directory;
mod drift;
mod empty_groups;
mod faults;
mod filters;
mod full_disk;
mod held_updates;
mod histories;
mod holds;
mod interruptions;
mod learners;
mod leavers;
mod machine;
mod mapping;
mod postgres;
mod program;
mod proxy;
mod races;
mod reading;
mod refusals;
mod reissued;
mod restrictions;
mod roles;
mod sign_in;
mod sources;
mod tables;
mod world;
