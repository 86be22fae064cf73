//! learner-sync keeps the learner database of a training platform in sync with the users assigned to one enterprise
//! application in Entra ID. It opens outbound connections only, unless a listener for metrics is configured.
//!
//! # Map
//!
//! Data flows in one direction, and so do the dependencies between modules:
//!
//! | module | purpose |
//! |---|---|
//! | [`model`] | the types that all modules share; depends on none of them |
//! | [`config`] | the typed configuration; reports every problem at once |
//! | [`auth`], [`retry`] | turns a credential into an access token; backs off when a service asks for it |
//! | [`directory`] | Microsoft Graph: the only module that knows it |
//! | [`expression`] | the expression language of Entra ID; pure |
//! | [`scope`], [`mapping`] | which users are in scope, and which learner each of them should be; pure |
//! | [`mod@plan`] | every decision of a cycle; pure |
//! | [`store`] | the learner database, SQLite or PostgreSQL: the only module that knows SQL |
//! | [`cache`] | what the last cycle wrote: the only module that knows sled; disposable |
//! | [`cycle`] | the pipeline, top to bottom: **the file to read first** |
//! | [`runtime`] | wiring: paths, preflight, app, one cycle under the lock, the state of provisioning |
//! | [`daemon`] | the schedule and signals request cycles; one loop runs them |
//! | [`view`] | what commands and the status page show, in words: one truth for both |
//! | [`http`] | metrics, health and the status page over HTTP; reads only |
//! | [`notify`] | messages to administrators: a webhook and mail |
//! | [`cli`] | one file per command |
//! | [`progress`] | how far a running cycle is, for a terminal and for `status` |
//! | [`failpoint`] | the steps of a cycle at which a test can kill the process |
//!
//! # One cycle
//!
//! 1. The start of the daemon, the schedule, a signal or a command requests a cycle. No request says what has changed.
//! 2. [`runtime::locked_cycle`] inspects the files, takes the lock and opens the database. [`cycle::run`] adds a row to
//!    `sync_cycles`.
//! 3. The enterprise application is looked up. Tenant and application are the *source* to which links belong.
//! 4. The linked learners come from the cache, if it was made from exactly this state of the database under exactly this
//!    mapping, and otherwise from the database.
//! 5. [`directory::Directory::read`] reads the assignments, the groups and the users. Each user is scoped and mapped when
//!    its page arrives, unless the row is the one that an earlier cycle found unchanged, and kept in full only if its
//!    fingerprint has changed. Only a complete read yields a [`directory::Snapshot`], and only a snapshot can seal
//!    [`plan::Desired`].
//! 6. [`plan::candidates`] returns the learners that seem to have left. [`directory::Directory::confirm`] reads each of
//!    them, and the assignments, a second time.
//! 7. [`plan::plan`] decides about each user: create, update, deactivate or reactivate; or hold, reject or skip.
//! 8. [`store::Store::apply`] writes the decisions in batches. [`cache::record`] stores what the next cycle compares with.
//!
//! `provision` does the same for one user: everything is read and decided, and only the decisions that concern this user
//! are applied.
//!
//! # What never happens
//!
//! - A plan is never made from a partial read.
//! - A user is never deactivated because a list omits them: the evidence is a complete row or a confirmation.
//! - Apply never makes a decision; it writes what is in the plan.
//! - A learner row is never written without its link and log row, and the cache never before their commit.
//! - The cache never changes an outcome, only the duration.
//! - Two cycles never overlap. Where no lock keeps them apart, a cycle writes only in the generation of the database that
//!   it has read: after a write of another process it starts over.
//! - A database or file of another program, or of a newer learner-sync, is never written to.
//! - One bad user never stops the others.
//! - Too many users are never deactivated without an approval of exactly those users.
//! - A learner without a link of this source is never touched, except to adopt it, nor one that `scope.only` or
//!   `scope.ignore` excludes.
//! - A learner is never deleted.
//! - The access token is never sent to an origin other than the configured one.
//! - Secrets and personal data never appear in the operational log or in the cache.

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
pub mod http;
pub mod mapping;
pub mod model;
mod nearest;
pub mod notify;
pub mod plan;
pub mod progress;
pub mod retry;
pub mod runtime;
pub mod scope;
pub mod store;
pub mod view;
