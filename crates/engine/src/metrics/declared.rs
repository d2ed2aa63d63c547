//! The declaration of every metric. `docs/metrics.md` lists them, which a test checks.

/// The declaration of a metric: its name, labels and meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declared {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

macro_rules! declare {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(pub(super) const $constant: Declared = Declared {
            name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help,
        };)+
        /// Every metric of the program, besides the `process_*` ones of the client library.
        pub const DECLARED: &[Declared] = &[$($constant),+];
    };
}

declare! {
    QUERIES = Counter "wedcache_queries_total" ["cache_type", "outcome"]
        "Queries answered, by outcome: hit, stale_hit, miss, bypass, expired, failure.";
    QUERY_SECONDS = Histogram "wedcache_query_duration_seconds" ["outcome"]
        "From taking a query from Kafka to handing its answer to the producer.";
    COALESCED = Counter "wedcache_queries_coalesced_total" ["cache_type"]
        "Queries answered by another query's call.";
    SAVED = Counter "wedcache_saved_usd_total" ["cache_type"]
        "What the answers from the cache or another query's call would have cost, in USD.";
    LOOKUPS = Counter "wedcache_layer_lookups_total" ["layer", "result"]
        "Lookups by layer: hit, miss, refused (found, but forbidden or too old; in memory a miss), unavailable.";
    FILLS = Counter "wedcache_layer_fills_total" ["layer", "result"]
        "Fills by layer: stored, kept_newer, unavailable, pending (not acknowledged in time).";
    LAYER_FAILURES = Counter "wedcache_layer_failures_total" ["layer", "reason"]
        "What failed in a layer, by reason. Of disk: full, refused, gone, corrupt, io, overloaded, ended; of redis its error codes in lower case, or max_clients, protocol, timeout, connection, overloaded, unreadable, other.";
    LEASES = Counter "wedcache_leases_total" ["result"]
        "Calls that asked the other instances first: held (this instance calls), not_needed (another's answer came), unavailable (called without a lease).";
    FILLS_OVERTAKEN = Counter "wedcache_fills_overtaken_total" []
        "Answers not stored because a purge had overtaken them.";
    POLICY_READINGS = Counter "wedcache_policy_readings_total" ["result"]
        "Readings of the topology file while the program runs: applied, unchanged, refused (the policy in force stays).";
    ATTEMPTS = Counter "wedcache_provider_attempts_total" ["provider", "result"]
        "Calls as the resolver sees them: ok, or the error's code.";
    REQUESTS = Counter "wedcache_provider_requests_total" ["provider"]
        "Requests sent to the provider, retries included.";
    TOKENS = Counter "wedcache_provider_tokens_total" ["provider", "kind"]
        "Tokens billed: prompt, completion.";
    COST = Counter "wedcache_provider_cost_usd_total" ["provider"]
        "Money spent on calls whose price is known, in USD.";
    PRICED_CALLS = Counter "wedcache_provider_priced_calls_total" ["provider", "cost"]
        "Calls that were or may have been charged for, by whether their cost is known or unknown.";
    PROVIDER_STATE = Gauge "wedcache_provider_breaker_state" ["provider"]
        "Circuit breaker: 0 closed, 1 half-open, 2 open.";
    PROVIDER_CALLS = Gauge "wedcache_provider_calls" ["provider", "state"]
        "Calls now: running, waiting for their turn.";
    FLIGHTS = Gauge "wedcache_flights_open" []
        "Calls on their way whose answers are not yet stored.";
    RECORDS = Counter "wedcache_records_total" ["input", "result"]
        "Input records: event, null, dead_letter, parked; of changes also heartbeat, judged_late.";
    DEAD_LETTERS = Counter "wedcache_dead_letters_total" ["input", "reason"]
        "Records handed to the dead-letter topic, by reason.";
    INVALIDATIONS = Counter "wedcache_invalidations_total" ["rule", "mode"]
        "Records appended to the invalidation log, by rule and mode.";
    CONDITION_FAILURES = Counter "wedcache_rule_condition_failures_total" ["rule"]
        "Conditions that could not be evaluated on an event and so counted as holding.";
    WIDENED = Counter "wedcache_changes_widened_total" ["input", "reach"]
        "Changes whose invalidation was widened: to their key, or to whole types.";
    LOG_POSITION = Gauge "wedcache_log_position" []
        "The next offset of the invalidation log that this instance will apply.";
    LOG_LAG = Gauge "wedcache_log_lag_seconds" []
        "How long ago this instance was last known to have applied the whole log.";
    RULES_LAG = Gauge "wedcache_rules_lag_seconds" []
        "How long ago all change events were last known to have been judged.";
    LAG_STATE = Gauge "wedcache_lag_state" ["state"]
        "1 for what lookups do now about the lag: current, label, bypass.";
    TAGS = Gauge "wedcache_tag_table_tags" [] "Tags in the tag table.";
    LAYER_ENTRIES = Gauge "wedcache_layer_entries" ["layer"] "Entries in the layer.";
    LAYER_BYTES = Gauge "wedcache_layer_bytes" ["layer"] "Bytes held by the layer.";
    LAYER_STATE = Gauge "wedcache_layer_breaker_state" ["layer"]
        "Circuit breaker: 0 closed, 1 half-open, 2 open; of redis the worst of its reads' and its writes'.";
    INTAKE_RECORDS = Gauge "wedcache_intake_in_flight_records" ["stage"]
        "Records taken and not yet finished.";
    INTAKE_BYTES = Gauge "wedcache_intake_in_flight_bytes" ["stage"]
        "Bytes of the records taken and not yet finished.";
    INTAKE_PAUSED = Gauge "wedcache_intake_paused" ["stage"]
        "1 while the intake is paused by back-pressure.";
    INTAKE_PARTITIONS = Gauge "wedcache_intake_partitions" ["stage"]
        "Partitions assigned to this instance.";
    INTAKE_OLDEST = Gauge "wedcache_intake_oldest_unfinished_seconds" ["stage"]
        "Age of the oldest record taken and not yet finished.";
    INTAKE_LATE = Counter "wedcache_intake_late_finishes_total" ["stage"]
        "Records finished after their partition had gone to another instance.";
    INTAKE_REBALANCES = Counter "wedcache_intake_rebalances_total" ["stage", "event"]
        "Partitions that came and went: assigned, revoked (of them handed_over with calls under way), lost (thrown out of the group).";
    TOPICS_RECREATED = Counter "wedcache_intake_topics_recreated_total" ["stage"]
        "Partitions started over because their topic had been deleted and made again.";
    CONSUMER_LAG = Gauge "wedcache_consumer_lag_records" ["group", "topic"]
        "Records from the first unfinished one to the end, over the topic's partitions that this instance holds; absent while it holds none.";
    CONSUMER_LAG_MAX = Gauge "wedcache_consumer_lag_max_records" ["group", "topic"]
        "The same of the partition that lags most.";
    OUTPUT_FAILURES = Counter "wedcache_output_failures_total" ["output"]
        "Records that the producer gave up on.";
    OUTPUT_DROPPED = Counter "wedcache_output_dropped_total" ["output"]
        "Metric records dropped because their queue was full.";
    OUTPUT_QUEUE = Gauge "wedcache_output_queue_records" ["output"]
        "Records taken by the producer and not yet acknowledged.";
    LOG_GONE = Gauge "wedcache_log_gone" [] "1 while the invalidation log's topic does not exist.";
    READY = Gauge "wedcache_ready" [] "1 while /readyz says yes.";
    INFO = Gauge "wedcache_build_info" ["version"] "1, by version.";
}
