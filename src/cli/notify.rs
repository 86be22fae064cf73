//! `learner-sync notify test`: a message on every configured channel.

use serde_json::json;

use super::Context;
use super::output::{CONFIGURATION, DONE, FAILED, Failure, print_json, print_labelled};
use crate::model::{Clock, NotificationChannel};
use crate::notify::{DeliveryError, Message};
use crate::runtime::{message_origin, notifier};

#[derive(Debug, clap::Subcommand)]
pub(super) enum NotifyCommand {
    /// Send a test message by the webhook and by mail, and say which of them accepted it.
    Test(TestArguments),
}

#[derive(Debug, clap::Args)]
pub(super) struct TestArguments {
    /// Print one JSON document.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(context: Context, command: NotifyCommand, clock: Clock) -> Result<u8, Failure> {
    let NotifyCommand::Test(TestArguments { json }) = command;
    let Context { config, environment } = context;
    let Some(notifier) = notifier(&config, &environment)? else {
        let path = config.path.display();
        let message = format!("{path}: [notify] is missing, or has neither webhook_url_file nor smtp_url");
        let hint = "learner-sync guide monitoring".to_owned();
        return Err(Failure { hint: Some(hint), ..Failure::new(CONFIGURATION, message) });
    };
    let source = format!("{}/{}", config.entra.tenant_id, config.app.enterprise_app);
    let origin = message_origin(&config, source, notifier.has_names());
    let now = clock();
    let message = Message::test(now, &origin);
    let mut results = Vec::new();
    for channel in notifier.channels() {
        results.push((channel, notifier.send(channel, &message, now).await));
    }
    let ok = results.iter().all(|(_, sent)| sent.is_ok());
    if json {
        print_json(&json!({ "ok": ok, "channels": results.iter().map(channel_json).collect::<Vec<_>>() }))?;
    } else {
        for (channel, sent) in &results {
            match sent {
                Ok(()) => print_labelled(&format!("ok   {:<8} ", channel.as_str()), "accepted the test message")?,
                Err(DeliveryError { problem, advice }) => {
                    print_labelled(&format!("FAIL {:<8} ", channel.as_str()), problem)?;
                    print_labelled("     -> ", advice)?;
                }
            }
        }
    }
    Ok(if ok { DONE } else { FAILED })
}

fn channel_json((channel, sent): &(NotificationChannel, Result<(), DeliveryError>)) -> serde_json::Value {
    let error = sent.as_ref().err();
    json!({
        "channel": channel.as_str(),
        "ok": sent.is_ok(),
        "error": error.map(|error| &error.problem),
        "hint": error.map(|error| &error.advice),
    })
}
