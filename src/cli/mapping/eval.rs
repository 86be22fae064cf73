//! `learner-sync mapping eval`: evaluates an expression on given values or on a user.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::input::{Input, InputLine, json as parse_json};
use crate::cli::Context;
use crate::cli::output::{DONE, FAILED, Failure, print_json_line, shown};
use crate::directory::{AccountRead, DirectoryError};
use crate::mapping::{MappingProblem, Trial, TrialResult, is_user_document};
use crate::model::{APP_ROLE_ASSIGNMENTS, Clock, EntraId, Value};
use crate::runtime::App;

#[derive(Debug, clap::Args)]
pub(in super::super) struct MappingEvalArguments {
    /// The expression, as in [mapping]. Single quotes protect it from the shell.
    #[arg(value_name = "EXPRESSION", required_unless_present = "inputs", conflicts_with = "inputs")]
    expression: Option<String>,
    /// A JSON object with the source attributes, by any name, or a user as Graph returns it; missing attributes are
    /// null. `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "inputs")]
    input: Option<PathBuf>,
    /// A user of the tenant, by object id or userPrincipalName. Uses the configuration to sign in.
    #[arg(long, value_name = "USER", conflicts_with_all = ["input", "inputs"])]
    pub(in super::super) user: Option<String>,
    /// Evaluate each line of a file, {"expression", "inputs", "now"}, the last two optional; prints one line for each:
    /// {"value"}, {"flow": false} or {"error"}. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// The result of Now(), such as 2026-01-31T08:00:00Z; by default the current time.
    #[arg(long, value_name = "TIME")]
    now: Option<jiff::Timestamp>,
}

/// Evaluates the expression for a user that is read from Graph now.
pub(in super::super) async fn run_for_user(
    arguments: MappingEvalArguments,
    context: Context,
    clock: Clock,
) -> Result<u8, Failure> {
    let MappingEvalArguments { expression, user, now, input: _, inputs: _ } = arguments;
    let (expression, name) = (expression.unwrap_or_default(), user.unwrap_or_default());
    let trial = Trial::for_users(&expression).map_err(|problems| Failure::new(FAILED, join_lines(&problems)))?;
    if trial.selection().position(APP_ROLE_ASSIGNMENTS).is_some() {
        let message = "[appRoleAssignments] needs all assignments; run: learner-sync provision USER --dry-run";
        return Err(Failure::new(FAILED, message));
    }
    let App { directory, .. } = App::new(context.config, &context.environment, clock)?;
    let failed = |error: DirectoryError| Failure::failed(&error, error.hint().map(str::to_owned));
    let user = match name.parse::<EntraId>() {
        Ok(user) => Some(user),
        Err(_) => directory.find_user(&name).await.map_err(failed)?,
    };
    let not_found = || Failure::new(FAILED, format!("the tenant has no user {name}"));
    match directory.account(user.ok_or_else(not_found)?, trial.selection()).await.map_err(failed)? {
        AccountRead::User(user) => {
            let result = trial.evaluate_for(&user, now.unwrap_or_else(clock));
            print_value(result.map_err(|problem| Failure::new(FAILED, problem.to_string()))?)
        }
        AccountRead::Unreadable { detail, .. } => {
            Err(Failure::new(FAILED, format!("cannot read the account: {detail}")))
        }
        AccountRead::NotFound(_) => Err(not_found()),
    }
}

pub(in super::super) fn run(arguments: MappingEvalArguments, now: jiff::Timestamp) -> Result<u8, Failure> {
    let MappingEvalArguments { expression, input, inputs, now: given, user: _ } = arguments;
    let now = given.unwrap_or(now);
    if let Some(path) = inputs {
        return evaluate_lines(Input::open(&path)?, now);
    }
    let values = match input {
        None => BTreeMap::new(),
        Some(path) => {
            let mut input = Input::open(&path)?;
            let document = one_user(input.document()?).map_err(|reason| input.failure(&reason))?;
            source_attributes(document).ok_or_else(|| input.failure("not a JSON object of source attributes"))?
        }
    };
    let trial = Trial::compile(&expression.unwrap_or_default())
        .map_err(|problems| Failure::new(FAILED, join_lines(&problems)))?;
    warnings(&trial, &values).iter().for_each(|words| warn(words));
    print_value(trial.evaluate(&values, now).map_err(|problem| Failure::new(FAILED, problem.to_string()))?)
}

/// A warning for each attribute that is null because the input lacks it.
fn warnings(trial: &Trial, values: &BTreeMap<String, Value>) -> Vec<String> {
    if is_user_document(values) { trial.missing(values) } else { trial.unknown(values) }
}

fn warn(words: &str) {
    // A closed standard error must not change the exit code.
    let _ = writeln!(std::io::stderr(), "learner-sync: warning: {}", shown(words));
}

/// The only user of a list as Graph returns it; every other document as it is.
///
/// # Errors
/// There are several users, or none.
fn one_user(document: Json) -> Result<Json, String> {
    let is_envelope = |key: &String| key == "value" || key.starts_with('@') || key.eq_ignore_ascii_case("count");
    let mut users = match document {
        Json::Array(users) => users,
        Json::Object(mut members) if members.keys().all(is_envelope) => match members.remove("value") {
            Some(Json::Array(users)) => users,
            Some(value) => {
                members.insert("value".to_owned(), value);
                return Ok(Json::Object(members));
            }
            None => return Ok(Json::Object(members)),
        },
        other => return Ok(other),
    };
    match (users.pop(), users.len()) {
        (Some(user), 0) => Ok(user),
        (None, _) => Err("the list has no user".to_owned()),
        (Some(_), more) => Err(format!("the list has {} users; keep one of them", more + 1)),
    }
}

fn print_value(result: TrialResult) -> Result<u8, Failure> {
    print_json_line(&to_json(result))?;
    Ok(DONE)
}

/// Different warnings about the lines of one file.
const MAX_WARNINGS: usize = 100;

/// Evaluates line by line. Prints each warning once, for the first line that causes it. Only malformed lines change the
/// exit code: an evaluation error is a result.
fn evaluate_lines(mut input: Input, now: jiff::Timestamp) -> Result<u8, Failure> {
    let mut code = DONE;
    let mut warned = BTreeSet::new();
    let mut number: u64 = 0;
    while let Some(line) = input.line()? {
        number += 1;
        let mut warn_once = |words: String| {
            if warned.len() < MAX_WARNINGS && warned.insert(words.clone()) {
                warn(&format!("line {number}: {words}"));
            }
        };
        let result = match line {
            InputLine::Text(text) => evaluate_line(&text, now, &mut warn_once),
            InputLine::TooLong => Err("the line is longer than 16 MiB".to_owned()),
        };
        let document = result.unwrap_or_else(|error| {
            code = FAILED;
            json!({ "error": error })
        });
        print_json_line(&document)?;
    }
    Ok(code)
}

/// The document to print for a line.
///
/// # Errors
/// Why the line is malformed.
fn evaluate_line(line: &[u8], now: jiff::Timestamp, warn: &mut impl FnMut(String)) -> Result<Json, String> {
    let malformed = |reason: &str| format!("invalid line: {reason}");
    if line.trim_ascii().is_empty() {
        return Err(malformed("empty"));
    }
    let Json::Object(mut line) = parse_json(line).map_err(|error| malformed(&without_line(&error)))? else {
        return Err(malformed("not an object {\"expression\", \"inputs\", \"now\"}"));
    };
    let Some(Json::String(expression)) = line.remove("expression") else {
        return Err(malformed("\"expression\" must be a text"));
    };
    let values = match line.remove("inputs") {
        None | Some(Json::Null) => BTreeMap::new(),
        Some(inputs) => source_attributes(inputs).ok_or_else(|| malformed("\"inputs\" must be an object"))?,
    };
    let now = match line.remove("now") {
        None | Some(Json::Null) => now,
        Some(given) => {
            let time = given.as_str().and_then(|text| text.parse().ok());
            time.ok_or_else(|| malformed("\"now\" must be a time such as 2026-01-31T08:00:00Z"))?
        }
    };
    Ok(match evaluate(&expression, &values, now, warn) {
        Ok(result @ TrialResult::NoFlow) => to_json(result),
        Ok(result) => json!({ "value": to_json(result) }),
        Err(error) => json!({ "error": error }),
    })
}

/// The error without its line number, which is always 1.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    format!("{} (column {})", text.strip_suffix(&place).unwrap_or(&text), error.column())
}

/// # Errors
/// Every problem, one per line.
fn evaluate(
    expression: &str,
    values: &BTreeMap<String, Value>,
    now: jiff::Timestamp,
    warn: &mut impl FnMut(String),
) -> Result<TrialResult, String> {
    let trial = Trial::compile(expression).map_err(|problems| join_lines(&problems))?;
    warnings(&trial, values).into_iter().for_each(warn);
    trial.evaluate(values, now).map_err(|problem| problem.to_string())
}

fn join_lines(problems: &[MappingProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The source attributes of a JSON object.
fn source_attributes(document: Json) -> Option<BTreeMap<String, Value>> {
    let Json::Object(members) = document else { return None };
    Some(members.into_iter().map(|(name, value)| (name, directory_value(value))).collect())
}

fn directory_value(value: Json) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Boolean(value),
        Json::Number(number) => Value::Number(number.to_string()),
        Json::String(text) => Value::Text(text),
        Json::Array(elements) => Value::List(elements.into_iter().map(directory_value).collect()),
        Json::Object(members) => {
            Value::Complex(members.into_iter().map(|(name, value)| (name, directory_value(value))).collect())
        }
    }
}

fn to_json(result: TrialResult) -> Json {
    match result {
        TrialResult::NoFlow => json!({ "flow": false }),
        TrialResult::Null => Json::Null,
        TrialResult::Text(text) => json!(text),
        TrialResult::Texts(texts) => json!(texts),
    }
}
