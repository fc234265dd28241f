//! A private network: one namespace per node, and a hub where the clients are.
//!
//! The hub's bridge joins them. Nothing of it is in the machine's own network; all names begin
//! with the run's prefix, which carries the pid of its owner.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use quipu_runtime::Rng;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::command::{is_there, run};
use super::packets::{Packets, Treatment};

/// Where names of namespaces begin; the owner's pid follows.
const PREFIX: &str = "quipu-chaos-";
/// The clients' place on every list of nodes.
pub const CLIENTS: u64 = 0;
/// The clients' last byte.
const HUB: u8 = 254;
/// A hardware address that nobody has.
const NOBODY: &str = "02:00:00:00:00:01";
/// The bridge in the hub, and the wire in a node.
const BRIDGE: &str = "hub";
const WIRE: &str = "wire";

/// A private network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lab {
    prefix: String,
    nodes: u64,
}

impl Lab {
    /// Makes a network. [`Self::remove`] must be called at the end.
    ///
    /// # Errors
    /// When a command is refused; what was made is removed again.
    pub fn create(nodes: u64) -> Result<Self> {
        let lab = Self { prefix: format!("{PREFIX}{}", std::process::id()), nodes };
        lab.build().inspect_err(|_| lab.remove())?;
        Ok(lab)
    }

    /// A network that another process made and removes.
    #[must_use]
    pub fn attach(prefix: &str, nodes: u64) -> Self {
        Self { prefix: prefix.to_owned(), nodes }
    }

    /// What all its names begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Why this machine has no private networks; none when it has.
    #[must_use]
    pub fn obstacle() -> Option<&'static str> {
        if !rustix::process::geteuid().is_root() {
            return Some("network namespaces need root");
        }
        let missing = ["ip", "nsenter", "unshare", "mkfs.ext4"].iter().find(|it| !is_there(it));
        missing.map(|_| "ip, nsenter, unshare and mkfs.ext4 are needed")
    }

    /// Whether packets can be dropped, held, spoiled and repeated.
    #[must_use]
    pub fn has_iptables() -> bool {
        is_there("iptables")
    }

    fn build(&self) -> Result<()> {
        let hub = self.space(CLIENTS);
        run("ip", &["netns", "add", &hub])?;
        let of_hub = |words: &[&str]| run("ip", &[&["-n", &hub], words].concat());
        of_hub(&["link", "set", "lo", "up"])?;
        of_hub(&["link", "add", "name", BRIDGE, "type", "bridge"])?;
        of_hub(&["addr", "add", &format!("{}/24", address(CLIENTS)?), "dev", BRIDGE])?;
        of_hub(&["link", "set", BRIDGE, "up"])?;
        for node in 1..=self.nodes {
            let (space, port) = (self.space(node), format!("port{node}"));
            run("ip", &["netns", "add", &space])?;
            let pair = ["link", "add", "name", &port, "type", "veth", "peer", "name", WIRE];
            of_hub(&[&pair[..], &["netns", &space]].concat())?;
            of_hub(&["link", "set", &port, "master", BRIDGE, "up"])?;
            let of_node = |words: &[&str]| run("ip", &[&["-n", &space], words].concat());
            of_node(&["addr", "add", &format!("{}/24", address(node)?), "dev", WIRE])?;
            of_node(&["link", "set", WIRE, "up"])?;
            of_node(&["link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    /// Ends what still runs in it and removes it.
    pub fn remove(&self) {
        for node in 0..=self.nodes {
            remove(&self.space(node));
        }
    }

    /// Removes networks whose owner is gone; gives their names.
    ///
    /// # Errors
    /// When the namespaces cannot be listed.
    pub fn sweep() -> Result<Vec<String>> {
        let all = run("ip", &["netns", "list"])?;
        let names = all.lines().filter_map(|line| line.split_whitespace().next());
        let left: Vec<String> = names.filter(|name| is_orphan(name)).map(str::to_owned).collect();
        left.iter().for_each(|name| remove(name));
        Ok(left)
    }

    fn space(&self, node: u64) -> String {
        if node == CLIENTS {
            return format!("{}-hub", self.prefix);
        }
        format!("{}-{node}", self.prefix)
    }

    /// The file that stands for a node's network.
    pub(super) fn space_file(&self, node: u64) -> PathBuf {
        Path::new("/run/netns").join(self.space(node))
    }

    /// Words before a command that is to run at a node.
    #[must_use]
    pub fn at(&self, node: u64) -> Vec<String> {
        let net = format!("--net={}", self.space_file(node).display());
        vec!["nsenter".to_owned(), net, "--".to_owned()]
    }

    /// Does this to packets from a node to the others until it is ended.
    pub(crate) fn treat(&self, node: u64, treatment: Treatment, rng: Rng) -> Result<Packets> {
        let packets = Packets::treat(&self.space_file(node), treatment, rng)?;
        self.divert(node, true)?;
        Ok(packets)
    }

    /// Takes [`Self::treat`] back.
    pub(crate) fn untreat(&self, node: u64, packets: Packets) -> Result<()> {
        self.divert(node, false)?;
        packets.stop()
    }

    /// Packets from one to the other vanish from now on, those of open connections too: they are
    /// sent to a hardware address that nobody has, and nobody is told.
    ///
    /// # Errors
    /// When the command is refused.
    pub fn cut(&self, from: u64, to: u64) -> Result<()> {
        let (space, ip) = (self.space(from), address(to)?.to_string());
        let dev = device(from);
        let words = ["neigh", "replace", &ip, "lladdr", NOBODY, "dev", dev, "nud", "permanent"];
        run("ip", &[&["-n", &space], &words[..]].concat()).map(drop)
    }

    /// Takes [`Self::cut`] back.
    ///
    /// # Errors
    /// When the command is refused.
    pub fn mend(&self, from: u64, to: u64) -> Result<()> {
        let (space, ip) = (self.space(from), address(to)?.to_string());
        run("ip", &["-n", &space, "neigh", "del", &ip, "dev", device(from)]).map(drop)
    }

    /// Whether packets from one to the other vanish.
    ///
    /// # Errors
    /// When the command is refused.
    pub fn is_cut(&self, from: u64, to: u64) -> Result<bool> {
        let (space, ip) = (self.space(from), address(to)?.to_string());
        let shown = run("ip", &["-n", &space, "neigh", "show", "to", &ip, "dev", device(from)])?;
        Ok(shown.contains(NOBODY))
    }

    /// Drops this share of the packets that reach a node, or none again.
    ///
    /// # Errors
    /// When the command is refused.
    pub fn lose(&self, node: u64, percent: Option<u64>) -> Result<()> {
        self.inside(node, &["iptables", "-F", "INPUT"])?;
        let Some(percent) = percent else { return Ok(()) };
        let share = format!("0.{percent:02}");
        let by_chance = ["-m", "statistic", "--mode", "random", "--probability", &share];
        let rule = [&["iptables", "-A", "INPUT", "-i", WIRE][..], &by_chance, &["-j", "DROP"]];
        self.inside(node, &rule.concat())
    }

    /// Limits what a node sends, or no more.
    ///
    /// # Errors
    /// When the command is refused.
    pub fn throttle(&self, node: u64, kbit: Option<u64>) -> Result<()> {
        let Some(kbit) = kbit else {
            return self.inside(node, &["tc", "qdisc", "del", "dev", WIRE, "root"]);
        };
        let rate = format!("{kbit}kbit");
        let bucket = ["tbf", "rate", &rate, "burst", "32kb", "latency", "2s"];
        let words = [&["tc", "qdisc", "replace", "dev", WIRE, "root"][..], &bucket];
        self.inside(node, &words.concat())
    }

    /// Hands packets from a node to the others over to the suite, or no more.
    pub(super) fn divert(&self, node: u64, is_on: bool) -> Result<()> {
        self.inside(node, &["iptables", "-F", "OUTPUT"])?;
        let queue = ["-j", "NFQUEUE", "--queue-num", "0", "--queue-bypass"];
        for other in (1..=self.nodes).filter(|other| is_on && *other != node) {
            let to = address(other)?.to_string();
            let rule = ["iptables", "-A", "OUTPUT", "-d", &to, "-p", "tcp"];
            self.inside(node, &[&rule[..], &queue].concat())?;
        }
        Ok(())
    }

    /// Sends this share of the packets from a node to the others twice, or none again.
    ///
    /// # Errors
    /// When the command is refused.
    pub fn repeat(&self, node: u64, percent: Option<u64>) -> Result<()> {
        self.inside(node, &["iptables", "-t", "mangle", "-F", "OUTPUT"])?;
        let Some(percent) = percent else { return Ok(()) };
        let share = format!("0.{percent:02}");
        let by_chance = ["-m", "statistic", "--mode", "random", "--probability", &share];
        for other in (1..=self.nodes).filter(|other| *other != node) {
            let to = address(other)?.to_string();
            let rule = ["iptables", "-t", "mangle", "-A", "OUTPUT", "-d", &to];
            let twice = ["-j", "TEE", "--gateway", &to];
            self.inside(node, &[&rule[..], &by_chance, &twice].concat())?;
        }
        Ok(())
    }

    /// How many packets a node sent twice since [`Self::repeat`].
    ///
    /// # Errors
    /// When the command is refused.
    pub fn repeated(&self, node: u64) -> Result<u64> {
        let shown = self.output(node, &["iptables", "-t", "mangle", "-nvxL", "OUTPUT"])?;
        let rules = shown.lines().filter(|line| line.contains("TEE"));
        let counts = rules.filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(counts.sum())
    }

    fn inside(&self, node: u64, words: &[&str]) -> Result<()> {
        self.output(node, words).map(drop)
    }

    fn output(&self, node: u64, words: &[&str]) -> Result<String> {
        let before = self.at(node);
        let (program, rest) = before.split_first().context("there are words before")?;
        let rest: Vec<&str> =
            rest.iter().map(String::as_str).chain(words.iter().copied()).collect();
        run(program, &rest)
    }
}

/// Where a node, or the clients, are reached.
pub(crate) fn address(node: u64) -> Result<Ipv4Addr> {
    let last =
        if node == CLIENTS { HUB } else { u8::try_from(node).context("at most 253 nodes")? };
    Ok(Ipv4Addr::new(10, 77, 0, last))
}

fn device(node: u64) -> &'static str {
    if node == CLIENTS { BRIDGE } else { WIRE }
}

/// Whether the process that made a namespace is gone. Names of others are nobody's business.
fn is_orphan(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let owner = rest.split('-').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    owner.is_some_and(|pid| test_kill_process(pid).is_err())
}

/// Best effort: what is gone already is no error.
fn remove(space: &str) {
    let pids = run("ip", &["netns", "pids", space]).unwrap_or_default();
    let own = std::process::id();
    let others = pids.lines().filter_map(|pid| pid.trim().parse::<u32>().ok());
    for pid in others.filter(|pid| *pid != own) {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
    }
    let _ = run("ip", &["netns", "del", space]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_program_whose_owner_is_gone_are_orphans() {
        let own = std::process::id();
        assert!(!is_orphan(&format!("{PREFIX}{own}-hub")));
        assert!(!is_orphan("somebody-1"));
        assert!(!is_orphan(&format!("{PREFIX}x-1")));
        // The greatest pid there can be is 2^22.
        assert!(is_orphan(&format!("{PREFIX}4194305-1")));
    }

    #[test]
    fn clients_and_nodes_have_addresses_of_their_own() {
        assert_eq!(address(CLIENTS).unwrap(), Ipv4Addr::new(10, 77, 0, 254));
        assert_eq!(address(2).unwrap(), Ipv4Addr::new(10, 77, 0, 2));
        assert!(address(300).is_err());
    }
}
