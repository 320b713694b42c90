//! What is asked of a figure of Okapi's, and whether it is so.

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// A figure at least so many times a rival's.
    Times(&'static str, f64),
    /// Nothing is asked; the figure is shown beside a rival's.
    Beside(&'static str),
    /// A figure of its own, at least.
    AtLeast(f64),
    /// A figure of its own, at most.
    AtMost(f64),
}

impl Goal {
    /// The goal and the verdict in words. `ratio` is Okapi's figure divided by a rival's, `text` a figure as it is shown.
    pub(crate) fn judge(
        self,
        own: Option<f64>,
        ratio: impl Fn(&str) -> Option<f64>,
        text: impl Fn(f64) -> String,
    ) -> [String; 2] {
        let (wanted, reached) = match self {
            Self::Beside(rival) => {
                let shown = ratio(rival).map_or_else(|| "not measured".to_owned(), |ratio| format!("{ratio:.2} x"));
                return [format!("beside {rival}"), shown];
            }
            Self::Times(rival, times) => {
                let reached = ratio(rival).map(|ratio| (ratio >= times, format!(" ({ratio:.2} x)")));
                (format!(">= {times} x {rival}"), reached)
            }
            Self::AtLeast(least) => (format!(">= {}", text(least)), own.map(|own| (own >= least, String::new()))),
            Self::AtMost(most) => (format!("<= {}", text(most)), own.map(|own| (own <= most, String::new()))),
        };
        let verdict = match reached {
            None => "not measured".to_owned(),
            Some((true, ratio)) => format!("reached{ratio}"),
            Some((false, ratio)) => format!("MISSED{ratio}"),
        };
        [wanted, verdict]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged() {
        let verdict = |goal: Goal| {
            let ratio = |rival: &str| (rival == "lmdb").then_some(2.0);
            let [_, verdict] = goal.judge(Some(3.0), ratio, |figure| figure.to_string());
            verdict
        };
        assert_eq!(verdict(Goal::Times("lmdb", 2.0)), "reached (2.00 x)");
        assert_eq!(verdict(Goal::Times("lmdb", 2.1)), "MISSED (2.00 x)");
        assert_eq!(verdict(Goal::Times("fjall", 2.1)), "not measured");
        assert_eq!(verdict(Goal::Beside("lmdb")), "2.00 x");
        assert_eq!(verdict(Goal::AtMost(3.0)), "reached");
        assert_eq!(verdict(Goal::AtLeast(3.1)), "MISSED");
        assert_eq!(Goal::AtMost(1.0).judge(None, |_| None, |figure| figure.to_string())[1], "not measured");
    }
}
