//! A server on loopback that sends the replies it is given: for replies that are hard to provoke
//! from a real Redis.

use parking_lot::Mutex;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The way in which a connection is answered.
#[derive(Clone, Default)]
pub(super) struct Mood {
    /// Bytes sent to every client that connects; nothing follows.
    pub(super) turned_away: Option<Vec<u8>>,
    /// Replies by command; the first that fits is sent, and `*` fits any. Other commands are
    /// answered as by an empty Redis that accepts every write.
    pub(super) replies: Vec<(&'static str, Vec<u8>)>,
    /// True if a connection keeps the mood that it was opened with, like a connection to a server
    /// that has been replaced.
    pub(super) keeps: bool,
}

pub(super) struct Fake {
    pub(super) port: u16,
    mood: Arc<Mutex<Mood>>,
    connections: Arc<AtomicU64>,
}

impl Fake {
    /// Starts the server. Its threads end with the process.
    pub(super) fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fake = Self {
            port: listener.local_addr().unwrap().port(),
            mood: Arc::new(Mutex::new(mood)),
            connections: Arc::default(),
        };
        let (mood, connections) = (Arc::clone(&fake.mood), Arc::clone(&fake.connections));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                connections.fetch_add(1, Ordering::Relaxed);
                let mood = Arc::clone(&mood);
                // A client that disconnects ends this thread.
                std::thread::spawn(move || serve(stream.unwrap(), &mood).ok());
            }
        });
        fake
    }

    pub(super) fn refusing(commands: &[&'static str], reply: &str) -> Mood {
        let reply = format!("{reply}\r\n").into_bytes();
        Mood {
            replies: commands.iter().map(|of| (*of, reply.clone())).collect(),
            ..Mood::default()
        }
    }

    pub(super) fn set(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

fn serve(mut stream: TcpStream, mood: &Mutex<Mood>) -> std::io::Result<()> {
    let found = mood.lock().clone();
    if let Some(turned_away) = &found.turned_away {
        return stream.write_all(turned_away);
    }
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        while let Some(words) = command(&mut bytes) {
            let now = mood.lock().clone();
            let mood = if found.keeps { &found } else { &now };
            stream.write_all(&mood.reply(&words))?;
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

impl Mood {
    fn reply(&self, words: &[Vec<u8>]) -> Vec<u8> {
        let command = String::from_utf8_lossy(&words[0]).to_uppercase();
        let fits = |of: &str| of == "*" || of == command;
        if let Some((_, reply)) = self.replies.iter().find(|(of, _)| fits(of)) {
            return reply.clone();
        }
        let reply = match command.as_str() {
            "PING" => "+PONG\r\n",
            "AUTH" | "CLIENT" | "SELECT" => "+OK\r\n",
            "HELLO" => "-ERR unknown command `HELLO`, with args beginning with: `3`\r\n",
            "GET" => "$-1\r\n",
            // The script that stores has two arguments besides its key, the script that claims has
            // three.
            "EVALSHA" if words.len() == 6 => ":1\r\n",
            "EVALSHA" if words.len() == 7 => "$-1\r\n",
            "EVALSHA" => ":0\r\n",
            other => panic!("the layer sends no {other}"),
        };
        reply.as_bytes().to_vec()
    }
}

/// Removes one command from the received bytes, if it is complete.
fn command(bytes: &mut Vec<u8>) -> Option<Vec<Vec<u8>>> {
    fn number(bytes: &[u8], at: &mut usize) -> Option<usize> {
        let rest = bytes.get(*at..)?;
        let end = *at + rest.windows(2).position(|two| two == b"\r\n")?;
        let text = std::str::from_utf8(&bytes[*at + 1..end]).unwrap();
        *at = end + 2;
        Some(text.parse().unwrap())
    }
    let mut at = 0;
    let count = number(bytes, &mut at)?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let length = number(bytes, &mut at)?;
        words.push(bytes.get(at..at + length)?.to_vec());
        at += length + 2;
    }
    (at <= bytes.len()).then(|| bytes.drain(..at))?;
    Some(words)
}
