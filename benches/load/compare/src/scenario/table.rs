//! The table.

use super::{Claim, Contender, Goal, Metric, Rate, Scenario, Step, is_wanted};
use crate::cluster::System;
use crate::options::Options;

/// Every scenario whose peers are there.
pub(crate) fn all(options: &Options) -> Vec<Scenario> {
    let mut scenarios = throughput();
    scenarios.extend(latency());
    scenarios.extend(ourselves());
    scenarios.push(failover(options));
    scenarios.extend(reported(options));
    let is_possible = |scenario: &Scenario| {
        scenario.contenders.iter().all(|it| is_wanted(it.system, &options.peers))
    };
    scenarios.retain(is_possible);
    scenarios
}

fn contender(system: System, steps: Vec<Step>) -> Contender {
    Contender { name: system.slug().to_owned(), system, steps }
}

/// We against one other, the same steps.
fn duel(name: &str, title: &str, theirs: System, steps: &[Step]) -> Scenario {
    let contenders = [System::Quipu, theirs].map(|system| contender(system, steps.to_vec()));
    Scenario {
        name: name.to_owned(),
        title: title.to_owned(),
        contenders: contenders.into(),
        claims: Vec::new(),
    }
}

impl Scenario {
    /// A claim on the first against the second contender.
    fn claim(mut self, step: &'static str, metric: Metric, goal: Goal) -> Self {
        let [ours, theirs] = [0, 1].map(|at| self.contenders[at].name.clone());
        let text = self.title.clone();
        self.claims.push(Claim { text, metric, step, ours, theirs: Some(theirs), goal });
        self
    }
}

fn throughput() -> Vec<Scenario> {
    let rows = [
        ("nats-always-1", System::NatsAlways, 1, 4.0, 7.0),
        ("nats-always-12", System::NatsAlways, 12, 6.0, 10.0),
        ("nats-always-100", System::NatsAlways, 100, 6.0, 10.0),
        ("nats-default-12", System::NatsDefault, 12, 1.5, 3.5),
        ("kafka-default-12", System::KafkaDefault, 12, 1.0, 2.0),
        ("rabbitmq-quorum-1", System::RabbitmqQuorum, 1, 8.0, 15.0),
        ("rabbitmq-quorum-12", System::RabbitmqQuorum, 12, 8.0, 15.0),
    ];
    let row = |(name, theirs, partitions, must, aim): (&str, System, u32, f64, f64)| {
        let title =
            format!("1 KiB, {partitions} partition(s), equal in-flight: {}", theirs.label());
        duel(name, &title, theirs, &[Step::saturate("saturate", partitions)]).claim(
            "saturate",
            Metric::AckedPerSecond,
            Goal::AtLeast(must, aim),
        )
    };
    let mut scenarios: Vec<Scenario> = rows.into_iter().map(row).collect();
    for (name, theirs) in
        [("rabbitmq-streams-12", System::RabbitmqStreams), ("redis-12", System::Redis)]
    {
        let title = format!("1 KiB, 12 partitions, equal in-flight: {}", theirs.label());
        let scenario = duel(name, &title, theirs, &[Step::saturate("saturate", 12)]);
        let goal = Goal::Reported;
        scenarios.push(scenario.claim("saturate", Metric::AckedPerSecond, goal));
    }
    scenarios
}

fn latency() -> Vec<Scenario> {
    let one = Step { mode: "one-by-one", producers: 1, ..Step::saturate("one-by-one", 1) };
    let title = "closed loop, one in flight: NATS (sync_interval always)";
    let closed = duel("nats-closed-loop", title, System::NatsAlways, &[one])
        .claim("one-by-one", Metric::PublishP50, Goal::AtMost(0.5, 1.0 / 3.0))
        .claim("one-by-one", Metric::PublishP99, Goal::AtMost(0.5, 0.5));
    let open = |name, rate| Step {
        arrivals: "poisson",
        linger_us: Some(0),
        ..Step::open(name, 100, Rate::Fixed(rate))
    };
    let steps = [open("open-1k", 1_000.0), open("open-10k", 10_000.0)];
    let title = "100 partitions, same rate: Kafka (flush.messages=1)";
    let kafka = duel("kafka-flush-100", title, System::KafkaFlush, &steps)
        .claim("open-1k", Metric::PublishP99, Goal::AtMost(0.2, 0.05))
        .claim("open-10k", Metric::PublishP99, Goal::Reported);
    vec![closed, kafka]
}

fn ourselves() -> Vec<Scenario> {
    let with_partitions = |partitions: u32| Contender {
        name: format!("quipu-{partitions}"),
        ..contender(System::Quipu, vec![Step::saturate("saturate", partitions)])
    };
    let many = |partitions: u32, must, aim| {
        Scenario {
            name: format!("partitions-{partitions}"),
            title: format!("ourselves: {partitions} against 12 partitions, same in-flight"),
            contenders: [partitions, 12].map(with_partitions).into(),
            claims: Vec::new(),
        }
        .claim("saturate", Metric::AckedPerSecond, Goal::AtLeast(must, aim))
    };
    let saturate = [Step::saturate("saturate", 12)];
    let title = "ourselves: fsync against interval flush";
    let tax = duel("fsync-tax", title, System::QuipuInterval, &saturate).claim(
        "saturate",
        Metric::AckedPerSecond,
        Goal::AtLeast(0.6, 0.85),
    );
    vec![many(1_000, 0.8, 0.95), many(10_000, 0.6, 0.8), tax, limit()]
}

/// Batches of several sizes; each as many bytes on their way as 64 batches.
fn limit() -> Scenario {
    const SIZES: [(&str, u32); 4] = [
        ("batch-4k", 4_096),
        ("batch-16k", 16_384),
        ("batch-64k", 65_536),
        ("batch-256k", 262_144),
    ];
    let step = |(name, bytes): (&'static str, u32)| Step {
        batch_bytes: bytes,
        in_flight: Some(64 * bytes as usize / 1_024),
        linger_us: Some(5_000),
        ..Step::saturate(name, 12)
    };
    let title = "physical limit, by batch size";
    let claim = Claim {
        text: "64 KiB batches".to_owned(),
        metric: Metric::PercentOfLimit,
        step: "batch-64k",
        ours: System::Quipu.slug().to_owned(),
        theirs: None,
        goal: Goal::AtLeast(50.0, 75.0),
    };
    Scenario {
        name: "physical-limit".to_owned(),
        title: title.to_owned(),
        contenders: vec![contender(System::Quipu, SIZES.map(step).into())],
        claims: vec![claim],
    }
}

/// Everybody who is there and keeps records by consensus.
fn everybody(options: &Options, steps: &[Step]) -> Vec<Contender> {
    const DURABLE: [System; 4] =
        [System::Quipu, System::NatsAlways, System::KafkaFlush, System::RabbitmqQuorum];
    let there = DURABLE.into_iter().filter(|system| is_wanted(*system, &options.peers));
    there.map(|system| contender(system, steps.to_vec())).collect()
}

fn failover(options: &Options) -> Scenario {
    let step = Step {
        kills: options.kills,
        groups: 0,
        linger_us: Some(0),
        ..Step::open("kills", 12, Rate::Fixed(1_000.0))
    };
    let contenders = everybody(options, &[step]);
    let claim = |contender: &Contender| Claim {
        text: format!("failover: {}", contender.system.label()),
        metric: Metric::FailoverP99,
        step: "kills",
        ours: contender.name.clone(),
        theirs: None,
        goal: if contender.system.is_ours() {
            Goal::AtMost(1_500.0, 500.0)
        } else {
            Goal::Reported
        },
    };
    let claims = contenders.iter().map(claim).collect();
    let title = "a server is killed under 1,000 records/s on 12 partitions".to_owned();
    Scenario { name: "failover".to_owned(), title, contenders, claims }
}

/// What is told, not judged: PERFORMANCE T3, T4, T5, T10, T11.
fn reported(options: &Options) -> Vec<Scenario> {
    let silent = |name| Step { groups: 0, ..Step::saturate(name, 12) };
    let fill = silent("fill");
    let read =
        Step { mode: "read", topic_of: Some("fill"), groups: 1, ..Step::saturate("read", 12) };
    let half = |name| Step::open(name, 12, Rate::Of("fill", 0.5));
    let drain = Step { topic_of: Some("fill"), ..half("drain") };
    let fan = |name, groups| Step { groups, members: 1, ..Step::saturate(name, 12) };
    let over = |name, factor| Step::open(name, 12, Rate::Of("saturate", factor));
    let soak = Step {
        seconds: Some(options.soak_seconds),
        retention_bytes: Some(64 << 20),
        ..over("soak", 0.7)
    };
    let overload = Step { seconds: Some(options.seconds.max(10)), ..over("overload", 1.5) };
    let rows = [
        ("catch-up", "read what is there, nobody writes", vec![fill.clone(), read], "read"),
        ("backlog", "drain a backlog at half load", vec![fill, half("calm"), drain], "drain"),
        (
            "fan-out",
            "1, 3 and 10 groups of readers",
            vec![fan("fan-1", 1), fan("fan-3", 3), fan("fan-10", 10)],
            "fan-10",
        ),
        (
            "overload",
            "150 % of what it can",
            vec![Step::saturate("saturate", 12), overload, over("after", 0.5)],
            "overload",
        ),
        ("soak", "70 % for long", vec![Step::saturate("saturate", 12), soak], "soak"),
    ];
    let metrics = |name: &str| match name {
        "catch-up" => vec![Metric::ReadPerSecond],
        "backlog" => vec![Metric::CaughtUpSeconds, Metric::PublishP99],
        "soak" => vec![Metric::PublishP99],
        _ => vec![Metric::AckedPerSecond, Metric::PublishP99],
    };
    let row = |(name, title, steps, step): (&str, &str, Vec<Step>, &'static str)| {
        let contenders = everybody(options, &steps);
        let of = |contender: &Contender| {
            let (text, ours) = (format!("{name}: {}", contender.system.label()), &contender.name);
            let claim = |metric| Claim {
                text: text.clone(),
                metric,
                step,
                ours: ours.clone(),
                theirs: None,
                goal: Goal::Reported,
            };
            metrics(name).into_iter().map(claim).collect::<Vec<_>>()
        };
        let claims = contenders.iter().flat_map(of).collect();
        Scenario { name: name.to_owned(), title: title.to_owned(), contenders, claims }
    };
    rows.into_iter().map(row).collect()
}
