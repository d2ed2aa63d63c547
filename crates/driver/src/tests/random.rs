//! Random interleavings of everything that can happen, judged by a provider that knows the facts:
//! its answers carry the version of every fact at the begin of their call, so that an old answer
//! gives itself away.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use wedcache_model::{Mode, Position};

use super::policies::{self, POLICIES};
use super::*;

const VENDORS: usize = 3;
const WEDDINGS: usize = 2;

/// How often the facts of each vendor and each wedding have changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Versions {
    vendors: [u32; VENDORS],
    weddings: [u32; WEDDINGS],
}

#[derive(Debug, Clone)]
enum Step {
    Ask(Asks),
    /// A vendor's facts change: purge or refresh.
    Vendor(usize, Mode),
    Wedding(usize, Mode),
    /// A vendor change that cannot be read, with its key or without.
    Unreadable(Option<usize>),
    Advance(u64),
    /// How the provider's calls go from now on.
    Respond(Behaviour),
    Restart,
    HoldLog(bool),
    HoldChanges(bool),
    Compact,
    RecreateLog,
    SlowDisk(u64),
    /// Another policy, by its number, comes into force.
    Policy(usize),
}

#[derive(Debug, Clone)]
struct Asks {
    private: bool,
    question: u8,
    vendor: Option<usize>,
    wedding: Option<usize>,
    option: Opt,
    /// Which of a pair is asked.
    second: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opt {
    None,
    Bypass,
    NoStore,
    MaxAge(u64),
    Deadline(u64),
}

#[derive(Debug, Clone)]
struct Behaviour {
    takes_secs: u64,
    /// Vendors that answers name.
    names: Vec<usize>,
    fails: Option<u16>,
}

fn step() -> impl Strategy<Value = Step> {
    let option = prop_oneof![
        6 => Just(Opt::None),
        1 => Just(Opt::Bypass),
        1 => Just(Opt::NoStore),
        1 => (0_u64..8).prop_map(Opt::MaxAge),
        1 => (0_u64..6).prop_map(Opt::Deadline),
    ];
    let asks = (
        prop::bool::weighted(0.3),
        0_u8..2,
        prop::option::of(0..VENDORS),
        prop::option::of(0..WEDDINGS),
        option,
        any::<bool>(),
    )
        .prop_map(|(private, question, vendor, wedding, option, second)| {
            Step::Ask(Asks {
                private,
                question,
                vendor,
                wedding,
                option,
                second,
            })
        });
    let mode = || prop_oneof![2 => Just(Mode::Purge), 1 => Just(Mode::Refresh)];
    let behaviour = (
        prop_oneof![2 => Just(0_u64), 3 => 1_u64..7],
        prop::collection::vec(0..VENDORS, 0..3),
        prop::option::weighted(0.15, prop_oneof![Just(503_u16), Just(400_u16)]),
    )
        .prop_map(|(takes_secs, names, fails)| {
            Step::Respond(Behaviour {
                takes_secs,
                names,
                fails,
            })
        });
    prop_oneof![
        16 => asks,
        5 => (0..VENDORS, mode()).prop_map(|(of, mode)| Step::Vendor(of, mode)),
        2 => (0..WEDDINGS, mode()).prop_map(|(of, mode)| Step::Wedding(of, mode)),
        1 => prop::option::of(0..VENDORS).prop_map(Step::Unreadable),
        8 => (0_u64..5).prop_map(Step::Advance),
        1 => prop_oneof![Just(400_u64), Just(3_700), Just(45_000), Just(90_000)]
            .prop_map(Step::Advance),
        3 => behaviour,
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::HoldLog),
        1 => any::<bool>().prop_map(Step::HoldChanges),
        1 => Just(Step::Compact),
        1 => Just(Step::RecreateLog),
        1 => (0_u64..1500).prop_map(Step::SlowDisk),
        2 => (0..POLICIES.len()).prop_map(Step::Policy),
    ]
}

/// What is known of a query when it is asked.
struct Asked {
    asks: Asks,
    at: Timestamp,
}

/// A change that was produced, by its place on its topic.
#[derive(Debug, Clone, Copy)]
enum Fact {
    Vendor(usize, u32),
    Wedding(usize, u32),
}

#[derive(Default)]
struct Facts {
    now: Arc<Mutex<Versions>>,
    /// What each record of the change topics was about.
    vendor_topic: Vec<Option<Fact>>,
    wedding_topic: Vec<Option<Fact>>,
    asked: HashMap<String, Asked>,
}

impl Facts {
    fn of(&self, record: &TagInvalidation) -> Option<Fact> {
        let topic = if record.cause.topic.contains("vendor") {
            &self.vendor_topic
        } else {
            &self.wedding_topic
        };
        *topic.get(usize::try_from(record.cause.offset).ok()?)?
    }
}

/// What an answer says of the call that made it.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    call: u32,
    began: Timestamp,
    versions: Versions,
    names: Vec<usize>,
    /// The policy whose instructions were asked.
    policy: String,
}

impl Told {
    fn write(&self) -> String {
        let Self {
            call,
            began,
            versions,
            names,
            policy,
        } = self;
        let names: Vec<_> = names.iter().map(|of| format!("V-{of}")).collect();
        let facts = serde_json::json!([call, began.0, versions.vendors, versions.weddings, policy]);
        format!("{facts}|{}", names.join(" "))
    }

    fn read(text: &str) -> Self {
        let (facts, names) = text.split_once('|').unwrap();
        let (call, began, vendors, weddings, policy) = serde_json::from_str(facts).unwrap();
        let names = names
            .split_whitespace()
            .map(|name| name[2..].parse().unwrap());
        let versions = Versions { vendors, weddings };
        Self {
            call,
            began: Timestamp(began),
            versions,
            names: names.collect(),
            policy,
        }
    }
}

fn respond(stage: &mut Stage, facts: &Facts, behaviour: Behaviour) {
    let (versions, clock) = (Arc::clone(&facts.now), stage.driver.world.clock.clone());
    stage.driver.respond(Box::new(move |call| {
        let told = Told {
            call: call.number,
            began: clock.now(),
            versions: *versions.lock(),
            names: behaviour.names.clone(),
            policy: policies::asked(call),
        };
        let outcome = match behaviour.fails {
            Some(status) => MockedCall::Status(status),
            None => MockedCall::Text(told.write()),
        };
        Scripted {
            takes: secs(behaviour.takes_secs),
            outcome,
        }
    }));
}

fn build(id: &str, asks: &Asks, now: Timestamp) -> AiQuery {
    let mut query = query(id, if asks.private { PRIVATE } else { SHARED });
    query.query.content = format!("Question {}?", asks.question);
    query.query.vendor_ids = asks.vendor.iter().map(|of| format!("V-{of}")).collect();
    query.wedding_context.wedding_id = asks.wedding.map(|of| format!("W-{of}"));
    match asks.option {
        Opt::None => {}
        Opt::Bypass => query.options.bypass_cache = true,
        Opt::NoStore => query.options.no_store = true,
        Opt::MaxAge(age) => query.options.max_age = Some(secs(age)),
        Opt::Deadline(after) => query.options.deadline = Some(now.plus(secs(after))),
    }
    query
}

async fn take_step(stage: &mut Stage, facts: &mut Facts, number: usize, step: Step) {
    match step {
        Step::Ask(asks) => {
            let (id, at) = (format!("q-{number}"), stage.driver.now());
            let query = build(&id, &asks, at);
            let instance = usize::from(asks.second) % stage.driver.instances.len();
            facts.asked.insert(id, Asked { asks, at });
            stage.begin_at(instance, &query).await;
        }
        Step::Vendor(of, mode) => {
            let fact = (mode == Mode::Purge).then(|| facts.vendor_changes(of));
            facts.vendor_topic.push(fact);
            let kind = if fact.is_some() {
                "availability_changed"
            } else {
                "details_changed"
            };
            stage.vendor_change(&change(&format!("V-{of}"), kind)).await;
        }
        Step::Wedding(of, mode) => {
            let fact = (mode == Mode::Purge).then(|| facts.wedding_changes(of));
            facts.wedding_topic.push(fact);
            let kind = if fact.is_some() {
                "cancelled"
            } else {
                "style_changed"
            };
            stage
                .wedding_update(&update(&format!("W-{of}"), kind))
                .await;
        }
        Step::Unreadable(of) => {
            let fact = of.map(|of| facts.vendor_changes(of));
            facts.vendor_topic.push(fact);
            let key = of.map(|of| format!("V-{of}").into_bytes());
            let value = Some(b"{".to_vec());
            stage.driver.record(RawRecord {
                topic: InputRole::VendorChanges,
                key,
                value,
            });
        }
        Step::Advance(by) => stage.advance(secs(by)).await,
        Step::Respond(behaviour) => respond(stage, facts, behaviour),
        Step::Restart => {
            stage.collect().await;
            // Those that were not answered go with the process; Kafka would bring them again.
            facts.asked.retain(|id, _| !stage.is_waiting(id));
            stage.driver.restart();
        }
        Step::HoldLog(true) => stage.driver.hold_log(),
        Step::HoldLog(false) => stage.driver.release_log(),
        Step::HoldChanges(true) => stage.driver.hold_changes(),
        Step::HoldChanges(false) => stage.driver.release_changes(),
        Step::Compact => stage.driver.compact_log(),
        Step::RecreateLog => {
            // Positions of two logs cannot be compared: nobody may wait over it.
            stage.advance(secs(600)).await;
            stage.recreate_log();
        }
        Step::SlowDisk(millis) => stage
            .driver
            .set_durable_latency(Duration::from_millis(millis)),
        Step::Policy(number) => {
            stage.driver.replace_policy(POLICIES[number].clone());
            stage.driver.settle().await;
        }
    }
    stage.collect().await;
}

impl Facts {
    fn vendor_changes(&mut self, of: usize) -> Fact {
        let mut now = self.now.lock();
        now.vendors[of] += 1;
        Fact::Vendor(of, now.vendors[of])
    }

    fn wedding_changes(&mut self, of: usize) -> Fact {
        let mut now = self.now.lock();
        now.weddings[of] += 1;
        Fact::Wedding(of, now.weddings[of])
    }

    /// No query that arrived after the log had applied a purge gets an answer from before it.
    fn check_age_of_facts(&self, stage: &Stage) {
        for (id, answered) in &stage.answers {
            let asked = &self.asked[id];
            let Some(data) = answered.answer.data.as_deref() else {
                continue;
            };
            let told = Told::read(data);
            let of_type = format!("{}|", answered.answer.cache_type);
            for (log, offset, record) in &stage.log {
                let applied = (*log, Position(*offset)) < (answered.log, answered.arrival);
                if !applied || record.mode != Mode::Purge || !record.tag.starts_with(&of_type) {
                    continue;
                }
                let (has, wants) = match self.of(record) {
                    Some(Fact::Vendor(of, version))
                        if told.names.contains(&of) || asked.asks.vendor == Some(of) =>
                    {
                        (told.versions.vendors[of], version)
                    }
                    Some(Fact::Wedding(of, version)) if asked.asks.wedding == Some(of) => {
                        (told.versions.weddings[of], version)
                    }
                    _ => continue,
                };
                assert!(
                    has >= wants,
                    "{id} got {told:?} after {record:?}: {answered:#?}"
                );
            }
        }
    }

    /// Nobody is given an answer that is not for them, or older than they asked for.
    fn check_whose_answer(&self, stage: &Stage) {
        let mut private: HashMap<u32, Option<usize>> = HashMap::new();
        let mut unshared: HashMap<u32, &str> = HashMap::new();
        for (id, answered) in &stage.answers {
            let Asked { asks, at } = &self.asked[id];
            let Some(data) = answered.answer.data.as_deref() else {
                continue;
            };
            let told = Told::read(data);
            if let Opt::MaxAge(age) = asks.option {
                assert!(
                    told.began.plus(secs(age)) >= *at,
                    "{id} is too old: {told:?}"
                );
            }
            if asks.private {
                let of = private.entry(told.call).or_insert(asks.wedding);
                assert_eq!(*of, asks.wedding, "a private answer went to another couple");
            }
            let led = answered.answer.source == Source::Ai && !answered.answer.coalesced;
            let nobody_elses =
                asks.option == Opt::NoStore || (asks.private && asks.wedding.is_none());
            if led && nobody_elses {
                unshared.insert(told.call, id);
            }
        }
        for (id, answered) in &stage.answers {
            let Some(data) = answered.answer.data.as_deref() else {
                continue;
            };
            if let Some(owner) = unshared.get(&Told::read(data).call) {
                assert_eq!(owner, id, "an answer that is not to be stored was shared");
            }
        }
    }

    fn check_all_answered(&self, stage: &Stage) {
        let waiting: Vec<_> = self
            .asked
            .keys()
            .filter(|id| stage.is_waiting(id))
            .collect();
        assert!(waiting.is_empty(), "never answered: {waiting:?}");
        let outcomes = stage.metrics.iter().filter(|metric| {
            !matches!(
                metric.operation,
                Operation::Call | Operation::Fill | Operation::Invalidation
            )
        });
        assert_eq!(
            outcomes.count(),
            stage.answers.len(),
            "one metric for each answer"
        );
        for answered in stage.answers.values() {
            assert_ne!(answered.answer.stale_reason, Some(StaleReason::Overtaken));
        }
    }
}

fn check(instances: usize, topology: Topology, steps: Vec<Step>) {
    play_fleet(instances, topology, async |stage| {
        let mut facts = Facts::default();
        let behaviour = Behaviour {
            takes_secs: 2,
            names: vec![0],
            fails: None,
        };
        respond(stage, &facts, behaviour);
        for (number, step) in steps.into_iter().enumerate() {
            take_step(stage, &mut facts, number, step).await;
        }
        stage.advance(secs(600)).await;
        facts.check_age_of_facts(stage);
        facts.check_whose_answer(stage);
        facts.check_all_answered(stage);
        for answered in stage.answers.values() {
            if let Some(data) = answered.answer.data.as_deref() {
                policies::check(&answered.answer, &Told::read(data).policy);
            }
        }
    });
}

/// How many interleavings are tried where `PROPTEST_CASES` does not say: some seconds' worth.
const CASES: u32 = 256;

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn no_interleaving_serves_what_the_log_has_forbidden(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check(1, production(), steps);
    }

    #[test]
    fn nor_does_any_between_two_instances_that_share_leases(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check(2, fleet(), steps);
    }
}
