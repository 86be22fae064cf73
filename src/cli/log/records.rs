//! Prints rows page by page, as a table, JSON or CSV.

use std::io::{BufWriter, Stdout, Write};
use std::marker::PhantomData;

use crate::cli::narrow::{MIN_TWO_COLUMNS, PADDING, in_fields, in_two_columns, table_width};
use crate::cli::output::{OutputFormat, table, visible_json};
use crate::view::{Records, csv_rows};
use comfy_table::{ColumnConstraint, Width};

/// Prints rows as they arrive.
pub(super) struct Printer<R> {
    records: PhantomData<R>,
    format: OutputFormat,
    /// Rows follow later, so a JSON array would never end.
    open_ended: bool,
    output: BufWriter<Stdout>,
    is_empty: bool,
    /// The widths of the columns of the first page, which the others keep.
    widths: Vec<u16>,
    /// Whether the rows of a page were too wide for the terminal; the later pages look like it.
    is_narrow: bool,
}

impl<R: Records> Printer<R> {
    pub(super) fn new(format: OutputFormat, open_ended: bool) -> Self {
        let output = BufWriter::new(std::io::stdout());
        Self { records: PhantomData, format, open_ended, output, is_empty: true, widths: Vec::new(), is_narrow: false }
    }

    pub(super) fn print(&mut self, page: &[R::Row]) -> std::io::Result<()> {
        if page.is_empty() {
            return Ok(());
        }
        match self.format {
            OutputFormat::Json if self.open_ended => {
                for row in page {
                    writeln!(self.output, "{}", visible_json(R::as_json(row).to_string()))?;
                }
            }
            OutputFormat::Json => {
                for row in page {
                    self.output.write_all(if self.is_empty { b"[\n  " } else { b",\n  " })?;
                    self.is_empty = false;
                    let document = visible_json(format!("{:#}", R::as_json(row)));
                    self.output.write_all(document.replace('\n', "\n  ").as_bytes())?;
                }
            }
            OutputFormat::Csv => {
                let page = csv_rows(R::KEYS, self.is_empty, page.iter().map(R::as_json))?;
                self.output.write_all(&page)?;
            }
            OutputFormat::Table => {
                let text = self.page_as_table(page);
                writeln!(self.output, "{text}")?;
            }
        }
        self.is_empty = false;
        self.output.flush()
    }

    pub(super) fn finish(&mut self) -> std::io::Result<()> {
        match (self.format, self.is_empty) {
            (OutputFormat::Json | OutputFormat::Table, _) if self.open_ended => {}
            (OutputFormat::Json, true) => writeln!(self.output, "[]")?,
            (OutputFormat::Json, false) => writeln!(self.output, "\n]")?,
            (OutputFormat::Csv, true) => {
                writeln!(self.output, "{}", R::KEYS.join(","))?;
                self.is_empty = false;
            }
            (OutputFormat::Table, true) => writeln!(self.output, "{}", R::NOTHING)?,
            (OutputFormat::Csv | OutputFormat::Table, false) => {}
        }
        self.output.flush()
    }

    /// A page whose columns have at least the widths of the first one.
    fn page_as_table(&mut self, rows: &[R::Row]) -> String {
        let mut lines = table(R::HEADERS);
        for row in rows {
            lines.add_row(R::cells(row));
        }
        // The columns keep the widths of the first page.
        let mut widths: Vec<u16> = lines.column_max_content_widths();
        widths.iter_mut().zip(&self.widths).for_each(|(width, first)| *width = (*width).max(*first));
        if let Some(width) = lines.width().map(usize::from).filter(|width| *width < MIN_TWO_COLUMNS) {
            let cells: Vec<_> = rows.iter().map(R::cells).collect();
            let separator = if self.is_empty { "" } else { "\n" };
            return format!("{separator}{}", in_fields(R::HEADERS, &cells, width, None));
        }
        if let Some(width) = lines.width() {
            self.is_narrow |= table_width(&widths) > width.into();
            if self.is_narrow {
                let narrow: Vec<_> = rows.iter().map(R::narrow_cells).collect();
                return in_two_columns(&narrow, width.into(), None);
            }
        }
        if !self.is_empty {
            lines.set_header(comfy_table::Row::new());
        }
        for (column, width) in lines.column_iter_mut().zip(&widths) {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width.saturating_add(PADDING))));
        }
        if self.widths.is_empty() {
            self.widths = widths;
        }
        // Without a header, an empty line stands in its place.
        lines.trim_fmt().trim_start_matches('\n').to_owned()
    }
}
