//! AI providers and prices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wedcache_model::{Date, Price, PriceTable};

use super::Build;
use crate::topology::env::variables_in;
use crate::topology::problem::Problem;
use crate::topology::settings::{Generation, HttpProvider, Provider, Retry, Simulator};
use crate::topology::shape::{
    HttpProviderShape, PricesShape, ProviderShape, RetryShape, SimulatorShape,
};
use crate::topology::units::{At, Connection, Named};

impl Build<'_> {
    pub(super) fn providers(
        &mut self,
        shape: Named<ProviderShape>,
    ) -> BTreeMap<Arc<str>, Provider> {
        shape
            .0
            .into_iter()
            .map(|(name, shape)| {
                let provider = match shape {
                    ProviderShape::Openai(http) => Provider::OpenAi(self.http_provider(http)),
                    ProviderShape::Anthropic(http) => Provider::Anthropic(self.http_provider(http)),
                    ProviderShape::Simulator(shape) => Provider::Simulator(self.simulator(shape)),
                };
                (self.plain_name(name).into(), provider)
            })
            .collect()
    }

    fn http_provider(&mut self, shape: HttpProviderShape) -> HttpProvider {
        let base_url = self.resolve(&shape.base_url);
        if base_url.complete {
            self.check_url(&shape.base_url, &base_url.text, &["http", "https"]);
        }
        let names =
            |field: &Connection| -> Vec<String> { variables_in(field).map(|of| of.name).collect() };
        let url_variables = names(&shape.base_url);
        let key_variables = shape.api_key.as_ref().map(names).unwrap_or_default();
        let api_key = shape.api_key.as_ref().map(|key| self.resolve_header(key));
        let api_key = api_key.map(|key| key.text);
        let total = self.positive(&shape.total_timeout, "a timeout");
        let first_byte = self.positive(&shape.first_byte_timeout, "a timeout");
        if first_byte > total {
            self.report(
                Problem::new(
                    shape.first_byte_timeout.span,
                    "the first byte may take longer than the whole",
                )
                .expected(format!(
                    "expected at most {}, the total timeout",
                    humantime::format_duration(total)
                )),
            );
        }
        HttpProvider {
            base_url: base_url.text.trim_end_matches('/').to_owned(),
            api_key: api_key.filter(|key| !key.is_empty()).map(Into::into),
            url_variables,
            key_variables,
            model: self.plain_name(shape.model),
            connect_timeout: self.positive(&shape.connect_timeout, "a timeout"),
            first_byte_timeout: first_byte,
            total_timeout: total,
            retry: self.retry(&shape.retry),
            concurrency: self.count(&shape.concurrency, "the calls at one time"),
            breaker: self.breaker(&shape.breaker.failures, &shape.breaker.open_for),
        }
    }

    fn retry(&mut self, shape: &RetryShape) -> Retry {
        if shape.attempts.value > 10 {
            self.report(
                Problem::new(
                    shape.attempts.span,
                    format!("{} retries are a storm", shape.attempts.value),
                )
                .expected("expected at most 10"),
            );
        }
        Retry {
            attempts: shape.attempts.value,
            base_delay: self.positive(&shape.base_delay, "the first wait"),
            max_delay: shape.max_delay.0,
            budget: self.share(&shape.budget, "the retry budget"),
        }
    }

    fn simulator(&mut self, shape: SimulatorShape) -> Simulator {
        let (min, max) = (&shape.latency.min, &shape.latency.max);
        if min.value > max.value {
            self.report(
                Problem::new(min.span, "the least latency is above the greatest")
                    .also(max.span, "the greatest"),
            );
        }
        let errors = &shape.errors;
        let rates = [
            &errors.rate_limited,
            &errors.server_error,
            &errors.timeout,
            &errors.refused,
        ];
        let [rate_limited, server_error, timeout, refused] =
            rates.map(|rate| self.share(rate, "an error rate"));
        if rate_limited + server_error + timeout + refused > 1.0 {
            let last = rates
                .into_iter()
                .max_by_key(|rate| rate.span.start)
                .expect("there are four");
            self.report(
                Problem::new(last.span, "more errors than calls")
                    .expected("expected rates that add up to at most 1"),
            );
        }
        Simulator {
            model: shape.model,
            seed: shape.seed,
            min_latency: min.value.0,
            max_latency: max.value.0,
            rate_limited,
            server_error,
            timeout,
            refused,
            vendors_per_answer: shape.vendors_per_answer,
            concurrency: self.count(&shape.concurrency, "the calls at one time"),
        }
    }

    pub(super) fn prices(
        &mut self,
        shape: Option<PricesShape>,
        providers: &BTreeMap<Arc<str>, Provider>,
    ) -> PriceTable {
        let mut table = PriceTable::default();
        if let Some(shape) = shape {
            let date = Date::parse(&shape.date).ok();
            if date.is_none() {
                let message = format!("`{}` is not a date", shape.date.value);
                self.report(
                    Problem::new(shape.date.span, message)
                        .expected("expected a date such as `2026-11-22`"),
                );
            }
            let (mut spans, mut prices) = (Vec::new(), Vec::new());
            for (model, price) in shape.models.0 {
                spans.push(model.span);
                prices.push(Price {
                    pattern: model.value,
                    input_usd_per_million: self.dollars(&price.input),
                    output_usd_per_million: self.dollars(&price.output),
                });
            }
            match PriceTable::new(date, prices) {
                Ok(prices) => table = prices,
                Err(problems) => {
                    for problem in problems {
                        let span = spans[problem.index()];
                        self.report(Problem::new(span, problem.to_string()));
                    }
                }
            }
        }
        if self.names("prices").is_some() || !self.parsed.broken.iter().any(|name| name == "prices")
        {
            self.check_priced(&table, providers);
        }
        table
    }

    fn check_priced(&mut self, prices: &PriceTable, providers: &BTreeMap<Arc<str>, Provider>) {
        for (name, provider) in providers {
            if matches!(provider, Provider::Simulator(_)) || prices.find(provider.model()).is_some()
            {
                continue;
            }
            let node = self
                .parsed
                .root
                .get("providers")
                .and_then(|providers| providers.get(name)?.get(provider.kind())?.get("model"));
            if let Some(node) = node {
                let message = format!("the model `{}` has no price", provider.model());
                self.report(
                    Problem::new(node.span, message)
                        .help("add it under `prices.models`; until then costs and savings are unknown (null)")
                        .warning(),
                );
            }
        }
    }

    fn dollars(&mut self, price: &At<f64>) -> f64 {
        if !price.is_finite() || price.value < 0.0 {
            self.report(
                Problem::new(price.span, format!("a price cannot be {}", price.value))
                    .expected("expected US dollars per million tokens"),
            );
            return 0.0;
        }
        price.value
    }

    /// Warns of a provider that no cache type uses, which is probably a mistake unless the
    /// environment selects the provider.
    pub(super) fn check_use(
        &mut self,
        generation: &BTreeMap<Arc<str>, Generation>,
        providers: &BTreeMap<Arc<str>, Provider>,
    ) {
        let used: BTreeSet<_> = generation.values().map(|of| &of.provider).collect();
        let Some(section) = self.parsed.root.get("providers") else {
            return;
        };
        let types = self.parsed.root.get("cache_types");
        let is_chosen = types.is_some_and(|types| {
            let mut all = types.entries().iter();
            all.any(|of| {
                let provider = of.value.get("provider");
                provider.is_some_and(|provider| provider.raw.contains("${"))
            })
        });
        let whole = !is_chosen
            && generation
                .values()
                .all(|of| providers.contains_key(&of.provider))
            && self
                .names("cache_types")
                .is_some_and(|names| names.len() == generation.len());
        for entry in section.entries() {
            if whole
                && providers.contains_key(entry.name())
                && !used.contains(&Arc::from(entry.name()))
            {
                let message = format!("no cache type asks the provider `{}`", entry.name());
                self.problems
                    .push(Problem::new(entry.key.span, message).warning());
            }
        }
    }
}
