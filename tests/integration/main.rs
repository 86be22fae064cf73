//! Scenarios against a simulated tenant over real HTTP, a real SQLite file and a real cache.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a scenario that cannot go on has failed")]

mod world;
