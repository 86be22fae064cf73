//! A plan as a readable diff.

use std::fmt;

use super::{AttributeChange, Decision, EXTERNAL_ID, LeftAs, Plan, TargetRow};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for batch in self.batches() {
            for unit in batch.units() {
                let mark = if unit.len() > 1 { "+ " } else { "" };
                batch.decisions()[unit].iter().try_for_each(|decision| writeln!(f, "{mark}{decision}"))?;
            }
        }
        for decision in self.not_applied() {
            writeln!(f, "{decision}")?;
        }
        for compared in self.compared() {
            let state = if compared.active { "active" } else { "inactive" };
            writeln!(f, "compared {}: {state}", compared.user)?;
        }
        for (user, ended) in self.batches.iter().flat_map(|batch| batch.ended_holds()).chain(self.held_ended()) {
            writeln!(f, "hold ends {user}: {}", ended.held.detail.as_deref().unwrap_or_default())?;
        }
        for user in self.failing_ended() {
            writeln!(f, "failure ends {user}")?;
        }
        for (user, routes) in self.routes() {
            let routes: Vec<String> = routes.as_slice().iter().map(ToString::to_string).collect();
            writeln!(f, "routes {user}: {}", routes.join(", "))?;
        }
        for (group, members) in self.group_members() {
            writeln!(f, "group {group}: {members} members")?;
        }
        Ok(())
    }
}

/// `update learner 7 of USER: attributes-changed`, then a line for each attribute.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, action, reason, detail, row, known_name: _, changes, request_id: _, effect: _ } = self;
        match self.leave().map(|leave| leave.left_as) {
            None => write!(f, "{action}")?,
            Some(LeftAs::Skipped) => write!(f, "skip {action}")?,
            Some(LeftAs::Held) => write!(f, "hold {action}")?,
            Some(LeftAs::Failed) => write!(f, "fail {action}")?,
        }
        match row {
            TargetRow::New => write!(f, " {user}")?,
            TargetRow::Linked(learner) => write!(f, " learner {learner} of {user}")?,
            TargetRow::Adopt(adoption) => {
                write!(f, " learner {}", adoption.learner)?;
                if let Some(former) = adoption.from {
                    write!(f, " of {former}")?;
                }
                write!(f, " for {user}")?;
            }
        }
        write!(f, ": {reason}")?;
        if let Some(detail) = detail {
            write!(f, "; {detail}")?;
        }
        if self.leave().is_some_and(|leave| leave.tracked && !leave.begins) {
            write!(f, " (continues)")?;
        }
        if let Some(old) = self.old_external_id() {
            write!(f, "\n    {EXTERNAL_ID}: {old} -> {user}")?;
        }
        changes.iter().try_for_each(|change| write!(f, "\n    {change}"))
    }
}

/// `title: Engineer -> Manager`
impl fmt::Display for AttributeChange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, (old, new)) = (self.attribute.path(), self.shown());
        let new = new.unwrap_or("(nothing)");
        match old {
            None => write!(f, "{path}: {new}"),
            Some(old) => write!(f, "{path}: {old} -> {new}"),
        }
    }
}
