//! Amounts: how people write them and how they are shown.

use std::fmt;
use std::time::Duration;

/// A number of bytes. Written `512`, `64K`, `10M`, `1.5G`, `2T` (powers of 1024; `KiB` and so on mean the same) or
/// `10MB` (powers of 1000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub u64);

const UNITS: [(char, u32); 5] = [('K', 1), ('M', 2), ('G', 3), ('T', 4), ('P', 5)];

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size; write 512, 64K, 10M, 1.5G or 2T");
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor = factor(unit.trim_start()).ok_or_else(wrong)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        // Fractions in exact arithmetic: 0.1G is the same number of bytes on every machine.
        if part.is_empty() || part.len() > 9 || (number.contains('.') && factor == 1) {
            return Err(wrong());
        }
        let scale = 10u128.pow(u32::try_from(part.len()).expect("at most nine digits"));
        let part: u128 = part.parse().map_err(|_| wrong())?;
        let bytes = u128::from(whole) * u128::from(factor) + part * u128::from(factor) / scale;
        u64::try_from(bytes).map(Self).map_err(|_| format!("`{text}` is more than 2^64 bytes"))
    }
}

fn factor(unit: &str) -> Option<u64> {
    let mut letters = unit.chars();
    let Some(first) = letters.next() else { return Some(1) };
    if first.eq_ignore_ascii_case(&'b') {
        return letters.as_str().is_empty().then_some(1);
    }
    let (_, power) = UNITS.into_iter().find(|(letter, _)| first.eq_ignore_ascii_case(letter))?;
    match letters.as_str() {
        "" | "i" | "iB" | "ib" => Some(1024u64.pow(power)),
        "B" | "b" => Some(1000u64.pow(power)),
        _ => None,
    }
}

/// As people read it: `0 B`, `512 B`, `64 KiB`, `1.25 GiB`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((letter, power)) = UNITS.into_iter().rev().find(|(_, power)| self.0 >= 1024u64.pow(*power)) else {
            return f.pad(&format!("{} B", self.0));
        };
        let unit = 1024u64.pow(power);
        let text = if self.0.is_multiple_of(unit) {
            format!("{} {letter}iB", self.0 / unit)
        } else {
            let value = self.0 as f64 / unit as f64;
            let places = if value < 10.0 { 2 } else { 1 };
            format!("{value:.places$} {letter}iB")
        };
        f.pad(&text)
    }
}

/// A count with its thousands set apart: `1,048,576`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// A count and its noun: `1 block`, `2,000 blocks`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", Count(count), if count == 1 { "" } else { "s" })
}

/// How long something took: `84 µs`, `3.2 ms`, `1.25 s`, `2 min 05 s`.
pub(crate) fn lasted(time: Duration) -> String {
    let micros = time.as_micros();
    let seconds = time.as_secs_f64();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", seconds * 1e3),
        1_000_000..60_000_000 => format!("{seconds:.2} s"),
        _ => format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

/// A length of time, written `250ms`, `5s`, `2m`, `1h` or `1d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period(pub Duration);

impl std::str::FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a time; write 250ms, 5s, 2m, 1h or 1d");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let millis = match text[digits..].trim() {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(millis).map(|millis| Self(Duration::from_millis(millis))).ok_or_else(wrong)
    }
}

/// Bytes a second.
pub(crate) fn rate(bytes: u64, time: Duration) -> String {
    format!("{}/s", Size((bytes as f64 / time.as_secs_f64().max(1e-6)) as u64))
}

/// A moment given in milliseconds since 1970, as `2026-11-21 09:03:06` UTC.
pub(crate) fn moment(millis: u64) -> String {
    let seconds = millis / 1000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("64K", 65_536),
            ("64k", 65_536),
            ("64 KiB", 65_536),
            ("10M", 10 << 20),
            ("10MB", 10_000_000),
            ("1.5G", 3 << 29),
            ("2T", 2 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "K", "-1", "1.5", "1..5K", "10X", "10Kx", "1.K", "99999999999999999999", "20000P"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn periods_have_a_unit() {
        assert_eq!("250ms".parse(), Ok(Period(Duration::from_millis(250))));
        assert_eq!("2m".parse(), Ok(Period(Duration::from_secs(120))));
        assert_eq!("1d".parse(), Ok(Period(Duration::from_secs(86_400))));
        for text in ["", "5", "s", "-1s", "5 days", "99999999999999999999s", "9999999999999999h"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_are_shown_short() {
        let shown = |bytes| Size(bytes).to_string();
        assert_eq!(shown(0), "0 B");
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(shown(65_536), "64 KiB");
        assert_eq!(shown(1_342_177_280), "1.25 GiB");
        assert_eq!(shown(500_000_000), "476.8 MiB");
        assert_eq!(Count(0).to_string(), "0");
        assert_eq!(Count(999).to_string(), "999");
        assert_eq!(Count(1_048_576).to_string(), "1,048,576");
        assert_eq!(counted(1, "block"), "1 block");
        assert_eq!(lasted(Duration::from_millis(1250)), "1.25 s");
        assert_eq!(lasted(Duration::from_secs(125)), "2 min 05 s");
    }

    #[test]
    fn moments_fall_on_their_days() {
        assert_eq!(moment(0), "1970-01-01 00:00:00");
        assert_eq!(moment(951_827_696_000), "2000-02-29 12:34:56");
        assert_eq!(moment(1_795_251_786_000), "2026-11-21 09:03:06");
    }
}
