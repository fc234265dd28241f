//! On a private network: two nodes that talk by TCP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;

use super::*;
use crate::cluster::lab::{Lab, address};

const PORT: u16 = 9_292;
const QUESTIONS: usize = 200;

/// Runs something in a node's network.
fn inside<T: Send + 'static>(
    space: PathBuf,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    std::thread::spawn(move || {
        enter(&space).unwrap();
        work()
    })
}

/// Sends questions from node 1 to node 2, which sends them back; gives the longest round trip, and
/// how many came back changed.
fn talk(lab: &Lab) -> (Duration, usize) {
    let to = SocketAddr::from((address(2).unwrap(), PORT));
    let listener =
        inside(lab.space_file(2), move || TcpListener::bind(to).unwrap()).join().unwrap();
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut question = [0; 64];
        while stream.read_exact(&mut question).is_ok() {
            stream.write_all(&question).unwrap();
        }
    });
    let asked = inside(lab.space_file(1), move || {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut longest, mut changed) = (Duration::ZERO, 0);
        for number in 0..QUESTIONS {
            let question = [u8::try_from(number).unwrap(); 64];
            let begun = Clock::thread_instant();
            stream.write_all(&question).unwrap();
            let mut found = [0; 64];
            stream.read_exact(&mut found).unwrap();
            longest = longest.max(begun.elapsed());
            changed += usize::from(found != question);
        }
        (longest, changed)
    });
    let found = asked.join().unwrap();
    echo.join().unwrap();
    found
}

/// One lab, as its name is that of the process.
#[test]
fn packets_of_a_private_network_are_held_spoiled_and_let_go() -> Result<()> {
    if let Some(why) = Lab::obstacle().or_else(|| (!Lab::has_iptables()).then_some("no iptables")) {
        eprintln!("not run: {why}");
        return Ok(());
    }
    let lab = Lab::create(2)?;
    let tried = try_all(&lab);
    lab.remove();
    tried
}

fn try_all(lab: &Lab) -> Result<()> {
    assert_eq!(talk(lab).1, 0, "an untouched wire changes nothing");
    let treated = |treatment: Treatment| -> Result<_> {
        let packets = Packets::treat(&lab.space_file(1), treatment, Rng::seeded(9))?;
        lab.divert(1, true)?;
        let found = talk(lab);
        lab.divert(1, false)?;
        let count = packets.treated();
        packets.stop()?;
        Ok((found, count))
    };
    let ((longest, changed), count) = treated(Treatment::Reorder)?;
    assert!(
        longest >= Duration::from_millis(2) && changed == 0 && count > 10,
        "{longest:?} {count}"
    );
    let ((_, changed), count) = treated(Treatment::Spoil)?;
    assert!(changed > 0 && count > 0, "{changed} of {QUESTIONS} came back changed, {count} were");
    lab.divert(1, true)?;
    let (longest, changed) = talk(lab);
    assert_eq!(changed, 0, "when nobody listens packets pass: {longest:?}");
    lab.divert(1, false)?;
    lab.repeat(1, Some(50))?;
    assert_eq!(talk(lab).1, 0, "TCP hides what comes twice");
    assert!(lab.repeated(1)? > 10, "packets were sent twice");
    lab.repeat(1, None)
}
