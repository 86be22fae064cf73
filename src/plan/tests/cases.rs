//! Decisions in small worlds, each as the plan prints it.

mod applying;
mod changing;
mod holding;
mod joining;
mod leaving;
mod unclear;
mod uniqueness;
