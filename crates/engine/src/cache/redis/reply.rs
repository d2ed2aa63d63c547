//! Strict reading of replies: one that does not exactly fit the command is a failure, never a miss,
//! a hit or a success.
//!
//! The client's own conversions are lenient (for example, `+OK` reads as true), so a server of
//! another kind, or a proxy that answers for it, could pass for a Redis that stored something.

use redis::Value;

/// A type of reply; `read` returns `None` if the value is not such a reply.
pub(super) trait Reply: Sized {
    fn read(reply: Value) -> Option<Self>;
}

/// A value, or the reply that there is none.
impl Reply for Option<Vec<u8>> {
    fn read(reply: Value) -> Option<Self> {
        match reply {
            Value::Nil => Some(None),
            Value::BulkString(bytes) => Some(Some(bytes)),
            _ => None,
        }
    }
}

/// A script's 1 or 0.
impl Reply for bool {
    fn read(reply: Value) -> Option<Self> {
        match reply {
            Value::Int(0) => Some(false),
            Value::Int(1) => Some(true),
            _ => None,
        }
    }
}

/// The 0 of a script without a result.
impl Reply for () {
    fn read(reply: Value) -> Option<Self> {
        (reply == Value::Int(0)).then_some(())
    }
}

/// The reply to a PING.
pub(super) struct Pong;

impl Reply for Pong {
    fn read(reply: Value) -> Option<Self> {
        (reply == Value::SimpleString("PONG".to_owned())).then_some(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reply_to_what_was_asked_is_one() {
        let replies = || {
            vec![
                Value::Nil,
                Value::Okay,
                Value::Int(0),
                Value::Int(1),
                Value::Int(-1),
                Value::SimpleString("QUEUED".to_owned()),
                Value::SimpleString("PONG".to_owned()),
                Value::BulkString(b"1".to_vec()),
                Value::Array(vec![Value::Nil]),
                Value::Array(Vec::new()),
                Value::Boolean(true),
            ]
        };
        let accepted = |read: fn(Value) -> bool| {
            let at = replies().into_iter().map(read).enumerate();
            at.filter_map(|(at, read)| read.then_some(at))
                .collect::<Vec<_>>()
        };
        assert_eq!(accepted(|of| Option::read(of).is_some()), [0, 7]);
        assert_eq!(accepted(|of| bool::read(of).is_some()), [2, 3]);
        assert_eq!(accepted(|of| <()>::read(of).is_some()), [2]);
        assert_eq!(accepted(|of| Pong::read(of).is_some()), [6]);
    }
}
