//! The expression language of Entra ID's provisioning, the right side of an attribute mapping. Pure.
//!
//! | step | module |
//! |---|---|
//! | text to syntax tree | `parse`, `syntax` |
//! | syntax tree to compiled expression: names resolved, argument counts and constants checked | `compile` |
//! | types of arguments, and constants parsed at the start | `constant`, `keyword` |
//! | attribute names of the portal and of Graph | `attribute` |
//! | what a compiled expression reads, and whether it depends on the time | `inspect` |
//! | what it gives to every user | `foresee` |
//! | expression and user to value | `evaluate` |
//! | the steps that an evaluation may take | `steps` |
//! | the functions, one row each in a table | `functions`, with `dates` and `pattern` |
//!
//! Every mistake in an expression is found when it is compiled, before a user is read. Evaluation reads no clock. It
//! ends with a value, or with the reason why there is none. `tests/examples.json` has worked examples of the language.

pub(crate) mod attribute;
mod compile;
mod constant;
mod dates;
mod evaluate;
pub(crate) mod foresee;
mod functions;
mod inspect;
mod keyword;
mod parse;
pub(crate) mod pattern;
mod steps;
mod syntax;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use compile::{Expression, Resolve, compile};
pub(crate) use evaluate::{EvaluationContext, EvaluationStop, text};
pub use inspect::TimeDependence;
pub use steps::Steps;
pub(crate) use syntax::ExpressionProblem;
