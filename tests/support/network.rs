//! Networks of their own, joined by cables: a program in one reaches only what a cable leads to.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::pg;

/// A network namespace. It lasts as long as a process that the kernel ends with the thread that
/// made it, so that neither it nor its cables outlive a killed test.
pub(crate) struct Network {
    holder: Child,
}

impl Network {
    /// A network with nothing in it but its own loopback device.
    ///
    /// Panics where the environment has no right to make one: such a test cannot run there.
    pub(crate) fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "--", "setpriv", "--pdeathsig", "KILL", "--"])
            .args(["sleep", "infinity"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare starts: it is in the package util-linux");
        let ours = fs::read_link("/proc/self/ns/net").expect("/proc is mounted");
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if holder.try_wait().expect("it can be waited for").is_some() {
                let mut reason = String::new();
                let stderr = holder.stderr.as_mut().expect("stderr is piped");
                drop(stderr.read_to_string(&mut reason));
                panic!(
                    "this test needs the right to make network namespaces (root, or \
                     CAP_SYS_ADMIN and CAP_NET_ADMIN): {reason}"
                );
            }
            let its = fs::read_link(format!("/proc/{}/ns/net", holder.id()));
            let name = fs::read_to_string(format!("/proc/{}/comm", holder.id()));
            if its.is_ok_and(|its| its != ours) && name.is_ok_and(|name| name == "sleep\n") {
                break;
            }
            assert!(Instant::now() < deadline, "no network namespace");
            thread::sleep(Duration::from_millis(5));
        }
        let network = Self { holder };
        network.run("ip", &["link", "set", "lo", "up"]);
        network
    }

    /// Lays a cable to another network, with an address at each end.
    pub(crate) fn connect(&self, address: &str, other: &Network, its_address: &str) {
        let [here, there] = [format!("to{}", other.pid()), format!("to{}", self.pid())];
        let peer = other.pid().to_string();
        let link = ["link", "add", &here, "type", "veth", "peer", "name", &there];
        self.run("ip", &[&link[..], &["netns", &peer]].concat());
        for (network, device, address) in [(self, &here, address), (other, &there, its_address)] {
            let address = format!("{address}/24");
            network.run("ip", &["address", "add", &address, "dev", device]);
            network.run("ip", &["link", "set", device, "up"]);
        }
    }

    /// Sends packets for these addresses to a host at the other end of a cable.
    pub(crate) fn route(&self, addresses: &str, host: &str) {
        self.run("ip", &["route", "add", addresses, "via", host]);
    }

    /// Fails unless packets end here that are for somebody else.
    #[track_caller]
    pub(crate) fn assert_forwards_nothing(&self) {
        let forwarding = self.run("cat", &["/proc/sys/net/ipv4/ip_forward"]);
        assert_eq!(forwarding, "0\n", "the network forwards packets");
    }

    /// Connects to an address from within: what the shell says if that fails.
    pub(crate) fn try_connect(&self, address: &str, port: u16) -> Result<(), String> {
        let script = format!("exec 3<>/dev/tcp/{address}/{port}");
        let mut command = enter(Some(&self.path()), "timeout");
        pg::run(command.args(["3", "bash", "-c", &script])).map(drop)
    }

    /// The file that stands for it.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.pid()))
    }

    fn pid(&self) -> u32 {
        self.holder.id()
    }

    fn run(&self, program: &str, args: &[&str]) -> String {
        pg::run(enter(Some(&self.path()), program).args(args))
            .unwrap_or_else(|error| panic!("{program} {args:?}: {error}"))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

/// A program in the network that this file stands for, or where the test itself is.
pub(crate) fn enter(network: Option<&Path>, program: &str) -> Command {
    let Some(network) = network else {
        return Command::new(program);
    };
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", network.display()))
        .args(["--", program]);
    command
}
