//! A TCP proxy in front of a server that misbehaves on demand: slow, silent, cut, or losing the
//! one reply that matters.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::cluster::Cluster;

/// A proxy for one cluster. Everything passes until told otherwise; gone when dropped.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// What happens to the connection on which the client sends a certain pattern.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// The pattern reaches the server, which answers; from here on no answer comes back, and
    /// after these bytes in the answer the connection is closed.
    LoseReply(&'static [u8]),
    /// The connection is closed after this many more bytes, of both directions together.
    CutAfter(usize),
    /// Nothing passes, the pattern included, until [`Proxy::release`].
    Hold,
}

struct Shared {
    upstream: u16,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    over: bool,
    rate: Option<usize>,
    delay: Duration,
    silent: bool,
    armed: Vec<Armed>,
    struck: usize,
    /// How often what is held was released.
    releases: usize,
    /// Those that are open: one that nobody forwards is closed, so that its peer does not wait.
    sockets: Vec<Weak<TcpStream>>,
}

/// A fault that waits for its connection.
struct Armed {
    pattern: Vec<u8>,
    /// How often the pattern passes first.
    skip: usize,
    fault: Fault,
}

/// The fault on one connection, known to both of its directions.
type Struck = Arc<Mutex<Option<Fault>>>;

impl Proxy {
    /// A proxy on a port of its own.
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            upstream: cluster.port(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&listener, &shared))
        };
        Self {
            port,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Where it listens, at 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A URI of the cluster's database through this proxy, as [`Cluster::tcp_dsn`] otherwise.
    pub(crate) fn dsn(&self, cluster: &Cluster, db: &str) -> String {
        let (direct, proxied) = (cluster.port(), self.port);
        cluster.tcp_dsn(db).replace(
            &format!("@127.0.0.1:{direct}/"),
            &format!("@127.0.0.1:{proxied}/"),
        )
    }

    /// Lets at most this many bytes a second through each direction of each connection.
    pub(crate) fn throttle(&self, rate: Option<usize>) {
        self.change(|state| state.rate = rate);
    }

    /// Delays whatever passes.
    pub(crate) fn delay(&self, delay: Duration) {
        self.change(|state| state.delay = delay);
    }

    /// Lets nothing pass, closes nothing: the peer is gone without a word.
    pub(crate) fn silence(&self, silent: bool) {
        self.change(|state| state.silent = silent);
    }

    /// Strikes the next connection on which the client sends this pattern, once.
    pub(crate) fn arm(&self, pattern: &str, fault: Fault) {
        self.arm_after(0, pattern, fault);
    }

    /// As [`Self::arm`], after letting the pattern pass that many times on any connection.
    pub(crate) fn arm_after(&self, skip: usize, pattern: &str, fault: Fault) {
        let pattern = pattern.into();
        self.change(|state| {
            state.armed.push(Armed {
                pattern,
                skip,
                fault,
            })
        });
    }

    /// How many faults have struck.
    pub(crate) fn struck(&self) -> usize {
        self.shared.lock().struck
    }

    /// Lets the connections go on that [`Fault::Hold`] holds.
    pub(crate) fn release(&self) {
        self.change(|state| state.releases += 1);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.lock());
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|state| {
            state.over = true;
            for socket in state.sockets.iter().filter_map(Weak::upgrade) {
                drop(socket.shutdown(Shutdown::Both));
            }
        });
        // Wakes the acceptor, which then sees that it is over.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no thread panics with the state in hand")
    }

    /// Waits while `blocked`; false if the proxy is over.
    fn wait(&self, blocked: impl Fn(&State) -> bool) -> bool {
        let state = self
            .changed
            .wait_while(self.lock(), |state| !state.over && blocked(state))
            .expect("no thread panics with the state in hand");
        !state.over
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming().flatten() {
        let mut state = shared.lock();
        if state.over {
            return;
        }
        // A server that is down: the client sees its connection closed.
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.upstream)) else {
            continue;
        };
        let [client, server] = [client, server].map(Arc::new);
        state.sockets.retain(|socket| socket.strong_count() > 0);
        for socket in [&client, &server] {
            drop(socket.set_nodelay(true));
            state.sockets.push(Arc::downgrade(socket));
        }
        let struck = Struck::default();
        for up in [true, false] {
            let (from, to) = if up {
                (&client, &server)
            } else {
                (&server, &client)
            };
            let mut direction = Direction {
                up,
                from: Arc::clone(from),
                to: Arc::clone(to),
                struck: Arc::clone(&struck),
                tail: Vec::new(),
                shared: Arc::clone(shared),
            };
            thread::spawn(move || {
                let half_closed = direction.pump().unwrap_or(false);
                let how = if half_closed {
                    Shutdown::Write
                } else {
                    Shutdown::Both
                };
                drop(direction.to.shutdown(how));
                if !half_closed {
                    drop(direction.from.shutdown(how));
                }
            });
        }
    }
}

/// One direction of one connection.
struct Direction {
    /// From the client to the server.
    up: bool,
    from: Arc<TcpStream>,
    to: Arc<TcpStream>,
    struck: Struck,
    /// The last bytes seen, because a pattern may be cut by a read.
    tail: Vec<u8>,
    shared: Arc<Shared>,
}

impl Direction {
    /// Forwards until the end: true when the sender closed its half, false for a cut.
    fn pump(&mut self) -> std::io::Result<bool> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let (rate, delay) = {
                let state = self.shared.lock();
                (state.rate, state.delay)
            };
            let size = rate.map_or(buffer.len(), |rate| (rate / 50).clamp(1, buffer.len()));
            let length = (&*self.from).read(&mut buffer[..size])?;
            if length == 0 {
                return Ok(true);
            }
            if !self.shared.wait(|state| state.silent) {
                return Ok(false);
            }
            thread::sleep(delay);
            let passing = match self.pass(&buffer[..length]) {
                Some(passing) => passing,
                None => return Ok(false),
            };
            (&*self.to).write_all(&buffer[..passing])?;
            if let Some(rate) = rate {
                thread::sleep(Duration::from_secs_f64(passing as f64 / rate as f64));
            }
        }
    }

    /// How many of these bytes may pass; `None` cuts the connection.
    fn pass(&mut self, bytes: &[u8]) -> Option<usize> {
        let seen = self.tail.len();
        self.tail.extend_from_slice(bytes);
        if self.up {
            self.strike(seen);
        }
        let fault = *lock(&self.struck);
        let passing = match fault {
            None => Some(bytes.len()),
            Some(Fault::Hold) => {
                let releases = self.shared.lock().releases;
                let released = self.shared.wait(|state| state.releases == releases);
                *lock(&self.struck) = None;
                released.then_some(bytes.len())
            }
            Some(Fault::LoseReply(_)) if self.up => Some(bytes.len()),
            Some(Fault::LoseReply(last)) => (!contains(&self.tail, last)).then_some(0),
            Some(Fault::CutAfter(left)) => {
                let left = left.checked_sub(bytes.len());
                *lock(&self.struck) = Some(Fault::CutAfter(left.unwrap_or(0)));
                left.map(|_| bytes.len())
            }
        };
        let keep = self.tail.len().saturating_sub(64);
        self.tail.drain(..keep);
        passing
    }

    /// Puts the first armed fault on this connection whose pattern the client has now sent;
    /// what ended within the first `seen` bytes of the tail was counted before.
    fn strike(&mut self, seen: usize) {
        let mut state = self.shared.lock();
        let mut struck = lock(&self.struck);
        let hit = state.armed.iter_mut().position(|armed| {
            let length = armed.pattern.len();
            let fresh = &self.tail[(seen + 1).saturating_sub(length)..];
            let times = fresh
                .windows(length)
                .filter(|window| *window == armed.pattern);
            let times = times.count();
            let hit = times > armed.skip && struck.is_none();
            armed.skip = armed.skip.saturating_sub(times);
            hit
        });
        if let Some(hit) = hit {
            *struck = Some(state.armed.remove(hit).fault);
            state.struck += 1;
        }
    }
}

fn lock(struck: &Struck) -> MutexGuard<'_, Option<Fault>> {
    struck
        .lock()
        .expect("no thread panics with the fault in hand")
}

fn contains(bytes: &[u8], pattern: &[u8]) -> bool {
    bytes.windows(pattern.len()).any(|window| window == pattern)
}
