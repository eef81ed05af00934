//! Finds lines and columns of offsets in a text.

use std::sync::Arc;

use crate::diagnostic::Place;

/// A text cut into lines.
#[derive(Debug)]
pub(crate) struct Lines<'t> {
    file: Arc<str>,
    pub(crate) text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// Cuts the text of this file.
    pub(crate) fn new(text: &'t str, file: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, octet)| *octet == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(offset, _)| offset + 1)).collect();
        Self { file: file.into(), text, starts }
    }

    /// The place of the character at this offset; the end of the text for one beyond it.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or_default();
        // Where the whole text is one line, counting its characters for each place would take seconds.
        let column = if before.len() > 4096 { before.len() } else { before.chars().count() };
        Place { file: self.file.clone(), line, column: column + 1 }
    }

    /// A line without its end.
    pub(crate) fn line(&self, line: usize) -> &'t str {
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(self.text.len());
        let end = self.starts.get(line).copied().unwrap_or(self.text.len());
        self.text.get(start..end).unwrap_or_default().trim_end_matches(['\r', '\n'])
    }
}
