//! Reading the files that `mapping` is given: bounded, and with `-` for standard input.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use crate::cli::output::{FAILED, Failure};

/// No line and no single document is longer; a schema that Entra exports has a few hundred kilobytes.
pub(super) const MAX_DOCUMENT: u64 = 16 << 20;

/// No file of lines is longer.
const MAX_FILE: u64 = 1 << 30;

/// A file that is read line by line, and what it is called in a message.
pub(super) struct Input {
    reader: Box<dyn BufRead>,
    name: String,
}

/// A line, without its end.
pub(super) enum Line {
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
        let file = File::open(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
        let metadata = file.metadata().map_err(|error| refuse(format!("cannot be read: {error}")))?;
        if metadata.is_dir() {
            return Err(refuse("is a directory, not a file".to_owned()));
        }
        if metadata.len() > MAX_FILE {
            return Err(refuse("is longer than 1 GiB".to_owned()));
        }
        Ok(Self { reader: Box::new(BufReader::new(file).take(MAX_FILE)), name })
    }

    /// The file as one document.
    pub(super) fn document(&mut self) -> Result<Value, Failure> {
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(MAX_DOCUMENT + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.failure(&format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(self.failure("is longer than 16 MiB"));
        }
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Err(self.failure("is in UTF-16, as PowerShell writes it; write it in UTF-8 (-Encoding utf8)"));
        }
        json(&bytes).map_err(|error| self.failure(&format!("is no JSON document: {error}")))
    }

    /// The next line, if there is one.
    pub(super) fn line(&mut self) -> Result<Option<Line>, Failure> {
        let mut line = Vec::new();
        let mut head = self.reader.by_ref().take(MAX_DOCUMENT);
        let read = head.read_until(b'\n', &mut line);
        let length = read.map_err(|error| self.failure(&format!("cannot be read: {error}")))?;
        if length == 0 {
            return Ok(None);
        }
        if line.pop_if(|byte| *byte == b'\n').is_none() && length as u64 == MAX_DOCUMENT {
            self.reader.skip_until(b'\n').map_err(|error| self.failure(&format!("cannot be read: {error}")))?;
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Text(line)))
    }

    pub(super) fn failure(&self, reason: &str) -> Failure {
        Failure::new(FAILED, format!("{}: {reason}", self.name))
    }
}

/// The JSON that `bytes` are. The byte order mark that Windows puts in front does not count.
pub(super) fn json(bytes: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))
}
