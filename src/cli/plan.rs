//! `learner-sync plan`: what a cycle would do. It writes nothing and takes no lock.

use std::time::Instant;

use super::Context;
use super::decisions::DecisionList;
use super::output::{DONE, Failure, OutputFormat, print_bytes, print_json, print_sentences};
use super::planner::Planner;
use super::progress::ProgressDisplay;
use super::sync::{expected_result, report_as_json};
use crate::cycle;
use crate::model::Clock;
use crate::runtime::App;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// List only the first N users; the totals count all of them.
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// The output format.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    format: OutputFormat,
    /// Print one JSON document, as --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

impl Arguments {
    fn format(&self) -> OutputFormat {
        if self.json { OutputFormat::Json } else { self.format }
    }

    pub(super) fn is_json(&self) -> bool {
        self.format() == OutputFormat::Json
    }
}

pub(super) async fn run(context: Context, arguments: Arguments, clock: Clock) -> Result<u8, Failure> {
    let Context { config, environment } = context;
    let started = Instant::now();
    let app = App::new(config, &environment, clock)?;
    let display = ProgressDisplay::start(&app, &environment, arguments.format() != OutputFormat::Table);
    let planner = Planner::open(&app).await?;
    let prepared = planner.prepare().await?;
    drop(display);
    let mut report = cycle::forecast(planner.options(), &prepared);
    report.requests = app.directory.requests();
    report.duration = started.elapsed();
    let limit = arguments.limit.and_then(|limit| usize::try_from(limit).ok());
    let list = DecisionList::new(prepared.plan.decisions().collect(), limit);
    match arguments.format() {
        OutputFormat::Json => {
            let mut document = report_as_json(&report);
            document["changes"] = list.as_json();
            document["full_comparison"] = planner.comparisons_as_json(&prepared);
            print_json(&document)?;
        }
        OutputFormat::Csv => print_bytes(&list.as_csv()?)?,
        OutputFormat::Table => {
            print_sentences(&expected_result(&report))?;
            list.print()?;
            planner.print_notes(&prepared).await?;
        }
    }
    Ok(DONE)
}
