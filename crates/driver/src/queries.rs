//! The answering of queries: the core, and a task for each query that waits.

use std::sync::Arc;

use wedcache_codec::Reject;
use wedcache_engine::resolver::{Ask, Outcome};
use wedcache_engine::stages::query::{AnswerWriter, QueryRecord, QueryStep};
use wedcache_model::Coordinates;

use super::collect::Collector;
use super::instance::Life;
use super::{DeadLetter, Driver, next};

/// A query that waits for its schema.
#[derive(Debug, Clone)]
pub(super) struct Parked {
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
        let record = Parked {
            instance,
            key,
            value,
            place,
        };
        let read = QueryRecord::at(&record.place, record.value.as_deref(), None);
        let queries = &self.instances[instance].queries;
        let step = queries.take(&read, &mut self.memo);
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
        let waited = |(awaited, _): &mut (u32, Parked)| *awaited == schema_id;
        let waited: Vec<_> = self.parked_queries.extract_if(.., waited).collect();
        for (_, record) in waited {
            self.query_learnt(&record, schema.clone().map(|()| schema_id));
        }
    }

    fn query_learnt(&self, record: &Parked, schema: Result<u32, Reject>) {
        let read = QueryRecord::at(&record.place, record.value.as_deref(), None);
        let queries = &self.instances[record.instance].queries;
        let step = queries.take_again(&read, schema);
        self.answer(record, step);
    }

    fn answer(&self, record: &Parked, step: QueryStep<'_>) {
        match step {
            QueryStep::Answered { ask, outcome } => {
                self.out(record.instance).answer(&ask, &outcome);
            }
            QueryStep::Waits(ask) => {
                let out = self.out(record.instance);
                let resolver = Arc::clone(&self.instances[record.instance].queries.resolver);
                tokio::spawn(async move {
                    let outcome = resolver.resolve(&ask, &()).await;
                    out.answer(&ask, &outcome);
                });
            }
            QueryStep::Dead(reject) => {
                let Parked { key, value, .. } = record.clone();
                let letter = DeadLetter { key, value, reject };
                self.world.collector.dead_letter(letter);
            }
            QueryStep::Null | QueryStep::Unresolved { .. } => {}
        }
    }

    fn out(&self, instance: usize) -> Out {
        let instance = &self.instances[instance];
        Out {
            writer: instance.writer.clone(),
            life: instance.life.clone(),
            collector: Arc::clone(&self.world.collector),
            log: self.logs,
        }
    }

    /// Returns the instance that has the partition of a record with this key; the first one if there
    /// is no key.
    fn instance_of(&self, key: Option<&[u8]>) -> usize {
        let hash = key.map_or(0, |key| u64::from(crc32c::crc32c(key)));
        usize::try_from(hash % self.instances.len() as u64).expect("below the number of instances")
    }
}

/// The way out for an instance's answers, as long as it lives.
struct Out {
    writer: AnswerWriter,
    life: Life,
    collector: Arc<Collector>,
    /// The number of times that the log had been recreated when the query arrived.
    log: u32,
}

impl Out {
    fn answer<S: AsRef<str>>(&self, ask: &Ask<S>, outcome: &Outcome) {
        if self.life.goes_on() {
            let mut value = Vec::new();
            let written = self.writer.write(ask, outcome, &mut value);
            self.collector.answer(&value, ask.arrival, self.log);
            self.writer.tell(&written);
        }
    }
}
