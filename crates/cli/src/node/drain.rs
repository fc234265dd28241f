//! `quipu node drain`: leaderships leave a node before it is stopped.

mod left;

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use quipu_client::{Admin, ClusterDescription, NodeChange, NodeId};

use crate::args::{DrainArgs, Global, ServeArgs};
use crate::exit::{Failure, UNAVAILABLE};
use crate::{config, connect, context, output, start_point, waiting};
use left::Left;

/// How long a drain lasts that nobody ends: for a person, who may forget it.
const SPAN: Duration = Duration::from_secs(3600);
/// The same for one that the next start ends: should that not come, the node is to work again.
/// Longer than a node is given to stop.
const SPAN_UNTIL_RESTART: Duration = Duration::from_secs(15 * 60);

/// Which node, and where it is asked.
struct Target {
    node: NodeId,
    servers: String,
    /// It is on this machine, and asked itself.
    is_local: bool,
}

/// Runs the verb.
pub(super) async fn run(global: &Global, args: DrainArgs) -> anyhow::Result<()> {
    let limit = args.timeout.as_deref().map(start_point::duration).transpose();
    let limit = limit.context("--timeout")?;
    let change = change(&args)?;
    let target = target(global, &args)?;
    let left = RefCell::new(None);
    let drained = drained(&target, change, args.no_wait, &left);
    let Some(limit) = limit else { return drained.await };
    match tokio::time::timeout(limit, drained).await {
        Ok(ended) => ended,
        Err(_) => Err(late(target.node, limit, left.take().as_ref())),
    }
}

/// What the node is to do.
fn change(args: &DrainArgs) -> anyhow::Result<NodeChange> {
    let span = args.span.as_deref().map(start_point::duration).transpose().context("--for")?;
    Ok(if args.until_restart {
        NodeChange::DrainUntilRestart(span.unwrap_or(SPAN_UNTIL_RESTART))
    } else {
        NodeChange::Drain(span.unwrap_or(SPAN))
    })
}

fn target(global: &Global, args: &DrainArgs) -> anyhow::Result<Target> {
    let Some(node) = args.node else { return local(&args.settings) };
    Ok(Target { node: NodeId::new(node), servers: context::servers(global)?, is_local: false })
}

/// The node that `quipu serve` would run with these settings.
fn local(settings: &ServeArgs) -> anyhow::Result<Target> {
    let config = config::parse(settings)?;
    let servers = dialled(config.listeners.client).to_string();
    Ok(Target { node: config.node.id, servers, is_local: true })
}

/// Where a listener is reached from its own machine.
fn dialled(listener: SocketAddr) -> SocketAddr {
    let address: IpAddr = match listener.ip() {
        named if !named.is_unspecified() => named,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(address, listener.port())
}

/// Drains and waits; what is left is noted meanwhile.
async fn drained(
    target: &Target,
    change: NodeChange,
    is_decision_enough: bool,
    noted: &RefCell<Option<Left>>,
) -> anyhow::Result<()> {
    let admin = connect::to(&target.servers).await?.admin();
    let node = target.node.get();
    if target.is_local && !is_of_use(&admin, target.node).await? {
        return Ok(());
    }
    admin.change_node(target.node, change).await?;
    if is_decision_enough {
        return Ok(());
    }
    let look = |cluster: &ClusterDescription| {
        let left = Left::of(cluster, node);
        let words = || format!("node {node} leads {}", left::named(&left.pending));
        let pending = (!left.pending.is_empty()).then(|| (left.pending.len(), words()));
        noted.replace(Some(left));
        pending
    };
    let is_over = if target.is_local {
        waiting::none_left(|| admin.describe_cluster_at(target.node), look).await?
    } else {
        waiting::none_left(|| admin.describe_cluster(), look).await?
    };
    if is_over {
        output::note(&format!("node {node} leads nothing that another could: it may be stopped"));
        let skipped = noted.borrow().as_ref().map(Left::skipped).unwrap_or_default();
        skipped.iter().for_each(|sentence| output::note(sentence));
    }
    Ok(())
}

/// Whether there is a member of the cluster to drain, and another that could lead in its place.
/// If not, a drain would save nobody anything.
async fn is_of_use(admin: &Admin, node: NodeId) -> anyhow::Result<bool> {
    let cluster = match admin.describe_cluster_at(node).await {
        Ok(cluster) => cluster,
        Err(error) if error.is_unavailable() => return Err(error.into()),
        // The cluster does not list it, or it is another that answers there.
        Err(error) => {
            let cluster = admin.describe_cluster().await?;
            if cluster.nodes.iter().any(|known| known.node_id == node.get()) {
                return Err(error.into());
            }
            cluster
        }
    };
    let useless = left::why_useless(&cluster, node.get());
    if let Some(why) = &useless {
        output::note(&format!("{why}: there is nothing to hand over"));
    }
    Ok(useless.is_none())
}

/// The drain took longer than was to be waited.
fn late(node: NodeId, limit: Duration, left: Option<&Left>) -> anyhow::Error {
    let limit = limit.as_secs_f64();
    let message = match left {
        Some(left) if !left.pending.is_empty() => {
            let pending = left::named(&left.pending);
            format!("node {node} leads {pending} after {limit} s still; they leave when it stops")
        }
        Some(_) => format!("after {limit} s it is not certain yet that node {node} leads nothing"),
        None => format!(
            "nobody decided within {limit} s that node {node} rests: a majority of the nodes may \
             be away. What it leads leaves when it stops"
        ),
    };
    Failure::with_code(UNAVAILABLE, message)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Command, Invocation, NodeVerb};
    use crate::doctor::samples;

    fn args(words: &[&str]) -> Result<DrainArgs, clap::Error> {
        let words = ["quipu", "node", "drain"].iter().chain(words);
        let Command::Node(NodeVerb::Drain(args)) = Invocation::try_parse_from(words)?.command
        else {
            panic!("another verb")
        };
        Ok(args)
    }

    #[test]
    fn a_drain_names_one_node() {
        assert!(args(&["2"]).is_ok());
        assert!(args(&["--local"]).is_ok());
        assert!(args(&[]).is_err(), "which?");
        assert!(args(&["2", "--local"]).is_err(), "one of them");
        assert!(args(&["2", "--timeout", "1s", "--no-wait"]).is_err(), "does it wait?");
    }

    #[test]
    fn a_drain_has_an_end() {
        let of = |words: &[&str]| change(&args(words).expect("words")).expect("a duration");
        assert_eq!(of(&["2"]), NodeChange::Drain(SPAN));
        assert_eq!(of(&["2", "--for", "5m"]), NodeChange::Drain(Duration::from_secs(300)));
        let restart = ["--local", "--until-restart"];
        assert_eq!(of(&restart), NodeChange::DrainUntilRestart(SPAN_UNTIL_RESTART));
        let named = [&restart[..], &["--for", "5m"]].concat();
        assert_eq!(of(&named), NodeChange::DrainUntilRestart(Duration::from_secs(300)));
    }

    #[test]
    fn the_local_node_is_that_of_the_settings() {
        let of = |words: &[&str]| {
            let words = [words, &["--set=node.data-dir=d"]].concat();
            local(&args(&words).expect("words").settings).expect("settings")
        };
        let wildcard = [
            "--local",
            "--set=node.id=7",
            "--set=listeners.client=0.0.0.0:4000",
            "--set=listeners.client-advertise=quipu-7:9192",
        ];
        let target = of(&wildcard);
        assert_eq!((target.node, target.servers.as_str()), (NodeId::new(7), "127.0.0.1:4000"));
        let named = of(&["--local", "--set=node.id=7", "--set=listeners.client=127.0.0.9:4000"]);
        assert_eq!(named.servers, "127.0.0.9:4000");
        assert_eq!(dialled("[::]:1".parse().expect("v6")), "[::1]:1".parse().expect("v6"));
    }

    #[test]
    fn a_drain_that_is_late_says_what_is_left() {
        let of = |left: Option<&Left>| {
            let error = late(NodeId::new(2), Duration::from_millis(1500), left);
            let code = error.downcast_ref::<Failure>().map(|failure| failure.code);
            assert_eq!(code, Some(UNAVAILABLE));
            error.to_string()
        };
        let left = Left::of(&samples::cluster(3), 2);
        assert_eq!(
            of(Some(&left)),
            "node 2 leads shard 2 after 1.5 s still; they leave when it stops"
        );
        assert!(of(Some(&Left::default())).contains("not certain"));
        assert!(of(None).contains("a majority"));
    }
}
