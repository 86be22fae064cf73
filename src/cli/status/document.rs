//! The JSON document of `status`.

use serde_json::{Map, Value, json};

use crate::model::{ClockFinding, LearnerId, LockHolder, Reason, Routes, StateReport};
use crate::runtime::status::{
    CycleNumbers, KnownDaemon, LearnerNumbers, ReasonNumbers, StatusRecord, UnsentMessage, daemon_warnings,
};
use crate::store::{FailingUser, HeldUser, SourceOverview};
use crate::view::{StatusView, seconds};

impl StatusView {
    pub(in crate::cli) fn as_json(&self) -> Value {
        let StateReport { state, since, reason } = &self.report;
        let (summary, overview) = (self.summary.as_ref(), self.overview.as_ref());
        let users = |list: fn(&SourceOverview) -> Vec<Value>| overview.map(list);
        let by_reason = |list: fn(&crate::runtime::status::StatusSummary) -> &Vec<ReasonNumbers>| {
            summary.map(|summary| numbers_as_json(list(summary)))
        };
        let cycle = |numbers: &Option<CycleNumbers>| numbers.as_ref().map(|numbers| json!(numbers));
        json!({
            "state": state.as_str(),
            "since": since.map(seconds),
            "reason": reason,
            "exit_code": state.exit_code(),
            "source": summary.map(|summary| &summary.source),
            "paused": summary.map(|summary| summary.paused),
            "paused_at": self.pause().and_then(|(at, _)| at).map(seconds),
            "paused_by": self.pause().and_then(|(_, by)| by),
            "enabled": self.enabled,
            "last_cycle": summary.and_then(|summary| cycle(&summary.last_cycle)),
            "last_success": summary.and_then(|summary| cycle(&summary.last_success)),
            "failing_since": summary.and_then(|summary| summary.failing_since).map(seconds),
            "next_cycle_at": self.next_cycle_at().map(seconds),
            "learners": summary.map(|summary| learners_as_json(summary.learners)),
            "held": users(|overview| overview.held.users.iter().map(held_as_json).collect()),
            "failing": users(|overview| overview.failing.users.iter().map(failing_as_json).collect()),
            "held_by_reason": by_reason(|summary| &summary.held),
            "failing_by_reason": by_reason(|summary| &summary.failing),
            "skipped_by_reason": by_reason(|summary| &summary.skipped),
            "progress": self.progress(),
            "held_approved": summary.map(|summary| summary.approved),
            "recreated": summary.map(|summary| summary.recreated),
            "unreadable_rows": users(|overview| overview.unreadable.iter().map(|row| row.to_string().into()).collect()),
            "daemon": self.daemon.as_ref().map(|daemon| daemon_as_json(daemon, self.alive())),
            "daemons": self.daemons.iter().map(known_daemon_as_json).collect::<Vec<_>>(),
            "daemon_warnings": daemon_warnings(&self.daemons),
            "last_daemon": self.record.as_ref().filter(|_| self.daemon.is_none()).map(last_daemon_as_json),
            "running_cycle": self.cycle.as_ref().map(holder_as_json),
            "configuration": { "path": self.config, "error": self.config_error },
            "database": {
                "location": self.database,
                "schema_version": summary.map(|summary| summary.schema_version),
                "error": self.database_error,
            },
            "disk": self.disk,
            "credential_ends_at": summary.and_then(|summary| summary.credential_ends_at).map(seconds),
            "clock": self.clock().map(clock_as_json),
            "unsent_messages": summary.map(|summary| summary.unsent_messages.iter().map(unsent_as_json).collect::<Vec<_>>()),
            "version": env!("CARGO_PKG_VERSION"),
        })
    }
}

fn learners_as_json(learners: LearnerNumbers) -> Value {
    json!(learners)
}

fn numbers_as_json(reasons: &[ReasonNumbers]) -> Value {
    reasons
        .iter()
        .map(|ReasonNumbers { reason, users, .. }| (reason.clone(), json!(users)))
        .collect::<Map<_, _>>()
        .into()
}

fn daemon_as_json(LockHolder { pid, command }: &LockHolder, record: Option<&StatusRecord>) -> Value {
    let rejected = record.and_then(|record| record.rejected.as_ref());
    json!({
        "pid": pid,
        "command": command,
        "version": record.map(|record| &record.program),
        "started_at": record.map(|record| seconds(record.started_at)),
        "configuration_loaded_at": record.map(|record| seconds(record.loaded_at)),
        "configuration_rejected_at": rejected.and_then(|rejected| rejected.since).map(seconds),
        "configuration_error": rejected.map(|rejected| &rejected.reason),
        "http_error": record.and_then(|record| record.http.as_ref()).map(|http| &http.reason),
    })
}

fn known_daemon_as_json(daemon: &KnownDaemon) -> Value {
    let KnownDaemon { started_at, seen_at, .. } = daemon;
    let mut document = json!(daemon);
    document["started_at"] = seconds(*started_at).into();
    document["seen_at"] = seconds(*seen_at).into();
    document
}

fn last_daemon_as_json(record: &StatusRecord) -> Value {
    json!({
        "pid": record.pid,
        "version": record.program,
        "started_at": seconds(record.started_at),
        "stopped_at": record.stopped_at.map(seconds),
    })
}

fn unsent_as_json(message: &UnsentMessage) -> Value {
    let mut document = json!(message);
    document["at"] = seconds(message.at).into();
    document["next_attempt_at"] = seconds(message.next_attempt_at).into();
    document
}

fn clock_as_json(finding: ClockFinding) -> Value {
    let (word, ahead) = match finding {
        ClockFinding::Agree => ("agree", None),
        ClockFinding::Differ(ahead) => ("differ", Some(ahead.as_secs())),
        ClockFinding::Unknown(fault) => (fault.as_str(), None),
    };
    json!({ "finding": word, "ahead_seconds": ahead })
}

fn holder_as_json(holder: &LockHolder) -> Value {
    let LockHolder { pid, command } = holder;
    json!({ "pid": pid, "command": command })
}

fn held_as_json(user: &HeldUser) -> Value {
    let HeldUser { entra_id, action, reason, change_reason, since, approved, learner, user_name, routes } = user;
    let (approved_at, approved_by) = approved.clone().unzip();
    json!({
        "entra_id": entra_id.to_string(), "learner_id": learner.as_ref().map(LearnerId::to_json), "user_name": user_name,
        "action": action.as_str(), "reason": reason.as_str(), "change_reason": change_reason.map(Reason::as_str),
        "since": seconds(*since),
        "approved_at": approved_at.map(seconds), "approved_by": approved_by, "via": routes.as_ref().map(routes_as_json),
    })
}

fn failing_as_json(user: &FailingUser) -> Value {
    let FailingUser { entra_id, reason, detail, first_at, last_at, attempts, user_name, routes } = user;
    json!({
        "entra_id": entra_id.to_string(), "user_name": user_name, "reason": reason.as_str(), "detail": detail,
        "first_at": seconds(*first_at), "last_at": seconds(*last_at), "attempts": attempts,
        "via": routes.as_ref().map(routes_as_json),
    })
}

fn routes_as_json(routes: &Routes) -> Value {
    routes.as_slice().iter().map(ToString::to_string).collect()
}
