use proptest::prelude::*;

use super::*;
use crate::ai::error::{CallPhase, ReplyProblem, Unreached};

fn site() -> Site {
    Site {
        name: "main".to_owned(),
        address: "https://host/v1".to_owned(),
        section: "providers.main.openai".to_owned(),
        key_variables: vec!["WEDCACHE_AI_KEY".to_owned()],
        url_variables: vec!["WEDCACHE_AI_URL".to_owned()],
        has_key: true,
    }
}

fn unauthorised() -> ProviderError {
    ProviderError::Unauthorised {
        status: 401,
        message: "invalid api key".to_owned(),
    }
}

fn limited() -> ProviderError {
    ProviderError::RateLimited {
        message: "slow down".to_owned(),
        retry_after: None,
    }
}

fn refused() -> ProviderError {
    ProviderError::Unreachable {
        why: Unreached::Refused,
        detail: "os error 111".to_owned(),
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Plays attempts at their seconds (`None` is an answer), polls once a second, and returns the
/// notices by second.
fn play(attempts: &[(u64, Option<ProviderError>)], until: u64) -> Vec<(u64, Notice)> {
    let start = Instant::now();
    let mut troubles = Troubles::new(site());
    let mut told = Vec::new();
    for second in 0..=until {
        let now = start + secs(second);
        for (_, error) in attempts.iter().filter(|(at, _)| *at == second) {
            troubles.attempt(error.as_ref(), now);
        }
        told.extend(troubles.notices(now).into_iter().map(|of| (second, of)));
    }
    told
}

type Shape = (u64, Level, Option<(&'static str, bool)>);

/// Returns the seconds, levels and alerts of the notices.
fn shape(told: &[(u64, Notice)]) -> Vec<Shape> {
    told.iter()
        .map(|(at, of)| {
            let alert = of.alert.as_ref().map(|alert| (alert.alert, alert.firing));
            (*at, of.level, alert)
        })
        .collect()
}

#[test]
fn a_provider_that_refuses_is_told_at_once_then_each_minute_and_at_its_end() {
    let mut attempts: Vec<_> = (0..130).map(|at| (at, Some(unauthorised()))).collect();
    attempts.push((130, None));
    let told = play(&attempts, 200);
    assert_eq!(
        shape(&told),
        [
            (0, Level::Error, Some(("provider_refuses", true))),
            (60, Level::Error, None),
            (120, Level::Error, None),
            (130, Level::Info, Some(("provider_refuses", false))),
        ]
    );
    let texts: Vec<&str> = told.iter().map(|(_, of)| of.text.as_str()).collect();
    let first = "401 from https://host/v1 (provider main): invalid api key; check providers.main.openai.api_key (WEDCACHE_AI_KEY)";
    assert_eq!(texts[0], first);
    assert_eq!(
        texts[1],
        format!("in the last minute 60 × 401; the last: {first}")
    );
    assert_eq!(
        texts[3],
        "https://host/v1 (provider main) answers again after 2m 10s; failed: 130 × 401"
    );
    let over = told[3].1.alert.as_ref().unwrap();
    assert_eq!((over.since, over.failures), (secs(130), 130));
}

#[track_caller]
fn check(error: ProviderError, level: Level, alert: Option<&str>, parts: [&str; 2]) {
    let told = play(&[(0, Some(error))], 0);
    let [(_, notice)] = told.as_slice() else {
        panic!("{told:?}");
    };
    let text = &notice.text;
    let found = notice.alert.as_ref().map(|of| of.alert);
    assert_eq!((notice.level, found), (level, alert), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

fn message() -> String {
    "its words".to_owned()
}

#[test]
fn a_provider_that_refuses_says_why_and_what_to_do() {
    let bad = |status| ProviderError::BadRequest {
        status,
        message: message(),
    };
    let refuses = |error, parts| check(error, Level::Error, Some("provider_refuses"), parts);
    let forbidden = ProviderError::Unauthorised {
        status: 403,
        message: message(),
    };
    refuses(
        forbidden,
        ["403 from", "may use providers.main.openai.model"],
    );
    let url = "providers.main.openai.base_url (WEDCACHE_AI_URL)";
    refuses(bad(404), ["404 from", url]);
    let no_money = ProviderError::OutOfFunds {
        status: 429,
        message: message(),
    };
    refuses(no_money, ["out of money from", "add credit"]);
    check(bad(400), Level::Warn, None, ["400 from", "its words"]);
}

#[test]
fn a_provider_that_is_away_says_why_and_what_to_do() {
    let away = |error, parts| check(error, Level::Warn, Some("provider_away"), parts);
    let unreachable = |why| ProviderError::Unreachable {
        why,
        detail: message(),
    };
    let timeout = |phase| ProviderError::Timeout {
        phase,
        after: secs(30),
    };
    away(limited(), ["429 from", "providers.main.openai.concurrency"]);
    let busy = ProviderError::Unavailable {
        status: 503,
        message: message(),
        retry_after: None,
    };
    away(busy, ["503 from", "status"]);
    let lost = ProviderError::Gateway {
        status: 504,
        message: message(),
    };
    away(lost, ["504 from", "charged"]);
    let cut = ProviderError::CutOff { detail: message() };
    away(cut, ["a broken connection from", "charged"]);
    let name = "cannot reach https://host/v1 (provider main): name not found: its words";
    away(unreachable(Unreached::Name), [name, "name servers"]);
    away(
        unreachable(Unreached::Refused),
        ["connection refused", "listens"],
    );
    away(unreachable(Unreached::Tls), ["TLS failed", "certificate"]);
    away(
        timeout(CallPhase::Connect),
        ["no connection from", "within 30s"],
    );
    away(
        timeout(CallPhase::FirstByte),
        ["no complete reply from", "first_byte_timeout"],
    );
    let page = ProviderError::Unusable {
        problem: ReplyProblem::NotJson,
    };
    away(page, ["an unusable reply from", "it is not JSON"]);
}

#[test]
fn a_key_that_is_missing_is_named_as_such() {
    let mut troubles = Troubles::new(Site {
        has_key: false,
        ..site()
    });
    let now = Instant::now();
    troubles.attempt(Some(&unauthorised()), now);
    let text = &troubles.notices(now)[0].text;
    assert!(
        text.ends_with("set providers.main.openai.api_key (WEDCACHE_AI_KEY): it is empty"),
        "{text}"
    );
}

#[test]
fn reasons_are_counted_together_and_calls_that_were_not_made_with_them() {
    let start = Instant::now();
    let mut troubles = Troubles::new(site());
    troubles.attempt(Some(&refused()), start);
    assert_eq!(troubles.notices(start).len(), 1);
    for second in 5..9 {
        troubles.attempt(Some(&limited()), start + secs(second));
        troubles.suspended(start + secs(second));
        let told = troubles.notices(start + secs(second));
        // A new reason is reported at once, a known one is only counted.
        assert_eq!(told.len(), usize::from(second == 5), "{told:?}");
    }
    troubles.attempt(Some(&refused()), start + secs(10));
    let told = troubles.notices(start + secs(60));
    let counts = "in the last minute 4 × not sent while calls are suspended, 3 × 429, 1 × connection refused; the last: cannot reach";
    assert!(told[0].text.starts_with(counts), "{}", told[0].text);
}

#[test]
fn a_trouble_that_comes_and_goes_is_told_once_a_minute_at_most() {
    // One call in three fails, for ten minutes.
    let attempts: Vec<_> = (0..600)
        .map(|at| (at, (at % 3 == 0).then(limited)))
        .collect();
    let told = play(&attempts, 700);
    let shape = shape(&told);
    assert_eq!(shape[0], (0, Level::Warn, Some(("provider_away", true))));
    assert_eq!(shape.last().unwrap().2, Some(("provider_away", false)));
    assert!(shape.len() <= 13, "{shape:?}");
}

#[test]
fn what_a_retry_heals_at_once_is_not_told() {
    assert_eq!(play(&[(3, Some(limited())), (3, None)], 100), []);
}

#[test]
fn one_trouble_does_not_end_another_but_an_answer_ends_all() {
    let told = play(
        &[(0, Some(unauthorised())), (1, Some(refused())), (5, None)],
        60,
    );
    let alerts: Vec<_> = shape(&told).into_iter().filter_map(|of| of.2).collect();
    assert_eq!(
        alerts,
        [
            ("provider_refuses", true),
            ("provider_away", true),
            ("provider_refuses", false),
            ("provider_away", false),
        ]
    );
    // A provider that refuses is not away.
    let told = play(&[(0, Some(refused())), (1, Some(unauthorised()))], 60);
    let alerts: Vec<_> = shape(&told).into_iter().filter_map(|of| of.2).collect();
    assert_eq!(alerts.last(), Some(&("provider_away", false)));
    // A question that the model declines was let in.
    let declined = ProviderError::Refused {
        message: String::new(),
    };
    let told = play(&[(0, Some(unauthorised())), (1, Some(declined))], 60);
    assert_eq!(told.len(), 2);
}

#[test]
fn what_was_not_sent_says_nothing_of_the_provider() {
    let not_sent = [
        ProviderError::DeadlinePassed,
        ProviderError::CircuitOpen {
            retry_after: secs(1),
        },
    ];
    let mut attempts = vec![(0, Some(refused()))];
    attempts.extend(not_sent.map(|error| (5, Some(error))));
    assert_eq!(play(&attempts, 300).len(), 1);
}

proptest! {
    /// However calls fail: each of four reasons has at most one line a minute, each kind of trouble
    /// a summary and an end in addition, and every alert that fires is resolved once the provider
    /// answers for long enough.
    #[test]
    fn lines_are_few_and_alerts_end(steps in prop::collection::vec((0_u64..20, 0_usize..6), 1..200)) {
        let bad = ProviderError::BadRequest { status: 400, message: String::new() };
        let errors = [None, Some(unauthorised()), Some(refused()), Some(limited()), None, Some(bad)];
        let mut at = 0;
        let mut attempts = Vec::new();
        for (after, what) in steps {
            at += after;
            attempts.push((at, errors[what].clone()));
        }
        attempts.push((at + 1, None));
        let until = at + 130;
        let told = play(&attempts, until);
        let minutes = usize::try_from(until / 60 + 1).unwrap();
        prop_assert!(told.len() <= 11 * (minutes + 1), "{} lines in {} minutes", told.len(), minutes);
        for name in ["provider_refuses", "provider_away"] {
            let changes: Vec<bool> = told
                .iter()
                .filter_map(|(_, of)| of.alert.as_ref())
                .filter(|alert| alert.alert == name)
                .map(|alert| alert.firing)
                .collect();
            prop_assert!(changes.iter().enumerate().all(|(n, firing)| *firing == (n % 2 == 0)), "{:?}", changes);
            prop_assert!(changes.len().is_multiple_of(2), "{:?}", changes);
        }
    }
}
