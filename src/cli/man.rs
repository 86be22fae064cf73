//! `learner-sync man`: writes the manual pages: (1) for each command, (5) for the configuration, (7) for the guide.

mod markdown;
mod reference;
mod roff;

use std::path::PathBuf;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use self::roff::{escaped, paragraph};
use super::guide::{TOPICS, Topic};
use super::output::{DONE, FAILED, Failure, print};
use crate::files;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The directory, created when missing.
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    directory: PathBuf,
}

/// The name of the configuration page and its file.
const REFERENCE: &str = "learner-sync.toml";
const SOURCE: &str = concat!("learner-sync ", env!("CARGO_PKG_VERSION"));
const EXIT_STATUS: [(&str, &str); 6] = [
    ("0", "Done."),
    ("1", "Failed, and nothing is lost."),
    ("2", "Wrong usage."),
    ("3", "Done, but some users failed or were held."),
    ("75", "Another cycle or daemon is running."),
    ("78", "The configuration is invalid, or files belong to another user."),
];
const ENVIRONMENT: [(&str, &str); 3] = [
    ("LEARNER_SYNC_CONFIG", "The configuration file, unless --config names one."),
    ("LEARNER_SYNC_SECTION__KEY", "Overrides a key of the configuration: LEARNER_SYNC_LOG__LEVEL sets log.level."),
    ("LEARNER_SYNC_CLIENT_SECRET", "The client secret, if neither the configuration nor a systemd credential has it."),
];
const FILES: [(&str, &str); 3] = [
    (super::DEFAULT_CONFIG, "The configuration."),
    ("/etc/learner-sync/client-secret", "The client secret."),
    ("/var/lib/learner-sync", "The learner database, if it is an SQLite file, the cache and the locks."),
];

/// A page and the name of its file.
struct ManualPage {
    file: String,
    text: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let Arguments { directory } = arguments;
    let failed = |error: std::io::Error| {
        Failure::new(FAILED, format!("cannot write the manual pages to {}: {error}", directory.display()))
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let pages = pages()?;
    for ManualPage { file, text } in &pages {
        files::replace_document(&directory.join(file), text).map_err(failed)?;
    }
    print(&format!("Wrote {} manual pages to {}.", pages.len(), directory.display()))?;
    Ok(DONE)
}

fn pages() -> Result<Vec<ManualPage>, Failure> {
    let mut program = super::Arguments::command().disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    command_pages(program, &mut pages)?;
    pages.push(ManualPage { file: format!("{REFERENCE}.5"), text: reference_page() });
    pages.extend(TOPICS.iter().map(topic_page));
    Ok(pages)
}

/// The page of a command, and those of its subcommands.
fn command_pages(command: Command, pages: &mut Vec<ManualPage>) -> std::io::Result<()> {
    let subcommands: Vec<Command> = command.get_subcommands().filter(|one| !one.is_hide_set()).cloned().collect();
    let is_program = command.get_display_name().is_none_or(|name| name == "learner-sync");
    let notes = command.get_after_help().map(ToString::to_string).filter(|_| !is_program);
    let man = Man::new(command).section("1");
    let mut page = Vec::new();
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if !subcommands.is_empty() {
        man.render_subcommands_section(&mut page)?;
    }
    let name = man.get_filename().trim_end_matches(".1").to_owned();
    let mut text = title(&name, '1') + &String::from_utf8_lossy(&page);
    if let Some(notes) = notes {
        text.push_str(&format!(".SH NOTES\n{}", paragraph(&notes)));
    }
    text.push_str(&list("EXIT STATUS", &EXIT_STATUS));
    text.push_str(&list("ENVIRONMENT", &ENVIRONMENT));
    if is_program {
        text.push_str(&list("FILES", &FILES));
    }
    let mut others = vec![(REFERENCE.to_owned(), '5')];
    if is_program {
        others.extend(TOPICS.iter().map(|topic| (topic_name(topic), '7')));
    } else {
        others.insert(0, ("learner-sync".to_owned(), '1'));
    }
    text.push_str(&see_also(&others));
    pages.push(ManualPage { file: man.get_filename(), text });
    subcommands.into_iter().try_for_each(|subcommand| command_pages(subcommand, pages))
}

fn reference_page() -> String {
    let title = title(REFERENCE, '5');
    let name = format!(".SH NAME\n{REFERENCE} \\- the configuration of learner\\-sync\n");
    let others = [("learner-sync".to_owned(), '1'), ("learner-sync-check".to_owned(), '1')];
    format!("{title}{name}{}{}", reference::sections(include_str!("../../config/learner-sync.toml")), see_also(&others))
}

fn topic_name(topic: &Topic) -> String {
    format!("learner-sync-guide-{}", topic.name)
}

fn topic_page(topic: &Topic) -> ManualPage {
    let name = topic_name(topic);
    let Topic { summary, text, .. } = topic;
    let title = title(&name, '7');
    let about = format!(".SH NAME\n{} \\- {}\n", escaped(&name), escaped(summary));
    let others = [("learner-sync".to_owned(), '1'), (REFERENCE.to_owned(), '5')];
    // The preprocessor for tables is requested in the first line.
    let text = format!("'\\\" t\n{title}{about}{}{}", markdown::sections(text), see_also(&others));
    ManualPage { file: format!("{name}.7"), text }
}

/// The start of a page. It has no date, so that a package can be built again with the same content. Keys and commands are
/// not hyphenated.
fn title(name: &str, section: char) -> String {
    format!(".TH \"{}\" {section} \"\" \"{SOURCE}\" \"learner\\-sync\"\n.nh\n.ad l\n", escaped(name))
}

fn list(heading: &str, entries: &[(&str, &str)]) -> String {
    let entry = |(term, meaning): &(&str, &str)| format!(".TP\n\\fB{}\\fR\n{}", escaped(term), paragraph(meaning));
    format!(".SH \"{heading}\"\n{}", entries.iter().map(entry).collect::<String>())
}

fn see_also(pages: &[(String, char)]) -> String {
    let links: Vec<String> =
        pages.iter().map(|(name, section)| format!("\\fB{}\\fR({section})", escaped(name))).collect();
    format!(".SH \"SEE ALSO\"\n{}\n", links.join(",\n"))
}
