use super::*;

fn from(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
    |name| {
        let (_, value) = pairs.iter().find(|(known, _)| *known == name)?;
        Some((*value).to_owned())
    }
}

#[track_caller]
fn load(file: &str, text: &str) -> Topology {
    match read(file, text, Variables::From(&from(&[]))) {
        Ok(loaded) => {
            assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
            loaded.topology
        }
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn the_production_topology_is_valid_without_any_environment() {
    let topology = load(
        "wedsync.yaml",
        include_str!("../../topologies/wedsync.yaml"),
    );
    assert_eq!(topology.catalog.types().len(), 7);
}

#[test]
fn the_demo_topology_is_valid_without_any_environment() {
    let topology = load("demo.yaml", include_str!("../../topologies/demo.yaml"));
    assert!(topology.layers.redis.is_none());
}
