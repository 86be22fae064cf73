//! learner-sync keeps the learner database of a training platform in step with the users who are assigned to one
//! enterprise application in Entra ID. It only ever dials out.
//!
//! # Map
//!
//! Data goes one way, and so do the modules:
//!
//! | module | what it is |
//! |---|---|
//! | [`model`] | the words all share; depends on nothing of ours |
//! | [`config`] | the configuration, typed, with every problem listed at once |
//! | [`auth`], [`retry`] | a credential becomes an access token; waiting for a service that asks for it |
//! | [`directory`] | Graph: the only code that knows it |
//! | [`expression`] | the expression language of Entra ID: attributes, functions, dates, regular expressions; pure |
//! | [`scope`], [`mapping`] | who is meant, and what each should be; pure |
//! | [`mod@plan`] | every decision of a cycle; pure |
//! | [`store`] | the learner database, an SQLite file or on a PostgreSQL server: the only code that knows SQL |
//! | [`cache`] | what the last cycle knew: the only code that knows sled; disposable |
//! | [`cycle`] | the pipeline, top to bottom: **the file to read first** |
//! | [`runtime`] | wiring: paths, preflight, [`runtime::App`], one cycle under the lock |
//! | [`failpoint`] | where a test can kill the process |
//! | [`daemon`] | schedule and signals ask for cycles, one loop runs them |
//! | [`cli`] | one file a command |
//!
//! # A walk through one cycle
//!
//! 1. Something asks for a cycle: the start, the schedule, a signal, a command. It says that, never what changed.
//! 2. [`runtime::preflight`] inspects what is there; [`runtime::locked_cycle`] takes the lock of the database and opens it; [`cycle::run`]
//!    writes a row in `sync_cycles`.
//! 3. The application is looked up; tenant and application are the *source* whose learners these are.
//! 4. What is *known* comes from the cache when it was made from exactly this state of the database, under exactly
//!    this mapping; else from the database.
//! 5. [`directory::Directory::read`] walks the assignments, the groups and the users. Each user is scoped and mapped
//!    as its page arrives and kept only if its fingerprint is not the known one. Only a complete read ends in a
//!    [`directory::Snapshot`], and only with one is [`plan::Desired`] sealed.
//! 6. [`plan::candidates`] are learners that seem to have left; [`directory::Directory::confirm`] looks at each of
//!    them, and at the assignments, a second time.
//! 7. [`plan::plan`] decides: creates, updates, deactivations, reactivations, and who is held, rejected or skipped.
//! 8. [`store::Store::apply`] carries it out in batches; [`cache`] records what is known now.
//!
//! `provision` walks the same way for one user: all is read and decided, and [`plan::Plan::only`] keeps of the plan
//! what concerns that user.
//!
//! # What never happens
//!
//! - A plan is never made from a part of the directory.
//! - Nobody is deactivated because a list did not name them: evidence comes from a complete row or a second look.
//! - Apply decides nothing; whatever it does stands in the plan.
//! - Learner row, link and log row are never written apart from each other, and the cache never before them.
//! - The cache never changes an outcome, only the time.
//! - Two cycles never overlap.
//! - Nothing is written to the database, or over the files, of another program or a newer learner-sync.
//! - One bad user never stops the others.
//! - Too many deactivations never pass without an approval of exactly those users.
//! - A learner that is not linked by this source is never touched, nor one whom `scope.only` or `scope.ignore` leaves alone, and
//!   none is ever deleted.
//! - The access token never goes to another origin than the configured one.
//! - No secret and no personal data ever stands in the operational log or in the cache.

pub mod auth;
pub mod cache;
pub mod cli;
pub mod config;
pub mod cycle;
pub mod daemon;
pub mod directory;
pub mod expression;
pub mod failpoint;
mod files;
pub mod mapping;
pub mod model;
mod nearest;
pub mod plan;
pub mod retry;
pub mod runtime;
pub mod scope;
pub mod store;
