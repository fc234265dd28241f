//! A member in a process of its own, which can be paused, cut off and killed.
//!
//! The process is this test program again, running [`member`] alone. It hears commands, and tells
//! in lines of JSON what it does, over a socket: what it told before it was killed is not lost.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use quipu_client::{AckError, Client, Consumer, Message};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::crew::{Handled, Log, WAIT};

/// The variable with the settings of a member's process.
const SETTINGS: &str = "QUIPU_TEST_MEMBER";
/// Answers that wait to be heard: one per command.
const ANSWERS_MAX: usize = 8;
/// How long a shutdown may take.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(20);

/// What a process is to be.
#[derive(Clone, Copy)]
pub(crate) struct Role<'a> {
    /// What it connects to.
    pub(crate) servers: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) group: &'a str,
    pub(crate) session: Duration,
    /// Empty: not static.
    pub(crate) instance: &'a str,
}

/// A member's process, seen from the test.
pub(crate) struct Process {
    /// Its id in the group.
    pub(crate) id: String,
    name: String,
    child: Child,
    commands: OwnedWriteHalf,
    answers: mpsc::Receiver<Value>,
    listening: JoinHandle<Result<()>>,
    /// Its socket is in it.
    _dir: tempfile::TempDir,
}

impl Process {
    /// Starts it and waits until it has joined; what it handles is noted.
    pub(crate) async fn start(name: &str, role: Role<'_>, log: &Log) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path)?;
        let settings = json!({
            "socket": path.to_str().context("a path in text")?,
            "servers": role.servers,
            "topic": role.topic,
            "group": role.group,
            "session_s": role.session.as_secs(),
            "instance": role.instance,
        });
        let child = Command::new(std::env::current_exe()?)
            .args(["--exact", "process::member", "--ignored", "--nocapture"])
            .env(SETTINGS, settings.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start a member")?;
        let accepted = tokio::time::timeout(WAIT, listener.accept()).await;
        let (stream, _) = accepted.with_context(|| format!("{name} does not connect"))??;
        let (out, commands) = stream.into_split();
        let (told, answers) = mpsc::channel(ANSWERS_MAX);
        let listening = tokio::spawn(listen(out, name.to_owned(), log.clone(), told));
        let (id, name) = (String::new(), name.to_owned());
        let mut process = Self { id, name, child, commands, answers, listening, _dir: dir };
        let joined = process.answer("joined").await?;
        process.id = joined.as_str().context("a member id")?.to_owned();
        Ok(process)
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().with_context(|| format!("{} does not run", self.name))
    }

    /// From now on it acknowledges nothing, and keeps what it handles.
    pub(crate) async fn keep(&mut self) -> Result<()> {
        self.command("keep").await?;
        self.answer("keeps").await.map(drop)
    }

    /// Tells it to acknowledge what it keeps, and from then on everything again.
    pub(crate) async fn ack(&mut self) -> Result<()> {
        self.command("ack").await
    }

    /// What became of the acknowledgements: `committed`, `lost`, `expired` or why they failed.
    pub(crate) async fn acked(&mut self) -> Result<Vec<String>> {
        Ok(serde_json::from_value(self.answer("acked").await?)?)
    }

    /// Commits, leaves and ends.
    pub(crate) async fn leave(mut self) -> Result<()> {
        self.command("leave").await?;
        self.answer("left").await?;
        let status = tokio::time::timeout(WAIT, self.child.wait()).await??;
        ensure!(status.success(), "{} ended with {status}", self.name);
        self.listening.await?
    }

    /// Kills it (SIGKILL); resolves once all it told is noted.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.child.kill().await?;
        self.listening.await?
    }

    async fn command(&mut self, word: &str) -> Result<()> {
        Ok(self.commands.write_all(format!("{word}\n").as_bytes()).await?)
    }

    async fn answer(&mut self, what: &str) -> Result<Value> {
        let told = tokio::time::timeout(WAIT, self.answers.recv()).await;
        let told = told.with_context(|| format!("waited for {what} of {}", self.name))?;
        let mut told = told.with_context(|| format!("{} ended before {what}", self.name))?;
        let answer = told.get_mut(what).map(Value::take);
        answer.with_context(|| format!("{} says {told} and not {what}", self.name))
    }
}

/// Notes what a process handles, and passes its answers on, until it ends.
async fn listen(
    out: OwnedReadHalf,
    member: String,
    log: Log,
    answers: mpsc::Sender<Value>,
) -> Result<()> {
    let mut lines = BufReader::new(out).lines();
    while let Some(line) = lines.next_line().await? {
        let told: Value = serde_json::from_str(&line)?;
        match told.get("handled") {
            Some(handled) => log.note(record(handled, &member)?),
            // A test that is over wants no more answers.
            None => drop(answers.send(told).await),
        }
    }
    Ok(())
}

fn record(told: &Value, member: &str) -> Result<Handled> {
    Ok(Handled {
        topic: word(told, "topic")?.to_owned(),
        partition: u32::try_from(number(told, "partition")?)?,
        offset: number(told, "offset")?,
        value: word(told, "value")?.to_owned(),
        member: member.to_owned(),
    })
}

fn word<'a>(document: &'a Value, field: &str) -> Result<&'a str> {
    let word = document.get(field).and_then(Value::as_str);
    word.with_context(|| format!("no {field} in {document}"))
}

fn number(document: &Value, field: &str) -> Result<u64> {
    let number = document.get(field).and_then(Value::as_u64);
    number.with_context(|| format!("no {field} in {document}"))
}

/// No test by itself: what the process runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "other tests start it as a process of its own"]
async fn member() -> Result<()> {
    let Ok(settings) = std::env::var(SETTINGS) else { return Ok(()) };
    let settings: Value = serde_json::from_str(&settings)?;
    let stream = UnixStream::connect(word(&settings, "socket")?).await?;
    let (commands, mut out) = stream.into_split();
    let served = Box::pin(serve(&settings, BufReader::new(commands).lines(), &mut out)).await;
    if let Err(error) = &served {
        tell(&mut out, json!({ "failed": format!("{error:#}") })).await?;
    }
    served
}

async fn serve(
    settings: &Value,
    mut commands: Lines<BufReader<OwnedReadHalf>>,
    out: &mut OwnedWriteHalf,
) -> Result<()> {
    let mut consumer = join(settings).await?;
    tell(out, json!({ "joined": consumer.member_id() })).await?;
    let mut kept: Vec<Message> = Vec::new();
    let mut keeps = false;
    loop {
        tokio::select! {
            message = consumer.next() => {
                let message = message.context("the consumer ended")??;
                tell(out, handled(&message)).await?;
                if keeps {
                    kept.push(message);
                } else {
                    message.ack_later();
                }
            }
            command = commands.next_line() => match command?.as_deref() {
                Some("keep") => {
                    keeps = true;
                    tell(out, json!({ "keeps": true })).await?;
                }
                Some("ack") => {
                    keeps = false;
                    let acks = futures::future::join_all(kept.iter().map(Message::ack)).await;
                    let outcomes: Vec<String> = acks.into_iter().map(outcome).collect();
                    kept.clear();
                    tell(out, json!({ "acked": outcomes })).await?;
                }
                Some("leave") => break,
                Some(other) => bail!("there is no command {other:?}"),
                None => bail!("the test is over"),
            },
        }
    }
    drop(kept);
    consumer.shutdown(SHUTDOWN_WAIT).await?;
    tell(out, json!({ "left": true })).await
}

async fn join(settings: &Value) -> Result<Consumer> {
    let client = Client::builder(word(settings, "servers")?).service("member").connect().await?;
    let consumer = client
        .subscribe([word(settings, "topic")?])
        .group(word(settings, "group")?)
        .session_timeout(Duration::from_secs(number(settings, "session_s")?))
        .instance(word(settings, "instance")?);
    Ok(consumer.join().await?)
}

fn handled(message: &Message) -> Value {
    let value = message.value.clone().unwrap_or_default();
    json!({ "handled": {
        "topic": &*message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "value": String::from_utf8_lossy(&value),
    }})
}

fn outcome(ack: Result<(), AckError>) -> String {
    match ack {
        Ok(()) => "committed".to_owned(),
        Err(AckError::AssignmentLost) => "lost".to_owned(),
        Err(AckError::Expired) => "expired".to_owned(),
        Err(error) => format!("failed: {error}"),
    }
}

async fn tell(out: &mut OwnedWriteHalf, told: Value) -> Result<()> {
    Ok(out.write_all(format!("{told}\n").as_bytes()).await?)
}
