//! The answering of queries: the core, and a task for each query that waits.

use std::sync::Arc;

use super::{DeadLetter, Driver, Told, next};
use crate::codec::Reject;
use crate::model::Coordinates;
use crate::resolver::{Ask, Outcome};
use crate::stages::query::QueryStep;

/// A query record as it was read.
#[derive(Debug, Clone)]
pub(super) struct QueryRecord {
    /// The number of the instance that reads it.
    instance: usize,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    place: Coordinates,
}

impl Driver {
    /// A query comes in as a record.
    pub fn query_record(&mut self, key: Option<Vec<u8>>, value: Option<Vec<u8>>) {
        self.record_at(self.instance_of(key.as_deref()), key, value);
    }

    pub(super) fn record_at(
        &mut self,
        instance: usize,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
    ) {
        self.measure();
        let place = Coordinates {
            topic: Arc::clone(&self.world.topology.deployment.topics.queries.name),
            partition: 0,
            offset: next(&mut self.ends.queries),
            timestamp: self.now(),
        };
        let record = QueryRecord {
            instance,
            key,
            value,
            place,
        };
        let (value, id) = (record.value.as_deref(), || record.place.answer_id());
        let queries = &self.instances[instance].queries;
        let step = queries.take(value, id, None, &mut self.memo);
        if let QueryStep::Unresolved { schema_id } = step {
            match self.registry.response(schema_id) {
                Some(schema) => self.query_learnt(&record, schema.map(|()| schema_id)),
                None => self.parked_queries.push((schema_id, record)),
            }
        } else {
            self.answer(&record, step);
        }
    }

    /// Passes the registry's response about a schema on to the queries that wait for it.
    pub(super) fn queries_learnt(&mut self, schema_id: u32, schema: &Result<(), Reject>) {
        let waited = |(awaited, _): &mut (u32, QueryRecord)| *awaited == schema_id;
        let waited: Vec<_> = self.parked_queries.extract_if(.., waited).collect();
        for (_, record) in waited {
            self.query_learnt(&record, schema.clone().map(|()| schema_id));
        }
    }

    fn query_learnt(&self, record: &QueryRecord, schema: Result<u32, Reject>) {
        let (value, id) = (record.value.as_deref(), || record.place.answer_id());
        let queries = &self.instances[record.instance].queries;
        let step = queries.take_again(schema, value, id, None);
        self.answer(record, step);
    }

    fn answer(&self, record: &QueryRecord, step: QueryStep<'_>) {
        match step {
            QueryStep::Answered { ask, outcome } => {
                self.teller(record.instance)(&ask.to_owned(), &outcome);
            }
            QueryStep::Waits(ask) => {
                let tell = self.teller(record.instance);
                let resolver = Arc::clone(&self.instances[record.instance].queries.resolver);
                tokio::spawn(async move {
                    let outcome = resolver.resolve(&ask, &()).await;
                    tell(&ask, &outcome);
                });
            }
            QueryStep::Dead(reject) => {
                let QueryRecord { key, value, .. } = record.clone();
                let letter = DeadLetter { key, value, reject };
                self.world.observer.dead_letter(letter);
            }
            QueryStep::Null | QueryStep::Unresolved { .. } => {}
        }
    }

    /// Returns what an instance of this number does with an answer, as long as it lives.
    fn teller(&self, instance: usize) -> impl Fn(&Ask, &Outcome) + Send + 'static {
        let instance = &self.instances[instance];
        let (writer, life) = (instance.writer.clone(), instance.life.clone());
        let (observer, log) = (Arc::clone(&self.world.observer), self.logs);
        move |ask: &Ask, outcome: &Outcome| {
            if life.goes_on() {
                let (mut answer, mut metric) = (Vec::new(), Vec::new());
                writer.write(ask, outcome, &mut answer, &mut metric);
                observer.answer(&Told {
                    ask,
                    outcome,
                    at: writer.clock.now(),
                    log,
                    answer: &answer,
                    metric: &metric,
                });
            }
        }
    }

    /// Returns the instance that has the partition of a record with this key; the first one if there
    /// is no key.
    fn instance_of(&self, key: Option<&[u8]>) -> usize {
        let hash = key.map_or(0, |key| u64::from(crc32c::crc32c(key)));
        usize::try_from(hash % self.instances.len() as u64).expect("below the number of instances")
    }
}
