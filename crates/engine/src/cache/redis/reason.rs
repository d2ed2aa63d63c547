//! The meaning of a Redis failure for the layer, by the error code that Redis replied.
//!
//! To a client library an error reply is a healthy exchange: the connection answers. Its meaning
//! for the layer differs by code, and [`TABLE`] defines it for each.

use wedcache_model::trouble::report;

/// The reason why a call to Redis failed. The label is Redis's own error code where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    WrongPass,
    NoAuth,
    NoPerm,
    Denied,
    Oom,
    ReadOnly,
    Misconf,
    NoReplicas,
    Moved,
    TryAgain,
    ClusterDown,
    Loading,
    MasterDown,
    Busy,
    NoScript,
    WrongType,
    MaxClients,
    /// A code that is not in the table.
    Other,
    /// The reply does not fit the command.
    Protocol,
    Timeout,
    /// No connection, or a broken one.
    Connection,
    /// One of our calls waited too long for its turn.
    Overloaded,
    /// A value that is not the entry or claim asked for.
    Unreadable,
}

/// The other calls that a failure affects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The server cannot be reached or does not speak Redis's protocol: no call will succeed.
    Path,
    /// The server answers; calls of the same kind, reads or writes, will be refused too.
    Kind,
    /// None: the failure concerns this key or this instance alone.
    Call,
}

/// The time at which a refusal causes the connection to be replaced. A new one may lead to another
/// server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renew {
    AtOnce,
    /// As soon as the failure opens the breaker.
    Repeated,
    /// Never, because any connection would meet the same failure.
    Never,
}

#[derive(Debug)]
struct Row {
    reason: Reason,
    label: &'static str,
    /// The error codes with this meaning.
    codes: &'static [&'static str],
    reach: Reach,
    renew: Renew,
    /// The meaning of the failure and the advice, for the log.
    advice: &'static str,
}

const fn row(
    reason: Reason,
    (label, codes): (&'static str, &'static [&'static str]),
    (reach, renew): (Reach, Renew),
    advice: &'static str,
) -> Row {
    Row {
        reason,
        label,
        codes,
        reach,
        renew,
        advice,
    }
}

use Reach::{Call, Kind, Path};
use Renew::{AtOnce, Never, Repeated};

/// The rows, in the order of [`Reason`].
#[rustfmt::skip]
const TABLE: &[Row] = &[
    row(Reason::WrongPass, ("wrongpass", &["WRONGPASS"]), (Kind, Repeated),
        "the user or password is wrong, or the user is off: correct the address"),
    row(Reason::NoAuth, ("noauth", &["NOAUTH"]), (Kind, AtOnce),
        "the server wants a password: put user and password into the address"),
    row(Reason::NoPerm, ("noperm", &["NOPERM"]), (Kind, Never),
        "the user lacks a permission: grant it PING, GET, EVALSHA, SCRIPT LOAD and, for the scripts, GETRANGE, SET and DEL on the layer's keys"),
    row(Reason::Denied, ("denied", &["DENIED"]), (Kind, Repeated),
        "the server is in protected mode: give it a password or bind it to an address"),
    row(Reason::Oom, ("oom", &["OOM"]), (Kind, Never),
        "the server is at maxmemory and evicts nothing: raise it, or set a maxmemory-policy that evicts"),
    // UNBLOCKED: the server became a replica while a command waited.
    row(Reason::ReadOnly, ("readonly", &["READONLY", "UNBLOCKED"]), (Kind, AtOnce),
        "the server is a replica: the address must lead to the primary"),
    row(Reason::Misconf, ("misconf", &["MISCONF"]), (Kind, Never),
        "the server cannot save its data and refuses writes: look at its disk and log"),
    // Also returned by a primary that was cut off while another one has been chosen.
    row(Reason::NoReplicas, ("noreplicas", &["NOREPLICAS"]), (Kind, AtOnce),
        "the primary has fewer replicas than min-replicas-to-write"),
    row(Reason::Moved, ("moved", &["MOVED", "ASK"]), (Kind, AtOnce),
        "the server is one node of a cluster: name the cluster under `server: {cluster: [...]}`"),
    row(Reason::TryAgain, ("tryagain", &["TRYAGAIN"]), (Kind, AtOnce),
        "the cluster is moving slots"),
    row(Reason::ClusterDown, ("clusterdown", &["CLUSTERDOWN"]), (Kind, AtOnce),
        "the cluster does not serve these keys, see CLUSTER INFO; all its nodes are to be named under `server: {cluster: [...]}`"),
    row(Reason::Loading, ("loading", &["LOADING"]), (Kind, AtOnce),
        "the server is loading its data"),
    row(Reason::MasterDown, ("masterdown", &["MASTERDOWN"]), (Kind, AtOnce),
        "the server is a replica that has lost its primary"),
    row(Reason::Busy, ("busy", &["BUSY"]), (Kind, Never),
        "somebody's script holds the server: SCRIPT KILL ends it"),
    row(Reason::NoScript, ("noscript", &["NOSCRIPT"]), (Kind, Repeated),
        "the server forgets a script that was just loaded: do calls go to different servers?"),
    row(Reason::WrongType, ("wrongtype", &["WRONGTYPE"]), (Call, Never),
        "another program keeps something else under the layer's keys: give one of them another prefix"),
    row(Reason::MaxClients, ("max_clients", &[]), (Path, AtOnce),
        "the server takes no more connections: raise maxclients, or find who leaves them open"),
    row(Reason::Other, ("other", &[]), (Kind, Repeated),
        "the server refuses: see the error"),
    row(Reason::Protocol, ("protocol", &["NOPROTO"]), (Path, AtOnce),
        "what answers does not speak Redis's protocol: check the address, and `rediss://` for TLS"),
    row(Reason::Timeout, ("timeout", &[]), (Path, Repeated),
        "the server or the way to it is slow"),
    row(Reason::Connection, ("connection", &[]), (Path, AtOnce),
        "the server cannot be reached: is it running, and is the address right?"),
    row(Reason::Overloaded, ("overloaded", &[]), (Call, Never),
        "calls waited too long for their turn: the server is slower than this instance asks"),
    row(Reason::Unreadable, ("unreadable", &[]), (Call, Never),
        "values are not what was asked for: another version of wedcache, or another program, writes under the same prefix"),
];

impl Reason {
    /// Derives the reason from an error reply.
    pub(super) fn of(code: &str, text: &str) -> Self {
        let of_code = |code: &str| TABLE.iter().find(|row| row.codes.contains(&code));
        if let Some(row) = of_code(code) {
            return row.reason;
        }
        // These come under the generic code ERR, so only their text distinguishes them.
        if text.contains("max number of clients") {
            return Self::MaxClients;
        }
        // Redis 7.0 replies this when a script does what its user may not.
        if text.contains("user executing the script") {
            return Self::NoPerm;
        }
        // Before Redis 7 an error within a script is `ERR Error running script (…): … -OOM …`.
        if text.contains("script") {
            let words = text.split([' ', ':', '-']);
            if let Some(row) = words.into_iter().find_map(of_code) {
                return row.reason;
            }
        }
        Self::Other
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    pub(super) fn reach(self) -> Reach {
        self.row().reach
    }

    /// Returns true if the connection is to be replaced. A cluster's client follows redirections
    /// and failovers by itself; failures that last are handled here for a cluster, too.
    pub(super) fn renews(self, cluster: bool, opened_breaker: bool) -> bool {
        match self.row().renew {
            AtOnce if !cluster || self.reach() == Path => true,
            AtOnce | Repeated => opened_breaker,
            Never => false,
        }
    }
}

impl report::Reason for Reason {
    const ALL: &'static [Self] = &{
        let mut all = [Self::Other; TABLE.len()];
        let mut at = 0;
        while at < all.len() {
            all[at] = TABLE[at].reason;
            at += 1;
        }
        all
    };

    fn label(self) -> &'static str {
        self.row().label
    }

    fn advice(self) -> &'static str {
        self.row().advice
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wedcache_model::trouble::report::Reason as _;

    #[test]
    fn the_table_stands_in_the_order_of_the_reasons_and_its_labels_and_codes_are_unique() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.reason as usize, at, "{row:?}");
            assert!(!row.advice.is_empty());
        }
        let labels: std::collections::HashSet<_> = TABLE.iter().map(|row| row.label).collect();
        assert_eq!(labels.len(), TABLE.len());
        let codes: Vec<_> = TABLE.iter().flat_map(|row| row.codes).collect();
        let unique: std::collections::HashSet<_> = codes.iter().collect();
        assert_eq!(unique.len(), codes.len());
    }

    #[test]
    fn operators_find_every_code_and_its_reason() {
        let docs = include_str!("../../../../../docs/operations.md");
        for row in TABLE.iter().filter(|row| !row.codes.is_empty()) {
            let line = |line: &&str| line.contains(&format!(" | `{}` | ", row.label));
            let line = docs.lines().find(line).unwrap_or_default();
            let named =
                |code: &&str| row.label == "protocol" || line.contains(&format!("`{code}`"));
            assert!(!line.is_empty() && row.codes.iter().all(named), "{row:?}");
            let replaced = match row.renew {
                AtOnce => "| at once |",
                Repeated => "| when it lasts |",
                Never => "| no |",
            };
            assert!(line.contains(replaced), "{row:?}: {line}");
        }
    }

    #[rustfmt::skip]
    const REPLIES: &[(&str, &str, Reach, bool)] = &[
        ("WRONGPASS invalid username-password pair or user is disabled.", "wrongpass", Kind, false),
        ("NOAUTH Authentication required.", "noauth", Kind, true),
        ("NOPERM User cache has no permissions to run the 'evalsha' command", "noperm", Kind, false),
        ("ERR The user executing the script can't run this command or subcommand", "noperm", Kind, false),
        ("DENIED Redis is running in protected mode because …", "denied", Kind, false),
        ("OOM command not allowed when used memory > 'maxmemory'.", "oom", Kind, false),
        ("READONLY You can't write against a read only replica.", "readonly", Kind, true),
        ("UNBLOCKED force unblock from blocking operation, instance state changed", "readonly", Kind, true),
        ("MISCONF Redis is configured to save RDB snapshots, but …", "misconf", Kind, false),
        ("NOREPLICAS Not enough good replicas to write.", "noreplicas", Kind, true),
        ("MOVED 3999 127.0.0.1:6381", "moved", Kind, true),
        ("ASK 3999 127.0.0.1:6381", "moved", Kind, true),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "tryagain", Kind, true),
        ("CLUSTERDOWN Hash slot not served", "clusterdown", Kind, true),
        ("LOADING Redis is loading the dataset in memory", "loading", Kind, true),
        ("MASTERDOWN Link with MASTER is down and …", "masterdown", Kind, true),
        ("BUSY Redis is busy running a script. You can only call SCRIPT KILL …", "busy", Kind, false),
        ("NOSCRIPT No matching script. Please use EVAL.", "noscript", Kind, false),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", "wrongtype", Call, false),
        ("ERR max number of clients reached", "max_clients", Path, true),
        ("ERR max number of clients + cluster connections reached", "max_clients", Path, true),
        ("NOPROTO unsupported protocol version", "protocol", Path, true),
        ("ERR Error running script (call to f_6f): @user_script:3: -OOM command not allowed", "oom", Kind, false),
        ("ERR Error running script (call to f_6f): @user_script:3: -READONLY You can't", "readonly", Kind, true),
        ("ERR Error running script (call to f_6f): @user_script:3: WRONGTYPE Operation", "wrongtype", Call, false),
        ("ERR unknown command 'EVALSHA'", "other", Kind, false),
        ("EXECABORT Transaction discarded", "other", Kind, false),
        ("WHATEVER comes next", "other", Kind, false),
    ];

    #[test]
    fn replies_of_redis_mean_what_they_say() {
        for (reply, label, reach, renews) in REPLIES {
            let (code, text) = reply.split_once(' ').unwrap();
            let reason = Reason::of(code, text);
            let found = (reason.label(), reason.reach(), reason.renews(false, false));
            assert_eq!(found, (*label, *reach, *renews), "{reply}");
        }
    }

    #[test]
    fn what_lasts_replaces_the_connection_where_another_server_could_do_better() {
        for (reason, repeated, in_cluster) in [
            (Reason::ReadOnly, true, false),
            (Reason::ClusterDown, true, false),
            (Reason::Connection, true, true),
            (Reason::Other, true, false),
            (Reason::Oom, false, false),
            (Reason::WrongType, false, false),
        ] {
            assert_eq!(reason.renews(false, true), repeated, "{reason:?}");
            assert_eq!(reason.renews(true, true), repeated, "{reason:?}");
            assert_eq!(reason.renews(true, false), in_cluster, "{reason:?}");
        }
    }
}
