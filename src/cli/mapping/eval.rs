//! `learner-sync mapping eval`: an expression, evaluated on values that somebody makes up, or on a user.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::input::{Input, Line, json as read};
use crate::cli::Context;
use crate::cli::output::{DONE, FAILED, Failure, print};
use crate::directory::{AccountRead, DirectoryError};
use crate::mapping::{MappingProblem, Trial, TrialResult};
use crate::model::{APP_ROLE_ASSIGNMENTS, Clock, EntraId, Value};
use crate::runtime::App;

#[derive(Debug, clap::Args)]
pub(in super::super) struct MappingEvalArguments {
    /// The expression, as it stands in [mapping]; in single quotes, so that the shell leaves it alone.
    #[arg(value_name = "EXPRESSION", required_unless_present = "inputs", conflicts_with = "inputs")]
    expression: Option<String>,
    /// A JSON object with the source attributes, of any name; one that it does not have is null. `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "inputs")]
    input: Option<PathBuf>,
    /// A user of the tenant instead, by object id or userPrincipalName; this goes by the configuration.
    #[arg(long, value_name = "USER", conflicts_with_all = ["input", "inputs"])]
    user: Option<String>,
    /// Evaluate a file of lines, each {"expression", "inputs", "now"}, the last two optional; prints a line for each:
    /// {"value"}, {"flow": false} or {"error"}. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// The time that Now() gives, such as 2026-01-31T08:00:00Z, instead of the present.
    #[arg(long, value_name = "TIME")]
    now: Option<jiff::Timestamp>,
}

/// Why a line has no value.
enum LineError {
    /// It is nothing that could be evaluated.
    Unreadable(String),
    Evaluation(String),
}

impl MappingEvalArguments {
    /// Whether a user has to be read.
    pub(super) fn is_about_a_user(&self) -> bool {
        self.user.is_some()
    }
}

/// Evaluates for a user as Graph tells of it now.
pub(super) async fn run_for_user(
    arguments: MappingEvalArguments,
    context: Context,
    clock: Clock,
) -> Result<u8, Failure> {
    let MappingEvalArguments { expression, user, now, input: _, inputs: _ } = arguments;
    let (expression, name) = (expression.unwrap_or_default(), user.unwrap_or_default());
    let trial = Trial::for_users(&expression).map_err(|problems| Failure::new(FAILED, in_lines(&problems)))?;
    if trial.selection().position(APP_ROLE_ASSIGNMENTS).is_some() {
        let told = "the roles of a user come of all assignments: `learner-sync provision USER --dry-run` reads them";
        return Err(Failure::new(FAILED, told));
    }
    let App { directory, .. } = App::new(context.config, &context.environment, clock)?;
    let failed = |error: DirectoryError| Failure::failed(&error, error.hint());
    let user = match name.parse::<EntraId>() {
        Ok(user) => Some(user),
        Err(_) => directory.find_user(&name).await.map_err(failed)?,
    };
    let nobody = || Failure::new(FAILED, format!("the tenant has no user {name}"));
    match directory.account(user.ok_or_else(nobody)?, trial.selection()).await.map_err(failed)? {
        AccountRead::User(user) => {
            let tried = trial.evaluate_for(&user, now.unwrap_or_else(clock));
            print_value(tried.map_err(|problem| Failure::new(FAILED, problem.to_string()))?)
        }
        AccountRead::Unreadable { detail, .. } => {
            Err(Failure::new(FAILED, format!("the account cannot be read: {detail}")))
        }
        AccountRead::NotFound(_) => Err(nobody()),
    }
}

pub(super) fn run(arguments: MappingEvalArguments, now: jiff::Timestamp) -> Result<u8, Failure> {
    let MappingEvalArguments { expression, input, inputs, now: given, user: _ } = arguments;
    let now = given.unwrap_or(now);
    if let Some(path) = inputs {
        return lines(Input::open(&path)?, now);
    }
    let values = match input {
        None => BTreeMap::new(),
        Some(path) => {
            let mut input = Input::open(&path)?;
            attributes(input.document()?).ok_or_else(|| input.failure("is no JSON object of source attributes"))?
        }
    };
    let tried = evaluate(&expression.unwrap_or_default(), &values, now).map_err(|error| Failure::new(FAILED, error))?;
    print_value(tried)
}

fn print_value(tried: TrialResult) -> Result<u8, Failure> {
    print(&match tried {
        TrialResult::NoFlow => json!({ "flow": false }).to_string(),
        tried => value(tried).to_string(),
    })?;
    Ok(DONE)
}

/// Evaluates line by line. The exit code is about the lines; whether an expression gives a value is the answer.
fn lines(mut input: Input, now: jiff::Timestamp) -> Result<u8, Failure> {
    let mut code = DONE;
    while let Some(line) = input.line()? {
        let tried = match line {
            Line::Text(text) => one(&text, now),
            Line::TooLong => Err(LineError::Unreadable("the line is longer than 16 MiB".to_owned())),
        };
        print(&match tried {
            Ok(TrialResult::NoFlow) => json!({ "flow": false }).to_string(),
            Ok(tried) => json!({ "value": value(tried) }).to_string(),
            Err(LineError::Evaluation(error)) => json!({ "error": error }).to_string(),
            Err(LineError::Unreadable(error)) => {
                code = FAILED;
                json!({ "error": error }).to_string()
            }
        })?;
    }
    Ok(code)
}

/// Evaluates one line.
fn one(line: &[u8], now: jiff::Timestamp) -> Result<TrialResult, LineError> {
    let unreadable = |reason: &str| LineError::Unreadable(format!("the line is no object to evaluate: {reason}"));
    if line.trim_ascii().is_empty() {
        return Err(unreadable("it is empty"));
    }
    let Json::Object(mut line) = read(line).map_err(|error| unreadable(&in_the_line(&error)))? else {
        return Err(unreadable("it is not {\"expression\", \"inputs\", \"now\"}"));
    };
    let Some(Json::String(expression)) = line.remove("expression") else {
        return Err(unreadable("\"expression\" must be a text"));
    };
    let values = match line.remove("inputs") {
        None | Some(Json::Null) => BTreeMap::new(),
        Some(inputs) => attributes(inputs).ok_or_else(|| unreadable("\"inputs\" must be an object"))?,
    };
    let now = match line.remove("now") {
        None | Some(Json::Null) => now,
        Some(given) => {
            let time = given.as_str().and_then(|text| text.parse().ok());
            time.ok_or_else(|| unreadable("\"now\" must be a time such as 2026-01-31T08:00:00Z"))?
        }
    };
    evaluate(&expression, &values, now).map_err(LineError::Evaluation)
}

/// The error without the number of the line, which would always be 1.
fn in_the_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    format!("{} (column {})", text.strip_suffix(&place).unwrap_or(&text), error.column())
}

/// The value, or everything that is wrong, one problem a line.
fn evaluate(expression: &str, values: &BTreeMap<String, Value>, now: jiff::Timestamp) -> Result<TrialResult, String> {
    let trial = Trial::compile(expression).map_err(|problems| in_lines(&problems))?;
    trial.evaluate(values, now).map_err(|problem| problem.to_string())
}

fn in_lines(problems: &[MappingProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The source attributes of a JSON object.
fn attributes(document: Json) -> Option<BTreeMap<String, Value>> {
    let Json::Object(members) = document else {
        return None;
    };
    Some(members.into_iter().map(|(name, value)| (name, attribute(value))).collect())
}

fn attribute(value: Json) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Boolean(value),
        Json::Number(number) => Value::Number(number.to_string()),
        Json::String(text) => Value::Text(text),
        Json::Array(elements) => Value::List(elements.into_iter().map(attribute).collect()),
        Json::Object(members) => {
            Value::Complex(members.into_iter().map(|(name, value)| (name, attribute(value))).collect())
        }
    }
}

fn value(tried: TrialResult) -> Json {
    match tried {
        TrialResult::Null | TrialResult::NoFlow => Json::Null,
        TrialResult::Text(text) => json!(text),
        TrialResult::Texts(texts) => json!(texts),
    }
}
