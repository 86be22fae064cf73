//! The expression language of Entra ID's provisioning, the right side of an attribute mapping. Pure.
//!
//! | step | module |
//! |---|---|
//! | text to syntax tree | `parse`, `syntax` |
//! | syntax tree to [`Expression`]: names resolved, argument counts and constants checked | `compile`, `constant`, `keyword` |
//! | attribute names of the portal and of Graph | `attribute` |
//! | expression and user to value | `evaluate` |
//! | the functions, one row each in a table | `functions`, with `dates` and `pattern` |
//!
//! All mistakes in an expression are found when it is compiled, before a user is read. Evaluation reads no clock and
//! cannot fail: it ends with a value or with an [`EvaluationStop`].

pub(crate) mod attribute;
mod compile;
mod constant;
mod dates;
mod evaluate;
mod functions;
mod inspect;
mod keyword;
mod parse;
pub(crate) mod pattern;
mod syntax;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use compile::{Expression, Resolve, compile};
pub(crate) use evaluate::{EvaluationContext, EvaluationStop, text};
pub use inspect::TimeDependence;
pub(crate) use syntax::ExpressionProblem;
