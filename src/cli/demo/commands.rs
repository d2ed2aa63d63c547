//! The commands to try in another terminal while the demo runs; only kcat and a shell are needed.
//!
//! While the addresses are as short as the usual ones, no line is longer than 80 columns. A command
//! breaks only where a copied line break does no harm: after a `|`, and within JSON, from which
//! `tr` removes line breaks before kcat would see several records.

use crate::demo::YOURS;

/// The addresses of the demo.
#[derive(Debug, Clone, PartialEq)]
pub struct Addresses {
    /// The broker's address, for kcat's `-b`.
    pub kafka: String,
    /// The URL of the metrics.
    pub metrics: String,
}

/// A command with its purpose.
#[derive(Debug, PartialEq)]
pub struct Command {
    pub purpose: String,
    pub lines: Vec<String>,
}

/// Returns the commands that show what the stream does, in the order in which to try them.
pub fn commands(addresses: &Addresses) -> Vec<Command> {
    let Addresses { kafka, metrics } = addresses;
    let command = |purpose: &str, lines: &[String]| Command {
        purpose: purpose.to_owned(),
        lines: lines.to_vec(),
    };
    vec![
        command(
            &format!("watch what answers say of the florist v-{YOURS}"),
            &[
                format!("kcat -q -u -C -b {kafka} -t wedsync.ai.responses -o end |"),
                format!("  grep --line-buffered -o 'v-{YOURS} [^.]*'"),
            ],
        ),
        command(
            "close that florist: no later answer names it",
            &[
                format!(
                    r#"echo '{{"eventId":"e-1","vendorId":"v-{YOURS}","vendorType":"florist","#
                ),
                r#"  "change":"closed","location":{"city":"Miami","state":"FL"}}' | tr -d '\n' |"#
                    .to_owned(),
                format!("  kcat -q -P -b {kafka} -t wedsync.vendor.changes -k v-{YOURS}"),
            ],
        ),
        command(
            "ask a question, and read its answer",
            &[
                r#"echo '{"queryId":"mine-1","query":{"type":"menu_suggestions","content":"Fish?"},"#
                    .to_owned(),
                r#"  "weddingContext":{"location":{"city":"Miami","state":"FL"}}}' | tr -d '\n' |"#
                    .to_owned(),
                format!("  kcat -q -P -b {kafka} -t wedsync.ai.queries -k mine-1; sleep 2"),
                format!("kcat -q -C -b {kafka} -t wedsync.ai.responses -o -500 -e |"),
                r#"  sed -n 's/.*"mine-1".*"data":"\([^"]*\)".*/\1/p'"#.to_owned(),
            ],
        ),
        command(
            "read the metrics",
            &[format!(
                "curl -s {metrics} | grep wedcache_queries_total"
            )],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::{Decoded, Decoder, Schemas};

    fn addresses() -> Addresses {
        Addresses {
            kafka: "127.0.0.1:19092".to_owned(),
            metrics: "http://127.0.0.1:19464/metrics".to_owned(),
        }
    }

    #[test]
    fn the_commands_read_like_this_and_fit_80_columns() {
        let shown: Vec<_> = commands(&addresses())
            .into_iter()
            .map(|command| format!("# {}\n{}\n", command.purpose, command.lines.join("\n")))
            .collect();
        let shown = shown.concat();
        assert!(shown.lines().all(|line| line.len() <= 80), "{shown}");
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn the_readme_has_the_same_commands() {
        let readme = include_str!("../../../README.md");
        for command in commands(&addresses()).into_iter().take(3) {
            let text = command.lines.join("\n");
            assert!(readme.contains(&text), "README.md lacks\n{text}");
        }
    }

    /// Returns the text that the shell passes to kcat: the quoted text without its line breaks.
    fn sent(command: &Command) -> String {
        let text = command.lines.join("\n");
        text.split('\'').nth(1).unwrap().replace('\n', "")
    }

    #[test]
    fn what_they_send_can_be_read() {
        let commands = commands(&addresses());
        let decoder = Decoder::new(Arc::new(Schemas::embedded()), 65_536);
        let change = sent(&commands[1]);
        let event = decoder.decode_vendor_change(Some(change.as_bytes()));
        assert!(
            matches!(&event, Decoded::Event(of) if of.vendor_id == "v-3" && of.location.is_some()),
            "{change}"
        );
        let query = sent(&commands[2]);
        let event = decoder.decode_query(Some(query.as_bytes()));
        assert!(matches!(event, Decoded::Event(_)), "{query}");
    }
}
