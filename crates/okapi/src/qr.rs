//! QR codes drawn with half blocks, two rows of modules in each line.

use qrcode::types::{Color, QrError};
use qrcode::{EcLevel, QrCode};

/// Light modules around a code: what the standard asks for, and the least that cameras make do with.
const QUIET: [usize; 2] = [4, 2];

/// How the two halves of a character are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// Black on white by the terminal's colours, whatever they are otherwise.
    Colors,
    /// The light modules in the terminal's own colour: right where it writes light on dark.
    Light,
}

/// The lines of the code of `text`, or nothing if it needs more than `columns`.
pub(crate) fn lines(text: &str, columns: usize, ink: Ink) -> Option<Vec<String>> {
    let code = coded(text).ok()?;
    let quiet = QUIET.into_iter().find(|quiet| code.width() + 2 * quiet <= columns)?;
    let side = code.width() + 2 * quiet;
    let colors = code.to_colors();
    let is_dark = |x: usize, y: usize| {
        let inner = |at: usize| at.checked_sub(quiet).filter(|at| *at < code.width());
        inner(x).zip(inner(y)).is_some_and(|(x, y)| colors[y * code.width() + x] == Color::Dark)
    };
    let rows = (0..side).step_by(2).map(|y| {
        // Under an odd number of rows comes one more that is light.
        let row: String = (0..side).map(|x| half_blocks(is_dark(x, y), is_dark(x, y + 1), ink)).collect();
        if ink == Ink::Colors { format!("\u{1b}[38;5;16;48;5;231m{row}\u{1b}[0m") } else { row }
    });
    Some(rows.collect())
}

/// A screen is seen clearly, so the least redundancy does.
fn coded(text: &str) -> Result<QrCode, QrError> {
    QrCode::with_error_correction_level(text, EcLevel::L)
}

fn half_blocks(upper_dark: bool, lower_dark: bool, ink: Ink) -> char {
    let (upper, lower) = match ink {
        Ink::Colors => (upper_dark, lower_dark),
        Ink::Light => (!upper_dark, !lower_dark),
    };
    match (upper, lower) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The modules that a drawing shows, dark ones true, two rows a line.
    fn seen(lines: &[String], ink: Ink) -> Vec<Vec<bool>> {
        let rows = lines.iter().flat_map(|line| {
            let row = line.trim_start_matches("\u{1b}[38;5;16;48;5;231m").trim_end_matches("\u{1b}[0m");
            let half = |upper: bool| {
                let drawn = |c: char| matches!((c, upper), ('█', _) | ('▀', true) | ('▄', false));
                row.chars().map(|c| drawn(c) == (ink == Ink::Colors)).collect::<Vec<bool>>()
            };
            [half(true), half(false)]
        });
        rows.collect()
    }

    #[test]
    fn what_is_drawn_is_the_code() {
        let text = "OKAPI-06CG00001081G810860W40J82GB1G6GPW3RG2496";
        let code = coded(text).unwrap();
        for ink in [Ink::Colors, Ink::Light] {
            let lines = lines(text, 80, ink).unwrap();
            let seen = seen(&lines, ink);
            assert!(seen.iter().all(|row| row.len() == code.width() + 8));
            let (mut dark, mut light) = (0, 0);
            for (y, row) in seen.iter().enumerate() {
                for (x, is_dark) in row.iter().enumerate() {
                    let inside = (4..4 + code.width()).contains(&x) && (4..4 + code.width()).contains(&y);
                    let expected = inside && code[(x - 4, y - 4)] == Color::Dark;
                    // The last half line is beyond the code and its quiet zone.
                    assert_eq!(*is_dark, expected, "{ink:?} at {x}, {y}");
                    if *is_dark { dark += 1 } else { light += 1 }
                }
            }
            assert!(dark > 100 && light > 100);
        }
    }

    /// A ticket with three addresses, in the letters that QR codes have room for.
    #[test]
    fn a_ticket_fits_in_80_columns_and_too_little_room_is_seen() {
        let ticket = format!("OKAPI-{}", "0G8S4".repeat(66));
        let drawn = lines(&ticket, 80, Ink::Light).unwrap();
        assert!(drawn.iter().all(|line| line.chars().count() <= 80) && drawn.len() <= 40, "{}", drawn.len());
        let narrow = drawn[0].chars().count() - 4;
        assert_eq!(lines(&ticket, narrow, Ink::Light).unwrap()[0].chars().count(), narrow, "less around it");
        assert_eq!(lines(&ticket, narrow - 1, Ink::Light), None);
        assert_eq!(lines(&"x".repeat(10_000), 1000, Ink::Light), None);
    }
}
