//! A table in plain text: the first columns to the left, figures to the right.

/// Columns that hold words rather than figures, counted from the left.
const WORDS: usize = 2;

/// Rows collected to be printed in columns.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()] }
    }

    /// Adds a row; cells left out at its end are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<String> = cells.into_iter().collect();
        row.resize(self.rows[0].len(), String::new());
        self.rows.push(row);
    }

    /// Adds an empty line.
    pub(crate) fn gap(&mut self) {
        self.row([]);
    }

    /// Prints all rows.
    pub(crate) fn print(&self) {
        print!("{}", self.text());
    }

    fn text(&self) -> String {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                if column < WORDS { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// A count in thousands or millions where that reads better.
pub(crate) fn amount(count: f64) -> String {
    match count {
        c if c >= 9_999_500.0 => format!("{:.1} M", c / 1e6),
        c if c >= 999_500.0 => format!("{:.2} M", c / 1e6),
        c if c >= 9_999.5 => format!("{:.0} k", c / 1e3),
        c if c >= 999.5 => format!("{:.1} k", c / 1e3),
        c => format!("{c:.0}"),
    }
}

/// Bytes in MB or GB (powers of ten).
pub(crate) fn bytes(count: f64) -> String {
    match count {
        c if c >= 999.5e6 => format!("{:.2} GB", c / 1e9),
        c if c >= 9.995e6 => format!("{:.0} MB", c / 1e6),
        c => format!("{:.1} MB", c / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["who", "what", "n"]);
        table.row(["a", "bc", "1"].map(str::to_owned));
        table.row(["defg".to_owned()]);
        table.row(["h", "i", "123"].map(str::to_owned));
        assert_eq!(table.text(), "who   what    n\na     bc      1\ndefg\nh     i     123\n");
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(
            [3.0, 1500.0, 12_345.0, 1_234_567.0, 12_345_678.0].map(amount),
            ["3", "1.5 k", "12 k", "1.23 M", "12.3 M"]
        );
        assert_eq!([1.5e6, 250e6, 3.456e9].map(bytes), ["1.5 MB", "250 MB", "3.46 GB"]);
    }
}
