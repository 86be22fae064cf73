//! Makes the texts of every event visible, whatever the format of the log: the text of an error can come from another
//! machine, and `journalctl` and other readers print it on a terminal. For the journal, the message also gets the other
//! fields, which `journalctl` does not print.

use std::fmt::Debug;

use tracing::field::{Field, FieldSet, Value, Visit, display};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::model::visible;

/// A layer in front of the one that writes the log.
pub(super) struct VisibleEvents<L> {
    pub(super) layer: L,
    /// Whether the message repeats the other fields.
    pub(super) has_complete_message: bool,
}

impl<S: Subscriber, L: Layer<S>> Layer<S> for VisibleEvents<L> {
    fn on_layer(&mut self, subscriber: &mut S) {
        self.layer.on_layer(subscriber);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let fields = event.metadata().fields();
        let mut values = VisibleValues(fields.iter().map(|_| None).collect());
        event.record(&mut values);
        if self.has_complete_message {
            values.complete_message(fields);
        }
        let values: Vec<_> =
            values.0.iter().map(|value| value.as_ref().map(|(value, _)| value as &dyn Value)).collect();
        self.layer.on_event(&Event::new(event.metadata(), &fields.value_set_all(&values)), context);
    }

    // Spans are those of libraries, and hold no text from outside; the layer keeps their fields for its events.
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.layer.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.layer.on_record(id, values, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.layer.on_enter(id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.layer.on_exit(id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.layer.on_close(id, context);
    }
}

/// The value of each field of an event, and its text.
struct VisibleValues(Vec<Option<(Box<dyn Value>, String)>>);

impl VisibleValues {
    /// Appends the other fields to the message, as the text format does.
    fn complete_message(&mut self, fields: &FieldSet) {
        let Some(place) = fields.field("message").map(|field| field.index()) else { return };
        let named = fields.iter().zip(&self.0).filter(|(field, _)| field.index() != place);
        let named = named.filter_map(|(field, value)| Some(format!(" {field}={}", value.as_ref()?.1)));
        let named: String = named.collect();
        if let Some(Some((value, text))) = self.0.get_mut(place) {
            text.push_str(&named);
            *value = Box::new(display(text.clone()));
        }
    }

    fn set(&mut self, field: &Field, value: impl Value + 'static, text: String) {
        if let Some(slot) = self.0.get_mut(field.index()) {
            *slot = Some((Box::new(value), text));
        }
    }
}

impl Visit for VisibleValues {
    fn record_str(&mut self, field: &Field, text: &str) {
        let text = visible(text).into_owned();
        self.set(field, text.clone(), format!("{text:?}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Not a text, which some formats would put in quotation marks.
        let text = visible(&format!("{value:?}")).into_owned();
        self.set(field, display(text.clone()), text);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value, value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value, value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value, value.to_string());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value, value.to_string());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn texts_from_outside_are_visible_in_every_format_and_numbers_stay_numbers() {
        let (text, json) = (Written::default(), Written::default());
        let (text_writer, json_writer) = (text.clone(), json.clone());
        let text_layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || text_writer.clone());
        let json_layer = tracing_subscriber::fmt::layer().with_writer(move || json_writer.clone());
        let subscriber = tracing_subscriber::registry()
            .with(VisibleEvents { layer: text_layer.with_target(false), has_complete_message: false })
            .with(VisibleEvents { layer: json_layer.json().flatten_event(true), has_complete_message: false });
        tracing::subscriber::with_default(subscriber, || {
            let hidden = "a\u{1b}[31mb\u{9b}c\u{202e}d";
            let _entered = tracing::info_span!("request", retry = 1).entered();
            let absent = None::<&str>;
            tracing::warn!(rows = 3, full = true, detail = hidden, absent, path = %hidden, "failed: {hidden}\n");
        });
        let read = |written: &Written| String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let shown = r"a\u{1b}[31mb\u{9b}c\u{202e}d";
        let json: serde_json::Value = serde_json::from_str(&read(&json)).unwrap();
        assert_eq!(json["message"], format!("failed: {shown} "));
        assert_eq!((&json["detail"], &json["path"]), (&shown.into(), &shown.into()));
        assert_eq!((&json["rows"], &json["full"], json.get("absent")), (&3.into(), &true.into(), None));
        let text = read(&text);
        assert!(text.contains(&format!("failed: {shown}  rows=3 full=true")), "{text}");
        assert!(text.trim_end().ends_with(&format!("path={shown}")), "{text}");
        assert!(!text.trim_end().contains(['\u{1b}', '\u{9b}', '\u{202e}', '\n']), "{text}");
    }
    #[test]
    fn a_complete_message_has_all_fields_and_the_fields_stay() {
        let json = Written::default();
        let writer = json.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).json().flatten_event(true);
        let subscriber = tracing_subscriber::registry().with(VisibleEvents { layer, has_complete_message: true });
        tracing::subscriber::with_default(subscriber, || {
            let (absent, outcome) = (None::<&str>, "held");
            tracing::info!(cycle.id = %12, cycle.outcome = outcome, created = 3, full = false, absent, "cycle ended");
            tracing::info!("started");
        });
        let written = String::from_utf8(json.0.lock().unwrap().clone()).unwrap();
        let events: Vec<serde_json::Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let expected = "cycle ended cycle.id=12 cycle.outcome=\"held\" created=3 full=false";
        assert_eq!((&events[0]["message"], &events[1]["message"]), (&expected.into(), &"started".into()));
        assert_eq!((&events[0]["created"], &events[0]["cycle.id"]), (&3.into(), &"12".into()));
    }
}
