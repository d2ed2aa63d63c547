//! Who joins which flight and who is given which call's answer, predicted from the definition
//! alone: a list of the log, a list of flights, and no cleverness.
//!
//! A flight that lands sends on those whom a change forbids its answer; which of them looks up
//! first is the scheduler's choice. The model tries both orders, and says nothing where it matters.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use wedcache_model::Mode;

use super::*;

const VENDORS: usize = 3;
const WEDDINGS: usize = 2;

/// What an invalidation is about, within the one cache type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Vendor(usize),
    Wedding(usize),
}

#[derive(Debug, Clone)]
enum Step {
    Ask(Asks),
    Change(About, Mode),
    Advance(u64),
    /// Of the calls to come: seconds that they take, vendors that their answers name.
    Respond(u64, Vec<usize>),
}

#[derive(Debug, Clone)]
struct Asks {
    /// Part of the key.
    vendor: Option<usize>,
    wedding: Option<usize>,
    bypass: bool,
    max_age_secs: Option<u64>,
}

fn step() -> impl Strategy<Value = Step> {
    let asks = (
        prop::option::weighted(0.3, 0..1_usize),
        prop::option::of(0..WEDDINGS),
        prop::bool::weighted(0.1),
        prop::option::weighted(0.15, 0_u64..6),
    );
    let about = prop_oneof![
        3 => (0..VENDORS).prop_map(About::Vendor),
        2 => (0..WEDDINGS).prop_map(About::Wedding),
    ];
    let mode = prop_oneof![2 => Just(Mode::Purge), 1 => Just(Mode::Refresh)];
    prop_oneof![
        8 => asks.prop_map(|(vendor, wedding, bypass, max_age_secs)| {
            Step::Ask(Asks { vendor, wedding, bypass, max_age_secs })
        }),
        4 => (about, mode).prop_map(|(about, mode)| Step::Change(about, mode)),
        4 => (0_u64..4).prop_map(Step::Advance),
        2 => (1_u64..7, prop::collection::vec(0..VENDORS, 0..3))
            .prop_map(|(takes, names)| Step::Respond(takes, names)),
    ]
}

/// No two calls that began at one moment land at one moment.
fn takes_ms(secs: u64, call: u32) -> i64 {
    i64::try_from(secs * 1000).unwrap() + i64::from(call % 97)
}

#[derive(Debug, Clone)]
struct Waiter {
    id: usize,
    asks: Asks,
    arrival: i64,
    arrived_ms: i64,
    boardings: u32,
}

impl Waiter {
    fn asker(&self) -> impl Iterator<Item = About> {
        self.asks.wedding.into_iter().map(About::Wedding)
    }

    fn wants_younger_than(&self, called_ms: i64) -> bool {
        let age = self.asks.max_age_secs;
        age.is_some_and(|age| called_ms < self.arrived_ms - i64::try_from(age * 1000).unwrap())
    }
}

#[derive(Debug, Clone)]
struct Flying {
    call: u32,
    key: Option<usize>,
    stamp: i64,
    called_ms: i64,
    lands_ms: i64,
    names: Vec<usize>,
    aboard: Vec<Waiter>,
}

#[derive(Debug, Clone)]
struct Stored {
    call: u32,
    stamp: i64,
    called_ms: i64,
    tags: Vec<About>,
}

/// The definition, in lists.
#[derive(Debug, Default)]
struct Model {
    log: Vec<(i64, About, Mode)>,
    position: i64,
    now_ms: i64,
    takes_secs: u64,
    names: Vec<usize>,
    calls: u32,
    flying: Vec<Flying>,
    /// The call of the newest flight of each key.
    joinable: HashMap<Option<usize>, u32>,
    stored: HashMap<Option<usize>, Stored>,
    answers: BTreeMap<usize, u32>,
    /// In which order those whom a landing sends on look up.
    backwards: bool,
    /// Two flights landed at one moment: anything may have come first.
    ambiguous: bool,
}

impl Model {
    fn hit(&self, tags: impl IntoIterator<Item = About>, from: i64, to: i64) -> Option<Mode> {
        let tags: Vec<_> = tags.into_iter().collect();
        let hits = self
            .log
            .iter()
            .filter(|(at, about, _)| (from..to).contains(at) && tags.contains(about));
        // A purge outweighs every refresh.
        hits.map(|(_, _, mode)| *mode)
            .reduce(|a, b| if a == Mode::Purge { a } else { b })
    }

    fn resolve(&mut self, waiter: Waiter) {
        if !waiter.asks.bypass
            && let Some(call) = self.look_up(&waiter)
        {
            self.answers.insert(waiter.id, call);
            return;
        }
        let may_join = !waiter.asks.bypass && waiter.boardings < 3;
        match self.good_flight(&waiter).filter(|_| may_join) {
            Some(at) => self.flying[at].aboard.push(waiter),
            None => self.take_off(waiter.asks.vendor, vec![waiter]),
        }
    }

    fn look_up(&mut self, waiter: &Waiter) -> Option<u32> {
        let key = waiter.asks.vendor;
        let stored = self.stored.get(&key)?.clone();
        if waiter.wants_younger_than(stored.called_ms) {
            return None;
        }
        let tags = stored.tags.iter().copied().chain(waiter.asker());
        match self.hit(tags, stored.stamp, i64::MAX) {
            None => Some(stored.call),
            Some(Mode::Refresh) => {
                if self.good_flight(waiter).is_none() {
                    self.take_off(key, Vec::new());
                }
                Some(stored.call)
            }
            Some(Mode::Purge) => {
                let own = self.hit(stored.tags.iter().copied(), stored.stamp, i64::MAX);
                if own == Some(Mode::Purge) {
                    self.stored.remove(&key);
                }
                None
            }
        }
    }

    /// A waiter joins only a flight that none of its known tags has overtaken.
    fn good_flight(&self, waiter: &Waiter) -> Option<usize> {
        let key = waiter.asks.vendor;
        let newest = self.joinable.get(&key)?;
        let at = self.flying.iter().position(|of| of.call == *newest)?;
        let flight = &self.flying[at];
        let known = key.into_iter().map(About::Vendor).chain(waiter.asker());
        let overtaken = self.hit(known, flight.stamp, waiter.arrival).is_some();
        (!overtaken && !waiter.wants_younger_than(flight.called_ms)).then_some(at)
    }

    fn take_off(&mut self, key: Option<usize>, aboard: Vec<Waiter>) {
        self.calls += 1;
        self.joinable.insert(key, self.calls);
        self.flying.push(Flying {
            call: self.calls,
            key,
            stamp: self.position,
            called_ms: self.now_ms,
            lands_ms: self.now_ms + takes_ms(self.takes_secs, self.calls),
            names: self.names.clone(),
            aboard,
        });
    }

    fn advance_to(&mut self, end_ms: i64) {
        while let Some(at) = (0..self.flying.len()).min_by_key(|at| self.flying[*at].lands_ms) {
            let next = self.flying[at].lands_ms;
            if next > end_ms {
                break;
            }
            self.now_ms = next;
            let flight = self.flying.remove(at);
            self.ambiguous |= self.flying.iter().any(|other| other.lands_ms == next);
            self.land(flight);
        }
        self.now_ms = end_ms;
    }

    fn land(&mut self, flight: Flying) {
        let named = flight.key.iter().chain(&flight.names).copied();
        let tags: Vec<_> = named.map(About::Vendor).collect();
        let older = self
            .stored
            .get(&flight.key)
            .is_some_and(|held| (held.stamp, held.called_ms) >= (flight.stamp, flight.called_ms));
        let purged = self.hit(tags.iter().copied(), flight.stamp, i64::MAX) == Some(Mode::Purge);
        if !older && !purged {
            let stored = Stored {
                call: flight.call,
                stamp: flight.stamp,
                called_ms: flight.called_ms,
                tags: tags.clone(),
            };
            self.stored.insert(flight.key, stored);
        }
        if self.joinable.get(&flight.key) == Some(&flight.call) {
            self.joinable.remove(&flight.key);
        }
        let (mut given, mut sent_on) = (Vec::new(), Vec::new());
        for waiter in flight.aboard {
            let all = tags.iter().copied().chain(waiter.asker());
            match self.hit(all, flight.stamp, waiter.arrival) {
                None => given.push(waiter.id),
                Some(_) => sent_on.push(waiter),
            }
        }
        for id in given {
            self.answers.insert(id, flight.call);
        }
        if self.backwards {
            sent_on.reverse();
        }
        for mut waiter in sent_on {
            waiter.boardings += 1;
            self.resolve(waiter);
        }
    }
}

/// What both orders predict, side by side with what the resolver does.
struct Beside<'a> {
    stage: &'a mut Stage,
    models: [Model; 2],
    respond: Arc<parking_lot::Mutex<(u64, Vec<usize>)>>,
    begin_ms: i64,
}

impl Beside<'_> {
    async fn take(&mut self, number: usize, step: Step) {
        match step {
            Step::Ask(asks) => self.ask(number, asks).await,
            Step::Change(about, mode) => self.change(about, mode).await,
            Step::Advance(by) => self.advance(by).await,
            Step::Respond(takes, names) => {
                for model in &mut self.models {
                    (model.takes_secs, model.names) = (takes, names.clone());
                }
                *self.respond.lock() = (takes, names);
            }
        }
    }

    async fn ask(&mut self, number: usize, asks: Asks) {
        let mut query = query(&format!("q-{number}"), SHARED);
        query.query.vendor_ids = asks.vendor.iter().map(|of| format!("v-{of}")).collect();
        query.wedding_context.wedding_id = asks.wedding.map(|of| format!("w-{of}"));
        query.options.bypass_cache = asks.bypass;
        query.options.max_age = asks.max_age_secs.map(secs);
        for model in &mut self.models {
            model.resolve(Waiter {
                id: number,
                asks: asks.clone(),
                arrival: model.position,
                arrived_ms: model.now_ms,
                boardings: 0,
            });
        }
        self.stage.begin(&query).await;
    }

    async fn change(&mut self, about: About, mode: Mode) {
        let before = self.stage.log.len();
        match (about, mode) {
            (About::Vendor(of), Mode::Purge) => {
                let event = change(&format!("v-{of}"), "availability_changed");
                self.stage.vendor_change(&event).await;
            }
            (About::Vendor(of), Mode::Refresh) => {
                let event = change(&format!("v-{of}"), "details_changed");
                self.stage.vendor_change(&event).await;
            }
            (About::Wedding(of), Mode::Purge) => {
                let event = update(&format!("w-{of}"), "cancelled");
                self.stage.wedding_update(&event).await;
            }
            (About::Wedding(of), Mode::Refresh) => {
                let event = update(&format!("w-{of}"), "style_changed");
                self.stage.wedding_update(&event).await;
            }
        }
        let of_the_type = self.stage.log[before..]
            .iter()
            .filter(|(_, _, record)| record.tag.starts_with(&format!("{SHARED}|")))
            .map(|(_, offset, record)| (*offset, about, record.mode));
        let records: Vec<_> = of_the_type.collect();
        assert_eq!(
            records.len(),
            1,
            "one record of the type a change: {records:?}"
        );
        for model in &mut self.models {
            model.log.extend(&records);
            model.position = self.stage.driver.view().0;
        }
    }

    async fn advance(&mut self, by: u64) {
        self.stage.advance(secs(by)).await;
        let now_ms = self.stage.driver.now().0 - self.begin_ms;
        for model in &mut self.models {
            model.advance_to(now_ms);
        }
    }
}

fn model(backwards: bool, position: i64) -> Model {
    Model {
        position,
        takes_secs: 2,
        names: vec![0],
        backwards,
        ..Model::default()
    }
}

/// Whether the model had something to say.
fn check(steps: &[Step]) -> bool {
    let mut topology = production();
    topology.deployment.layers.disk = None;
    let mut spoke = false;
    play_on(topology, async |stage| {
        let respond = Arc::new(parking_lot::Mutex::new((2_u64, vec![0_usize])));
        let shared = Arc::clone(&respond);
        stage.driver.respond(Box::new(move |call| {
            let (takes, names) = shared.lock().clone();
            let names: Vec<_> = names.iter().map(|of| format!("v-{of}")).collect();
            let takes = u64::try_from(takes_ms(takes, call.number)).unwrap();
            Scripted::text(format!("{}|{}", call.number, names.join(" ")))
                .after(Duration::from_millis(takes))
        }));
        let position = stage.driver.view().0;
        let begin_ms = stage.driver.now().0;
        let mut beside = Beside {
            stage,
            models: [model(false, position), model(true, position)],
            respond,
            begin_ms,
        };
        for (number, step) in steps.iter().enumerate() {
            beside.take(number, step.clone()).await;
        }
        beside.advance(120).await;
        let [forwards, backwards] = beside.models;
        if forwards.ambiguous || forwards.answers != backwards.answers {
            return;
        }
        spoke = true;
        let got: BTreeMap<usize, u32> = beside
            .stage
            .answers
            .iter()
            .map(|(id, answered)| {
                let data = answered.answer.data.as_deref().unwrap_or_default();
                let call = data.split('|').next().unwrap_or_default();
                (id[2..].parse().unwrap(), call.parse().unwrap_or(0))
            })
            .collect();
        assert_eq!(got, forwards.answers, "query → call");
        assert_eq!(
            beside.stage.calls.len(),
            usize::try_from(forwards.calls).unwrap(),
            "no call more and none less than the definition needs"
        );
    });
    spoke
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn who_joins_and_who_is_given_what_is_as_the_definition_says(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        prop_assume!(check(&steps));
    }
}
