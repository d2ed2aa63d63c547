//! A real `redis-server` for the tests, on a free port, ended by its process id.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(super) struct Server {
    pub(super) port: u16,
    child: Child,
    folder: TempDir,
    further: Vec<String>,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(super) fn start_with(further: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let further: Vec<_> = further.iter().map(ToString::to_string).collect();
        // Another process may take the port between finding and using it.
        for _ in 0..10 {
            let port = free_port();
            let mut child = spawn(port, &folder, &further);
            if answers(port, &mut child) {
                return Self {
                    port,
                    child,
                    folder,
                    further,
                };
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
        panic!("redis-server does not start; its log is in its standard output");
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Restarts the server empty on the same port.
    pub(super) fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.port, &self.folder, &self.further);
        assert!(answers(self.port, &mut self.child), "no restart");
    }

    /// Runs a command as an operator would.
    pub(super) fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = redis::Client::open(self.url())
            .unwrap()
            .get_connection()
            .unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut connection).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The test may have killed the server already.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

fn spawn(port: u16, folder: &TempDir, further: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder.path())
        .args(["--enable-debug-command", "local"])
        .args(["--repl-diskless-sync-delay", "0"])
        .args(further)
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("this test needs redis-server (Debian: apt install redis-server): {error}")
        })
}

fn answers(port: u16, child: &mut Child) -> bool {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until && child.try_wait().unwrap().is_none() {
        let pinged = client
            .get_connection_with_timeout(Duration::from_secs(1))
            .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection));
        let refused = |error: &redis::RedisError| error.code() == Some("NOAUTH");
        if pinged.is_ok() || pinged.as_ref().is_err_and(refused) {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

fn free_port() -> u16 {
    // A cluster's node also listens 10 000 above its port.
    loop {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        if port < 50_000 {
            return port;
        }
        // On the next attempt the kernel assigns another port from its range.
        let lower = port - 20_000;
        if TcpListener::bind(("127.0.0.1", lower)).is_ok() {
            return lower;
        }
    }
}
