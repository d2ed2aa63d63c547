//! The cost of a call: list prices per model, with the date on which they were read.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::Date;

/// The price of one model, or of all models whose names begin alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    /// A model's exact name, or its beginning followed by one `*`.
    pub pattern: String,
    pub input_usd_per_million: f64,
    pub output_usd_per_million: f64,
}

/// Prices as of one day. A model that no pattern matches has no price, and is reported so: a
/// guessed price would be a wrong sum that nobody notices.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PriceTable {
    as_of: Option<Date>,
    prices: Vec<Price>,
}

/// The problem of one line of a price table.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum PriceProblem {
    #[error("the model pattern is empty")]
    EmptyPattern { index: usize },
    #[error("`{pattern}` has a `*` that is not at its end")]
    StarInside { index: usize, pattern: String },
    #[error("`{pattern}` has two prices")]
    Twice { index: usize, pattern: String },
    #[error("`{pattern}`: {usd} is no price per million tokens; expected 0 to {MAX_USD}")]
    BadPrice {
        index: usize,
        pattern: String,
        usd: f64,
    },
}

/// The highest accepted price. The most expensive model on any public list costs a thousandth of
/// it: a higher number is a price per billion.
const MAX_USD: f64 = 1_000_000.0;

impl PriceProblem {
    /// Returns the index of the line in the table, from 0.
    pub fn index(&self) -> usize {
        match self {
            Self::EmptyPattern { index }
            | Self::StarInside { index, .. }
            | Self::Twice { index, .. }
            | Self::BadPrice { index, .. } => *index,
        }
    }
}

impl PriceTable {
    /// Checks all lines and reports every problem at once.
    pub fn new(as_of: Option<Date>, prices: Vec<Price>) -> Result<Self, Vec<PriceProblem>> {
        let mut problems = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, price) in prices.iter().enumerate() {
            let pattern = price.pattern.clone();
            let name = pattern.strip_suffix('*').unwrap_or(&pattern);
            if pattern.is_empty() {
                problems.push(PriceProblem::EmptyPattern { index });
            } else if name.contains('*') {
                problems.push(PriceProblem::StarInside {
                    index,
                    pattern: pattern.clone(),
                });
            } else if !seen.insert(pattern.clone()) {
                problems.push(PriceProblem::Twice {
                    index,
                    pattern: pattern.clone(),
                });
            }
            for usd in [price.input_usd_per_million, price.output_usd_per_million] {
                if !(0.0..=MAX_USD).contains(&usd) {
                    let pattern = pattern.clone();
                    problems.push(PriceProblem::BadPrice {
                        index,
                        pattern,
                        usd,
                    });
                }
            }
        }
        if problems.is_empty() {
            Ok(Self { as_of, prices })
        } else {
            Err(problems)
        }
    }

    /// Returns the day on which these prices were read, where it is known.
    pub fn as_of(&self) -> Option<Date> {
        self.as_of
    }

    /// Finds the price of `model`: an exact name wins, then the longest prefix.
    pub fn find(&self, model: &str) -> Option<&Price> {
        let length = |price: &Price| match price.pattern.strip_suffix('*') {
            Some(beginning) => model.starts_with(beginning).then_some(beginning.len()),
            None => (price.pattern == model).then_some(usize::MAX),
        };
        self.prices
            .iter()
            .filter_map(|price| Some((length(price)?, price)))
            .max_by_key(|(length, _)| *length)
            .map(|(_, price)| price)
    }

    /// Returns the cost of a call; `None` for an unknown model.
    pub fn cost_usd(&self, model: &str, prompt_tokens: u64, completion_tokens: u64) -> Option<f64> {
        self.find(model)
            .map(|price| price.cost_usd(prompt_tokens, completion_tokens))
    }
}

impl Price {
    #[expect(clippy::cast_precision_loss, reason = "no call has 2^53 tokens")]
    pub fn cost_usd(&self, prompt_tokens: u64, completion_tokens: u64) -> f64 {
        let input = prompt_tokens as f64 * self.input_usd_per_million;
        let output = completion_tokens as f64 * self.output_usd_per_million;
        (input + output) / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day() -> Option<Date> {
        Date::parse("2026-11-01").ok()
    }

    fn price(pattern: &str, input: f64, output: f64) -> Price {
        Price {
            pattern: pattern.to_owned(),
            input_usd_per_million: input,
            output_usd_per_million: output,
        }
    }

    #[test]
    fn the_exact_name_wins_then_the_longest_beginning_and_unknown_models_have_no_price() {
        let table = PriceTable::new(
            day(),
            vec![
                price("m-*", 1.0, 1.0),
                price("m-mini-*", 2.0, 2.0),
                price("m-mini", 3.0, 3.0),
            ],
        )
        .unwrap();
        for (model, want) in [
            ("m-1", Some("m-*")),
            ("m-mini-2026", Some("m-mini-*")),
            ("m-mini", Some("m-mini")),
            ("m", None),
            ("other", None),
        ] {
            assert_eq!(
                table.find(model).map(|p| p.pattern.as_str()),
                want,
                "{model}"
            );
        }
    }

    #[test]
    fn cost_is_tokens_times_their_price() {
        let table = PriceTable::new(day(), vec![price("m", 2.5, 10.0)]).unwrap();
        let cost = table.cost_usd("m", 1_000, 200).unwrap();
        assert!((cost - 0.0045).abs() < 1e-12, "{cost}");
        assert_eq!(table.cost_usd("n", 1_000, 200), None);
    }

    #[test]
    fn every_problem_is_reported_at_once_with_its_line() {
        let problems = PriceTable::new(
            day(),
            vec![
                price("", 1.0, 1.0),
                price("a*b", 1.0, 1.0),
                price("m", 1.0, -1.0),
                price("m", f64::NAN, f64::INFINITY),
            ],
        )
        .unwrap_err();
        let at: Vec<usize> = problems.iter().map(PriceProblem::index).collect();
        assert_eq!(at, [0, 1, 2, 3, 3, 3], "{problems:?}");
    }
}
