use parking_lot::Mutex;

use wedcache_model::{CacheMetric, LayerName, Operation, Timestamp};

use super::sample::{AnsweredSample, asked};
use super::*;

/// Keeps the names of the events in their order.
#[derive(Default)]
struct Names(Mutex<Vec<&'static str>>);

impl Names {
    fn note(&self, name: &'static str) {
        self.0.lock().push(name);
    }
}

impl Observer for Names {
    fn taken(&self, _: &Taken) {
        self.note("taken");
    }

    fn looked_up(&self, _: &LookedUp) {
        self.note("looked up");
    }

    fn answered(&self, _: &Answered<'_>) {
        self.note("answered");
    }
}

/// Observes nothing.
struct Nobody;

impl Observer for Nobody {}

#[test]
fn each_observer_is_given_each_event_once() {
    let (one, other) = (Arc::new(Names::default()), Arc::new(Names::default()));
    let observers = Observers::new([
        Arc::clone(&one) as Arc<dyn Observer>,
        Arc::new(Nobody),
        Arc::clone(&other) as _,
    ]);
    observers.taken(&Taken {
        input: Input::Queries,
        result: TakenAs::Event,
    });
    observers.looked_up(&LookedUp {
        layer: LayerName::Memory,
        result: LookupResult::Hit,
    });
    let sample = AnsweredSample::of("vendor_matching");
    observers.answered(&sample.answered(Operation::Hit));
    for names in [one, other] {
        let names = names.0.lock();
        assert_eq!(*names, ["taken", "looked up", "answered"]);
    }
}

/// Ids that consumers of the topic have stored: the derivation never changes.
#[test]
fn metric_ids_are_derived_from_the_answer_and_the_event() {
    let cache_type = "vendor_matching".into();
    let called = |number| Called {
        asked: asked(&cache_type),
        provider: "main",
        model: "m",
        flight: (Timestamp(1_000), number),
        prompt_tokens: 1,
        completion_tokens: 2,
        cost_usd: Some(0.5),
        simulated: false,
        took: std::time::Duration::from_millis(3),
        at: Timestamp(7),
    };
    let derived = |what: &str| {
        let answer = wedcache_model::record::RecordId::derive("sample", "answer");
        wedcache_model::record::RecordId::derive(answer.as_str(), what)
    };
    let sample = AnsweredSample::of("vendor_matching");
    let answered = sample.answered(Operation::Hit);
    assert_eq!(answered.metric_id(), derived("outcome"));
    let first = called(0);
    let at = Timestamp(1_000);
    assert_eq!(first.metric_id(), derived(&format!("call:{at}:0")));
    assert_ne!(first.metric_id(), called(1).metric_id());
    let id = first.metric_id();
    let metric: CacheMetric<'_> = first.metric(&id);
    assert_eq!(
        (metric.operation, metric.response_time_ms, metric.cost_usd),
        (Operation::Call, Some(3.0), Some(0.5))
    );
    assert_eq!(
        (metric.at, metric.season.as_deref()),
        (Timestamp(7), Some("summer"))
    );
}
