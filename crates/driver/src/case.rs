//! A test case of a topology, run from a fresh state.

use std::io;
use std::sync::Arc;

use wedcache_rules::topology::Topology;
use wedcache_rules::topology::cases::{Action, Case};

use super::expect::{self, Difference};
use super::provider::replies;
use super::{Driver, Idle, stopped};

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaseResult {
    Passed,
    /// At the first expectation that does not hold; what comes after it rests on it.
    Failed {
        /// The line of the file on which that expectation stands.
        line: usize,
        differences: Vec<Difference>,
    },
}

/// Runs a case on a clock, a provider and layers of its own.
pub fn run(topology: &Arc<Topology>, case: &Case) -> io::Result<CaseResult> {
    stopped::run(async |idle: Idle| {
        let respond = replies(case.replies.clone());
        let mut driver = Driver::new(Arc::clone(topology), case.now, respond, idle);
        play(&mut driver, case).await
    })
}

async fn play(driver: &mut Driver, case: &Case) -> CaseResult {
    for step in &case.steps {
        match &step.action {
            Action::Query(query) => driver.query(query),
            Action::VendorChange(change) => driver.vendor_change(change),
            Action::WeddingUpdate(update) => driver.wedding_update(update),
            Action::Record(record) => driver.record(record.clone()),
            Action::Advance(by) => driver.advance(*by).await,
            Action::Expect(expected) => {
                let differences = expect::compare(expected, &driver.take());
                if !differences.is_empty() {
                    return CaseResult::Failed {
                        line: step.line,
                        differences,
                    };
                }
            }
        }
        driver.settle().await;
    }
    CaseResult::Passed
}

#[cfg(test)]
mod tests {
    use super::*;
    use wedcache_rules::topology::{self, Variables};

    const DEMO: &str = include_str!("../../../topologies/demo.yaml");

    fn read(text: &str) -> Arc<Topology> {
        let loaded = topology::read("demo.yaml", text, Variables::Unresolved);
        Arc::new(
            loaded
                .unwrap_or_else(|problems| panic!("{problems}"))
                .topology,
        )
    }

    /// The demo's file with other test cases.
    fn with_tests(tests: &str) -> Arc<Topology> {
        let (rest, _) = DEMO.split_once("\ntests:\n").unwrap();
        read(&format!("{rest}\ntests:\n{tests}"))
    }

    #[test]
    fn the_shipped_topologies_pass_their_own_cases() {
        for text in [DEMO, include_str!("../../../topologies/wedsync.yaml")] {
            let topology = read(text);
            assert!(!topology.cases.is_empty());
            for case in &topology.cases {
                let verdict = run(&topology, case).unwrap();
                assert_eq!(verdict, CaseResult::Passed, "{}", case.name);
            }
        }
    }

    #[test]
    fn each_kind_of_wrong_expectation_is_told_with_its_line() {
        const CASE: &str = r#"
  - name: wrong in everything
    now: 2026-11-22T10:00:00Z
    replies: [{reply: {text: "Ask v-17"}}]
    steps:
      - query:
          queryId: q-1
          query: {type: vendor_matching, content: "Who?"}
          weddingContext: {location: {city: Austin, state: TX}}
      - vendor_change: {eventId: e-1, vendorId: v-17, change: menu_changed}
      - record: {topic: queries, key: k-1, value: {text: "[]"}}
      - expect:
          calls: 2
          answers:
            - {queryId: q-1, data: "Ask v-18", source: cache, tags: ["vendor_matching|vendor=v-18"]}
            - {queryId: q-1}
          invalidations: []
          metrics: [{operation: hit}, {operation: miss}, {operation: call}]
          deadLetters: [{reason: unreadable_json}]
"#;
        let topology = with_tests(CASE);
        let case = &topology.cases[0];
        let CaseResult::Failed { line, differences } = run(&topology, case).unwrap() else {
            panic!("it passed")
        };
        assert_eq!(line, case.line + 10);
        let text: String = differences.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(text);
    }
}
