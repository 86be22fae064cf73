//! Reads the input files of `mapping`, with limits on their size; `-` is standard input.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use crate::cli::output::{FAILED, Failure};
use crate::files;

/// Size limit of a line or a document. A schema exported from Entra has a few hundred kilobytes.
pub(super) const MAX_DOCUMENT: u64 = 16 << 20;

/// Size limit of a file of lines.
const MAX_FILE: u64 = 1 << 30;

/// An open file, and its name for messages.
pub(super) struct Input {
    reader: Box<dyn BufRead>,
    name: String,
}

/// A line without its line feed.
pub(super) enum InputLine {
    Text(Vec<u8>),
    TooLong,
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            let reader = Box::new(BufReader::new(std::io::stdin()).take(MAX_FILE));
            return Ok(Self { reader, name: "standard input".to_owned() });
        }
        let name = path.display().to_string();
        let refuse = |reason: String| Failure::new(FAILED, format!("{name}: {reason}"));
        let cannot_read = |error| refuse(format!("cannot read the file: {error}"));
        let file = files::open_regular(path).map_err(cannot_read)?;
        if file.metadata().map_err(cannot_read)?.len() > MAX_FILE {
            return Err(refuse("is larger than 1 GiB".to_owned()));
        }
        Ok(Self { reader: Box::new(BufReader::new(file).take(MAX_FILE)), name })
    }

    /// Reads the whole file as one JSON document.
    pub(super) fn document(&mut self) -> Result<Value, Failure> {
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(MAX_DOCUMENT + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.failure(&format!("cannot read the file: {error}")))?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(self.failure("is larger than 16 MiB"));
        }
        let bytes = utf8(bytes).ok_or_else(|| self.failure("is invalid UTF-16; save it as UTF-8"))?;
        if bytes.trim_ascii_start().starts_with(b"@{") || bytes.trim_ascii_start().starts_with(b"System.") {
            return Err(
                self.failure("PowerShell wrote the type of an object instead of JSON; use ConvertTo-Json -Depth 20")
            );
        }
        json(&bytes).map_err(|error| self.failure(&format!("not a JSON document: {error}")))
    }

    /// Reads the next line.
    pub(super) fn line(&mut self) -> Result<Option<InputLine>, Failure> {
        let mut line = Vec::new();
        let mut head = self.reader.by_ref().take(MAX_DOCUMENT);
        let read = head.read_until(b'\n', &mut line);
        let length = read.map_err(|error| self.failure(&format!("cannot read the file: {error}")))?;
        if length == 0 {
            return Ok(None);
        }
        if line.pop_if(|byte| *byte == b'\n').is_none() && length as u64 == MAX_DOCUMENT {
            self.reader.skip_until(b'\n').map_err(|error| self.failure(&format!("cannot read the file: {error}")))?;
            return Ok(Some(InputLine::TooLong));
        }
        Ok(Some(InputLine::Text(line)))
    }

    pub(super) fn failure(&self, reason: &str) -> Failure {
        Failure::new(FAILED, format!("{}: {reason}", self.name))
    }
}

/// The document in UTF-8. PowerShell 5 writes UTF-16, with a byte order mark or without.
fn utf8(bytes: Vec<u8>) -> Option<Vec<u8>> {
    let (units, little_endian) = match bytes.as_slice() {
        [0xff, 0xfe, units @ ..] => (units, true),
        [0xfe, 0xff, units @ ..] => (units, false),
        units @ [_, 0, ..] => (units, true),
        units @ [0, _, ..] => (units, false),
        _ => return Some(bytes),
    };
    let to_unit = if little_endian { u16::from_le_bytes } else { u16::from_be_bytes };
    let (pairs, rest) = units.as_chunks::<2>();
    let text = String::from_utf16(&pairs.iter().copied().map(to_unit).collect::<Vec<_>>()).ok()?;
    rest.is_empty().then(|| text.into_bytes())
}

/// Parses JSON, ignoring a byte order mark.
pub(super) fn json(bytes: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))
}
