use super::*;

const REFUSED: &str = "b:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection refused";

fn failure(code: RDKafkaErrorCode, words: &str) -> ReachFailure {
    let words = words.to_owned();
    let why = Why::of(code, &words).unwrap();
    ReachFailure { why, words }
}

fn refused() -> ReachFailure {
    failure(RDKafkaErrorCode::BrokerTransportFailure, REFUSED)
}

fn all_down() -> ReachFailure {
    failure(RDKafkaErrorCode::AllBrokersDown, "2/2 brokers are down")
}

/// A state, and the seconds since its start.
struct Course(ReachState, Instant);

impl Course {
    fn new() -> Self {
        Self(ReachState::new(), Instant::now())
    }

    fn at(&self, tenths: u64) -> Instant {
        self.1 + Duration::from_millis(tenths * 100)
    }

    fn fails(&mut self, tenths: u64, failure: ReachFailure) -> Vec<ReachLine> {
        let (broker, now) = (broker_of(&failure.words), self.at(tenths));
        self.0.failed(failure, broker, now)
    }

    fn answers(&mut self, tenths: u64) {
        let now = self.at(tenths);
        self.0.answered(now);
    }

    fn settles(&mut self, tenths: u64) -> Vec<ReachLine> {
        let now = self.at(tenths);
        self.0.settle(now)
    }
}

#[test]
fn an_outage_is_one_line_one_a_minute_and_one_at_its_end_whoever_reports_it() {
    let mut course = Course::new();
    course.answers(0);
    let mut lines = Vec::new();
    for tenth in 10..910 {
        // Eleven clients, each of which reports.
        for _ in 0..11 {
            lines.extend(course.fails(tenth, all_down()));
        }
        lines.extend(course.fails(tenth, refused()));
        lines.extend(course.settles(tenth));
    }
    course.answers(940);
    for tenth in 940..1100 {
        lines.extend(course.settles(tenth));
    }
    let notices = |line: ReachLine| match line {
        ReachLine::Away(failure, notice) => (failure.why.label(), notice),
        other => panic!("{other:?}"),
    };
    let told: Vec<_> = lines.into_iter().map(notices).collect();
    let [begins, lasts, over] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(*begins, ("connection_refused", Notice::Begins));
    assert!(
        matches!(lasts, ("connection_refused", Notice::Lasts { lasted, .. }) if lasted.as_secs() == 60)
    );
    assert!(
        matches!(over.1, Notice::Over { lasted, .. } if lasted.as_secs() == 93),
        "{over:?}"
    );
}

#[test]
fn a_moment_without_an_answer_is_no_outage() {
    let mut course = Course::new();
    assert!(course.fails(0, refused()).is_empty());
    assert!(course.settles(29).is_empty());
    assert!(course.0.awaits());
    course.answers(29);
    assert!(course.settles(90).is_empty() && course.0.is_away(course.at(90)).is_none());
}

#[test]
fn the_reason_that_says_most_is_told() {
    let mut course = Course::new();
    course.fails(0, all_down());
    course.fails(1, refused());
    course.fails(2, all_down());
    let lines = course.settles(31);
    assert_eq!(lines, [ReachLine::Away(refused(), Notice::Begins)]);
    // Until something answers; then it is another outage.
    course.answers(40);
    course.fails(41, all_down());
    let (_, failure) = course.0.is_away(course.at(80)).unwrap();
    assert_eq!(failure, &all_down());
}

#[test]
fn a_connection_that_was_closed_explains_why_nothing_is_answered_and_is_no_failure_by_itself() {
    let closed = failure(
        RDKafkaErrorCode::BrokerTransportFailure,
        "b:9092/bootstrap: Disconnected: broker might require SASL authentication",
    );
    let mut course = Course::new();
    course.0.hint = Some((course.at(0), closed.clone()));
    assert!(course.settles(50).is_empty() && course.0.failing_since.is_none());
    course.fails(50, all_down());
    let lines = course.settles(80);
    assert_eq!(lines, [ReachLine::Away(closed, Notice::Begins)]);
    // A connection that was closed long ago explains nothing.
    course.answers(90);
    course.fails(190, all_down());
    let (_, failure) = course.0.is_away(course.at(230)).unwrap();
    assert_eq!(failure, &all_down());
}

#[test]
fn one_broker_of_several_is_named_once_and_once_when_it_is_back() {
    let mut course = Course::new();
    let mut lines = Vec::new();
    for tenth in 0..600 {
        course.answers(tenth);
        if tenth % 5 == 0 {
            lines.extend(course.fails(tenth, refused()));
        }
        lines.extend(course.settles(tenth));
    }
    let away = ReachLine::BrokerAway {
        broker: "b:9092".to_owned(),
        words: REFUSED.to_owned(),
    };
    assert_eq!(lines, [away]);
    let now = course.at(600);
    assert!(course.0.connected(&["c:9092"], now).is_empty());
    let back = ReachLine::BrokerBack {
        broker: "b:9092".to_owned(),
        lasted: Duration::from_mins(1),
    };
    assert_eq!(course.0.connected(&["c:9092", "b:9092"], now), [back]);
    course.answers(600);
    assert!(course.settles(700).is_empty() && !course.0.awaits());
}

#[test]
fn after_an_outage_of_all_no_broker_is_named_that_is_back() {
    let mut course = Course::new();
    course.answers(0);
    for tenth in 1..100 {
        course.fails(tenth, refused());
    }
    course.answers(100);
    // A client that had not connected again yet.
    let lines = course.fails(105, refused());
    course.answers(110);
    assert!(lines.is_empty() && course.settles(200).len() == 1);
    assert!(course.settles(2000).is_empty() && !course.0.awaits());
}

#[test]
fn the_first_answer_counts_whatever_was_looked_at_before_it() {
    let reach = Reach::of("reach:4");
    reach.settle();
    reach.connected(std::iter::empty());
    assert!(!reach.has_answered());
    reach.answered();
    assert!(reach.has_answered() && reach.trouble().is_none());
}

#[test]
fn clients_of_one_address_share_a_state_and_say_where_to_look() {
    let (one, other) = (Reach::of("reach:1"), Reach::of("reach:2"));
    assert!(Arc::ptr_eq(&one, &Reach::of("reach:1")) && !Arc::ptr_eq(&one, &other));
    one.set_by("kafka.bootstrap_servers (WEDCACHE_KAFKA)");
    assert!(one.failed(RDKafkaErrorCode::BrokerTransportFailure, REFUSED));
    assert!(!one.failed(RDKafkaErrorCode::UnknownTopicOrPartition, "a"));
    assert_eq!(one.trouble(), None);
    let trouble = one.trouble_of(&refused(), Timestamp(0));
    let wanted = "b:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (reach:1): Does a broker listen there? Check host and port in kafka.bootstrap_servers (WEDCACHE_KAFKA)";
    assert_eq!((&*trouble.detail, trouble.down), (wanted, true));
}

#[tokio::test]
async fn a_missing_permission_is_told_once_whichever_client_meets_it() {
    let (captured, _guard) =
        wedcache_model::trouble::captured::Captured::begin(tracing::Level::INFO);
    let reach = Reach::of("reach:3");
    for _ in 0..100 {
        reach.denied(
            "c-1",
            "Read on group g",
            "Broker: Group authorization failed",
        );
        reach.denied(
            "c-2",
            "Read on group g",
            "Broker: Group authorization failed",
        );
    }
    reach.denied(
        "c-2",
        "Write on topic t",
        "Broker: Topic authorization failed",
    );
    assert_eq!(captured.lines_with(&["ACL", "Read on group g"]), 1);
    assert_eq!(captured.lines_with(&["ACL", "Write on topic t"]), 1);
}
