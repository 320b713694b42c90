//! The map of a grid: which of its blocks are occupied, drawn in at most a screenful whatever the grid holds.
//!
//! Occupied stretches become rows of cells, one cell for a power of two of blocks; emptiness longer than two rows
//! becomes one line that says how much there is.

use crate::size::Count;
use crate::view::Tone;
use okapi_base::limits::INDEX_MAX;

/// Columns of the whole drawing.
pub(crate) const WIDTH: usize = 80;
/// Rows of cells and gaps together, at most.
const ROWS_MAX: usize = 16;
/// Where reservations for records begin.
const RECORDS_FROM: u64 = 1 << 40;
/// Columns that are neither label nor cell: `│ label │cells│`.
const FRAME: usize = 5;

/// Blocks one after the other: from the first up to and without the second.
pub(crate) type Span = std::ops::Range<u64>;

/// A map laid out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chart {
    /// Blocks that one cell stands for: a power of two.
    pub per_cell: u64,
    cells_a_row: usize,
    rows: Vec<Row>,
}

#[derive(Debug, PartialEq, Eq)]
enum Row {
    Cells { from: u64, cells: Vec<Cell> },
    Gap { blocks: u64 },
}

/// Occupied blocks in one cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cell {
    own: u64,
    record: u64,
}

/// The characters to draw with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charset {
    /// Box-drawing and block characters.
    Boxes,
    /// Nothing beyond ASCII.
    Ascii,
}

impl Chart {
    /// Lays out a map of the user's `own` blocks and those of `records`; each ascending and apart from the other.
    pub(crate) fn new(own: &[Span], records: &[Span]) -> Self {
        let all = merged(own, records);
        let wide = [64, 56, 48].into_iter().map(|cells| Self::with_row(&all, own, records, cells));
        let mut last = None;
        for chart in wide {
            if chart.widest_label() <= WIDTH - FRAME - chart.cells_a_row {
                return chart;
            }
            last = Some(chart);
        }
        last.expect("there are three widths to try")
    }

    fn with_row(all: &[Span], own: &[Span], records: &[Span], cells_a_row: usize) -> Self {
        let mut per_cell = 1u64;
        let islands = loop {
            let row = per_cell * cells_a_row as u64;
            let islands = islands(all, per_cell, 2 * row);
            let rows: u64 = islands.iter().map(|island| (island.end - island.start).div_ceil(row)).sum();
            let gaps = islands.iter().filter(|island| island.start > 0).count();
            if rows + gaps as u64 <= ROWS_MAX as u64 {
                break islands;
            }
            per_cell *= 2;
        };
        let mut rows = Vec::new();
        let mut end = 0;
        for island in islands {
            if island.start > end {
                rows.push(Row::Gap { blocks: island.start - end });
            }
            end = island.end;
            let mut cells = vec![Cell::default(); usize::try_from((end - island.start) / per_cell).unwrap_or(0)];
            fill(&mut cells, &island, per_cell, own, |cell| &mut cell.own);
            fill(&mut cells, &island, per_cell, records, |cell| &mut cell.record);
            for (at, cells) in cells.chunks(cells_a_row).enumerate() {
                let from = island.start + (at * cells_a_row) as u64 * per_cell;
                rows.push(Row::Cells { from, cells: cells.to_vec() });
            }
        }
        Self { per_cell, cells_a_row, rows }
    }

    fn widest_label(&self) -> usize {
        let label = |row: &Row| match row {
            Row::Cells { from, .. } => label(*from).chars().count(),
            Row::Gap { .. } => 0,
        };
        self.rows.iter().map(label).max().unwrap_or(0)
    }

    /// The lines of the drawing; `paint` gives a piece of text the colour of its tone.
    pub(crate) fn draw(&self, charset: Charset, paint: &dyn Fn(Tone, &str) -> String) -> Vec<String> {
        let label_wide = WIDTH - FRAME - self.cells_a_row;
        let (bar, dash) = match charset {
            Charset::Boxes => ("│", "─"),
            Charset::Ascii => ("|", "-"),
        };
        let edge = |ends: [&str; 3]| {
            let [left, middle, right] = if charset == Charset::Ascii { ["+"; 3] } else { ends };
            let (labels, cells) = (dash.repeat(label_wide + 2), dash.repeat(self.cells_a_row));
            paint(Tone::Faint, &format!("{left}{labels}{middle}{cells}{right}"))
        };
        let bar = paint(Tone::Faint, bar);
        let line = |label: &str, cells: &str| {
            format!("{bar} {} {bar}{cells}{bar}", paint(Tone::Faint, &format!("{label:>label_wide$}")))
        };
        let mut lines = vec![edge(["┌", "┬", "┐"])];
        for row in &self.rows {
            lines.push(match row {
                Row::Gap { blocks } => line("", &paint(Tone::Faint, &gap(*blocks, self.cells_a_row, charset))),
                Row::Cells { from, cells } => {
                    let blank = " ".repeat(self.cells_a_row - cells.len());
                    line(&label(*from), &(painted(cells, self.per_cell, charset, paint) + &blank))
                }
            });
        }
        if self.rows.is_empty() {
            let text = format!("{:^wide$}", "nothing is stored here yet", wide = self.cells_a_row);
            lines.push(line("0", &paint(Tone::Faint, &text)));
        }
        lines.push(edge(["└", "┴", "┘"]));
        lines
    }
}

/// What the characters mean: for own blocks, for records, and for nothing.
pub(crate) fn legend(charset: Charset) -> [&'static str; 3] {
    match charset {
        Charset::Boxes => ["░▒▓█", "▂▄▆▇", "·"],
        Charset::Ascii => [".:o#", "-~=%", "(blank)"],
    }
}

/// The cells as text, those of one tone in a row painted together.
fn painted(cells: &[Cell], per_cell: u64, charset: Charset, paint: &dyn Fn(Tone, &str) -> String) -> String {
    let (mut line, mut piece, mut tone) = (String::new(), String::new(), Tone::Faint);
    for cell in cells {
        let (glyph, of) = glyph(*cell, per_cell, charset);
        if of != tone && !piece.is_empty() {
            line += &paint(tone, &std::mem::take(&mut piece));
        }
        tone = of;
        piece.push(glyph);
    }
    line + &paint(tone, &piece)
}

/// A cell's character: whose blocks are the more, and in four steps how full it is.
fn glyph(cell: Cell, per_cell: u64, charset: Charset) -> (char, Tone) {
    let total = cell.own + cell.record;
    if total == 0 {
        return (if charset == Charset::Ascii { ' ' } else { '·' }, Tone::Faint);
    }
    // Only a wholly occupied cell looks full, and only an empty one empty.
    let step = match total {
        full if full >= per_cell => 3,
        part => usize::try_from(u128::from(part) * 3 / u128::from(per_cell)).expect("less than three"),
    };
    let [own, record, _] = legend(charset);
    let (glyphs, tone) = if cell.record > cell.own { (record, Tone::Record) } else { (own, Tone::Own) };
    (glyphs.chars().nth(step).expect("four steps"), tone)
}

fn gap(blocks: u64, wide: usize, charset: Charset) -> String {
    let text = if blocks >= 10_000_000 {
        format!(" {} M empty ", Count(blocks / 1_000_000))
    } else {
        format!(" {} empty ", Count(blocks))
    };
    let dash = if charset == Charset::Ascii { '.' } else { '┄' };
    let left = (wide.saturating_sub(text.chars().count())) / 2;
    let mut line: String = std::iter::repeat_n(dash, left).collect();
    line += &text;
    line.extend(std::iter::repeat_n(dash, wide.saturating_sub(left + text.chars().count())));
    line
}

/// The index a row begins with; where records begin, counted from there.
fn label(from: u64) -> String {
    match from.checked_sub(RECORDS_FROM) {
        Some(0) => "2^40".to_owned(),
        Some(past) if past < 1_000_000_000 => format!("2^40+{}", Count(past)),
        _ => Count(from).to_string(),
    }
}

/// Stretches that hold all of `runs`, cut at whole cells, with more than `far` empty blocks between any two.
fn islands(runs: &[Span], per_cell: u64, far: u64) -> Vec<Span> {
    let mut islands: Vec<Span> = Vec::new();
    for run in runs {
        let (from, to) = (run.start / per_cell * per_cell, run.end.div_ceil(per_cell) * per_cell);
        match islands.last_mut() {
            Some(last) if from <= last.end.saturating_add(far) => last.end = last.end.max(to),
            // Whoever begins near the front begins at it.
            None if from <= far => islands.push(0..to),
            _ => islands.push(from..to),
        }
    }
    islands
}

fn fill(cells: &mut [Cell], island: &Span, per_cell: u64, runs: &[Span], part: impl Fn(&mut Cell) -> &mut u64) {
    let first = runs.partition_point(|run| run.end <= island.start);
    for run in runs[first..].iter().take_while(|run| run.start < island.end) {
        let (mut at, end) = (run.start.max(island.start), run.end.min(island.end));
        while at < end {
            let cell = (at - island.start) / per_cell;
            let next = (island.start + (cell + 1) * per_cell).min(end);
            *part(&mut cells[usize::try_from(cell).expect("a cell that was laid out")]) += next - at;
            at = next;
        }
    }
}

/// Both lists in one, ascending, spans that touch joined.
pub(crate) fn merged(a: &[Span], b: &[Span]) -> Vec<Span> {
    let mut all: Vec<Span> = a.iter().chain(b).cloned().collect();
    all.sort_by_key(|span| span.start);
    let mut merged: Vec<Span> = Vec::with_capacity(all.len());
    for span in all {
        match merged.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

/// What of `all` is not in `taken`; both ascending.
pub(crate) fn without(all: &[Span], taken: &[Span]) -> Vec<Span> {
    let mut left = Vec::with_capacity(all.len());
    let mut taken = taken.iter().peekable();
    for span in all {
        let mut from = span.start;
        while let Some(next) = taken.peek() {
            if next.start >= span.end {
                break;
            }
            if next.start > from {
                left.push(from..next.start);
            }
            from = from.max(next.end);
            if next.end > span.end {
                break;
            }
            taken.next();
        }
        if from < span.end {
            left.push(from..span.end);
        }
    }
    left
}

const _: () = assert!(INDEX_MAX < u64::MAX / 4, "spans are computed with without overflow");

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one span is what is meant")]
mod tests {
    use super::*;

    fn drawn(own: &[Span], records: &[Span], charset: Charset) -> Vec<String> {
        let lines = Chart::new(own, records).draw(charset, &|_, text| text.to_owned());
        for line in &lines {
            assert_eq!(line.chars().count(), WIDTH, "{line}");
        }
        assert!(lines.len() <= ROWS_MAX + 2, "{lines:#?}");
        lines
    }

    #[test]
    fn an_empty_grid_says_so() {
        assert_eq!(
            drawn(&[], &[], Charset::Boxes),
            [
                "┌─────────────┬────────────────────────────────────────────────────────────────┐",
                "│           0 │                   nothing is stored here yet                   │",
                "└─────────────┴────────────────────────────────────────────────────────────────┘",
            ]
        );
    }

    #[test]
    fn one_block_is_one_cell() {
        let lines = drawn(&[5..6], &[], Charset::Boxes);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1], format!("│           0 │·····█{}│", " ".repeat(58)));
        let far = drawn(&[1_000_000..1_000_001], &[], Charset::Ascii);
        assert!(far[1].contains(". 1,000,000 empty ."), "{}", far[1]);
        assert!(far[2].starts_with("|   1,000,000 |# "), "{}", far[2]);
    }

    #[test]
    fn a_million_blocks_fit_on_a_screen() {
        let chart = Chart::new(&[0..1_000_000], &[]);
        assert_eq!(chart.per_cell, 1024);
        let lines = drawn(&[0..1_000_000], &[], Charset::Boxes);
        assert_eq!(lines.len(), 18);
        assert_eq!(lines[1], format!("│           0 │{}│", "█".repeat(64)));
        assert!(lines[16].contains("█▒"), "the last cell is not full: {}", lines[16]);
    }

    #[test]
    fn records_stand_apart_from_own_blocks_and_emptiness_is_folded() {
        let lines = drawn(&[0..10], &[RECORDS_FROM..RECORDS_FROM + 100], Charset::Boxes);
        assert_eq!(lines[1], format!("│           0 │{}{}│", "█".repeat(10), " ".repeat(54)));
        assert!(lines[2].contains("┄ 1,099,511 M empty ┄"), "{}", lines[2]);
        assert_eq!(lines[3], format!("│        2^40 │{}│", "▇".repeat(64)));
        assert_eq!(lines[4], format!("│     2^40+64 │{}{}│", "▇".repeat(36), " ".repeat(28)));
    }

    #[test]
    fn blocks_strewn_over_everything_still_fit() {
        let mut seed = 42u64;
        let mut own = std::collections::BTreeSet::new();
        while own.len() < 1000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            own.insert(seed >> 16);
        }
        let own: Vec<Span> = own.into_iter().map(|index| index..index + 1).collect();
        let lines = drawn(&own, &[], Charset::Boxes);
        assert!(lines.iter().any(|line| line.contains('░')) && !lines.iter().any(|line| line.contains('█')));
        drawn(&[INDEX_MAX..INDEX_MAX + 1], &[], Charset::Boxes);
        drawn(&[0..1, INDEX_MAX..INDEX_MAX + 1], &[], Charset::Boxes);
        drawn(&[0..INDEX_MAX + 1], &[], Charset::Boxes);
    }

    #[test]
    fn spans_are_joined_and_taken_out() {
        assert_eq!(merged(&[0..2, 5..6], &[2..3, 8..9]), [0..3, 5..6, 8..9]);
        assert_eq!(without(&[0..10, 20..30], &[2..4, 9..22, 25..26]), [0..2, 4..9, 22..25, 26..30]);
        assert_eq!(without(&[0..10], &[0..10]), []);
        assert_eq!(without(&[0..10], &[]), [0..10]);
        assert_eq!(without(&[0..3, 4..6], &[1..5]), [0..1, 5..6]);
    }
}
